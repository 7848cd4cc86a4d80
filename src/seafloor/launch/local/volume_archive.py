"""A folder as one tar.zst and back, in constant memory: content, rights, times, links, holes.

The format is in ``docs/formats/volume.md``. A folder's own entry follows what is in it, so that one
without the right to write can be filled first.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import zstandard

from seafloor.code.archive_entry import EntryKind, Malformed
from seafloor.code.archive_streams import ArchiveKind, decompressed
from seafloor.code.snapshot_format import END_OF_ARCHIVE, padding_bytes
from seafloor.code.tar_entries import tar_members
from seafloor.code.tree_writer import Parts, TreeWriter, parts_of
from seafloor.domain.errors import Conflict, StoreCorrupt
from seafloor.domain.ids import Sha256
from seafloor.launch.volumes import Bytes, Counted, Packing

LINKED_MAX: Final = 100_000
"""Files with several names that are remembered; those beyond are kept once per name."""

_LEVEL: Final = 3
_READ_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 20
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def count(folder: Path) -> Counted:
    """Look at every file below a folder once. A file with several names counts for each.

    Raises:
        OSError: something cannot be looked at.
    """
    files = content_bytes = disk_bytes = 0
    for entry, is_end in _walk(folder):
        status = entry.stat(follow_symlinks=False)
        if is_end or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            continue
        files += 1
        content_bytes += status.st_size
        disk_bytes += status.st_blocks * 512
    return Counted(files, content_bytes, disk_bytes)


def pack(folder: Path, packing: Packing) -> Iterator[bytes]:
    """Give the bytes of a folder's snapshot in pieces of about 1 MiB.

    Raises:
        Conflict: a file changed while it was read.
        OSError: something cannot be read.
    """
    digest = hashlib.sha256()
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    waiting: list[bytes] = []
    waiting_bytes = 0
    for plain in _Packer(folder, packing).blocks():
        packed = compressor.compress(plain)
        if packed:
            waiting.append(packed)
            waiting_bytes += len(packed)
        if waiting_bytes >= _PIECE_BYTES:
            piece = b"".join(waiting)
            waiting, waiting_bytes = [], 0
            digest.update(piece)
            packing.size_bytes += len(piece)
            yield piece
    piece = b"".join((*waiting, compressor.flush()))
    digest.update(piece)
    packing.size_bytes += len(piece)
    packing.sha256 = digest.hexdigest()
    yield piece


def unpack(source: Bytes, folder: Path, *, sha256: Sha256, progress: Callable[[int], None]) -> None:
    """Make a folder of a snapshot's bytes.

    Nothing is written outside it, whatever the bytes say.

    Args:
        folder: It is there and empty; whole only when this returns.
        progress: Told the bytes of content so far; what it raises ends this.

    Raises:
        StoreCorrupt: the bytes are not those that ``sha256`` names.
        OSError: something cannot be written.
    """
    hashed = _Hashed(source)
    problem: Malformed | None = None
    writer = TreeWriter(folder, links_anywhere=True, keeps_all=True)
    try:
        _unpack(hashed, writer, progress)
    except Malformed as error:
        problem = error  # damaged, as the digest will say
    finally:
        writer.close()
    if problem is not None or hashed.digest() != sha256:
        raise StoreCorrupt(
            "The snapshot is not what was kept: it was cut or altered in the object store. The "
            "volume is as it was."
        ) from problem


def _unpack(source: Bytes, writer: TreeWriter, progress: Callable[[int], None]) -> None:
    done_bytes = 0

    def told(blocks: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal done_bytes
        for block in blocks:
            done_bytes += len(block)
            progress(done_bytes)
            yield block

    for entry, blocks in tar_members(decompressed(ArchiveKind.TAR_ZST, source)):
        parts = parts_of(entry.path, depth_max=None)  # whatever a volume has, it gets back
        if not parts:
            raise Malformed("an entry has no name")
        is_link = entry.kind is EntryKind.HARDLINK
        target: Parts = parts_of(entry.target, depth_max=None) if is_link else ()
        writer.make(parts, entry, target, told(blocks))
        progress(done_bytes)


class _Listed:
    """A folder that is being listed.

    Args:
        path: Which.
        of: Its own entry; None of the root.
    """

    def __init__(self, path: Path | str, of: os.DirEntry[str] | None) -> None:
        self.of = of
        self._entries = os.scandir(path)

    def next(self) -> os.DirEntry[str] | None:
        """The next entry, None at the end."""
        return next(self._entries, None)

    def close(self) -> None:
        self._entries.close()


class _Packer:
    """Writes one folder as a tar.

    Args:
        folder: The root; it has no entry of its own.
        packing: Is counted up.
    """

    def __init__(self, folder: Path, packing: Packing) -> None:
        self._folder = folder
        self._packing = packing
        self._linked: dict[tuple[int, int], str] = {}

    def blocks(self) -> Iterator[bytes]:
        """The tar, in blocks."""
        root = f"{self._folder}/"
        for entry, is_end in _walk(self._folder):
            name = entry.path.removeprefix(root)
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if is_end:
                    yield _header(name, status, tarfile.DIRTYPE)
            elif stat.S_ISLNK(status.st_mode):
                self._packing.files += 1
                link = os.readlink(entry.path)  # noqa: PTH115 - as it is
                yield _header(name, status, tarfile.SYMTYPE, link=link)
            elif stat.S_ISREG(status.st_mode):
                self._packing.files += 1
                yield from self._file(entry.path, name)
            else:
                self._packing.left_out += 1
        yield END_OF_ARCHIVE

    def _file(self, path: str, name: str) -> Iterator[bytes]:
        try:
            descriptor = os.open(path, _FILE_FLAGS)
        except FileNotFoundError as error:
            raise _changed(name) from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            known = (status.st_dev, status.st_ino)
            if known in self._linked:
                yield _header(name, status, tarfile.LNKTYPE, link=self._linked[known])
                return
            if status.st_nlink > 1 and len(self._linked) < LINKED_MAX:
                self._linked[known] = name
            yield _header(name, status, tarfile.REGTYPE, size=status.st_size)
            left = status.st_size
            while left and (block := file.read(min(left, _READ_BYTES))):
                left -= len(block)
                self._packing.content_bytes += len(block)
                self._packing.progress(self._packing.content_bytes)
                yield block
            after = os.fstat(descriptor)
            if left or _state(after) != _state(status):
                raise _changed(name)
        yield b"\0" * padding_bytes(status.st_size)


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _changed(name: str) -> Conflict:
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")[:200]
    return Conflict(
        f'"{shown}" was changed while the snapshot was made, by something that Seafloor does not '
        "know of: no snapshot was kept. Try again when nothing writes there."
    )


def _header(
    name: str, status: os.stat_result, kind: bytes, *, size: int = 0, link: str = ""
) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    info.mode = stat.S_IMODE(status.st_mode) & 0o777
    info.mtime = max(0, int(status.st_mtime))
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _walk(folder: Path) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """Every entry below a folder; folders twice, before (False) and after (True) what is in them.

    Memory of the open folders, whatever they hold.
    """
    stack = [_Listed(folder, None)]
    try:
        while stack:
            entry = stack[-1].next()
            if entry is None:
                ended = stack.pop()
                ended.close()
                if ended.of is not None:
                    yield ended.of, True
                continue
            yield entry, False
            if entry.is_dir(follow_symlinks=False):
                stack.append(_Listed(entry.path, entry))
    finally:
        for listed in stack:
            listed.close()


class _Hashed:
    """Bytes that are hashed as they are read."""

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        block = self._source.read(size)
        self._digest.update(block)
        return block

    def digest(self) -> str:
        """Of all bytes; what was not read yet is read now."""
        while self.read(_READ_BYTES):
            pass
        return self._digest.hexdigest()


def make_durable(folder: Path) -> None:
    """Have all that was written to a folder's file system survive a crash of the machine."""
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        failed = ctypes.CDLL(None, use_errno=True).syncfs(descriptor)
        number = ctypes.get_errno()
    finally:
        os.close(descriptor)
    if failed:
        raise OSError(number, os.strerror(number), str(folder))
