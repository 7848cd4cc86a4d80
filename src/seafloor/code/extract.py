"""Unpacking a snapshot: in constant memory, inside one folder, and only what its digest names."""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

import zstandard

from seafloor.code.files import disk_errors
from seafloor.code.snapshot_format import (
    BLOCK_BYTES,
    EXTENDED_BYTES_MAX,
    FILES_MAX,
    PATH_BYTES_MAX,
    SIZE_BYTES_MAX,
    WINDOW_BYTES_MAX,
    Malformed,
    SnapshotEntry,
    make_entry,
    padding_bytes,
    parse_extended,
    parse_header,
    shown,
)
from seafloor.domain.errors import InvalidValue, LimitExceeded, StoreCorrupt
from seafloor.domain.ids import Sha256
from seafloor.domain.names import PATH_PART_BYTES_MAX

_READ_BYTES: Final = 1 << 20
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What the system says when a name is taken, or when what should be a folder is a file or a symlink.
_MISPLACED: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EISDIR})


@dataclass(frozen=True)
class ExtractLimits:
    """What an archive may become.

    Args:
        size_bytes_max: Sum of the sizes of its files, unpacked.
        files_max: Count of its entries.
    """

    size_bytes_max: int = SIZE_BYTES_MAX
    files_max: int = FILES_MAX


@dataclass(frozen=True)
class Extracted:
    """What an archive became.

    Args:
        files: Count of files and symlinks.
        size_bytes: Sum of their sizes; a symlink's is the length of its target.
    """

    files: int
    size_bytes: int


_DEFAULT: Final = ExtractLimits()


def extract(
    archive: Path, folder: Path, *, sha256: Sha256, limits: ExtractLimits = _DEFAULT
) -> Extracted:
    """Unpack a ``.tar.zst`` into a new folder.

    Nothing is written outside ``folder``, whatever the archive says: every name is opened relative
    to its folder and never through a symlink. Symlinks are made as they are, wherever they point.
    Times are those of unpacking, so that no tool takes a stale cache for a fresh one.

    Args:
        archive: Its file; read once.
        folder: Does not exist yet. Give it a name that nobody looks at: it is complete, and its
            content the one that ``sha256`` names, only when this returns.
        sha256: Digest of the archive's bytes.
        limits: Beyond which it is not unpacked.

    Raises:
        StoreCorrupt: the archive is not the one that ``sha256`` names, or is cut.
        InvalidValue: it is, but holds what must not be unpacked: an absolute path, ``..``, an
            entry below a symlink, one path twice, a device.
        LimitExceeded: it would become larger than ``limits``.
        StoreFull: no space is left.
        SourceError: the file system refused something else.
        After each of them ``folder`` may exist and is not whole.

    Cost: memory for one block and one window, whatever the archive's size.
    """
    with disk_errors("Unpacking the snapshot"), archive.open("rb") as file:
        source = _HashedFile(file)
        folder.mkdir()
        unpacking = _Unpacking(source, folder, limits)
        problem: Malformed | LimitExceeded | zstandard.ZstdError | None = None
        try:
            unpacking.run()
        except (Malformed, LimitExceeded, zstandard.ZstdError) as error:
            # Whether it is a damaged archive or a bad one is known when all of it was hashed.
            problem = error
        finally:
            unpacking.close()
        if source.digest() != sha256:
            raise StoreCorrupt(
                "The bytes of the snapshot are not those that its sha256 names: it was cut or "
                "altered where it is stored. Submit again to store it anew."
            ) from problem
    if isinstance(problem, LimitExceeded):
        raise problem
    if problem is not None:
        raise InvalidValue(
            f"The snapshot cannot be unpacked: {problem}.", field="code.sha256"
        ) from problem
    return Extracted(unpacking.files, unpacking.size_bytes)


class _HashedFile:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        return block

    def digest(self) -> str:
        """The digest of the whole file; what was not read yet is read now."""
        while self.read(_READ_BYTES):
            pass
        return self._digest.hexdigest()


