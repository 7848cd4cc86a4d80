"""The object that a sealed stretch of a byte stream becomes: ``docs/formats/log-chunk.md``. Pure.

A chunk is a valid ``.zst`` file: its head and its index are skippable frames, so ``zstd -d`` of a
stream's chunks in order gives the stream.
"""

from __future__ import annotations

import bisect
import struct
import zlib
from collections.abc import Callable, Sequence

import msgspec
import zstandard

from seafloor.domain.errors import StoreCorrupt

MAGIC = b"SFCHK\x00\x00\x01"
FRAME_BYTES = 256 * 1024
"""How much of a stream a frame holds, at least; the last one of a chunk may hold less."""

_LEVEL = 3
_SKIPPABLE = 0x184D2A50
_SKIP = struct.Struct("<II")  # magic of a skippable frame, bytes that follow
_ENTRY = struct.Struct("<QQIIH")  # start, object offset, object bytes, bytes, bytes of the mark
_FOOT = struct.Struct("<QQIII")  # start, end, frames, crc, bytes of the whole index frame


class Piece(msgspec.Struct, frozen=True):
    """Bytes of a stream with a mark: what its kind knows of what comes before them."""

    start: int
    mark: bytes
    data: bytes


class Frame(msgspec.Struct, frozen=True):
    """Where a part of a chunk lies.

    Args:
        start: Of its bytes in the stream.
        size_bytes: How many.
        mark: Of its first piece.
        object_start, object_bytes: Where it lies in the object, compressed.
    """

    start: int
    size_bytes: int
    mark: bytes
    object_start: int
    object_bytes: int


class ChunkIndex(msgspec.Struct, frozen=True):
    """The frames of a chunk, in order."""

    frames: tuple[Frame, ...]

    def last(self, measure: Callable[[bytes], int], value: int) -> bytes:
        """The last mark with ``measure(mark) <= value``; the first when there is none."""
        marks = [frame.mark for frame in self.frames]
        return marks[max(0, bisect.bisect_right(marks, value, key=measure) - 1)]

    def covering(self, start: int, end: int) -> tuple[Frame, ...]:
        """The frames that hold a stretch of the stream, as far as the chunk does."""
        return tuple(
            frame
            for frame in self.frames
            if frame.start < end and start < frame.start + frame.size_bytes
        )


class EncodedChunk(msgspec.Struct, frozen=True):
    """A chunk as an object.

    Args:
        content: The object.
        index_bytes: How many of its last bytes are its index.
    """

    content: bytes
    index_bytes: int


def encode_chunk(pieces: Sequence[Piece]) -> EncodedChunk:
    """Encode pieces that follow one another, at least one.

    Cost: memory of the pieces twice and of the object.
    """
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    content = bytearray(_SKIP.pack(_SKIPPABLE, len(MAGIC)) + MAGIC)
    entries: list[bytes] = []
    at = 0
    while at < len(pieces):
        first, data = pieces[at], bytearray()
        while at < len(pieces) and len(data) < FRAME_BYTES:
            data += pieces[at].data
            at += 1
        packed = compressor.compress(bytes(data))
        entry = _ENTRY.pack(first.start, len(content), len(packed), len(data), len(first.mark))
        entries.append(entry + first.mark)
        content += packed
    end = pieces[-1].start + len(pieces[-1].data)
    index = _encode_index(entries, start=pieces[0].start, end=end)
    return EncodedChunk(bytes(content + index), len(index))


def _encode_index(entries: Sequence[bytes], *, start: int, end: int) -> bytes:
    table = b"".join(entries)
    index_bytes = _SKIP.size + len(table) + _FOOT.size
    checksum = zlib.crc32(table + struct.pack("<QQI", start, end, len(entries)))
    foot = _FOOT.pack(start, end, len(entries), checksum, index_bytes)
    return _SKIP.pack(_SKIPPABLE, len(table) + _FOOT.size) + table + foot


def decode_index(data: bytes, *, key: str) -> ChunkIndex:
    """Decode the last ``index_bytes`` of a chunk.

    Args:
        key: Of the object, for messages.

    Raises:
        StoreCorrupt: it is not what was written.
    """
    try:
        start, end, count, checksum, _ = _FOOT.unpack_from(data, len(data) - _FOOT.size)
        table = data[_SKIP.size : len(data) - _FOOT.size]
        if zlib.crc32(table + struct.pack("<QQI", start, end, count)) != checksum:
            raise _corrupt(key, "the checksum of its index is wrong")
        frames: list[Frame] = []
        at = 0
        for _ in range(count):
            frame_start, object_start, object_bytes, size_bytes, mark_bytes = _ENTRY.unpack_from(
                table, at
            )
            at += _ENTRY.size + mark_bytes
            mark = table[at - mark_bytes : at]
            frames.append(Frame(frame_start, size_bytes, mark, object_start, object_bytes))
    except struct.error as exc:
        raise _corrupt(key, "its index is cut off") from exc
    if not frames:
        raise _corrupt(key, "its index names no frame")
    return ChunkIndex(tuple(frames))


def decode_frame(data: bytes, frame: Frame, *, key: str) -> bytes:
    """Decompress one frame.

    Raises:
        StoreCorrupt: it is not what was written; zstd's own checksum is checked.
    """
    try:
        found = zstandard.ZstdDecompressor().decompress(data, max_output_size=frame.size_bytes)
    except zstandard.ZstdError as exc:
        raise _corrupt(key, f"its bytes from {frame.start:,} on cannot be unpacked") from exc
    if len(found) != frame.size_bytes:
        raise _corrupt(key, f"its bytes from {frame.start:,} on are not all there")
    return found


def _corrupt(key: str, reason: str) -> StoreCorrupt:
    return StoreCorrupt(
        f'The object "{key}" is damaged ({reason}): restore it from a backup of the object store.'
    )
