"""What an append brings, ready to be written: in order, each point once, and summed up.

Few points are handled one by one, many as columns; both give the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seafloor.domain.metrics import Point
from seafloor.stores.metrics.columns import PointColumns, check_columns
from seafloor.stores.metrics.journal import decode_keys, encode_columns, encode_points
from seafloor.stores.metrics.points import Triple, rank_of_bits, value_of
from seafloor.stores.metrics.summary import Aggregate, Extreme, aggregate

_SIGN = np.uint64(1 << 63)
_TOP = np.uint64((1 << 64) - 1)


@dataclass(frozen=True, slots=True)
class Batch:
    """Points of one workload.

    Args:
        sums: Of each key, in order of their names.
        firsts: Of each key the least step and the least time.
        payload: The row of the journal; see ``docs/formats/metric-journal.md``.
        sealed: Of segments that were looked into, by id, which of these points they have.
        gone: Ids of those whose objects were not there when they were looked into.
    """

    sums: Mapping[str, Aggregate]
    firsts: Mapping[str, tuple[int, int]]
    payload: bytes
    sealed: dict[str, dict[str, set[Triple]]] = field(
        default_factory=dict[str, dict[str, set[Triple]]], compare=False
    )
    gone: set[str] = field(default_factory=set[str], compare=False)

    @property
    def points(self) -> int:
        """How many there are."""
        return sum(found.points for found in self.sums.values())

    def __len__(self) -> int:
        return self.points

    def triples(self, keys: Collection[str]) -> dict[str, list[Triple]]:
        """The points of some keys, each in order; one that has none here is left out."""
        return decode_keys(self.payload, keys)

    def singles(self) -> list[Point]:
        """The points one by one."""
        return [
            Point(key, value_of(rank), step, time_ms)
            for key, triples in self.triples(self.sums).items()
            for step, time_ms, rank in triples
        ]

    def suspects(self, before: Mapping[str, Aggregate]) -> dict[str, set[Triple]]:
        """The points that may be stored already, going by what is known of their series."""
        suspected: dict[str, Aggregate] = {}
        for key, (step, time_ms) in self.firsts.items():
            known = before.get(key)
            if known is not None and step <= known.step_max and time_ms <= known.time_ms_max:
                suspected[key] = known
        if not suspected:
            return {}
        found = {
            key: {triple for triple in triples if suspected[key].may_hold(triple)}
            for key, triples in self.triples(suspected).items()
        }
        return {key: points for key, points in found.items() if points}

    def without(self, repeats: Mapping[str, set[Triple]]) -> Batch | None:
        """The others; None when there are none."""
        if not any(repeats.values()):
            return self
        fresh: dict[str, list[Triple]] = {}
        for key, triples in self.triples(self.sums).items():
            known = repeats.get(key, set[Triple]())
            kept = [triple for triple in triples if triple not in known]
            if kept:
                fresh[key] = kept
        return batch_of_triples(fresh) if fresh else None


def batch_of_triples(points: Mapping[str, list[Triple]]) -> Batch:
    """Make a batch of few points.

    Args:
        points: What ``points.triples_by_key`` makes of them; at least one.
    """
    return Batch(
        sums={key: aggregate(triples) for key, triples in points.items()},
        firsts={
            key: (triples[0][0], min(triple[1] for triple in triples))
            for key, triples in points.items()
        },
        payload=encode_points(points),
    )


def batch_of_columns(points: PointColumns) -> Batch:
    """Make a batch of many points.

    Raises:
        InvalidValue: n, a key or a time is out of bounds, or the columns do not fit together.

    Cost: about 0.2 µs a point, when the steps of each key rise.
    """
    check_columns(points)
    sorted_columns = _Sorted.of(points)
    return Batch(
        sums=sorted_columns.sums(),
        firsts=sorted_columns.firsts(),
        payload=encode_columns(
            sorted_columns.names,
            sorted_columns.counts,
            sorted_columns.step,
            sorted_columns.time_ms,
            sorted_columns.bits,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Columns in order of (key's name, step, time, value), each point once.

    Args:
        names: Of the keys that have points, in order.
        starts: Shape (k,); where the points of each key begin.
        counts: Shape (k,).
    """

    names: list[str]
    starts: NDArray[np.intp]
    counts: NDArray[np.intp]
    step: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    bits: NDArray[np.uint64]

    @classmethod
    def of(cls, points: PointColumns) -> _Sorted:
        by_name = sorted(range(len(points.keys)), key=points.keys.__getitem__)
        # In as few bytes as their count takes, which are sorted several times as fast.
        place = np.argsort(by_name).astype(np.min_scalar_type(len(by_name)))
        key = place[points.key]
        order = key.argsort(kind="stable")
        key, step, time_ms = key[order], points.step[order], points.time_ms[order]
        bits = points.value.view(np.uint64)[order]
        begins = _changes(key)
        if not (begins[1:] | (step[1:] > step[:-1])).all():
            is_nan = _is_nan(bits)
            value = np.where(is_nan, bits, _rank(bits))
            order = np.lexsort((value, is_nan, time_ms, step, key))
            kept = order[
                _changes(key[order])
                | _changes(step[order])
                | _changes(time_ms[order])
                | _changes(bits[order])
            ]
            key, step, time_ms, bits = key[kept], step[kept], time_ms[kept], bits[kept]
            begins = _changes(key)
        starts = begins.nonzero()[0]
        ranks: list[int] = key[starts].tolist()
        names = [points.keys[by_name[rank]] for rank in ranks]
        ends = np.append(starts[1:], len(step))
        return cls(names, starts, ends - starts, step, time_ms, bits)

    def firsts(self) -> dict[str, tuple[int, int]]:
        steps = self.step[self.starts].tolist()
        times = np.minimum.reduceat(self.time_ms, self.starts).tolist()
        return {name: (steps[at], times[at]) for at, name in enumerate(self.names)}

    def sums(self) -> dict[str, Aggregate]:
        rank = _rank(self.bits)
        is_nan = _is_nan(self.bits)
        if is_nan.any():
            nans: list[int] = np.add.reduceat(is_nan, self.starts, dtype=np.int64).tolist()
            least = self._extremes(np.where(is_nan, _TOP, rank), np.minimum)
            greatest = self._extremes(np.where(is_nan, np.uint64(0), rank), np.maximum)
        else:
            nans = [0] * len(self.starts)
            least = self._extremes(rank, np.minimum)
            greatest = self._extremes(rank, np.maximum)
        ends = self.starts + self.counts - 1
        last_steps, last_times = self.step[ends].tolist(), self.time_ms[ends].tolist()
        last_bits = self.bits[ends].tolist()
        counts = self.counts.tolist()
        times_max = np.maximum.reduceat(self.time_ms, self.starts).tolist()
        return {
            name: Aggregate(
                points=counts[at],
                nans=nans[at],
                last=(last_steps[at], last_times[at], rank_of_bits(last_bits[at])),
                min=least[at] if nans[at] < counts[at] else None,
                max=greatest[at] if nans[at] < counts[at] else None,
                step_max=last_steps[at],
                time_ms_max=times_max[at],
            )
            for at, name in enumerate(self.names)
        }

    def _extremes(self, rank: NDArray[np.uint64], pick: np.ufunc) -> list[Extreme]:
        """The extreme rank of each key, and the first step where it stands."""
        found: NDArray[np.uint64] = pick.reduceat(rank, self.starts)
        first = (rank == found.repeat(self.counts)).nonzero()[0]
        if len(first) > len(found):  # it stands at several steps of a key
            of_key = np.arange(len(found)).repeat(self.counts)
            first = first[_changes(of_key[first])]
        return list(map(Extreme, found.tolist(), self.step[first].tolist()))


def _changes(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a column differs from the row above; the first row does."""
    made = np.empty(len(column), np.bool_)
    made[:1] = True
    np.not_equal(column[1:], column[:-1], out=made[1:])
    return made


def _is_nan(bits: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.isnan(bits.view(np.float64))


def _rank(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What ``points.rank_of_bits`` says of numbers."""
    # Shifted so, a sign fills all bits: of negative numbers all are turned, of others the sign.
    return bits ^ ((bits.view(np.int64) >> 63).view(np.uint64) | _SIGN)