class _Unpacking:
    """One archive on its way into one folder.

    The folder of the last entry stays open: entries are sorted, so the next one is likely there.
    """

    def __init__(self, source: _HashedFile, folder: Path, limits: ExtractLimits) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
        self._content = decompressor.stream_reader(
            cast("IO[bytes]", source),  # of which it calls only read
            read_size=_READ_BYTES,
            closefd=False,
        )
        self._limits = limits
        self._root = os.open(folder, _FOLDER_FLAGS)
        self._parent: tuple[bytes, ...] = ()
        self._parent_descriptor = os.dup(self._root)
        self._entries = 0
        self.files = 0
        self.size_bytes = 0

    def close(self) -> None:
        os.close(self._parent_descriptor)
        os.close(self._root)

    def run(self) -> None:
        while (entry := self._next_entry()) is not None:
            self._count(entry)
            try:
                self._make(entry)
            except OSError as error:
                if error.errno not in _MISPLACED:
                    raise
                raise Malformed(
                    f'"{shown(entry.path)}" stands there twice, or below a file or symlink'
                ) from error

    def _count(self, entry: SnapshotEntry) -> None:
        self._entries += 1
        self.files += not entry.is_folder
        self.size_bytes += entry.size_bytes if entry.link is None else len(entry.link)
        most = self._limits
        if self.size_bytes > most.size_bytes_max or self._entries > most.files_max:
            raise LimitExceeded(
                f"The snapshot holds more than {most.size_bytes_max} bytes or {most.files_max} "
                "files. Name what tasks do not need in .gitignore.",
                field="code.sha256",
            )

    def _next_entry(self) -> SnapshotEntry | None:
        extended: dict[str, bytes] = {}
        info = parse_header(self._read(BLOCK_BYTES))
        if info is not None and info.type == tarfile.XHDTYPE:
            if info.size > EXTENDED_BYTES_MAX:
                raise Malformed("an extended header is too long")
            extended = parse_extended(self._read(info.size))
            self._read(padding_bytes(info.size))
            info = parse_header(self._read(BLOCK_BYTES))
        return None if info is None else make_entry(info, extended)

    def _make(self, entry: SnapshotEntry) -> None:
        *parents, name = _parts(entry.path)
        if entry.is_folder:
            self._enter((*parents, name))
            return
        parent = self._enter(tuple(parents))
        if entry.link is not None:
            os.symlink(entry.link, name, dir_fd=parent)
            return
        descriptor = os.open(name, _FILE_FLAGS, 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            left = entry.size_bytes
            while left:
                block = self._read(min(left, _READ_BYTES))
                file.write(block)
                left -= len(block)
            os.fchmod(descriptor, 0o755 if entry.executable else 0o644)
        self._read(padding_bytes(entry.size_bytes))

    def _enter(self, parts: tuple[bytes, ...]) -> int:
        """Open a folder below the root, making what is missing, following nothing."""
        if parts == self._parent:
            return self._parent_descriptor
        descriptor = os.dup(self._root)
        try:
            for part in parts:
                outer, descriptor = descriptor, _open_folder(descriptor, part)
                os.close(outer)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self._parent_descriptor)
        self._parent, self._parent_descriptor = parts, descriptor
        return descriptor

    def _read(self, size: int) -> bytes:
        """Read exactly so many bytes of content."""
        block = self._content.read(size)
        while len(block) < size:
            more = self._content.read(size - len(block))
            if not more:
                raise Malformed("it ends too early")
            block += more
        return block


def _open_folder(parent: int, name: bytes) -> int:
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, dir_fd=parent)
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)


def _parts(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    too_long = len(path) > PATH_BYTES_MAX or any(len(part) > PATH_PART_BYTES_MAX for part in parts)
    if too_long or b"\0" in path:
        raise Malformed(f'the path "{shown(path[:80])}…" is too long, or holds a NUL')
    if any(part in {b"", b".", b".."} for part in parts):
        raise Malformed(f'"{shown(path)}" is not a path inside the folder')
    return parts
