"""tf.events files, record by record, for tests of event file stores."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from seafloor.stores.events.protocol import EventFileKey
from seafloor.stores.events.tfrecord import encode_frame
from seafloor.testing.metric_worlds import workload_id

T0_S = 1_700_000_000.25


def event_file_key(path: str = "events.out", number: int = 1, attempt: int = 1) -> EventFileKey:
    """Name a file of the n-th workload."""
    return EventFileKey(workload_id(number), attempt, path)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field_varint(field: int, value: int) -> bytes:
    """Encode an integer field."""
    return _varint(field << 3) + _varint(value)


def field_bytes(field: int, value: bytes) -> bytes:
    """Encode a field of bytes, text or a message."""
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def field_float(field: int, value: float) -> bytes:
    """Encode a float32 field."""
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def field_double(field: int, value: float) -> bytes:
    """Encode a float64 field."""
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def event(step: int, *values: bytes, wall_time_s: float | None = None) -> bytes:
    """Encode an event with values; its time follows from its step."""
    time_s = T0_S + step if wall_time_s is None else wall_time_s
    summary = b"".join(field_bytes(1, value) for value in values)
    return field_double(1, time_s) + field_varint(2, step) + field_bytes(5, summary)


def scalar(tag: str, value: float) -> bytes:
    """Encode a value of the old kind, a ``simple_value``."""
    return field_bytes(1, tag.encode()) + field_float(2, value)


def tensor_value(tag: str, tensor: bytes, *, plugin: str = "scalars") -> bytes:
    """Encode a value of the new kind, a tensor with the name of its plugin."""
    metadata = field_bytes(1, field_bytes(1, plugin.encode()))
    return field_bytes(1, tag.encode()) + field_bytes(8, tensor) + field_bytes(9, metadata)


def version_record() -> bytes:
    """The record that every tf.events file begins with."""
    return encode_frame(field_double(1, T0_S) + field_bytes(3, b"brain.Event:2"))


def scalar_record(step: int, tag: str, value: float) -> bytes:
    """A record with one scalar."""
    return encode_frame(event(step, scalar(tag, value)))


def event_file(records: Iterable[bytes]) -> bytes:
    """A whole file."""
    return version_record() + b"".join(records)


def scalar_file(count: int, *, tag: str = "loss") -> bytes:
    """A file of so many scalars: at step n the value n / 2."""
    return event_file(scalar_record(step, tag, step / 2) for step in range(count))
