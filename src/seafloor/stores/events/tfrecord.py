"""TFRecord with its checksums; see ``wire.tfrecord``."""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

import google_crc32c

from seafloor.wire import tfrecord
from seafloor.wire.tfrecord import DECODED_BYTES_MAX, BadFrame, Crc32c, Frame, ReadAt

__all__ = [
    "DECODED_BYTES_MAX",
    "BadFrame",
    "Frame",
    "ReadAt",
    "encode_frame",
    "masked_crc",
    "read_frames",
]

_crc32c = cast("Crc32c", google_crc32c)  # it has no types


def masked_crc(data: bytes) -> int:
    """The CRC-32C of data as TFRecord writes it."""
    return tfrecord.masked(_crc32c.value(data))


def encode_frame(data: bytes) -> bytes:
    """Write a record."""
    return tfrecord.encode_frame(data, _crc32c)


def read_frames(read_at: ReadAt, *, start: int, end: int) -> Generator[Frame]:
    """Read the whole records between two offsets, checked; see ``wire.tfrecord.read_frames``."""
    return tfrecord.read_frames(read_at, start=start, end=end, crc32c=_crc32c)
