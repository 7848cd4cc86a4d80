"""Blocks and the charts made of them."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import InvalidValue
from seafloor.stores.metrics.chart import ChartBuilder
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.points import rank_of_bits
from seafloor.stores.metrics.pyramid import (
    AXES,
    Axis,
    Blocks,
    Words,
    bits_of_ranks,
    blocks_of,
    chart_of,
    in_order,
    ranks_of_bits,
)

ODD_BITS = [
    0,
    1,
    1 << 63,
    (1 << 63) + 1,
    0x7FF0_0000_0000_0000,
    0x7FF0_0000_0000_0001,
    0x7FF8_0000_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    0xFFF0_0000_0000_0000,
    0xFFF0_0000_0000_0001,
    0xFFFF_FFFF_FFFF_FFFF,
    0x3FF0_0000_0000_0000,
]
BITS = st.one_of(st.sampled_from(ODD_BITS), st.integers(0, (1 << 64) - 1))


def series(bits: Words, *, attempt: int = 0, first: int = 0) -> SeriesColumns:
    step = np.arange(first, first + len(bits))
    return SeriesColumns(np.full(len(bits), attempt, np.int32), step, step * 10 + 5, bits)


def noise(count: int, seed: int = 0) -> Words:
    return np.random.default_rng(seed).normal(size=count).view(np.uint64)


@given(st.lists(BITS, min_size=1, max_size=50))
def test_ranks__of_any_bits__are_in_the_order_of_points_and_turn_back(found: list[int]) -> None:
    bits = np.array(found, np.uint64)
    ranks = ranks_of_bits(bits)
    assert (bits_of_ranks(ranks) == bits).all()
    by_rank = [found[place] for place in np.argsort(ranks, kind="stable").tolist()]
    assert by_rank == sorted(found, key=rank_of_bits)


@given(
    st.lists(st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=6), min_size=1, max_size=5),
    st.sampled_from(AXES),
)
def test_in_order__pieces_that_overlap_and_tie__are_one_series(
    found: list[list[tuple[int, int, int]]], x: Axis
) -> None:
    points = in_order([_columns(piece) for piece in found], x)
    values = points.bits.view(np.float64).tolist()
    got = list(zip(points.step.tolist(), points.time_ms.tolist(), values, strict=True))
    flat = [point for piece in found for point in piece]
    assert got == sorted(flat, key=lambda one: one if x == "step" else (one[1], one[0], one[2]))


def _columns(points: list[tuple[int, int, int]]) -> SeriesColumns:
    step, time_ms, value = np.array(points, np.int64).reshape(-1, 3).T
    bits = value.astype(np.float64).view(np.uint64)
    return SeriesColumns(np.zeros(len(points), np.int32), step, time_ms, bits)


@given(st.lists(BITS, min_size=1, max_size=200), st.integers(1, 60))
def test_chart__of_points_alone__is_the_one_built_of_triples(
    found: list[int], buckets: int
) -> None:
    points = series(np.array(found, np.uint64))
    builder = ChartBuilder(points=len(found), buckets=buckets)
    steps: list[int] = points.step.tolist()
    times: list[int] = points.time_ms.tolist()
    builder.add(zip(steps, times, map(rank_of_bits, found), strict=True))
    made = chart_of([], [points], buckets=buckets)

    def exact(chart: tuple[object, ...]) -> list[tuple[object, ...]]:
        return [
            tuple(
                struct.pack("<d", part) if isinstance(part, float) else part
                for part in bucket.__reduce__()[1]  # type: ignore[index]
            )
            for bucket in chart
        ]

    assert exact(made) == exact(tuple(builder.done))


@given(
    st.integers(1, 9_000), st.integers(1, 50), st.integers(0, 1 << 30), st.sampled_from([-1e9, 1e9])
)
def test_chart__with_a_planted_spike__shows_it_at_every_zoom(
    count: int, buckets: int, place: int, spike: float
) -> None:
    place %= count
    values = np.random.default_rng(1).normal(size=count)
    values[place] = spike
    points = series(values.view(np.uint64))
    blocks = blocks_of(points)
    cut = int(blocks.points[: len(blocks) // 2].sum())
    whole = blocks_of(points).where(np.arange(len(blocks) // 2))
    rest = SeriesColumns(
        points.attempt[cut:], points.step[cut:], points.time_ms[cut:], points.bits[cut:]
    )
    for chart in (
        chart_of([blocks], [], buckets=buckets),
        chart_of([whole], [rest], buckets=buckets),
        chart_of([blocks], [], buckets=buckets, x="time"),
    ):
        assert len(chart) <= buckets
        assert sum(bucket.points for bucket in chart) == count
        hit = [bucket for bucket in chart if spike in (bucket.min, bucket.max)]
        assert len(hit) == 1
        assert hit[0].step_first <= place <= hit[0].step_last
        assert all(one.step_last < two.step_first for one, two in pairwise(chart))


def test_chart__with_nans__marks_them_and_leaves_them_out_of_extremes() -> None:
    values = np.arange(5_000, dtype=np.float64)
    values[2_000:4_000] = np.nan
    chart = chart_of([blocks_of(series(values.view(np.uint64)))], [], buckets=5)
    assert sum(bucket.nans for bucket in chart) == 2_000
    for bucket in chart:
        assert (bucket.min is None) == (bucket.nans == bucket.points)
    numbers = [bucket for bucket in chart if bucket.min is not None]
    assert min(bucket.min for bucket in numbers if bucket.min is not None) == 0.0
    assert max(bucket.max for bucket in numbers if bucket.max is not None) == 4_999.0


def test_chart__of_nans_only__has_no_extremes() -> None:
    chart = chart_of([blocks_of(series(np.full(3_000, np.nan).view(np.uint64)))], [], buckets=2)
    assert [(one.min, one.max) for one in chart] == [(None, None)] * 2


def test_chart__of_two_attempts_that_overlap__holds_every_point_once() -> None:
    one = blocks_of(series(noise(5_000), attempt=1))
    two = blocks_of(series(noise(4_000, 2), attempt=2, first=3_000))
    chart = chart_of([one, two], [], buckets=4)
    assert sum(bucket.points for bucket in chart) == 9_000
    assert chart[0].step_first == 0
    assert chart[-1].step_last == 6_999


def test_blocks__of_two_attempts__span_none_of_both() -> None:
    bits = noise(3_000)
    points = series(bits)
    attempt = np.repeat(np.array([1, 2], np.int32), 1_500)
    blocks = blocks_of(SeriesColumns(attempt, points.step, points.time_ms, bits))
    assert blocks.points.tolist() == [1_024, 476, 1_024, 476]
    assert blocks.attempt.tolist() == [1, 1, 2, 2]


def test_blocks__with_equal_extremes__name_the_least_step() -> None:
    values = np.array([1.0, 0.0, 3.0, 0.0, 3.0, np.nan])
    blocks: Blocks = blocks_of(series(values.view(np.uint64), first=10))
    assert (blocks.min_step[0], blocks.max_step[0], blocks.nans[0]) == (11, 12, 1)


def test_blocks__with_a_nan_before_minus_infinity__name_the_step_of_the_number() -> None:
    values = np.array([np.nan, -np.inf, np.nan])
    blocks = blocks_of(series(values.view(np.uint64), first=10))
    assert (blocks.min_step[0], blocks.max_step[0], blocks.nans[0]) == (11, 11, 2)


def test_chart__of_nothing__is_empty() -> None:
    assert chart_of([], [], buckets=10) == ()


@pytest.mark.parametrize("buckets", [0, 5_001])
def test_chart__with_a_count_of_buckets_that_none_has__is_refused(buckets: int) -> None:
    with pytest.raises(InvalidValue):
        chart_of([], [], buckets=buckets)
