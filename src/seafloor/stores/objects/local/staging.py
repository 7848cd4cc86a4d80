"""Where objects are files before they are whole: ``.seafloor-tmp`` below the root.

    .seafloor-tmp/opening.lock     held while a store opens: cleaning and entering are one step
    .seafloor-tmp/<id>.lock        held for the life of a store, so that its death shows
    .seafloor-tmp/<id>/<number>    an object being written

A store that opens removes what belongs to stores that died. Several processes may have one root
open; none removes what another is writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import secrets
import shutil
from pathlib import Path

from seafloor.stores.objects.keys import STAGING_FOLDER
from seafloor.stores.objects.protocol import READ_CHUNK_BYTES

_OPENING = "opening.lock"
_LOCK_SUFFIX = ".lock"
# What a file system says that cannot copy by itself.
_CANNOT_SHARE = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}


class StagedFile:
    """A file being written, which is nowhere to be seen yet.

    Args:
        folder_fd: The folder it is made in.
        name: Its name there.

    Used by one thread at a time. Nothing exists before ``open``; ``discard`` is safe at any
    moment after any failure.
    """

    def __init__(self, folder_fd: int, name: str) -> None:
        self.folder_fd = folder_fd
        self.name = name
        self._fd = -1
        self._exists = False
        self._can_share = True

    def open(self) -> None:
        """Create it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(self.name, flags, 0o666, dir_fd=self.folder_fd)
        self._exists = True

    def write(self, data: bytes) -> None:
        """Append bytes, all of them."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def fill(self, source_fd: int, *, offset: int, size_bytes: int) -> int:
        """Append bytes of another file, without passing them through here where that can be.

        Returns:
            How many came; 0 at the end of the other file.
        """
        if self._can_share:
            try:
                return os.copy_file_range(source_fd, self._fd, size_bytes, offset)
            except OSError as error:
                if error.errno not in _CANNOT_SHARE:
                    raise
                self._can_share = False
        data = os.pread(source_fd, min(size_bytes, READ_CHUNK_BYTES), offset)
        self.write(data)
        return len(data)

    def finish(self, *, modified_ns: int) -> os.stat_result:
        """Make it durable; nothing is written after."""
        os.utime(self._fd, ns=(modified_ns, modified_ns))
        os.fsync(self._fd)
        return os.fstat(self._fd)

    def moved(self) -> None:
        """Note that the name is no longer here: the file is in its place."""
        self._exists = False

    def discard(self) -> None:
        """Close it, and remove it unless it was moved. Safe to repeat."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
        if self._exists:
            self._exists = False
            # What cannot be removed now is removed when a store is opened next; the object is
            # in its place all the same, or its own error is the one to tell.
            with contextlib.suppress(OSError):
                os.unlink(self.name, dir_fd=self.folder_fd)


class Staging:
    """One store's part of the staging folder.

    Args:
        root: Of the store; it exists.

    Raises:
        OSError: the folder cannot be made, locked or cleaned.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / STAGING_FOLDER
        self._folder.mkdir(exist_ok=True)
        self._numbers = itertools.count()
        self._id = secrets.token_hex(8)
        with contextlib.ExitStack() as opening:
            opening.callback(os.close, _locked(self._folder / _OPENING, wait=True))
            self._remove_leftovers()
            self._lock_fd = _locked(self._folder / f"{self._id}{_LOCK_SUFFIX}", wait=False)
            own = self._folder / self._id
            own.mkdir()
            self._own_fd = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def new(self) -> StagedFile:
        """Name a new file; it is not created yet."""
        return StagedFile(self._own_fd, str(next(self._numbers)))

    def close(self) -> None:
        """Remove this store's part. Safe to repeat."""
        if self._lock_fd < 0:
            return
        os.close(self._own_fd)
        shutil.rmtree(self._folder / self._id, ignore_errors=True)
        (self._folder / f"{self._id}{_LOCK_SUFFIX}").unlink(missing_ok=True)
        os.close(self._lock_fd)
        self._lock_fd = -1

    def _remove_leftovers(self) -> None:
        for lock in list(self._folder.glob(f"*{_LOCK_SUFFIX}")):
            if lock.name == _OPENING:
                continue
            try:
                fd = _locked(lock, wait=False)
            except BlockingIOError:
                continue  # its store lives
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
            os.close(fd)
        for folder in list(self._folder.iterdir()):
            if folder.is_dir() and not folder.with_suffix(_LOCK_SUFFIX).exists():
                shutil.rmtree(folder)


def _locked(path: Path, *, wait: bool) -> int:
    """Open a lock file and hold it; BlockingIOError when another has it and we do not wait."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd
