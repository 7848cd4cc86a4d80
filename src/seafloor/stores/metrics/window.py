"""A window: which points of a series somebody asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.points import rank_of_bits
from seafloor.stores.metrics.pyramid import ranks_of_bits


@dataclass(frozen=True, slots=True)
class Window:
    """Bounds of points, all inclusive; None where there is none.

    Args:
        step_min, step_max: Of their steps.
        time_ms_min, time_ms_max: Of their times.
        attempt: Only points that this attempt measured.
    """

    step_min: int | None = None
    step_max: int | None = None
    time_ms_min: int | None = None
    time_ms_max: int | None = None
    attempt: int | None = None

    def take(self, points: SeriesColumns) -> SeriesColumns:
        """The points within."""
        mask = np.ones(len(points), np.bool_)
        if self.step_min is not None:
            mask &= points.step >= self.step_min
        if self.step_max is not None:
            mask &= points.step <= self.step_max
        if self.time_ms_min is not None:
            mask &= points.time_ms >= self.time_ms_min
        if self.time_ms_max is not None:
            mask &= points.time_ms <= self.time_ms_max
        if self.attempt is not None:
            mask &= points.attempt == self.attempt
        return points if mask.all() else points.where(mask)

    def meets(self, reach: Reach) -> bool:
        """Whether some of the points that reach so far may be within."""
        return (
            (self.step_min is None or reach.step_max >= self.step_min)
            and (self.step_max is None or reach.step_min <= self.step_max)
            and (self.time_ms_min is None or reach.time_ms_max >= self.time_ms_min)
            and (self.time_ms_max is None or reach.time_ms_min <= self.time_ms_max)
            and (self.attempt is None or reach.attempt_min <= self.attempt <= reach.attempt_max)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far some points reach, all inclusive."""

    step_min: int
    step_max: int
    time_ms_min: int
    time_ms_max: int
    attempt_min: int
    attempt_max: int


def reach_of(points: SeriesColumns) -> Reach:
    """How far points reach; at least one."""
    return Reach(
        step_min=int(points.step.min()),
        step_max=int(points.step.max()),
        time_ms_min=int(points.time_ms.min()),
        time_ms_max=int(points.time_ms.max()),
        attempt_min=int(points.attempt.min()),
        attempt_max=int(points.attempt.max()),
    )


def joined_reach(some: Sequence[Reach]) -> Reach:
    """How far all of them reach together; at least one."""
    return Reach(
        step_min=min(one.step_min for one in some),
        step_max=max(one.step_max for one in some),
        time_ms_min=min(one.time_ms_min for one in some),
        time_ms_max=max(one.time_ms_max for one in some),
        attempt_min=min(one.attempt_min for one in some),
        attempt_max=max(one.attempt_max for one in some),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the order of a series: behind the point that it names."""

    attempt: int
    step: int
    time_ms: int
    bits: int

    @staticmethod
    def of(points: SeriesColumns, at: int) -> Place:
        """The place of one of some points."""
        return Place(
            int(points.attempt[at]),
            int(points.step[at]),
            int(points.time_ms[at]),
            int(points.bits[at]),
        )

    def in_order(self) -> tuple[int, int, int, int]:
        """What places are compared by."""
        return self.attempt, self.step, self.time_ms, rank_of_bits(self.bits)


def behind(points: SeriesColumns, place: Place) -> SeriesColumns:
    """The points behind a place, in the order of (attempt, step, time, value)."""
    rank = ranks_of_bits(np.array([place.bits], np.uint64))[0]
    found = ranks_of_bits(points.bits) > rank
    for column, edge in (
        (points.time_ms, place.time_ms),
        (points.step, place.step),
        (points.attempt, place.attempt),
    ):
        found = (column > edge) | ((column == edge) & found)
    return points if found.all() else points.where(found)


ALL = Window()
