"""The entries of a zip, by its central directory; a directory of any length, one record at a time.

Python's ``zipfile`` keeps the whole directory in memory (300 MB for half a million entries), and
lets entries share bytes, which is how a small file becomes petabytes.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from seafloor.code.archive_entry import ArchiveEntry, EntryKind, Malformed, Member, shown

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_COMMENT_BYTES_MAX: Final = 0xFFFF
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s2B5H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_FULL16: Final = 0xFFFF
_FULL32: Final = 0xFFFFFFFF
_ZIP64_EXTRA: Final = 1
_ENCRYPTED: Final = 0x2041
_UTF8: Final = 0x800
_STORED, _DEFLATED = 0, 8
_UNIX: Final = frozenset({3, 19})
_DOS: Final = frozenset({0, 10, 11, 14})
_LINK_BYTES_MAX: Final = 4096
_READ_BYTES: Final = 128 << 10
_PIECE_BYTES: Final = 256 << 10
_METHODS: Final = {
    1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz",
    98: "PPMd", 99: "AES",
}  # fmt: skip


class _Directory(NamedTuple):
    entries: int
    size_bytes: int
    offset: int


@dataclass(frozen=True)
class _Record:
    """A record of the central directory."""

    name: bytes
    system: int
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    mode: int
    offset: int


def zip_members(file: int) -> Iterator[Member]:
    """Read the entries of a zip in the order of its directory.

    Args:
        file: Descriptor of a file; its position is neither used nor moved.

    Raises:
        Malformed: it is cut, damaged or encrypted, its two directories disagree, entries share
            bytes, something follows its end, or an entry is of a kind that is not unpacked.
    """
    directory = _find_directory(file)
    end = 0
    for record in _records(file, directory):
        if record.offset >= directory.offset:
            raise Malformed(f'"{shown(record.name)}" is not where the directory says')
        start, after = _place(file, record)
        if record.offset < end or after > directory.offset:
            raise Malformed(f'the bytes of "{shown(record.name)}" are those of other entries too')
        end = after
        blocks = _content(file, record, start)
        entry = _entry(record)
        if entry.kind is EntryKind.SYMLINK:
            yield _link(entry, record, blocks), iter(())
        elif entry.kind is EntryKind.FOLDER and record.size_bytes:
            raise Malformed(f'the folder "{shown(entry.path)}" has a content')
        else:
            yield entry, blocks


def _find_directory(file: int) -> _Directory:
    size_bytes = os.fstat(file).st_size
    tail_offset = max(0, size_bytes - _END.size - _COMMENT_BYTES_MAX)
    tail = os.pread(file, size_bytes - tail_offset, tail_offset)
    at = tail.rfind(_END_SIGNATURE)
    while at >= 0:
        if at + _END.size <= len(tail):
            _, disk, first, here, count, length, offset, comment = _END.unpack_from(tail, at)
            if at + _END.size + comment == len(tail):
                break
        at = tail.rfind(_END_SIGNATURE, 0, at)
    else:
        raise Malformed("it ends too early, or something follows its end")
    position = tail_offset + at
    found = _Directory(count, length, offset)
    if _FULL16 in (disk, first, here, count) or _FULL32 in (length, offset):
        found, position = _find_directory64(file, position)
    elif disk or first or here != count:
        raise Malformed("it is one part of several")
    if found.offset + found.size_bytes != position:
        raise Malformed("its directory is not where it says: it is cut, or was altered")
    return found


def _find_directory64(file: int, position: int) -> tuple[_Directory, int]:
    locator = os.pread(file, _LOCATOR.size, max(0, position - _LOCATOR.size))
    if len(locator) != _LOCATOR.size or not locator.startswith(b"PK\x06\x07"):
        raise Malformed("its directory is damaged")
    _, _, end_offset, disks = _LOCATOR.unpack(locator)
    end = os.pread(file, _END64.size, min(end_offset, position))
    if len(end) != _END64.size or not end.startswith(b"PK\x06\x06") or disks > 1:
        raise Malformed("its directory is damaged")
    _, _, _, _, _, _, here, count, length, offset = _END64.unpack(end)
    if here != count:
        raise Malformed("it is one part of several")
    return _Directory(count, length, offset), end_offset


def _records(file: int, directory: _Directory) -> Iterator[_Record]:
    position, end = directory.offset, directory.offset + directory.size_bytes
    buffer, at, count = b"", 0, 0
    while position + at < end:
        whole = position + len(buffer) >= end
        if not whole and len(buffer) - at < _CENTRAL.size + 3 * _FULL16:
            position, at = position + at, 0
            buffer = os.pread(file, min(_READ_BYTES * 2, end - position), position)
        record, length = _record(buffer, at)
        at += length
        count += 1
        yield record
    if count != directory.entries or position + at != end:
        raise Malformed("its directory is damaged")


def _record(buffer: bytes, at: int) -> tuple[_Record, int]:
    if at + _CENTRAL.size > len(buffer) or buffer[at : at + 4] != b"PK\x01\x02":
        raise Malformed("its directory is damaged")
    fields = _CENTRAL.unpack_from(buffer, at)
    _, _, system, _, flags, method, _, _, crc, packed, size, names, extras, comments = fields[:14]
    _, _, attributes, offset = fields[14:]
    length = _CENTRAL.size + names + extras + comments
    if at + length > len(buffer):
        raise Malformed("its directory is damaged")
    begin = at + _CENTRAL.size
    name = buffer[begin : begin + names]
    extra = buffer[begin + names : begin + names + extras]
    size, packed, offset = _wide((size, packed, offset), extra)
    mode = attributes >> 16 if system in _UNIX else 0
    return _Record(name, system, flags, method, crc, packed, size, mode, offset), length


def _wide(values: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Put the 64-bit numbers of the extra field where the 32-bit ones are full."""
    if _FULL32 not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64_EXTRA:
            wide = extra[at + 4 : at + 4 + length]
            numbers = iter(struct.unpack_from(f"<{len(wide) // 8}Q", wide))
            try:
                size, packed, offset = (
                    next(numbers) if value == _FULL32 else value for value in values
                )
            except (StopIteration, RuntimeError) as error:
                raise Malformed("its directory is damaged") from error
            return size, packed, offset
        at += 4 + length
    return values


