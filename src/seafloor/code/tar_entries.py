"""The entries of a tar: ustar, pax and GNU, read once from beginning to end."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from typing import Final

from seafloor.code.archive_entry import (
    BLOCK_BYTES_MAX,
    ArchiveEntry,
    EntryKind,
    Malformed,
    Member,
    Stream,
    shown,
)
from seafloor.code.snapshot_format import BLOCK_BYTES, padding_bytes

EXTENDED_BYTES_MAX: Final = 256 << 10
EXTENSIONS_MAX: Final = 8
"""Headers that may stand before one entry and say more of it."""

TRAILING_ZEROS_MAX: Final = 16 << 20
"""After its end; tools fill up to a record, of 10 KiB as a rule."""

_FILES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_PAX: Final = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE})
_LONG: Final = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_REFUSED: Final = {
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a fifo",
    tarfile.GNUTYPE_SPARSE: "a sparse file (pack without --sparse)",
    b"M": "a part of a file that goes on in another archive",
    b"D": "an incremental dump's folder",
    b"V": "the label of a volume",
}


def tar_members(stream: Stream) -> Iterator[Member]:
    """Read the entries of a tar in order.

    Raises:
        Malformed: it is cut or damaged, has something after its end, or an entry of a kind that
            is not unpacked.
    """
    reader = _Reader(stream)
    while (entry := reader.next_entry()) is not None:
        yield entry, reader.content(entry)
    reader.check_end()


class _Reader:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def next_entry(self) -> ArchiveEntry | None:
        extended: dict[str, bytes] = {}
        for _ in range(EXTENSIONS_MAX):
            info = parse_header(self._read(BLOCK_BYTES))
            if info is None:
                return None
            if info.type in _LONG:
                extended.setdefault(_LONG[info.type], self._extension(info).rstrip(b"\0"))
            elif info.type in _PAX:
                records = parse_extended(self._extension(info))
                if info.type != tarfile.XGLTYPE:  # one for all entries says nothing of a file
                    extended.update(records)
            else:
                return make_entry(info, extended)
        raise Malformed("too many extended headers stand before one entry")

    def _extension(self, info: tarfile.TarInfo) -> bytes:
        if info.size > EXTENDED_BYTES_MAX:
            raise Malformed("an extended header is too long")
        content = self._read(info.size)
        self._read(padding_bytes(info.size))
        return content

    def content(self, entry: ArchiveEntry) -> Iterator[bytes]:
        left = entry.size_bytes
        while left:
            block = self._stream.read(min(left, BLOCK_BYTES_MAX))
            if not block:
                raise Malformed("it ends too early: it was cut")
            left -= len(block)
            yield block
        self._read(padding_bytes(entry.size_bytes))

    def check_end(self) -> None:
        zeros = 0
        while block := self._stream.read(BLOCK_BYTES_MAX):
            zeros += len(block)
            if block.count(0) != len(block) or zeros > TRAILING_ZEROS_MAX:
                raise Malformed("something follows its end: were several archives joined?")

    def _read(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        block = self._stream.read(size) if size else b""
        while len(block) < size:
            more = self._stream.read(size - len(block))
            if not more:
                raise Malformed("it ends too early: it was cut")
            block += more
        return block


def parse_header(block: bytes) -> tarfile.TarInfo | None:
    """Read one header block.

    Returns:
        What it says; None for the block of zeros that ends an archive.

    Raises:
        Malformed: its checksum is wrong, or it is no header.
    """
    if block.count(0) == BLOCK_BYTES:
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise Malformed("a header is damaged, or it is no tar") from error
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


def make_entry(info: tarfile.TarInfo, extended: dict[str, bytes]) -> ArchiveEntry:
    """Join a header and the extended headers before it.

    Raises:
        Malformed: it is of a kind that is not unpacked.
    """
    path = extended.get("path", os.fsencode(info.name))
    kind = info.type
    if any(key.startswith("GNU.sparse") for key in extended):
        kind = tarfile.GNUTYPE_SPARSE
    if kind == tarfile.DIRTYPE or (kind == tarfile.AREGTYPE and path.endswith(b"/")):
        return ArchiveEntry(path, EntryKind.FOLDER, mode=info.mode, mtime_s=int(info.mtime))
    target = extended.get("linkpath", os.fsencode(info.linkname))
    if kind == tarfile.SYMTYPE:
        return ArchiveEntry(path, EntryKind.SYMLINK, target=target)
    if kind == tarfile.LNKTYPE:
        return ArchiveEntry(path, EntryKind.HARDLINK, target=target)
    if kind not in _FILES:
        what = _REFUSED.get(kind, f'of an unknown kind ("{shown(kind)}")')
        raise Malformed(f'"{shown(path)}" is {what}')
    size = extended.get("size", b"%d" % info.size)
    if not size.isdigit() or len(size) > 20:
        raise Malformed("an extended header is damaged")
    executable = bool(info.mode & 0o100)
    return ArchiveEntry(
        path,
        EntryKind.FILE,
        int(size),
        executable=executable,
        mode=info.mode,
        mtime_s=int(info.mtime),
    )
