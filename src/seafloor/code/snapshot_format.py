"""The bytes of a snapshot's entries: one place for the writer and the reader.

``docs/formats/snapshot.md`` is the description; a snapshot is a POSIX pax archive in one zstd
frame, so that ``tar --zstd -x`` reads it too.
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from typing import Final

BLOCK_BYTES: Final = 512
END_OF_ARCHIVE: Final = b"\0" * (2 * BLOCK_BYTES)
MTIME_S: Final = 315_532_800
"""1980-01-01 UTC, on every entry: the earliest time that every archive tool takes."""

PATH_BYTES_MAX: Final = 4096
EXTENDED_BYTES_MAX: Final = 16 << 10
COMPRESSION_LEVEL: Final = 3
WINDOW_BYTES_MAX: Final = 8 << 20
"""What a reader must be ready to keep in memory (the recommendation of RFC 8878)."""

SIZE_BYTES_MAX: Final = 1 << 30
FILES_MAX: Final = 200_000

_MODE: Final = 0o644
_MODE_EXECUTABLE: Final = 0o755


class Malformed(Exception):
    """The bytes are no snapshot, or one that must not be unpacked. Its text is for the user."""


@dataclass(frozen=True)
class SnapshotEntry:
    """A file or symlink of a snapshot.

    Args:
        path: Relative, parts joined by ``/``; bytes, since names need not be UTF-8.
        size_bytes: Of a file's content; 0 for other kinds.
        executable: Whether a file has its exec bit.
        link: Where a symlink points, as it is; None for other kinds.
        is_folder: Whether it is a folder, which our own snapshots never hold.
    """

    path: bytes
    size_bytes: int = 0
    executable: bool = False
    link: bytes | None = None
    is_folder: bool = False


def entry_header(entry: SnapshotEntry) -> bytes:
    """Make the header blocks of an entry; nothing in them tells of user, machine or time."""
    info = tarfile.TarInfo(os.fsdecode(entry.path))
    info.mtime = MTIME_S
    info.mode = _MODE_EXECUTABLE if entry.executable else _MODE
    info.size = entry.size_bytes
    if entry.link is not None:
        info.type = tarfile.SYMTYPE
        info.mode = 0o777
        info.linkname = os.fsdecode(entry.link)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding_bytes(size_bytes: int) -> int:
    """How many zero bytes follow a content of that size."""
    return -size_bytes % BLOCK_BYTES


def parse_header(block: bytes) -> tarfile.TarInfo | None:
    """Read one header block.

    Returns:
        What it says; None for the block of zeros that ends an archive.

    Raises:
        Malformed: its checksum is wrong, or it is no header.
    """
    if block == END_OF_ARCHIVE[:BLOCK_BYTES]:
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise Malformed("a header is damaged") from error
    if info.size < 0:
        raise Malformed("an entry has a negative size")
    return info


def parse_extended(content: bytes) -> dict[str, bytes]:
    """Read the records of a pax header: ``<length> <key>=<value>\\n``, one after another.

    Raises:
        Malformed: they are cut or do not fit.
    """
    records: dict[str, bytes] = {}
    position = 0
    while position < len(content):
        digits, space, _ = content[position : position + 8].partition(b" ")
        if not space or not digits.isdigit():
            raise Malformed("an extended header is damaged")
        end = position + int(digits)
        key, equals, value = content[position + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or end > len(content) or content[end - 1 : end] != b"\n":
            raise Malformed("an extended header is damaged")
        records[key.decode("ascii", "replace")] = value
        position = end
    return records


def make_entry(info: tarfile.TarInfo, extended: dict[str, bytes]) -> SnapshotEntry:
    """Join a header and the extended header before it.

    Raises:
        Malformed: it is a device, a hard link or another kind that snapshots do not hold.
    """
    path = extended.get("path", os.fsencode(info.name))
    if info.type == tarfile.DIRTYPE:
        return SnapshotEntry(path.rstrip(b"/"), is_folder=True)
    if info.type == tarfile.SYMTYPE:
        return SnapshotEntry(path, link=extended.get("linkpath", os.fsencode(info.linkname)))
    if info.type != tarfile.REGTYPE:
        raise Malformed(f'"{shown(path)}" is neither a file nor a symlink')
    size = extended.get("size", b"%d" % info.size)
    if not size.isdigit():
        raise Malformed("an extended header is damaged")
    return SnapshotEntry(path, int(size), executable=bool(info.mode & 0o100))


def shown(path: bytes) -> str:
    """A path as it may be shown to people."""
    return path.decode("utf-8", "backslashreplace")
