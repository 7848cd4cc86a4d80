"""What every metric store must do. Subclass ``MetricStoreSuite`` and give ``make_world``.

Stores that outlive their process subclass ``DurableMetricStoreSuite``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from seafloor.domain.errors import Conflict, InvalidValue, LimitExceeded, NotFound, StoreFull
from seafloor.domain.metrics import (
    SEQUENCE_MAX,
    STEP_MAX,
    STEP_MIN,
    TIME_MS_MAX,
    BatchId,
    MetricSummary,
    Point,
)
from seafloor.stores.metrics.columns import columns_of
from seafloor.stores.metrics.protocol import AppendReceipt, MetricStore
from seafloor.stores.metrics.window import Window
from seafloor.testing.killed_child import run_until_killed
from seafloor.testing.metric_worlds import MetricWorld, workload_id
from seafloor.testing.small_disk import small_disk

ONE, TWO, THREE, NOBODY = (workload_id(number) for number in (1, 2, 3, 99))
T0_MS = 1_700_000_000_000


def float_of(bits: int) -> float:
    """The float64 with these bits."""
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def bits_of(value: float) -> int:
    """The bits of a float64."""
    return struct.unpack("<Q", struct.pack("<d", value))[0]


ODD_VALUES = (
    math.nan,
    float_of(0xFFF8_0000_0000_0000),
    float_of(0x7FF8_0000_0000_0001),
    math.inf,
    -math.inf,
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    1.7976931348623157e308,
    0.1,
)


def point(step: int, value: float = 1.0, *, key: str = "loss", time_ms: int | None = None) -> Point:
    """Make a point; its time follows from its step."""
    return Point(key, value, step, T0_MS + step if time_ms is None else time_ms)


async def all_of(
    store: MetricStore, key: str = "loss", *, limit: int = 25_000
) -> list[tuple[int, int, int]]:
    """Read a series of workload 1 page by page, values as bits."""
    found: list[tuple[int, int, int]] = []
    cursor: str | None = None
    while True:
        page = await store.series(ONE, key, limit=limit, cursor=cursor)
        assert len(page.points) <= limit
        found += [(shown.step, shown.time_ms, bits_of(shown.value)) for shown in page.points]
        if page.next is None:
            return found
        assert len(page.points) == limit
        cursor = page.next


async def summary_of(store: MetricStore, key: str = "loss") -> MetricSummary:
    """The summary of a series of workload 1."""
    (found,) = (await store.summaries([ONE], keys=[key]))[ONE]
    return found


def exact(one: Point) -> tuple[str, int, int, int]:
    """A point bit for bit."""
    return one.key, one.step, one.time_ms, bits_of(one.value)


def triples(points: Iterable[Point]) -> list[tuple[int, int, int]]:
    """The distinct points by step and time, values as bits."""
    return sorted({(made.step, made.time_ms, bits_of(made.value)) for made in points})


class MetricStoreSuite(ABC):
    """True of every metric store."""

    @abstractmethod
    def make_world(self, folder: Path) -> MetricWorld:
        """Make a store and its workloads in a folder."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[MetricWorld]:
        world = self.make_world(tmp_path)
        await world.open()
        yield world
        await world.close()

    @pytest.fixture
    def store(self, world: MetricWorld) -> MetricStore:
        return world.store

    async def test_append__points__are_read_back_in_order(self, store: MetricStore) -> None:
        points = [point(step, step / 7) for step in (3, 1, 2, 10, -5)]
        assert await store.append(ONE, points) == AppendReceipt(5, 0)
        assert await all_of(store) == triples(points)
        assert await all_of(store, limit=2) == triples(points)

    async def test_append__columns__are_the_same_as_points(self, store: MetricStore) -> None:
        points = [
            point(step, value, key=key, time_ms=abs(step) % 7)
            for key in ("loss", "acc")
            for step in (3, 1, 2, STEP_MIN, STEP_MAX)
            for value in (*ODD_VALUES, step / 7)
        ]
        some = points[::3]
        assert await store.append(ONE, some) == AppendReceipt(len(some), 0)
        fresh = len(points) - len(some)
        receipt = await store.append(ONE, columns_of([*points, *some]))
        assert receipt == AppendReceipt(fresh, 2 * len(some))
        assert await store.append(TWO, points, attempt=None) == AppendReceipt(len(points), 0)
        for key in ("loss", "acc"):
            expected = triples(each for each in points if each.key == key)
            assert sorted(await all_of(store, key)) == expected
        found = await store.summaries([ONE, TWO])
        assert repr(found[ONE]) == repr(found[TWO])

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"keys": ("a", "a")}, "stands twice"),
            ({"keys": ("a", "../b")}, "cannot be a key"),
            ({"keys": ("a", "b" * 251)}, "at most 250 characters"),
            ({"key": np.array([0, 2], np.int32)}, "index of a name"),
            ({"key": np.array([-1, 0], np.int32)}, "index of a name"),
            ({"key": np.array([0], np.int32)}, "differ in their lengths"),
            ({"value": np.array([0.0])}, "differ in their lengths"),
            ({"time_ms": np.array([0, -1])}, "milliseconds since 1970"),
            ({"time_ms": np.array([TIME_MS_MAX + 1, 0])}, "milliseconds since 1970"),
        ],
    )
    async def test_append__columns_that_say_nothing__are_refused(
        self, store: MetricStore, change: dict[str, Any], words: str
    ) -> None:
        good = columns_of([point(1, key="a"), point(2, key="b")])
        with pytest.raises(InvalidValue, match=words):
            await store.append(ONE, dataclasses.replace(good, **change))
        assert await store.summaries([ONE]) == {}
        assert await store.append(ONE, good) == AppendReceipt(2, 0)

    async def test_append__the_same_again__is_counted_and_kept_once(
        self, store: MetricStore
    ) -> None:
        points = [point(step) for step in range(10)]
        await store.append(ONE, points)
        assert await store.append(ONE, points) == AppendReceipt(0, 10)
        assert await store.append(ONE, [*points[5:], point(10)]) == AppendReceipt(1, 5)
        assert await all_of(store) == triples([*points, point(10)])
        assert (await summary_of(store)).points == 11

    async def test_append__twice_in_one_call__is_one_point(self, store: MetricStore) -> None:
        assert await store.append(ONE, [point(1), point(1), point(2)]) == AppendReceipt(2, 1)
        assert (await summary_of(store)).points == 2

    async def test_append__one_part_differs__is_another_point(self, store: MetricStore) -> None:
        points = [
            point(1, 1.0, time_ms=T0_MS),
            point(2, 1.0, time_ms=T0_MS),
            point(1, 1.0, time_ms=T0_MS + 1),
            point(1, 1.5, time_ms=T0_MS),
            point(1, 1.0, time_ms=T0_MS, key="loss2"),
        ]
        for made in points:
            assert await store.append(ONE, [made]) == AppendReceipt(1, 0)
        assert len(await all_of(store)) == 4

    async def test_append__odd_floats__are_kept_bit_for_bit(self, store: MetricStore) -> None:
        points = [point(0, value) for value in ODD_VALUES]
        assert await store.append(ONE, points) == AppendReceipt(len(ODD_VALUES), 0)
        assert await store.append(ONE, points) == AppendReceipt(0, len(ODD_VALUES))
        found = [bits for _, _, bits in await all_of(store)]
        assert found == [
            bits_of(value)
            for value in (-math.inf, -5e-324, -0.0, 0.0, 5e-324, 0.1, 1.7976931348623157e308)
        ] + [bits_of(math.inf)] + sorted(bits_of(value) for value in ODD_VALUES[:3])

    async def test_append__a_step_goes_back__is_kept(self, store: MetricStore) -> None:
        await store.append(ONE, [point(step) for step in range(100)])
        again = [point(step, 2.0, time_ms=T0_MS + 1000 + step) for step in range(50, 120)]
        assert await store.append(ONE, again, attempt=2) == AppendReceipt(70, 0)
        assert len(await all_of(store)) == 170

    async def test_append__bounds__are_kept(self, store: MetricStore) -> None:
        points = [
            point(STEP_MIN, time_ms=0),
            point(STEP_MAX, time_ms=TIME_MS_MAX),
            point(0, time_ms=0, key="k" * 250),
            point(0, time_ms=0, key="ключ/ß 1.0:x_-"),
        ]
        assert await store.append(ONE, points) == AppendReceipt(4, 0)
        assert await store.append(ONE, points) == AppendReceipt(0, 4)
        assert [step for step, _, _ in await all_of(store, limit=1)] == [STEP_MIN, STEP_MAX]

    @pytest.mark.parametrize(
        "bad",
        [
            point(STEP_MAX + 1, time_ms=0),
            point(STEP_MIN - 1, time_ms=0),
            point(0, time_ms=-1),
            point(0, time_ms=TIME_MS_MAX + 1),
            point(0, key=""),
            point(0, key="a\nb"),
            point(0, key="../a"),
            point(0, key="k" * 251),
        ],
    )
    async def test_append__out_of_bounds__writes_nothing(
        self, store: MetricStore, bad: Point
    ) -> None:
        with pytest.raises(InvalidValue, match=r".") as caught:
            await store.append(ONE, [point(1), bad])
        assert caught.value.field is not None
        assert caught.value.field.startswith("points[1]")
        assert await store.summaries([ONE]) == {}

    async def test_append__too_few_or_many__writes_nothing(self, store: MetricStore) -> None:
        with pytest.raises(InvalidValue):
            await store.append(ONE, [])
        with pytest.raises(InvalidValue):
            await store.append(ONE, [point(step) for step in range(50_001)])
        assert await store.summaries([ONE]) == {}

    async def test_append__no_such_workload__is_not_found(self, store: MetricStore) -> None:
        with pytest.raises(NotFound):
            await store.append(NOBODY, [point(1)])
        assert await store.summaries([NOBODY]) == {}

    async def test_append__the_most_points__are_all_there(self, store: MetricStore) -> None:
        points = [point(step, step * 0.5, key=f"k{step % 7}") for step in range(50_000)]
        assert await store.append(ONE, points) == AppendReceipt(50_000, 0)
        assert await store.append(ONE, points[::2]) == AppendReceipt(0, 25_000)
        assert len(await all_of(store, "k3", limit=1_000)) == 7_143

    async def test_append__many_at_once__all_are_there_once(self, store: MetricStore) -> None:
        """Two writers send the same points, each batch at once with all others."""
        batches = [[point(step) for step in range(at, at + 7)] for at in range(0, 700, 5)]
        receipts = await asyncio.gather(
            *(store.append(ONE, batch) for batch in batches for _ in range(2))
        )
        assert sum(receipt.points_written for receipt in receipts) == 702
        assert len(await all_of(store)) == 702
        assert (await summary_of(store)).points == 702

    async def test_append__a_batch_again__does_nothing(self, store: MetricStore) -> None:
        first, second = [point(1), point(2, math.nan)], [point(3)]
        assert await store.append(ONE, first, batch=BatchId("w", 1)) == AppendReceipt(2, 0)
        assert await store.append(ONE, first, batch=BatchId("w", 1)) == AppendReceipt(0, 2)
        again = columns_of(first)
        assert await store.append(ONE, again, batch=BatchId("w", 1)) == AppendReceipt(0, 2)
        assert await store.append(ONE, second, batch=BatchId("w", 2)) == AppendReceipt(1, 0)
        assert await all_of(store) == triples([*first, *second])
        assert (await summary_of(store)).points == 3

    async def test_append__many_writers_at_once_each_twice__count_each_point_once(
        self, store: MetricStore
    ) -> None:
        """Of two runs, some of one key: what is written together counts as one by one."""
        steps = {
            (of, writer): range(writer, writer + 5) for of in (ONE, TWO) for writer in range(8)
        }
        calls = [
            store.append(
                of,
                [point(step, key=f"k{writer % 3}") for step in some],
                batch=BatchId(f"writer-{writer}", 1),
            )
            for (of, writer), some in steps.items()
            for _ in range(2)
        ]
        wrong = store.append(ONE, [point(7, 9.0)], batch=BatchId("writer-0", 1))
        *receipts, refused = await asyncio.gather(*calls, wrong, return_exceptions=True)
        assert isinstance(refused, Conflict), refused
        told = [one for one in receipts if isinstance(one, AppendReceipt)]
        assert len(told) == len(calls)
        keys = {
            f"k{at}": [
                some for (of, writer), some in steps.items() if of == ONE and writer % 3 == at
            ]
            for at in range(3)
        }
        distinct = {key: {step for some in of_key for step in some} for key, of_key in keys.items()}
        assert sum(one.points_written for one in told) == 2 * sum(map(len, distinct.values()))
        found = await store.summaries([ONE, TWO])
        for of in (ONE, TWO):
            assert {one.key: one.points for one in found[of]} == {
                key: len(some) for key, some in distinct.items()
            }
        for key, some in distinct.items():
            assert [step for step, _, _ in await all_of(store, key)] == sorted(some)

    async def test_append__a_batch_with_others_points__is_refused(self, store: MetricStore) -> None:
        await store.append(ONE, [point(1), point(2)], batch=BatchId("w", 7))
        for other in ([point(1)], [point(1), point(2, -1.0)], [point(2), point(1)], [point(9)]):
            with pytest.raises(Conflict):
                await store.append(ONE, other, batch=BatchId("w", 7))
        assert await all_of(store) == triples([point(1), point(2)])
        assert await store.append(ONE, [point(9)], batch=BatchId("w", 8)) == AppendReceipt(1, 0)

    async def test_append__batches_leave_numbers_out__are_all_there(
        self, store: MetricStore
    ) -> None:
        for sequence in (5, 6, 90, SEQUENCE_MAX):
            batch = BatchId("w", sequence)
            receipt = await store.append(ONE, [point(sequence % 1_000)], batch=batch)
            assert receipt == AppendReceipt(1, 0)
        assert len(await all_of(store)) == 4

    async def test_append__a_batch_below_the_last__is_there_once(self, store: MetricStore) -> None:
        """It was applied before, or was overtaken on its way: nobody knows, so its points tell."""
        await store.append(ONE, [point(1)], batch=BatchId("w", 1))
        await store.append(ONE, [point(3)], batch=BatchId("w", 3))
        assert await store.append(ONE, [point(1)], batch=BatchId("w", 1)) == AppendReceipt(0, 1)
        assert await store.append(ONE, [point(2)], batch=BatchId("w", 2)) == AppendReceipt(1, 0)
        assert await store.append(ONE, [point(2)], batch=BatchId("w", 2)) == AppendReceipt(0, 1)
        assert await store.append(ONE, [point(3)], batch=BatchId("w", 3)) == AppendReceipt(0, 1)
        assert await all_of(store) == triples([point(1), point(2), point(3)])
        with pytest.raises(Conflict):
            await store.append(ONE, [point(4)], batch=BatchId("w", 3))

    async def test_append__batches_of_two_writers__do_not_disturb_one_another(
        self, store: MetricStore
    ) -> None:
        one, other = [point(1), point(2)], [point(2), point(3)]
        assert await store.append(ONE, one, batch=BatchId("w", 1)) == AppendReceipt(2, 0)
        assert await store.append(ONE, other, batch=BatchId("W", 1)) == AppendReceipt(1, 1)
        assert await store.append(TWO, other, batch=BatchId("w", 1)) == AppendReceipt(2, 0)
        assert await store.append(ONE, one, batch=BatchId("w", 1)) == AppendReceipt(0, 2)
        assert await all_of(store) == triples([*one, *other])

    async def test_append__one_batch_many_times_at_once__is_applied_once(
        self, store: MetricStore
    ) -> None:
        points = [point(step) for step in range(20)]
        receipts = await asyncio.gather(
            *(store.append(ONE, points, batch=BatchId("w", 1)) for _ in range(20))
        )
        assert sum(receipt.points_written for receipt in receipts) == 20
        assert (await summary_of(store)).points == 20

    @pytest.mark.parametrize(
        ("batch", "field"),
        [
            (BatchId("", 1), "writer"),
            (BatchId("w" * 65, 1), "writer"),
            (BatchId("a b", 1), "writer"),
            (BatchId("w\n", 1), "writer"),
            (BatchId("ключ", 1), "writer"),
            (BatchId("w", 0), "sequence"),
            (BatchId("w", -1), "sequence"),
            (BatchId("w", SEQUENCE_MAX + 1), "sequence"),
        ],
    )
    async def test_append__a_batch_without_a_name__writes_nothing(
        self, store: MetricStore, batch: BatchId, field: str
    ) -> None:
        with pytest.raises(InvalidValue) as caught:
            await store.append(ONE, [point(1)], batch=batch)
        assert caught.value.field == field
        assert await store.summaries([ONE]) == {}

    async def test_append__a_batch_that_was_refused__leaves_no_number(
        self, store: MetricStore
    ) -> None:
        with pytest.raises(InvalidValue):
            await store.append(ONE, [point(1), point(2, key="")], batch=BatchId("w", 4))
        assert await store.append(ONE, [point(1)], batch=BatchId("w", 4)) == AppendReceipt(1, 0)
        with pytest.raises(NotFound):
            await store.append(NOBODY, [point(1)], batch=BatchId("w", 4))

    async def test_append__workloads_and_keys__do_not_mix(self, store: MetricStore) -> None:
        await store.append(ONE, [point(1, 1.0), point(1, 2.0, key="loss/a"), point(1, key="los")])
        await store.append(TWO, [point(1, 3.0)])
        assert [bits for _, _, bits in await all_of(store)] == [bits_of(1.0)]
        assert [shown.value for shown in (await store.series(TWO, "loss")).points] == [3.0]
        assert (await store.series(ONE, "absent")).points == ()
        assert (await store.series(NOBODY, "loss")).points == ()

    async def test_summaries__points__are_summed_up(self, store: MetricStore) -> None:
        await store.append(ONE, [point(2, 5.0), point(1, -1.0), point(3, 5.0)])
        await store.append(ONE, [point(4, math.nan), point(5, 2.0), point(0, -1.0)])
        assert await summary_of(store) == MetricSummary(
            key="loss",
            points=6,
            nans=1,
            last=2.0,
            last_step=5,
            last_time_ms=T0_MS + 5,
            min=-1.0,
            max=5.0,
            min_step=0,
            max_step=2,
        )

    async def test_summaries__last__is_the_greatest_not_the_newest(
        self, store: MetricStore
    ) -> None:
        await store.append(ONE, [point(10, 1.0)])
        await store.append(ONE, [point(9, 2.0, time_ms=T0_MS + 99)])
        assert (await summary_of(store)).last == 1.0
        await store.append(ONE, [point(10, 0.5)])
        assert (await summary_of(store)).last == 1.0
        await store.append(ONE, [point(10, math.nan)])
        assert math.isnan((await summary_of(store)).last)
        await store.append(ONE, [point(10, -9.0, time_ms=T0_MS + 11)])
        assert (await summary_of(store)).last == -9.0

    async def test_summaries__only_nans__have_no_extremes(self, store: MetricStore) -> None:
        await store.append(ONE, [point(1, math.nan), point(2, math.nan)])
        found = await summary_of(store)
        assert (found.points, found.nans) == (2, 2)
        assert (found.min, found.max, found.min_step, found.max_step) == (None,) * 4

    async def test_summaries__zeroes_and_infinities__are_exact(self, store: MetricStore) -> None:
        await store.append(ONE, [point(1, 0.0), point(2, -0.0)])
        found = await summary_of(store)
        assert found.min is not None
        assert found.max is not None
        assert (bits_of(found.min), bits_of(found.max)) == (bits_of(-0.0), bits_of(0.0))
        await store.append(ONE, [point(3, math.inf), point(4, -math.inf)])
        found = await summary_of(store)
        assert (found.min, found.max, found.last) == (-math.inf, math.inf, -math.inf)

    async def test_summaries__many_workloads__by_key(self, store: MetricStore) -> None:
        await store.append(ONE, [point(1, key=key) for key in ("b", "a/b", "a", "é")])
        await store.append(TWO, [point(1, key="b")])
        found = await store.summaries([TWO, THREE, ONE, NOBODY, ONE])
        assert {of: [shown.key for shown in shown] for of, shown in found.items()} == {
            ONE: ["a", "a/b", "b", "é"],
            TWO: ["b"],
        }
        some = await store.summaries([ONE, TWO], keys=["a", "zzz"])
        assert {of: [shown.key for shown in shown] for of, shown in some.items()} == {ONE: ["a"]}
        assert await store.summaries([]) == {}
        assert await store.summaries([ONE], keys=[]) == {}

    async def test_last_points__of_many__are_those_of_the_summaries(
        self, store: MetricStore
    ) -> None:
        last = [point(9, value, key=f"k{at:02}") for at, value in enumerate(ODD_VALUES)]
        await store.append(ONE, [*last, *(point(1, 0.5, key=one.key) for one in last)])
        await store.append(TWO, [point(1, key=key) for key in ("b", "a/b", "a", "é")])
        found = await store.last_points([TWO, THREE, ONE, NOBODY, ONE])
        assert list(found) == [TWO, ONE]
        assert [shown.key for shown in found[TWO]] == ["a", "a/b", "b", "é"]
        assert [exact(one) for one in found[ONE]] == [exact(one) for one in last]
        summaries = await store.summaries([ONE, TWO])
        for of, shown in found.items():
            kept = [Point(s.key, s.last, s.last_step, s.last_time_ms) for s in summaries[of]]
            assert [exact(one) for one in shown] == [exact(one) for one in kept]
        assert await store.last_points([]) == {}

    async def test_summaries__more_than_may_be_read__are_refused(self, store: MetricStore) -> None:
        for of in (ONE, TWO):
            await store.append(of, [point(1, key=key) for key in ("a", "b", "c")])
        ids = [ONE, TWO]
        assert await store.summaries(ids, most=6) == await store.summaries(ids)
        assert await store.last_points(ids, most=6) == await store.last_points(ids)
        some = await store.summaries(ids, keys=["a", "z"], most=2)
        assert some == await store.summaries(ids, keys=["a"])
        for most in (0, 5):
            with pytest.raises(LimitExceeded):
                await store.summaries(ids, most=most)
            with pytest.raises(LimitExceeded):
                await store.last_points(ids, most=most)
        with pytest.raises(LimitExceeded):
            await store.summaries(ids, keys=["a", "b"], most=3)

    async def test_series__mixed_batches__are_paged_without_loss(self, store: MetricStore) -> None:
        """Steps rise, fall and stand still, over batches that overlap."""
        points = [
            point((number * 37) % 101 if number % 3 else 0, number % 5, time_ms=T0_MS + number // 2)
            for number in range(1_500)
        ]
        for at in range(0, len(points), 40):
            await store.append(ONE, points[at : at + 40])
        for limit in (7, 100, 1_499, 50_000):
            found = await all_of(store, limit=limit)
            assert found == triples(points)

    async def test_series__one_step_and_time__is_in_order_of_value(
        self, store: MetricStore
    ) -> None:
        """The least value comes last, in an append of its own."""
        points = [point(0, value, time_ms=0) for value in range(20, 0, -1)]
        for made in points:
            await store.append(ONE, [made])
        for limit in (1, 3, 19):
            assert await all_of(store, limit=limit) == triples(points)

    async def test_series__points_come_between_pages__none_is_repeated(
        self, store: MetricStore
    ) -> None:
        await store.append(ONE, [point(step) for step in range(0, 100, 2)])
        first = await store.series(ONE, "loss", limit=10)
        await store.append(ONE, [point(step) for step in range(1, 100, 2)])
        rest = await store.series(ONE, "loss", limit=1_000, cursor=first.next)
        assert [shown.step for shown in rest.points] == list(range(19, 100))

    async def test_series__bad_arguments__are_refused(self, store: MetricStore) -> None:
        await store.append(ONE, [point(1), point(2), point(1, key="acc"), point(2, key="acc")])
        for limit in (0, -1, 50_001):
            with pytest.raises(InvalidValue):
                await store.series(ONE, "loss", limit=limit)
        other = (await store.series(ONE, "acc", limit=1)).next
        for cursor in ("", "x", "ä", "A" * 44, other):
            with pytest.raises(InvalidValue):
                await store.series(ONE, "loss", cursor=cursor)

    async def test_chart__few_points__each_is_a_bucket(self, store: MetricStore) -> None:
        await store.append(ONE, [point(1, 2.0), point(2, math.nan)])
        one, other = await store.chart(ONE, "loss", buckets=5)
        assert (one.step_first, one.step_last, one.first, one.last) == (1, 1, 2.0, 2.0)
        assert (one.min, one.max, one.points, one.nans) == (2.0, 2.0, 1, 0)
        assert (other.min, other.max, other.points, other.nans) == (None, None, 1, 1)
        assert await store.chart(ONE, "absent", buckets=5) == ()

    async def test_chart__a_spike__is_never_lost(self, store: MetricStore) -> None:
        values = [math.sin(step / 50) for step in range(5_000)]
        values[3_210], values[77] = 1e6, -1e6
        points = [point(step, value) for step, value in enumerate(values)]
        for at in range(0, 5_000, 500):
            await store.append(ONE, points[at : at + 500])
        buckets = await store.chart(ONE, "loss", buckets=300)
        assert len(buckets) == 300
        assert {bucket.points for bucket in buckets} == {16, 17}
        at = 0
        for bucket in buckets:
            part = values[at : at + bucket.points]
            assert (bucket.min, bucket.max) == (min(part), max(part))
            assert (bucket.first, bucket.last) == (part[0], part[-1])
            assert (bucket.step_first, bucket.step_last) == (at, at + bucket.points - 1)
            assert bucket.time_ms_last == T0_MS + bucket.step_last
            at += bucket.points
        assert at == 5_000

    async def test_chart__within_steps__counts_only_them(self, store: MetricStore) -> None:
        for at in range(0, 1_000, 100):
            await store.append(ONE, [point(step, step) for step in range(at, at + 100)])
        buckets = await store.chart(
            ONE, "loss", buckets=10, window=Window(step_min=150, step_max=249)
        )
        assert [bucket.points for bucket in buckets] == [10] * 10
        assert (buckets[0].step_first, buckets[-1].step_last) == (150, 249)
        (last,) = await store.chart(ONE, "loss", buckets=1, window=Window(step_min=999))
        assert last.points == 1
        (whole,) = await store.chart(ONE, "loss", buckets=1, window=Window(step_max=0))
        assert whole.step_last == 0
        assert (
            await store.chart(ONE, "loss", buckets=1, window=Window(step_min=5, step_max=4)) == ()
        )
        widest = Window(step_min=STEP_MIN, step_max=STEP_MAX)
        assert await store.chart(ONE, "loss", buckets=9, window=widest)

    async def test_chart__bad_arguments__are_refused(self, store: MetricStore) -> None:
        for buckets in (0, -1, 5_001):
            with pytest.raises(InvalidValue):
                await store.chart(ONE, "loss", buckets=buckets)

    async def test_workload_deleted__its_points_go_with_it(self, world: MetricWorld) -> None:
        store = world.store
        await store.append(ONE, [point(1)])
        await store.append(TWO, [point(1)])
        await world.workload_delete(1)
        assert list(await store.summaries([ONE, TWO])) == [TWO]
        assert (await store.series(ONE, "loss")).points == ()
        assert await store.chart(ONE, "loss", buckets=1) == ()
        with pytest.raises(NotFound):
            await store.append(ONE, [point(2)])


class DurableMetricStoreSuite(MetricStoreSuite):
    """True of every metric store that outlives its process."""

    factory: ClassVar[str]
    """``module:name`` of what makes the world of a folder, for a process of its own."""

    async def test_reopen__points__are_the_same(self, tmp_path: Path) -> None:
        points = [point(0, value) for value in ODD_VALUES] + [point(5)]
        world = self.make_world(tmp_path)
        await world.open()
        await world.store.append(ONE, points)
        before = await all_of(world.store)
        await world.close()
        world = self.make_world(tmp_path)
        await world.open()
        assert await all_of(world.store) == before
        assert await world.store.append(ONE, points) == AppendReceipt(0, len(points))
        await world.close()

    async def test_append__process_killed__keeps_what_was_acknowledged(
        self, tmp_path: Path
    ) -> None:
        for after_lines in (1, 12, 90):
            folder = tmp_path / str(after_lines)
            folder.mkdir()
            said = await asyncio.to_thread(
                run_until_killed,
                "seafloor.testing.metric_store_child",
                [self.factory, str(folder)],
                after_lines=after_lines,
            )
            world = self.make_world(folder)
            await world.open()
            for key in ("a", "b"):
                acknowledged = [int(line.split()[1]) for line in said if line.startswith(key)]
                found = await all_of(world.store, key)
                steps = [step for step, _, _ in found]
                assert steps == list(range(len(steps)))  # whole batches, none twice
                assert len(steps) % 10 == 0
                assert not acknowledged or steps[-1] >= max(acknowledged)
                if steps:
                    assert (await summary_of(world.store, key)).points == len(steps)
            await world.close()

    async def test_append__disk_full__is_refused_whole_and_goes_on(self, tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk", size_bytes=8 << 20) as disk:
            world = self.make_world(disk.path)
            await world.open()
            batches = [
                [point(at + step, math.sin(at + step)) for step in range(2_000)]
                for at in range(0, 200_000, 2_000)
            ]
            await world.store.append(ONE, batches[0])
            disk.fill(leave_bytes=256 * 1024)
            kept = 1

            async def fill() -> None:
                nonlocal kept
                for batch in batches[1:]:
                    await world.store.append(ONE, batch)
                    kept += 1

            with pytest.raises(StoreFull):
                await fill()
            assert (await summary_of(world.store)).points == kept * 2_000
            disk.free()
            again = await world.store.append(ONE, batches[kept - 1])
            assert again == AppendReceipt(0, 2_000)
            assert await world.store.append(ONE, batches[kept]) == AppendReceipt(2_000, 0)
            await world.close()
            world = self.make_world(disk.path)
            await world.open()
            assert len(await all_of(world.store)) == (kept + 1) * 2_000
            await world.close()
