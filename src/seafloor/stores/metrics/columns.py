"""Points as columns: how many of them travel at once without an object for each."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from seafloor.domain.errors import InvalidValue
from seafloor.domain.metrics import POINTS_PER_APPEND_MAX, TIME_MS_MAX, Point, SeriesPoint
from seafloor.stores.metrics.points import Triple, bits_of_rank, check_key_of_point, rank_of_bits

_Number = TypeVar("_Number", np.int32, np.int64, np.float64)


@dataclass(frozen=True, slots=True)
class PointColumns:
    """Points of one workload in any order, repeats among them allowed.

    Args:
        keys: Names of metrics, each once.
        key: Shape (n,); of each point the index of its name in ``keys``.
        step: Shape (n,).
        time_ms: Shape (n,); milliseconds since 1970-01-01 UTC.
        value: Shape (n,); kept bit for bit.
    """

    keys: tuple[str, ...]
    key: NDArray[np.int32]
    step: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)


def check_columns(points: PointColumns) -> None:
    """Refuse columns that no append takes.

    Raises:
        InvalidValue: n, a key or a time is out of bounds, or they do not fit together.
    """
    rows = len(points)
    if not 1 <= rows <= POINTS_PER_APPEND_MAX:
        raise InvalidValue(
            f"Give 1 to {POINTS_PER_APPEND_MAX:,} points at once; these are {rows:,}.",
            field="points",
        )
    if not len(points.key) == len(points.time_ms) == len(points.value) == rows:
        raise InvalidValue("The columns differ in their lengths.", field="points")
    if len(set(points.keys)) != len(points.keys):
        raise InvalidValue("A key stands twice among the names.", field="keys")
    _within(points.key, 0, len(points.keys) - 1, "key", "A key is the index of a name.")
    for index, key in enumerate(points.keys):
        check_key_of_point(key, field=f"keys[{index}]")
    _within(
        points.time_ms,
        0,
        TIME_MS_MAX,
        "time_ms",
        f"A time is 0 to {TIME_MS_MAX} milliseconds since 1970.",
    )


def _within(
    column: NDArray[np.int32] | NDArray[np.int64], least: int, most: int, name: str, words: str
) -> None:
    if column.min() < least or column.max() > most:
        outside = int(np.flatnonzero((column < least) | (column > most))[0])
        raise InvalidValue(words, field=f"points[{outside}].{name}")


def columns_of(points: Sequence[Point]) -> PointColumns:
    """Points as columns.

    Raises:
        InvalidValue: a step or a time is no integer of 64 bits.
    """
    place = defaultdict[str, int](count().__next__)  # a number for each, in order of appearance
    key = [place[point.key] for point in points]
    try:
        return PointColumns(
            keys=tuple(place),
            key=_array(key, np.int32),
            step=_array([point.step for point in points], np.int64),
            time_ms=_array([point.time_ms for point in points], np.int64),
            value=_array([point.value for point in points], np.float64),
        )
    except (OverflowError, struct.error) as error:
        raise InvalidValue("A step and a time are integers of 64 bits.", field="points") from error


def _array(numbers: Sequence[float], dtype: type[_Number]) -> NDArray[_Number]:
    """Numbers as an array, in half the time that numpy takes to look at each."""
    return np.frombuffer(struct.pack(f"{len(numbers)}{np.dtype(dtype).char}", *numbers), dtype)


def points_of(points: Sequence[Point] | PointColumns) -> Sequence[Point]:
    """Points one by one; columns are checked first."""
    if not isinstance(points, PointColumns):
        return points
    check_columns(points)
    keys: list[int] = points.key.tolist()
    steps: list[int] = points.step.tolist()
    times: list[int] = points.time_ms.tolist()
    values: list[float] = points.value.tolist()
    rows = zip(keys, values, steps, times, strict=True)
    return [Point(points.keys[key], value, step, time_ms) for key, value, step, time_ms in rows]


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """Points of one series, each once, in order of (attempt, step, time, value).

    Values are ordered as ``points.rank_of_bits`` ranks them.

    Args:
        attempt: Shape (n,); which attempt measured the point, 0 for a tracked run.
        step, time_ms: Shape (n,).
        bits: Shape (n,); of the float64 values.
    """

    attempt: NDArray[np.int32]
    step: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    bits: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.step)

    def where(self, mask: NDArray[np.bool_] | NDArray[np.intp]) -> SeriesColumns:
        """Some of them, by a mask or by their places."""
        return SeriesColumns(
            self.attempt[mask], self.step[mask], self.time_ms[mask], self.bits[mask]
        )

    def slice(self, start: int, stop: int | None) -> SeriesColumns:
        """Those between two places; nothing is copied."""
        return SeriesColumns(
            self.attempt[start:stop],
            self.step[start:stop],
            self.time_ms[start:stop],
            self.bits[start:stop],
        )


def no_points() -> SeriesColumns:
    """A series without points."""
    none = np.empty(0, np.int64)
    return SeriesColumns(np.empty(0, np.int32), none, none, none.view(np.uint64))


def triples_of(points: SeriesColumns) -> list[Triple]:
    """Points of a series as they are compared."""
    return list(
        zip(
            points.step.tolist(),
            points.time_ms.tolist(),
            map(rank_of_bits, points.bits.tolist()),
            strict=True,
        )
    )


def series_of(triples: Sequence[Triple]) -> SeriesColumns:
    """Points of a series as columns, of attempt 0."""
    return SeriesColumns(
        np.zeros(len(triples), np.int32),
        np.array([triple[0] for triple in triples], np.int64),
        np.array([triple[1] for triple in triples], np.int64),
        np.array([bits_of_rank(triple[2]) for triple in triples], np.uint64),
    )


def series_points_of(points: SeriesColumns) -> tuple[SeriesPoint, ...]:
    """Points of a series one by one."""
    values: list[float] = points.bits.view(np.float64).tolist()
    return tuple(map(SeriesPoint, points.step.tolist(), points.time_ms.tolist(), values))
