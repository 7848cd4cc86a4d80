"""Points as they are ordered and compared: triples of integers.

The order of a series is (step, time, value), and two points are one when all three agree bit for
bit. Floats give neither by themselves: NaN compares with nothing, 0.0 equals -0.0. So a value is
held as its *rank*: an integer that rises with the value, has -0.0 below 0.0 and every NaN above
infinity (by its bits), and from which the very bits come back.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Sequence

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import (
    POINTS_PER_APPEND_MAX,
    STEP_MAX,
    STEP_MIN,
    TIME_MS_MAX,
    Point,
)
from seafloor.domain.names import check_key

Triple = tuple[int, int, int]
"""(step, time_ms, rank of the value)."""

NAN_RANK_MIN = 1 << 64
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_INFINITY = 0x7FF0_0000_0000_0000
_DOUBLE = struct.Struct("<d")
_BITS = struct.Struct("<Q")
_CURSOR = struct.Struct("<qqQI")


def rank_of_bits(bits: int) -> int:
    """Rank a float64 given by its bits (unsigned)."""
    if bits & ~_SIGN > _INFINITY:
        return bits + NAN_RANK_MIN
    return bits ^ _ALL if bits & _SIGN else bits | _SIGN


def bits_of_rank(rank: int) -> int:
    """The bits of the float64 of a rank."""
    if rank >= NAN_RANK_MIN:
        return rank - NAN_RANK_MIN
    return rank & ~_SIGN if rank & _SIGN else rank ^ _ALL


def rank_of(value: float) -> int:
    """Rank a float.

    >>> rank_of(-0.0) < rank_of(0.0) < rank_of(float("inf")) < rank_of(float("nan"))
    True
    """
    return rank_of_bits(_BITS.unpack(_DOUBLE.pack(value))[0])


def value_of(rank: int) -> float:
    """The float of a rank, bit for bit."""
    return _DOUBLE.unpack(_BITS.pack(bits_of_rank(rank)))[0]


def triples_by_key(points: Sequence[Point]) -> tuple[dict[str, list[Triple]], int]:
    """Check the points of an append and sort them by key and order, each once.

    Returns:
        The sorted triples of each key, and how many points were said twice.

    Raises:
        InvalidValue: n, a key, a step or a time is out of bounds.
    """
    if not points:
        raise InvalidValue("Give at least one point.", field="points")
    if len(points) > POINTS_PER_APPEND_MAX:
        raise InvalidValue(
            f"Give at most {POINTS_PER_APPEND_MAX:,} points at once; these are {len(points):,}.",
            field="points",
        )
    found: dict[str, set[Triple]] = {}
    for index, point in enumerate(points):
        key, step, time_ms = point.key, point.step, point.time_ms
        if key not in found:
            check_key_of_point(key, field=f"points[{index}].key")
            found[key] = set()
        if not STEP_MIN <= step <= STEP_MAX:
            raise InvalidValue("A step is an integer of 64 bits.", field=f"points[{index}].step")
        if not 0 <= time_ms <= TIME_MS_MAX:
            raise InvalidValue(
                f"A time is 0 to {TIME_MS_MAX} milliseconds since 1970.",
                field=f"points[{index}].time_ms",
            )
        found[key].add((step, time_ms, rank_of(point.value)))
    distinct = sum(map(len, found.values()))
    return {key: sorted(found[key]) for key in sorted(found)}, len(points) - distinct


def check_key_of_point(key: str, *, field: str) -> None:
    """Check a key; one that is too long is an invalid value here, as every other bound."""
    try:
        check_key(key, field=field)
    except LimitExceeded as exc:
        raise InvalidValue(exc.message, field=exc.field) from exc


def check_limit(limit: int) -> None:
    """Refuse a limit that no page has."""
    if not 1 <= limit <= POINTS_PER_APPEND_MAX:
        raise InvalidValue(f"Ask for 1 to {POINTS_PER_APPEND_MAX:,} points.", field="limit")


def _series_sum(workload_id: WorkloadId, key: str) -> int:
    return zlib.crc32(f"{workload_id}/{key}".encode())


def encode_cursor(workload_id: WorkloadId, key: str, last: Triple) -> str:
    """Name the place after a point of a series."""
    step, time_ms, rank = last
    place = _CURSOR.pack(step, time_ms, bits_of_rank(rank), _series_sum(workload_id, key))
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def decode_cursor(workload_id: WorkloadId, key: str, cursor: str) -> Triple:
    """Read a cursor of this series.

    Raises:
        InvalidValue: it is no cursor, or one of another series.
    """
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        step, time_ms, bits, of_series = _CURSOR.unpack(place)
    except (binascii.Error, ValueError, struct.error) as exc:
        raise InvalidValue("This is no cursor of a series.", field="cursor") from exc
    if of_series != _series_sum(workload_id, key):
        raise InvalidValue("This cursor is of another series.", field="cursor")
    return step, time_ms, rank_of_bits(bits)
