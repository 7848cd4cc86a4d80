"""A file that grows by durable appends: what spools of logs and event files are made of.

Also how the disk's own errors become ours.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from seafloor.domain.errors import StoreError, StoreFull, StoreUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def disk_error(exc: OSError, doing: str) -> StoreError:
    """Say a disk's error in the store's words.

    Args:
        exc: What the system said.
        doing: What was tried, as in "keep the log".
    """
    reason = os.strerror(exc.errno) if exc.errno else str(exc)
    if exc.errno in _FULL:
        return StoreFull(
            f"The server could not {doing}: its disk is full. Free some space; "
            "it goes on by itself.",
            detail=str(exc),
            retry_after_s=5.0,
        )
    return StoreUnavailable(f"The server could not {doing}: {reason}.", detail=str(exc))


def sync_folder(folder: Path) -> None:
    """Make names within a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


class AppendFile:
    """A file that grows by durable appends; it is created by the first one.

    One owner at a time; not thread-safe. Errors are OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self.size_bytes = 0
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self.size_bytes = os.fstat(self._fd).st_size

    @property
    def exists(self) -> bool:
        """Whether there is a file."""
        return self._fd is not None

    def append(self, data: bytes) -> None:
        """Append all of data and make it durable, or leave the file as it was.

        Raises:
            OSError: nothing was appended. When even that could not be had, the size on disk
                differs from ``size_bytes`` and the file must be opened again.
        """
        if self._fd is None:
            self._fd = self._create()
        rest = memoryview(data)
        at = self.size_bytes
        try:
            while rest:
                written = os.pwrite(self._fd, rest, at)
                at += written
                rest = rest[written:]
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self.size_bytes)
            raise
        self.size_bytes = at

    def _create(self) -> int:
        make_folder(self.path.parent)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            sync_folder(self.path.parent)
        except OSError:
            os.close(fd)
            raise
        return fd

    def read_at(self, offset: int, length: int) -> bytes:
        """Read up to length bytes; fewer only at the end."""
        if self._fd is None:
            return b""
        return os.pread(self._fd, length, offset)

    def truncate(self, size_bytes: int) -> None:
        """Cut the file back, durably."""
        if self._fd is None or size_bytes >= self.size_bytes:
            return
        os.ftruncate(self._fd, size_bytes)
        os.fsync(self._fd)
        self.size_bytes = size_bytes

    def close(self) -> None:
        """Give the descriptor back. Safe to repeat."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