def _place(file: int, record: _Record) -> tuple[int, int]:
    """Where the content of an entry begins and ends.

    Raises:
        Malformed: what stands before it does not say the same as the directory.
    """
    if record.flags & _ENCRYPTED:
        raise Malformed(f'"{shown(record.name)}" is encrypted')
    if record.method not in (_STORED, _DEFLATED):
        name = _METHODS.get(record.method, f"method {record.method}")
        raise Malformed(
            f'"{shown(record.name)}" is packed with {name}; stored and deflate are read'
        )
    head = os.pread(file, _LOCAL.size + len(record.name), record.offset)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise Malformed(f'"{shown(record.name)}" is not where the directory says')
    _, _, _, method, _, _, _, _, _, names, extras = _LOCAL.unpack_from(head)
    if method != record.method or names != len(record.name) or head[_LOCAL.size :] != record.name:
        raise Malformed(f'its directory and the entry "{shown(record.name)}" disagree')
    start = record.offset + _LOCAL.size + names + extras
    return start, start + record.packed_bytes


def _entry(record: _Record) -> ArchiveEntry:
    path = record.name
    if record.system in _DOS:
        if not record.flags & _UTF8 and not path.isascii():
            path = path.decode("cp437").encode()
        path = path.replace(b"\\", b"/")
        if path[1:2] == b":":
            raise Malformed(f'"{shown(path)}" is a path on a drive')
    kind = stat.S_IFMT(record.mode)
    if kind == stat.S_IFLNK:
        return ArchiveEntry(path, EntryKind.SYMLINK)
    if kind == stat.S_IFDIR or (not kind and path.endswith(b"/")):
        return ArchiveEntry(path, EntryKind.FOLDER)
    if kind not in (0, stat.S_IFREG):
        raise Malformed(f'"{shown(path)}" is a device, fifo or socket')
    executable = bool(record.mode & 0o100)
    return ArchiveEntry(path, EntryKind.FILE, record.size_bytes, executable=executable)


def _link(entry: ArchiveEntry, record: _Record, blocks: Iterator[bytes]) -> ArchiveEntry:
    if record.size_bytes > _LINK_BYTES_MAX:
        raise Malformed(f'the link "{shown(entry.path)}" is too long')
    return ArchiveEntry(entry.path, EntryKind.SYMLINK, target=b"".join(blocks))


def _content(file: int, record: _Record, start: int) -> Iterator[bytes]:
    damaged = Malformed(f'"{shown(record.name)}" is damaged: its checksum or size is wrong')
    crc = size_bytes = 0
    for block in _unpacked(file, record, start):
        crc = zlib.crc32(block, crc)
        size_bytes += len(block)
        if size_bytes > record.size_bytes:
            raise damaged
        yield block
    if size_bytes != record.size_bytes or crc != record.crc:
        raise damaged


def _unpacked(file: int, record: _Record, start: int) -> Iterator[bytes]:
    packed = _packed(file, record, start)
    if record.method == _STORED:
        yield from packed
        return
    decoder = zlib.decompressobj(wbits=-15)
    try:
        for feed in packed:
            pending = feed
            while pending and not decoder.eof:
                yield decoder.decompress(pending, _PIECE_BYTES)
                pending = decoder.unconsumed_tail
        while not decoder.eof and (rest := decoder.decompress(b"", _PIECE_BYTES)):
            yield rest
    except zlib.error as error:
        raise Malformed(f'the compressed bytes of "{shown(record.name)}" are damaged') from error
    if not decoder.eof or decoder.unused_data:
        raise Malformed(f'the compressed bytes of "{shown(record.name)}" are damaged')


def _packed(file: int, record: _Record, start: int) -> Iterator[bytes]:
    position, end = start, start + record.packed_bytes
    while position < end:
        block = os.pread(file, min(_READ_BYTES, end - position), position)
        if not block:
            raise Malformed("it ends too early: it was cut")
        position += len(block)
        yield block
