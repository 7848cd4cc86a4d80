"""A working folder as it is, in one file that is the same whenever the folder is the same."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import time
import unicodedata
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from seafloor.code.archive_entry import shown
from seafloor.code.files import disk_errors
from seafloor.code.git_url import RECEIPT_FOLDER
from seafloor.code.leaks import LeakScan
from seafloor.code.snapshot_format import (
    COMPRESSION_LEVEL,
    END_OF_ARCHIVE,
    FILES_MAX,
    SnapshotEntry,
    entry_header,
    padding_bytes,
)
from seafloor.code.snapshot_lfs import POINTER_START, LargeFile, large_files
from seafloor.code.snapshot_memory import SnapshotMemory
from seafloor.code.working_folder import GitState, WorkingFolder, read_working_folder
from seafloor.domain.code import SnapshotCode
from seafloor.domain.errors import InvalidValue, LimitExceeded, SourceError
from seafloor.domain.ids import Sha256

LARGEST_SHOWN: Final = 5
LEAKS_SHOWN: Final = 10
REPORTED_BYTES: Final = 100_000_000
"""From this size on the user is told what is large before it is packed and sent."""

TRIES_MAX: Final = 3
_READ_BYTES: Final = 1 << 20
# Not blocking, should a file have become a fifo since it was listed.
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER_CHARS_MAX: Final = 50
_ADVICE: Final = (
    "Name what tasks do not need in .seafloorignore, which has the rules of .gitignore and is for "
    "tracked files too."
)


def take_snapshot(
    folder: Path,
    archive: Path,
    *,
    size_bytes_max: int | None = None,
    warn: Callable[[str], None] | None = None,
    memory: SnapshotMemory | None = None,
    is_kept: Callable[[Sha256, int], bool] | None = None,
) -> SnapshotCode:
    """Keep a working folder as it is now in one ``.tar.zst``.

    In it are the tracked files as they are in the working folder (not as they are staged or
    committed) and the untracked ones that are not ignored, of the whole repository that ``folder``
    is part of, less what ``.seafloorignore`` names; outside git every file that no ``.gitignore``
    or ``.seafloorignore`` excludes (``working_folder`` has the rule). In place of a pointer of git
    LFS is the file that it stands for. Contents, exec bits and symlinks are kept; a symlink is kept
    as a link wherever it points, never followed. Times, owners, other mode bits and empty folders
    are not kept, so the same content gives the same bytes.

    Every file is read while it does not change; the folder as a whole is not frozen.

    Args:
        folder: Any folder of the user.
        archive: Where the archive is written; it appears whole or not at all.
        size_bytes_max: Bound for the sum of the files' sizes, before compression; None: none.
        warn: Told of what is left out, of what is large before it is packed, of commits that were
            not pushed, and of what looks like a secret.
        memory: Of earlier snapshots; None: every file is read.
        is_kept: Whether an archive of that digest and size needs not be written: with it, and when
            nothing changed since a snapshot that ``memory`` knows, there is no ``archive``
            afterwards.

    Returns:
        The source to submit, named by the digest of the archive.

    Raises:
        InvalidValue: there is no such folder, or its name cannot be kept.
        LimitExceeded: it is too large; the message lists the largest files.
        SourceError: git is missing or refuses, a file cannot be read, or one keeps changing; or
            the file that a pointer of git LFS stands for is not in this clone.
        StoreFull: there is no space left for the archive.
        After each of them there is no archive.

    Cost: six git commands and one look at every file; unless all is as it was, one read of every
    file too. Memory grows with the count of files only.
    """
    tell = warn or _tell_nobody
    tries = 1
    while True:
        begun_ns = time.time_ns()
        with disk_errors(f'Looking at "{folder}"'):
            found = read_working_folder(folder, warn=tell)
        known = memory.recall(found) if memory is not None and is_kept is not None else None
        if known is not None and is_kept is not None and is_kept(known.sha256, known.size_bytes):
            for message in known.said:
                tell(message)
            return _describe(found, known.sha256, known.size_bytes)
        notes = _Notes(tell)
        try:
            with disk_errors(f'Taking a snapshot of "{found.root}"'):
                _report_size(found, files := _count(found, size_bytes_max), tell)
                sha256, size_bytes = _write(files, archive, notes)
        except _ChangedError as change:
            if tries == TRIES_MAX:
                raise SourceError(
                    f'"{change.path}" changes while it is read: something writes to it. Stop that, '
                    "or name the file in .gitignore, and try again.",
                    field="code.path",
                ) from change
        else:
            notes.tell_leaks()
            if memory is not None:
                memory.keep(
                    found,
                    sha256=sha256,
                    size_bytes=size_bytes,
                    said=tuple(notes.said),
                    begun_ns=begun_ns,
                )
            return _describe(found, sha256, size_bytes)
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
    """A file or symlink of the folder, and what the system said of it when it was listed."""

    path: bytes
    on_disk: Path
    status: os.stat_result
    large: LargeFile | None = None

    @property
    def size_bytes(self) -> int:
        return self.status.st_size if self.large is None else self.large.size_bytes


@dataclass
class _Notes:
    """What is told of the files while they are read, and again as long as they are the same."""

    tell: Callable[[str], None]
    said: list[str] = field(default_factory=list[str])
    leaks: list[str] = field(default_factory=list[str])

    def note(self, message: str) -> None:
        self.said.append(message)
        self.tell(message)

    def tell_leaks(self) -> None:
        if not self.leaks:
            return
        more = len(self.leaks) - LEAKS_SHOWN
        shown_leaks = ", ".join(self.leaks[:LEAKS_SHOWN]) + (f" and {more} more" * (more > 0))
        self.note(
            f"the snapshot holds what looks like a secret: {shown_leaks}. Whoever may see the run "
            "can read it: take it out of the file, or name the file in .seafloorignore"
        )


def _write(files: Sequence[_File], archive: Path, notes: _Notes) -> tuple[Sha256, int]:
    partial = archive.with_name(f"{archive.name}.partial-{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as target:
            writer = _ArchiveWriter(target)
            for file in files:
                if stat.S_ISLNK(file.status.st_mode):
                    writer.add(SnapshotEntry(file.path, link=_read_link(file)))
                elif file.large is not None:
                    _add_large(writer, file, file.large)
                else:
                    _add_file(writer, file, notes)
            sha256 = writer.finish()
        partial.rename(archive)
    finally:
        partial.unlink(missing_ok=True)
    return sha256, writer.size_bytes


def _count(found: WorkingFolder, size_bytes_max: int | None) -> list[_File]:
    """Refuse what is too large before the first file is read."""
    large = large_files(found)
    files = [
        _File(path, found.root / os.fsdecode(path), status, large.get(path))
        for path, status in found.files.items()
    ]
    size_bytes = sum(file.size_bytes for file in files)
    if size_bytes_max is not None and size_bytes > size_bytes_max:
        raise LimitExceeded(
            f'The snapshot of "{found.root}" would hold {_megabytes(size_bytes)}, more than the '
            f"{_megabytes(size_bytes_max)} allowed. The largest: {_largest(files)}. {_ADVICE}",
            field="code.path",
        )
    if len(files) > FILES_MAX:
        raise LimitExceeded(
            f'The snapshot of "{found.root}" would hold {len(files):,} files, more than the '
            f"{FILES_MAX:,} allowed. {_ADVICE}",
            field="code.path",
        )
    return files


def _report_size(found: WorkingFolder, files: Sequence[_File], tell: Callable[[str], None]) -> None:
    size_bytes = sum(file.size_bytes for file in files)
    if size_bytes >= REPORTED_BYTES:
        tell(
            f'the snapshot of "{found.root}" holds {_megabytes(size_bytes)} in {len(files):,} '
            f"files. The largest: {_largest(files)}. {_ADVICE}"
        )


def _largest(files: Sequence[_File]) -> str:
    by_size = sorted(files, key=lambda file: (-file.size_bytes, file.path))
    return ", ".join(
        f"{shown(file.path)} ({_megabytes(file.size_bytes)})" for file in by_size[:LARGEST_SHOWN]
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _read_link(file: _File) -> bytes:
    with _noticing_change(file.path):
        return os.fsencode(os.readlink(file.on_disk))  # noqa: PTH115 - Path would normalise it


def _add_file(writer: _ArchiveWriter, file: _File, notes: _Notes) -> None:
    with _noticing_change(file.path):
        descriptor = os.open(file.on_disk, _OPEN_FLAGS)
    scan = LeakScan()
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
            if left == before.st_size and block.startswith(POINTER_START):
                notes.note(
                    f'"{shown(file.path)}" is a pointer of git LFS, not the file itself: get the '
                    "file with git lfs pull"
                )
            scan.feed(block)
            writer.write(block)
            left -= len(block)
        after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise _ChangedError(file.path)
    writer.pad(before.st_size)
    notes.leaks += (f'"{shown(file.path)}" line {leak.line} ({leak.kind})' for leak in scan.found)


def _add_large(writer: _ArchiveWriter, file: _File, large: LargeFile) -> None:
    """Put in what a pointer stands for; the store of the clone is believed only when it is that."""
    executable = bool(file.status.st_mode & stat.S_IXUSR)
    writer.add(SnapshotEntry(file.path, large.size_bytes, executable))
    digest, size_bytes = hashlib.sha256(), 0
    with _noticing_change(file.path), large.content.open("rb") as source:
        while block := source.read(_READ_BYTES):
            digest.update(block)
            size_bytes += len(block)
            writer.write(block)
    if digest.hexdigest() != large.sha256 or size_bytes != large.size_bytes:
        raise SourceError(
            f'The content of "{shown(file.path)}" in the git LFS store of this clone is damaged: '
            f'remove "{large.content}" and get it anew with git lfs pull.',
            field="code.path",
        )
    writer.pad(large.size_bytes)


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
