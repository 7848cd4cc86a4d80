"""A working folder as it is, in one file that is the same whenever the folder is the same."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import unicodedata
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from seafloor.code.archive_entry import shown
from seafloor.code.files import disk_errors
from seafloor.code.git_url import RECEIPT_FOLDER
from seafloor.code.snapshot_format import (
    COMPRESSION_LEVEL,
    END_OF_ARCHIVE,
    FILES_MAX,
    SIZE_BYTES_MAX,
    SnapshotEntry,
    entry_header,
    padding_bytes,
)
from seafloor.code.working_folder import GitState, WorkingFolder, read_working_folder
from seafloor.domain.code import SnapshotCode
from seafloor.domain.errors import InvalidValue, LimitExceeded, SourceError
from seafloor.domain.ids import Sha256

LARGEST_SHOWN: Final = 5
TRIES_MAX: Final = 3
_READ_BYTES: Final = 1 << 20
# Not blocking, should a file have become a fifo since it was listed.
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
_FOLDER_CHARS_MAX: Final = 50


def take_snapshot(
    folder: Path,
    archive: Path,
    *,
    size_bytes_max: int = SIZE_BYTES_MAX,
    warn: Callable[[str], None] | None = None,
) -> SnapshotCode:
    """Keep a working folder as it is now in one ``.tar.zst``.

    In it are the tracked files as they are in the working folder (not as they are staged or
    committed) and the untracked ones that are not ignored, of the whole repository that ``folder``
    is part of; outside git every file that no ``.gitignore`` or ``.seafloorignore`` excludes
    (``working_folder`` has the rule). Contents, exec bits and symlinks are kept; a symlink is kept
    as a link wherever it points, never followed. Times, owners, other mode bits and empty folders
    are not kept, so the same content gives the same bytes.

    Every file is read while it does not change; the folder as a whole is not frozen.

    Args:
        folder: Any folder of the user.
        archive: Where the archive is written; it appears whole or not at all.
        size_bytes_max: Bound for the sum of the files' sizes, before compression.
        warn: Told of what is left out, and of pointers of git LFS in place of files.

    Returns:
        The source to submit, named by the digest of the archive.

    Raises:
        InvalidValue: there is no such folder, or its name cannot be kept.
        LimitExceeded: it is too large; the message lists the largest files.
        SourceError: git is missing or refuses, a file cannot be read, or one keeps changing.
        StoreFull: there is no space left for the archive.
        After each of them there is no archive.

    Cost: four git commands, one read of every file; memory grows with the count of files only.
    """
    tell = warn or _tell_nobody
    tries = 1
    while True:
        found = read_working_folder(folder, warn=tell)
        try:
            with disk_errors(f'Taking a snapshot of "{found.root}"'):
                sha256, size_bytes = _write(found, archive, size_bytes_max, tell)
            return _describe(found, sha256, size_bytes)
        except _ChangedError as change:
            if tries == TRIES_MAX:
                raise SourceError(
                    f'"{change.path}" changes while it is read: something writes to it. Stop that, '
                    "or name the file in .gitignore, and try again.",
                    field="code.path",
                ) from change
        tries += 1
        tell = _tell_nobody  # the user has heard it


class _ChangedError(Exception):
    """A file became another while it was read."""

    def __init__(self, path: bytes) -> None:
        super().__init__(shown(path))
        self.path = shown(path)


def _tell_nobody(_message: str) -> None:
    """Take a warning that no one wants."""


def _describe(found: WorkingFolder, sha256: Sha256, size_bytes: int) -> SnapshotCode:
    try:
        found.subfolder.encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(
            "The name of this folder is not UTF-8: rename it, or start from the repository's top.",
            field="code.path",
        ) from error
    git = found.git or GitState(url=None, commit=None, branch=None, dirty=False)
    return SnapshotCode(
        sha256=sha256,
        size_bytes=size_bytes,
        folder=_folder_name(found.root),
        subfolder=found.subfolder,
        git_url=git.url,
        git_commit=git.commit,
        git_branch=git.branch,
        git_dirty=None if found.git is None else git.dirty,
    )


def _folder_name(root: Path) -> str:
    """Name a snapshot's folder after the user's, who cannot be asked to rename it."""
    name = "".join(
        "_" if char in "/\\" or unicodedata.category(char) in {"Cc", "Cs"} else char
        for char in root.name
    )
    name = name[:_FOLDER_CHARS_MAX].lstrip("-").strip()
    return name if name not in {"", ".", "..", ".git", RECEIPT_FOLDER} else "code"


@dataclass(frozen=True)
class _File:
    """A file or symlink of the folder, and what the system said of it when it was counted."""

    path: bytes
    on_disk: Path
    status: os.stat_result


def _write(
    found: WorkingFolder, archive: Path, size_bytes_max: int, tell: Callable[[str], None]
) -> tuple[Sha256, int]:
    files = _count(found, size_bytes_max)
    partial = archive.with_name(f"{archive.name}.partial-{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as target:
            writer = _ArchiveWriter(target)
            for file in files:
                if stat.S_ISLNK(file.status.st_mode):
                    writer.add(SnapshotEntry(file.path, link=_read_link(file)))
                else:
                    _add_file(writer, file, tell)
            sha256 = writer.finish()
        partial.rename(archive)
    finally:
        partial.unlink(missing_ok=True)
    return sha256, writer.size_bytes


def _count(found: WorkingFolder, size_bytes_max: int) -> list[_File]:
    """Look at every file before the first is read, and refuse what is too large."""
    files: list[_File] = []
    for path in found.paths:
        on_disk = found.root / os.fsdecode(path)
        with _noticing_change(path):
            files.append(_File(path, on_disk, on_disk.lstat()))
    size_bytes = sum(file.status.st_size for file in files)
    if size_bytes > size_bytes_max:
        raise LimitExceeded(
            f'The snapshot of "{found.root}" would hold {_megabytes(size_bytes)}, more than the '
            f"{_megabytes(size_bytes_max)} allowed. The largest files: {_largest(files)}. "
            f"{_advice(found)}",
            field="code.path",
        )
    if len(files) > FILES_MAX:
        raise LimitExceeded(
            f'The snapshot of "{found.root}" would hold {len(files):,} files, more than the '
            f"{FILES_MAX:,} allowed. {_advice(found)}",
            field="code.path",
        )
    return files


def _advice(found: WorkingFolder) -> str:
    place = ".gitignore" if found.git else ".gitignore or .seafloorignore"
    return f"Name what tasks do not need in {place}" + (
        " (and take tracked files out with git rm --cached)." if found.git else "."
    )


def _largest(files: Sequence[_File]) -> str:
    by_size = sorted(files, key=lambda file: (-file.status.st_size, file.path))
    return ", ".join(
        f"{shown(file.path)} ({_megabytes(file.status.st_size)})"
        for file in by_size[:LARGEST_SHOWN]
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _read_link(file: _File) -> bytes:
    with _noticing_change(file.path):
        return os.fsencode(os.readlink(file.on_disk))  # noqa: PTH115 - Path would normalise it


def _add_file(writer: _ArchiveWriter, file: _File, tell: Callable[[str], None]) -> None:
    with _noticing_change(file.path):
        descriptor = os.open(file.on_disk, _OPEN_FLAGS)
    with os.fdopen(descriptor, "rb", buffering=0) as source:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode) or before.st_size != file.status.st_size:
            raise _ChangedError(file.path)
        executable = bool(before.st_mode & stat.S_IXUSR)
        writer.add(SnapshotEntry(file.path, before.st_size, executable))
        left = before.st_size
        while left:
            block = source.read(min(left, _READ_BYTES))
            if not block:
                raise _ChangedError(file.path)
            if left == before.st_size and block.startswith(_LFS_POINTER):
                tell(
                    f'"{shown(file.path)}" is a pointer of git LFS, not the file itself: get the '
                    "file with git lfs pull"
                )
            writer.write(block)
            left -= len(block)
        after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise _ChangedError(file.path)
    writer.pad(before.st_size)


@contextmanager
def _noticing_change(path: bytes) -> Generator[None]:
    """Take what was listed and is gone, or became a link, for a change."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise _ChangedError(path) from error
        raise


