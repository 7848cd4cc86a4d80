"""Summaries: what is kept of a series at once, as pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from seafloor.domain.metrics import MetricSummary
from seafloor.stores.metrics.points import NAN_RANK_MIN, Triple, value_of


class Extreme(msgspec.Struct, frozen=True):
    """A least or greatest value: its rank, and the least step where it stands."""

    rank: int
    step: int


class Aggregate(msgspec.Struct, frozen=True):
    """What the points of a series amount to.

    Args:
        points: Count of distinct points.
        nans: How many of them are NaN.
        last: The greatest point by (step, time, value); NaN is above every value.
        min, max: Over the values that are not NaN; None when there is none.
        step_max, time_ms_max: The greatest of any point: what lies above one of them is new.
    """

    points: int
    nans: int
    last: Triple
    min: Extreme | None
    max: Extreme | None
    step_max: int
    time_ms_max: int

    def may_hold(self, point: Triple) -> bool:
        """Whether the series may have this very point; False is certain."""
        return point[0] <= self.step_max and point[1] <= self.time_ms_max

    def summary(self, key: str) -> MetricSummary:
        """Show it to a caller."""
        step, time_ms, rank = self.last
        return MetricSummary(
            key=key,
            points=self.points,
            nans=self.nans,
            last=value_of(rank),
            last_step=step,
            last_time_ms=time_ms,
            min=None if self.min is None else value_of(self.min.rank),
            max=None if self.max is None else value_of(self.max.rank),
            min_step=None if self.min is None else self.min.step,
            max_step=None if self.max is None else self.max.step,
        )


def aggregate(triples: Sequence[Triple]) -> Aggregate:
    """Sum up points.

    Args:
        triples: At least one, in order, each once.
    """
    numbers = [triple for triple in triples if triple[2] < NAN_RANK_MIN]
    # Of equals min and max give the first, and points come in order of their steps.
    least = min(numbers, key=lambda triple: triple[2], default=None)
    greatest = max(numbers, key=lambda triple: triple[2], default=None)
    return Aggregate(
        points=len(triples),
        nans=len(triples) - len(numbers),
        last=triples[-1],
        min=None if least is None else Extreme(least[2], least[0]),
        max=None if greatest is None else Extreme(greatest[2], greatest[0]),
        step_max=triples[-1][0],
        time_ms_max=max(triple[1] for triple in triples),
    )


def joined(one: Aggregate | None, other: Aggregate) -> Aggregate:
    """Sum up two sets of points that have none in common."""
    if one is None:
        return other
    return Aggregate(
        points=one.points + other.points,
        nans=one.nans + other.nans,
        last=max(one.last, other.last),
        min=_extreme(one.min, other.min, sign=1),
        max=_extreme(one.max, other.max, sign=-1),
        step_max=max(one.step_max, other.step_max),
        time_ms_max=max(one.time_ms_max, other.time_ms_max),
    )


def _extreme(one: Extreme | None, other: Extreme | None, *, sign: int) -> Extreme | None:
    if one is None or other is None:
        return other if one is None else one
    is_first = (sign * one.rank, one.step) <= (sign * other.rank, other.step)
    return one if is_first else other
