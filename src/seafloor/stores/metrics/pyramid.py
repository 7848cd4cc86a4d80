"""Blocks: stretches of a series summed up, of which charts are made without their points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from seafloor.domain.metrics import Bucket
from seafloor.stores.metrics.chart import check_buckets
from seafloor.stores.metrics.columns import SeriesColumns

BLOCK_POINTS = 1_024

Axis = Literal["step", "time"]
AXES: tuple[Axis, ...] = get_args(Axis)
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_SIGN = np.uint64(1 << 63)
_ALL = np.uint64((1 << 64) - 1)
_INFINITY = np.uint64(0x7FF0_0000_0000_0000)
_BELOW = np.uint64(0x000F_FFFF_FFFF_FFFF)  # where the ranks of numbers begin before the shift
_NAN_RANK = np.uint64(0xFFE0_0000_0000_0002)  # the least rank of a NaN
_NAN_SHIFT = np.uint64(0x7FF0_0000_0000_0001)


def ranks_of_bits(bits: Words) -> Words:
    """Rank float64 values given by their bits: the order of ``points.rank_of_bits`` in 64 bits.

    There are as many NaNs as room above the numbers: every word is the rank of exactly one value.
    """
    negative = bits >= _SIGN
    ranks = np.where(negative, bits ^ _ALL, bits | _SIGN) - _BELOW
    nan = (bits & ~_SIGN) > _INFINITY
    if nan.any():
        # A negative NaN is its own rank: what precedes it is all other values.
        ranks[nan] = np.where(negative, bits, bits - _NAN_SHIFT + _NAN_RANK)[nan]
    return ranks


def bits_of_ranks(ranks: Words) -> Words:
    """The bits of the values of ranks."""
    shifted = ranks + _BELOW
    bits = np.where(shifted >= _SIGN, shifted & ~_SIGN, shifted ^ _ALL)
    nan = ranks >= _NAN_RANK
    if nan.any():
        positive = ranks < _INFINITY + _SIGN + np.uint64(1)
        bits[nan] = np.where(positive, ranks - _NAN_RANK + _NAN_SHIFT, ranks)[nan]
    return bits


@dataclass(frozen=True, slots=True)
class Blocks:
    """Stretches of one series, each of at least one point and of one attempt, columns (n,).

    Args:
        attempt: Which attempt measured them.
        points, nans: How many points, and how many of them are NaN.
        step_first, step_last, time_first, time_last: Of the first and the last point.
        time_min, time_max: The least and the greatest time, which may stand anywhere.
        first, last: Ranks of their values.
        min, max: Ranks of the extremes, NaN left out; without meaning where all are NaN.
        min_step, max_step: The least steps at which the extremes stand; likewise.
    """

    attempt: Ints
    points: Ints
    nans: Ints
    step_first: Ints
    step_last: Ints
    time_first: Ints
    time_last: Ints
    time_min: Ints
    time_max: Ints
    first: Words
    last: Words
    min: Words
    max: Words
    min_step: Ints
    max_step: Ints

    def __len__(self) -> int:
        return len(self.points)

    def where(self, mask: NDArray[np.bool_] | NDArray[np.intp]) -> Blocks:
        """Some of them, by a mask or by their places."""
        return Blocks(*(getattr(self, field.name)[mask] for field in fields(self)))


def block_starts(attempt: NDArray[np.int32], size: int = BLOCK_POINTS) -> NDArray[np.intp]:
    """Where blocks of at most ``size`` points begin: none spans two attempts."""
    edges = np.flatnonzero(np.diff(attempt)) + 1
    bounds = [0, *edges.tolist(), len(attempt)]
    return np.concatenate([np.arange(start, stop, size) for start, stop in pairwise(bounds)])


def blocks_of(columns: SeriesColumns, starts: NDArray[np.intp] | None = None) -> Blocks:
    """Sum up points.

    Args:
        columns: At least one point.
        starts: Where blocks begin, the first at 0; by default as ``block_starts`` says.

    Cost: about 40 ns a point.
    """
    if starts is None:
        starts = block_starts(columns.attempt)
    count = len(columns)
    ends = np.append(starts[1:], count) - 1
    sizes = np.diff(np.append(starts, count))
    ranks = ranks_of_bits(columns.bits)
    nan = ranks >= _NAN_RANK
    # NaN ranks above all numbers, so it is never the least, and counts as 0 for the greatest.
    least = np.minimum.reduceat(ranks, starts)
    numbers = np.where(nan, np.uint64(0), ranks)
    greatest = np.maximum.reduceat(numbers, starts)

    def least_step(found: NDArray[np.bool_]) -> Ints:
        top = np.iinfo(np.int64).max
        return np.minimum.reduceat(np.where(found, columns.step, top), starts)

    return Blocks(
        attempt=columns.attempt[starts].astype(np.int64),
        points=sizes.astype(np.int64),
        nans=np.add.reduceat(nan.astype(np.int64), starts),
        step_first=columns.step[starts],
        step_last=columns.step[ends],
        time_first=columns.time_ms[starts],
        time_last=columns.time_ms[ends],
        time_min=np.minimum.reduceat(columns.time_ms, starts),
        time_max=np.maximum.reduceat(columns.time_ms, starts),
        first=ranks[starts],
        last=ranks[ends],
        min=least,
        max=greatest,
        min_step=least_step(ranks == np.repeat(least, sizes)),
        # The rank of -inf is 0 too: a NaN before it is not where it stands.
        max_step=least_step(~nan & (numbers == np.repeat(greatest, sizes))),
    )


def joined_blocks(pieces: Sequence[Blocks]) -> Blocks:
    """Blocks of several places, one after the other; at least one piece."""
    return Blocks(
        *(np.concatenate([getattr(one, field.name) for one in pieces]) for field in fields(Blocks))
    )


def joined_columns(pieces: Sequence[SeriesColumns]) -> SeriesColumns:
    """Columns one after the other; at least one piece, and the caller answers for the order."""
    if len(pieces) == 1:
        return pieces[0]
    return SeriesColumns(
        attempt=np.concatenate([one.attempt for one in pieces]),
        step=np.concatenate([one.step for one in pieces]),
        time_ms=np.concatenate([one.time_ms for one in pieces]),
        bits=np.concatenate([one.bits for one in pieces]),
    )


def chart_of(
    blocks: Sequence[Blocks], columns: Sequence[SeriesColumns], *, buckets: int, x: Axis = "step"
) -> tuple[Bucket, ...]:
    """Make the buckets of a chart from blocks and points that have no point in common.

    Every point is in exactly one bucket, so extremes and counts are exact. Of points alone the
    counts of two buckets differ by one at most. With blocks among them a bucket is within one
    block's points of the even share, there may be fewer buckets than asked for, and where blocks
    overlap (attempts, a rewind) neighbouring buckets may overlap by the width of a block.
    By time, the first and last value of a bucket made of blocks are those of its first and last
    step, which differ from those of its least and greatest time where time falls as steps rise.

    Args:
        blocks, columns: In any order.
        buckets: At most so many; 1..5,000.
        x: What the points are put in order by; relative time is the order of time.

    Raises:
        InvalidValue: no chart has so many buckets.

    Cost: 10⁴ blocks take milliseconds; a point that comes itself about 0.1 µs.
    """
    check_buckets(buckets)
    pieces = [one for one in blocks if len(one)]
    raw = [one for one in columns if len(one)]
    total = sum(int(one.points.sum()) for one in pieces) + sum(map(len, raw))
    if raw:
        points = in_order(raw, x)
        if not pieces:
            return _buckets(_even(points, min(buckets, total)))
        size = max(1, min(BLOCK_POINTS, total // buckets))
        pieces.append(blocks_of(points, _starts_between(points, joined_blocks(pieces), size, x)))
    if not pieces:
        return ()
    found = joined_blocks(pieces)
    found = found.where(_order(found, x, "first"))
    before = np.cumsum(found.points) - found.points
    bucket = before * buckets // total
    return _buckets(_grouped(found, np.flatnonzero(np.diff(bucket, prepend=-1)), x))


def _starts_between(points: SeriesColumns, others: Blocks, size: int, x: Axis) -> NDArray[np.intp]:
    """Where blocks of points begin that do not reach over the beginning of another block."""
    at = points.step if x == "step" else points.time_ms
    edges = np.sort(others.step_first if x == "step" else others.time_min)
    gap = np.searchsorted(edges, at, side="right")
    begins = np.flatnonzero(np.diff(gap, prepend=-1))
    ends = np.append(begins[1:], len(points))
    starts = [
        np.arange(begin, end, size, dtype=np.intp)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
    ]
    return np.concatenate(starts)


def _order(found: Blocks, x: Axis, edge: Literal["first", "last"]) -> NDArray[np.intp]:
    step, value = getattr(found, f"step_{edge}"), getattr(found, edge)
    if x == "step":
        return np.lexsort((value, getattr(found, f"time_{edge}"), step))
    return np.lexsort((value, step, found.time_min if edge == "first" else found.time_max))


def in_order(pieces: Sequence[SeriesColumns], x: Axis = "step") -> SeriesColumns:
    """Points in the order of a series, (step, time, value), or of (time, step, value).

    Args:
        pieces: At least one.

    Cost: next to nothing where pieces are in order and do not overlap, as those of a training.
    """
    filled = [one for one in pieces if len(one)] or [pieces[0]]
    points = joined_columns(sorted(filled, key=lambda one: _major(one, x)[:1].tolist()))
    major = _major(points, x)
    if _rise(major):
        return points
    # Of runs that overlap, which is what there is, a stable sort is a merge.
    order = np.argsort(major, kind="stable")
    if not _rise(major[order]):
        minor = points.time_ms if x == "step" else points.step
        order = np.lexsort((ranks_of_bits(points.bits), minor, major))
    return points.where(order)


def _major(points: SeriesColumns, x: Axis) -> Ints:
    return points.step if x == "step" else points.time_ms


def _rise(numbers: Ints) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _even(points: SeriesColumns, buckets: int) -> Blocks:
    return blocks_of(points, np.arange(buckets) * len(points) // buckets)


def _grouped(found: Blocks, starts: NDArray[np.intp], x: Axis) -> Blocks:
    place = np.empty(len(found), np.intp)
    by_end = _order(found, x, "last")
    place[by_end] = np.arange(len(found))
    lasts = by_end[np.maximum.reduceat(place, starts)]
    all_nan = found.nans == found.points
    least = np.where(all_nan, _ALL, found.min)
    greatest = np.where(all_nan, np.uint64(0), found.max)
    time_min = np.minimum.reduceat(found.time_min, starts)
    time_max = np.maximum.reduceat(found.time_max, starts)
    return Blocks(
        attempt=found.attempt[starts],
        points=np.add.reduceat(found.points, starts),
        nans=np.add.reduceat(found.nans, starts),
        step_first=found.step_first[starts],
        step_last=found.step_last[lasts],
        time_first=found.time_first[starts] if x == "step" else time_min,
        time_last=found.time_last[lasts] if x == "step" else time_max,
        time_min=time_min,
        time_max=time_max,
        first=found.first[starts],
        last=found.last[lasts],
        min=np.minimum.reduceat(least, starts),
        max=np.maximum.reduceat(greatest, starts),
        min_step=found.min_step[starts],
        max_step=found.max_step[starts],
    )


def _buckets(found: Blocks) -> tuple[Bucket, ...]:
    def values(ranks: Words) -> list[float]:
        return bits_of_ranks(ranks).view(np.float64).tolist()

    empty = (found.nans == found.points).tolist()
    rows = zip(
        found.step_first.tolist(),
        found.step_last.tolist(),
        found.time_first.tolist(),
        found.time_last.tolist(),
        values(found.first),
        values(found.last),
        [None if none else value for none, value in zip(empty, values(found.min), strict=True)],
        [None if none else value for none, value in zip(empty, values(found.max), strict=True)],
        found.points.tolist(),
        found.nans.tolist(),
        strict=True,
    )
    return tuple(Bucket(*row) for row in rows)