class _ArchiveWriter:
    """Headers and contents in, one zstd frame out, hashed as it is written.

    One thread, one level, and blocks of one size into the compressor: how the content came in
    pieces must not show in the bytes.
    """

    def __init__(self, target: BinaryIO) -> None:
        compressor = zstandard.ZstdCompressor(
            level=COMPRESSION_LEVEL, write_checksum=True, write_content_size=False, threads=0
        )
        self._frame = compressor.compressobj()
        self._target = target
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self.size_bytes = 0

    def add(self, entry: SnapshotEntry) -> None:
        self.write(entry_header(entry))

    def write(self, content: bytes) -> None:
        self._waiting += content
        while len(self._waiting) >= _READ_BYTES:
            self._keep(self._frame.compress(bytes(self._waiting[:_READ_BYTES])))
            del self._waiting[:_READ_BYTES]

    def pad(self, size_bytes: int) -> None:
        self.write(bytes(padding_bytes(size_bytes)))

    def finish(self) -> Sha256:
        """End the archive.

        Returns:
            The digest of its bytes.
        """
        self.write(END_OF_ARCHIVE)
        self._keep(self._frame.compress(bytes(self._waiting)))
        self._keep(self._frame.flush())
        return Sha256(self._digest.hexdigest())

    def _keep(self, compressed: bytes) -> None:
        self._digest.update(compressed)
        self._target.write(compressed)
        self.size_bytes += len(compressed)
