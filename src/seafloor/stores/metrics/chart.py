"""Charts: buckets of equal point count with exact extremes."""

from __future__ import annotations

from collections.abc import Iterable

from seafloor.domain.errors import InvalidValue
from seafloor.domain.metrics import Bucket
from seafloor.stores.metrics.points import NAN_RANK_MIN, Triple, value_of

BUCKETS_MAX = 5_000


def check_buckets(buckets: int) -> None:
    """Refuse a count of buckets that no chart has."""
    if not 1 <= buckets <= BUCKETS_MAX:
        raise InvalidValue(f"Ask for 1 to {BUCKETS_MAX:,} buckets.", field="buckets")


class ChartBuilder:
    """Puts points that come in order into buckets.

    Args:
        points: How many will come.
        buckets: At most so many; the counts of two of them differ by one at most.
    """

    def __init__(self, *, points: int, buckets: int) -> None:
        self._points = points
        self._buckets = min(buckets, points)
        self._open: list[Triple] = []
        self._taken = 0
        self.done: list[Bucket] = []

    def add(self, triples: Iterable[Triple]) -> None:
        """Take the next points."""
        for triple in triples:
            self._open.append(triple)
            self._taken += 1
            if self._taken == (len(self.done) + 1) * self._points // self._buckets:
                self.done.append(_bucket(self._open))
                self._open = []


def _bucket(triples: list[Triple]) -> Bucket:
    ranks = [rank for _, _, rank in triples if rank < NAN_RANK_MIN]
    first, last = triples[0], triples[-1]
    return Bucket(
        step_first=first[0],
        step_last=last[0],
        time_ms_first=first[1],
        time_ms_last=last[1],
        first=value_of(first[2]),
        last=value_of(last[2]),
        min=value_of(min(ranks)) if ranks else None,
        max=value_of(max(ranks)) if ranks else None,
        points=len(triples),
        nans=len(triples) - len(ranks),
    )
