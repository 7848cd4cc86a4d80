"""TFRecord: the frame around every record of a tf.events file.

A record is its length (u64, little-endian), a masked CRC-32C of these eight bytes, the data, and a
masked CRC-32C of the data (u32 each).

Source: "TFRecords format details", https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import Protocol

import msgspec

DECODED_BYTES_MAX = 16 * 1024 * 1024
"""A longer record is checked but not decoded: no scalar is that long, an image may be."""

_HEAD = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_BLOCK_BYTES = 256 * 1024
_MASK_DELTA = 0xA282EAD8


class Crc32c(Protocol):
    """CRC-32C: of bytes, and of bytes that go on."""

    def value(self, chunk: bytes) -> int:
        """Of bytes."""
        ...

    def extend(self, crc: int, chunk: bytes) -> int:
        """Of bytes that follow those of a CRC."""
        ...


class BadFrame(Exception):
    """A record whose checksum is wrong; the reader cannot know where the next one begins.

    Args:
        reason: One sentence for the user.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Frame(msgspec.Struct, frozen=True):
    """One whole record.

    Args:
        data: None when it is longer than DECODED_BYTES_MAX.
        end: Offset of what follows it.
    """

    data: bytes | None
    end: int


ReadAt = Callable[[int, int], bytes]
"""Reads (offset, length) of a file; fewer bytes only at its end."""


def masked(crc: int) -> int:
    """A CRC-32C as TFRecord writes it."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFF_FFFF


def encode_frame(data: bytes, crc32c: Crc32c) -> bytes:
    """Write a record."""
    length = struct.pack("<Q", len(data))
    checks = (_CRC.pack(masked(crc32c.value(part))) for part in (length, data))
    return length + next(checks) + data + next(checks)


def read_frames(
    read_at: ReadAt, *, start: int, end: int, crc32c: Crc32c | None
) -> Generator[Frame]:
    """Read the whole records between two offsets; a torn last one is left for later.

    Args:
        start: Where a record begins.
        end: Bytes from here on are not there yet.
        crc32c: None: checksums are not looked at.

    Raises:
        BadFrame: a checksum is wrong; the records before it were yielded.

    Cost: memory of one block and one record of at most DECODED_BYTES_MAX.
    """
    at, block, block_at = start, b"", start
    while end - at >= _HEAD.size:
        if block_at + len(block) - at < _HEAD.size:
            block, block_at = read_at(at, min(_BLOCK_BYTES, end - at)), at
        length = _length(block[at - block_at : at - block_at + _HEAD.size], at, crc32c)
        data_at = at + _HEAD.size
        following = data_at + length + _CRC.size
        if following > end:
            return
        if length > DECODED_BYTES_MAX:
            if crc32c is not None:
                _check_long(read_at, data_at, length, at, crc32c)
            yield Frame(None, following)
        else:
            if following > block_at + len(block):
                block, block_at = read_at(at, max(following - at, min(_BLOCK_BYTES, end - at))), at
            data = block[data_at - block_at : data_at - block_at + length]
            (crc,) = _CRC.unpack_from(block, data_at - block_at + length)
            if crc32c is not None and masked(crc32c.value(data)) != crc:
                raise BadFrame(_wrong("data", at))
            yield Frame(data, following)
        at = following


def _length(head: bytes, at: int, crc32c: Crc32c | None) -> int:
    length, crc = _HEAD.unpack(head)
    if crc32c is not None and masked(crc32c.value(head[:8])) != crc:
        raise BadFrame(_wrong("length", at))
    return length


def _check_long(read_at: ReadAt, data_at: int, length: int, at: int, crc32c: Crc32c) -> None:
    crc, done = 0, 0
    while done < length:
        chunk = read_at(data_at + done, min(_BLOCK_BYTES, length - done))
        crc = crc32c.extend(crc, chunk)
        done += len(chunk)
    if _CRC.unpack(read_at(data_at + length, _CRC.size))[0] != masked(crc):
        raise BadFrame(_wrong("data", at))


def _wrong(part: str, at: int) -> str:
    return (
        f"The record at byte {at:,} is damaged (the checksum of its {part} is wrong): "
        "what follows was kept but not read."
    )
