"""A batch of points as columns; the bytes are described in ``docs/formats/metric-batch.md``."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated

import msgspec

from seafloor.domain.bounds import INT64_MAX, Int64
from seafloor.domain.errors import InvalidValue
from seafloor.domain.metrics import BatchId, Point


class BatchIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """``POST /api/v1/runs/{id}/metrics/batches``: points of one run, column by column.

    Args:
        keys: Names of metrics, each once.
        key: int32 of each point: the index of its name.
        step, time_ms: int64 of each point.
        value: float64 of each point.
        writer, sequence: Which batch of whom it is; both or neither.
        attempt: Which attempt of the run measured them; None: the one it is at. Of a tracked run,
            which has none here, any: it may have been brought from elsewhere.
    """

    keys: list[str]
    key: bytes
    step: bytes
    time_ms: bytes
    value: bytes
    writer: str | None = None
    sequence: Int64 | None = None
    attempt: Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)] | None = None


_ENCODER = msgspec.msgpack.Encoder()


def encode_batch(points: Sequence[Point], batch: BatchId | None) -> bytes:
    """Encode points.

    Raises:
        InvalidValue: a step or a time does not fit 64 bits.
    """
    place: dict[str, int] = {}
    key = [place.setdefault(point.key, len(place)) for point in points]
    count = len(points)
    try:
        columns = BatchIn(
            keys=list(place),
            key=struct.pack(f"<{count}i", *key),
            step=struct.pack(f"<{count}q", *[point.step for point in points]),
            time_ms=struct.pack(f"<{count}q", *[point.time_ms for point in points]),
            value=struct.pack(f"<{count}d", *[point.value for point in points]),
            writer=None if batch is None else batch.writer,
            sequence=None if batch is None else batch.sequence,
        )
    except struct.error as error:
        raise InvalidValue("A step and a time are integers of 64 bits.", field="points") from error
    return encode_columns(columns)


def encode_columns(columns: BatchIn) -> bytes:
    """Encode columns."""
    return _ENCODER.encode(columns)
