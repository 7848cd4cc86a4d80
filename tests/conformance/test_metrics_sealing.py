"""Series that are sealed: what is kept where, what a crash leaves, and who may read meanwhile."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import DBAPIError
from tests.stream_places import run_module

from seafloor.domain.errors import StoreCorrupt, StoreUnavailable
from seafloor.domain.metrics import Point
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import metric_journal, metric_removal, metric_segment
from seafloor.stores.metrics import segment_index, segment_rows
from seafloor.stores.metrics.columns import PointColumns
from seafloor.stores.metrics.compaction import FAN
from seafloor.stores.metrics.damaged import AGAIN_S
from seafloor.stores.metrics.protocol import AppendReceipt
from seafloor.stores.metrics.pyramid import Axis
from seafloor.stores.metrics.sealing import MetricSealing
from seafloor.stores.metrics.segment_objects import SegmentObjects
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.metrics.window import Window
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.databases import database_url
from seafloor.testing.metric_store_suite import ONE, TWO, all_of, point, triples
from seafloor.testing.metric_worlds import SEALED_AT_ONCE, SqlMetricWorld
from seafloor.testing.object_count import CountObjectStore

EIGHT = replace(SEALED_AT_ONCE, points=8, points_max=8)
"""Every eight points are a segment."""
INLINE = replace(SEALED_AT_ONCE, points=1_000_000, points_max=1_000_000)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqlMetricWorld]:
    world = SqlMetricWorld(folder)
    await world.open()
    try:
        yield world
    finally:
        await world.close()


@pytest.fixture
async def world(tmp_path: Path, database_kind: str) -> AsyncIterator[SqlMetricWorld]:
    async with opened(tmp_path) as world:
        yield world


def sealing(world: SqlMetricWorld, limits: Any, objects: Any = None) -> SqlMetricStore:
    return SqlMetricStore(world.database, objects or world.objects, limits=limits)


async def counted(world: SqlMetricWorld) -> tuple[int, int, int]:
    """Rows of the journal, sealed rows with points, and segments."""

    def count(connection: Connection) -> tuple[int, int, int]:
        journal = connection.execute(select(func.count()).select_from(metric_journal)).scalar_one()
        inline = select(func.count()).where(metric_segment.c.payload.is_not(None))
        segments = select(func.count()).where(metric_segment.c.payload.is_(None))
        return (
            journal,
            connection.execute(inline).scalar_one(),
            connection.execute(segments).scalar_one(),
        )

    return await world.database.read(count)


async def keys_of(world: SqlMetricWorld) -> set[str]:
    return {info.key for info in (await world.objects.list("runs")).objects}


async def let_removals_be_due(world: SqlMetricWorld) -> None:
    await world.database.write(
        lambda connection: connection.execute(update(metric_removal).values(due_ns=0))
    )


async def test_seal__a_small_run__becomes_one_row_and_no_object(world: SqlMetricWorld) -> None:
    store = sealing(world, INLINE)
    points = [point(step, math.sin(step), key=key) for step in range(50) for key in ("a", "b")]
    for at in range(0, len(points), 7):
        await store.append(ONE, points[at : at + 7])
        await store.append(TWO, points[at : at + 7])
    assert await store.seal_due() == 200
    assert await counted(world) == (0, 2, 0)
    assert await keys_of(world) == set()
    assert await all_of(store, "a") == triples([one for one in points if one.key == "a"])
    assert await store.append(ONE, points) == AppendReceipt(0, 100)


async def test_seal__appends_of_one_point__are_written_anew_a_few_times(
    world: SqlMetricWorld,
) -> None:
    """Each sealing takes eight new rows; the rows they join stay few however long it goes on."""
    store = sealing(world, replace(INLINE, rows=8, idle_s=1e9))
    moved = 0
    for step in range(512):
        await store.append(ONE, [point(step)])
        moved += await store.seal_due()
    assert moved <= 512 * 8
    journal, inline, segments = await counted(world)
    assert segments == 0
    assert journal < 8
    assert inline <= 8
    assert len(await all_of(store)) == 512


async def test_seal__each_attempt__has_rows_of_its_own(world: SqlMetricWorld) -> None:
    store = sealing(world, INLINE)
    for attempt in (1, 2):
        for step in range(10):
            await store.append(ONE, [point(step, attempt)], attempt=attempt)
    await store.seal_due()
    assert await counted(world) == (0, 2, 0)
    page = await store.series_columns(ONE, "loss", window=Window(attempt=2))
    assert set(page.points.attempt.tolist()) == {2}
    assert page.points.step.tolist() == list(range(10))
    both = await store.series_columns(ONE, "loss")
    assert both.points.attempt.tolist() == [1, 2] * 10


async def test_compaction__many_segments__become_few(world: SqlMetricWorld) -> None:
    store = sealing(world, EIGHT)
    made: list[Point] = []
    for number in range(FAN * FAN):
        # Every batch lies between the points of the one before, and two keys are in it.
        some = [
            point((step * 64 + number * 7) % 500, number, key=key)
            for step in range(4)
            for key in ("loss", "ü")
        ]
        made += some
        await store.append(ONE, some)
        if number % FAN in (0, FAN - 1):  # some one by one, some together
            await store.seal_due()
    assert await counted(world) == (0, 0, 1)
    for key in ("loss", "ü"):
        wanted = triples([one for one in made if one.key == key])
        assert await all_of(store, key, limit=17) == wanted
    assert await store.append(ONE, made) == AppendReceipt(0, len(made))
    assert len(await keys_of(world)) > 2  # readers that began before may want the old ones
    await let_removals_be_due(world)
    await store.seal_due()
    assert len(await keys_of(world)) == 2
    assert len(await all_of(store)) == FAN * FAN * 4


async def test_read__what_it_wants_is_replaced_and_removed__reads_what_took_its_place(
    world: SqlMetricWorld,
) -> None:
    store = sealing(world, EIGHT)
    for number in range(FAN - 1):
        await store.append(ONE, [point(number * 8 + step) for step in range(8)])
        await store.seal_due()

    async def replace_all() -> None:
        await store.append(ONE, [point(1_000 + step) for step in range(8)])
        await store.seal_due()
        await let_removals_be_due(world)
        await store.seal_due()

    reader = sealing(world, EIGHT, _Hooked(world.objects, replace_all))
    found = await all_of(reader)
    assert [step for step, _, _ in found] == [*range((FAN - 1) * 8), *range(1_000, 1_008)]


class _Hooked:
    """An object store whose first read waits until something else was done."""

    def __init__(self, inner: ObjectStore, do: Any) -> None:
        self._inner = inner
        self._do: Any = do

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        do, self._do = self._do, None
        if do is not None:
            await do()
        async for chunk in self._inner.read(key, start=start, length=length):
            yield chunk


class _HookedPut(_Hooked):
    """The same of its first put."""

    async def put(self, key: str, data: Any, *, if_absent: bool = False) -> Any:
        do, self._do = self._do, None
        if do is not None:
            await do()
        return await self._inner.put(key, data, if_absent=if_absent)


async def test_purge__of_a_run_with_segments__its_objects_go_and_no_others(
    world: SqlMetricWorld,
) -> None:
    store = sealing(world, EIGHT)
    for workload_id in (ONE, TWO):
        await store.append(workload_id, [point(step) for step in range(20)])
    await store.seal_due()
    of_two = {key for key in await keys_of(world) if TWO in key}
    assert len(await keys_of(world)) > len(of_two) > 0
    await world.workload_delete(1)
    await store.seal_due()
    assert await keys_of(world) == of_two
    page = await store.series_columns(TWO, "loss")
    assert page.points.step.tolist() == list(range(20))


async def test_read__the_run_is_purged_meanwhile__finds_no_points(world: SqlMetricWorld) -> None:
    store = sealing(world, EIGHT)
    await store.append(ONE, [point(step) for step in range(8)])
    await store.seal_due()

    async def purge() -> None:
        await world.workload_delete(1)
        await store.seal_due()

    assert await all_of(sealing(world, EIGHT, _Hooked(world.objects, purge))) == []


async def test_read__an_object_is_gone__is_told(world: SqlMetricWorld) -> None:
    store = sealing(world, EIGHT)
    await store.append(ONE, [point(step) for step in range(8)])
    await store.seal_due()
    await world.objects.delete_folder(f"runs/{ONE}")
    fresh = sealing(world, EIGHT)
    with pytest.raises(StoreCorrupt, match="no object"):
        await fresh.series(ONE, "loss")
    with pytest.raises(StoreCorrupt, match="no object"):
        await fresh.chart(ONE, "loss", buckets=3)


async def test_append__an_object_is_gone__says_which_and_does_not_wait_for_it(
    world: SqlMetricWorld,
) -> None:
    store = sealing(world, EIGHT)
    await store.append(ONE, [point(step) for step in range(8)])
    await store.append(TWO, [point(step) for step in range(8)])
    await store.seal_due()
    [data, _] = sorted(
        (key for key in await keys_of(world) if ONE in key), key=lambda key: key.endswith("index")
    )
    await world.objects.delete_folder(f"runs/{ONE}")
    fresh = sealing(world, EIGHT)
    with pytest.raises(StoreCorrupt, match=data.removesuffix("parquet")):
        # It looked for the object again and again, and answered nobody.
        await asyncio.wait_for(fresh.append(ONE, [point(3), point(9)]), 60)
    with pytest.raises(StoreCorrupt, match=data.removesuffix("parquet")):
        await fresh.series(ONE, "loss")
    assert await fresh.append(ONE, [point(9)]) == AppendReceipt(1, 0)
    assert await fresh.append(ONE, [point(3, key="other")]) == AppendReceipt(1, 0)
    assert await fresh.append(TWO, [point(3)]) == AppendReceipt(0, 1)


async def test_compaction__an_object_is_gone__says_which(world: SqlMetricWorld) -> None:
    for at in range(FAN):
        store = sealing(world, EIGHT)
        await store.append(ONE, [point(8 * at + step) for step in range(8)])
        if at == FAN - 1:
            gone = min(await keys_of(world))
            await world.objects.delete(gone)
            with pytest.raises(StoreCorrupt, match=gone):
                await store.seal_due()
        else:
            await store.seal_due()
    assert await counted(world) == (0, 0, FAN)


async def test_seal__a_row_of_the_journal_is_damaged__what_was_replaced_goes_all_the_same(
    world: SqlMetricWorld,
) -> None:
    """It is due again and again, and as long as it is there no object was removed."""
    store = sealing(world, EIGHT)
    for at in range(FAN):
        await store.append(TWO, [point(8 * at + step) for step in range(8)])
    await store.seal_due()
    assert await counted(world) == (0, 0, 1)
    await store.append(ONE, [point(step) for step in range(8)])
    await world.database.write(
        lambda connection: connection.execute(update(metric_journal).values(payload=b"damaged"))
    )
    await store.append(TWO, [point(8 * FAN + step) for step in range(8)])
    assert len(await keys_of(world)) == 2 * (FAN + 1)
    await let_removals_be_due(world)
    for _ in range(2):
        with pytest.raises(StoreCorrupt):
            await store.seal_due()
    assert await counted(world) == (1, 0, 2)
    assert len(await keys_of(world)) == 4


@pytest.mark.parametrize("which", ["parquet", "index"])
@pytest.mark.parametrize("damage", ["cut off", "empty", "changed"])
async def test_read__an_object_is_damaged__says_which(
    world: SqlMetricWorld, which: str, damage: str
) -> None:
    store = sealing(world, EIGHT)
    await store.append(ONE, [point(step) for step in range(8)])
    await store.append(ONE, [point(step, key="other") for step in range(10, 18)])
    await store.seal_due()
    rows = await world.database.read(lambda found: segment_rows.of_workload(found, ONE, Window()))
    damaged = rows[0].data_key if which == "parquet" else rows[0].index_key
    whole = b"".join([chunk async for chunk in world.objects.read(damaged)])
    made = {
        "cut off": whole[: len(whole) // 2],
        "empty": b"",
        "changed": whole[:40] + b"?" + whole[41:],
    }[damage]
    await world.objects.delete(damaged)
    await world.objects.put(damaged, made)
    fresh = sealing(world, EIGHT)
    for read in (
        lambda: fresh.series(ONE, "loss"),
        lambda: fresh.chart(ONE, "loss", buckets=3),
        lambda: fresh.append(ONE, [point(3), point(9)]),
    ):
        with pytest.raises(StoreCorrupt, match=damaged):
            await read()
    if which == "parquet":
        assert len((await fresh.series(ONE, "other")).points) == 8


async def test_append__a_retry_of_many_keys_that_are_sealed__reads_each_row_group_once(
    world: SqlMetricWorld,
) -> None:
    """Read for each key, a retry took as many reads of the object store as it had keys."""
    points = [point(step, key=f"k/{at:03}") for at in range(200) for step in range(400)]
    limits = replace(INLINE, points=1_000, points_max=100_000)
    objects = CountObjectStore(world.objects)
    store = sealing(world, limits, objects)
    for at in range(0, len(points), 40_000):
        await store.append(ONE, points[at : at + 40_000])
    await store.seal_due()
    assert await counted(world) == (0, 0, 1)
    fresh = sealing(world, limits, objects)
    before = objects.counts.read.calls
    retried = [one for one in points if one.step in (17, 398)]
    new = [point(17, 0.25, key="k/002"), point(398, 0.25, key="k/199")]
    assert await fresh.append(ONE, [*retried, *new]) == AppendReceipt(2, len(retried))
    # The index, and of the data two row groups of 65,536 points at most.
    assert objects.counts.read.calls - before <= 3
    assert await fresh.append(ONE, new) == AppendReceipt(0, 2)


async def test_seal__two_servers_at_once_while_points_come__each_is_there_once(
    world: SqlMetricWorld,
) -> None:
    stores = [sealing(world, EIGHT), sealing(world, EIGHT)]
    writing = True

    async def seal(store: SqlMetricStore) -> None:
        while writing:
            await store.seal_due()

    sealers = [asyncio.create_task(seal(store)) for store in stores]
    for at in range(0, 300, 3):
        some = [point(at + step) for step in range(3)]
        await stores[0].append(ONE, some)
        assert await stores[1].append(ONE, some) == AppendReceipt(0, 3)
    writing = False
    await asyncio.gather(*sealers)
    assert [step for step, _, _ in await all_of(stores[0])] == list(range(300))


async def test_seal__another_server_was_quicker_with_a_part__the_rest_is_sealed(
    world: SqlMetricWorld,
) -> None:
    other = MetricSealing(world.database, SegmentObjects(world.objects), EIGHT)

    async def seal_a_part() -> None:
        assert await other.seal(ONE) == 8

    store = sealing(world, EIGHT, _HookedPut(world.objects, seal_a_part))
    for at in (0, 8, 16):
        await store.append(ONE, [point(at + step) for step in range(8)])
    assert await store.seal_due() == 16
    assert await counted(world) == (0, 0, 3)
    assert [step for step, _, _ in await all_of(store)] == list(range(24))


async def test_append_within__a_segment_must_be_looked_into__is_prepared_and_done(
    world: SqlMetricWorld,
) -> None:
    """As the scalars of event files come: as a part of another transaction."""
    from seafloor.stores.metrics.batch import batch_of_triples
    from seafloor.stores.metrics.points import triples_by_key

    store = sealing(world, EIGHT)
    points = [point(step) for step in range(24)]
    await store.append(ONE, points)
    await store.seal_due()
    batch = batch_of_triples(triples_by_key([*points, point(3, 0.5), point(99)])[0])
    written = await world.database.write(
        lambda connection: store.append_within(connection, ONE, 0, [batch])
    )
    assert written == 2
    assert len(await all_of(store)) == 26


async def test_seal__killed_at_each_call__loses_and_doubles_nothing(tmp_path: Path) -> None:
    points = [point(step, step / 3) for step in range(12 * FAN + 5)]
    async with opened(tmp_path) as world:
        for at in range(0, len(points), 6):
            await world.store.append(ONE, points[at : at + 6])
        for at in range(0, len(points), 6):
            await world.store.append(TWO, points[at : at + 6], attempt=at // 60)
    deaths = 0
    while True:
        child = run_module(
            "seafloor.testing.stream_crash_cases", "metrics", str(tmp_path), str(3 * deaths + 2)
        )
        out, err = await asyncio.to_thread(child.communicate)
        async with opened(tmp_path) as world:
            for of in (ONE, TWO):
                page = await world.store.series(of, "loss")
                assert [one.step for one in page.points] == list(range(len(points)))
        if out == "done\n":
            break
        assert child.returncode == -9, err
        deaths += 1
    assert deaths >= 10
    async with opened(tmp_path) as world:
        # Whatever a dead sealer put is named by a row, or will be removed.
        await let_removals_be_due(world)
        await sealing(world, INLINE).seal_due()

        def named(connection: Connection) -> set[str]:
            rows = connection.execute(
                select(metric_segment.c.workload_id, metric_segment.c.id).where(
                    metric_segment.c.payload.is_(None)
                )
            )
            return {
                f"runs/{of}/metrics/{name}.{kind}"
                for of, name in rows
                for kind in ("parquet", "index")
            }

        assert await keys_of(world) == await world.database.read(named)


async def test_chart__of_a_sealed_series__has_every_spike(world: SqlMetricWorld) -> None:
    """Of blocks: extremes and counts are exact, at any zoom, by step and by time."""
    store = sealing(world, replace(SEALED_AT_ONCE, points=20_000, points_max=40_000))
    count = 150_000
    steps = np.arange(count)
    values = np.sin(steps / 500)
    values[[1, 77_777, 77_778, 149_999]] = [50.0, -60.0, 70.0, 80.0]
    values[100_000:100_010] = np.nan
    for at in range(0, count, 25_000):
        end = at + 25_000
        some = PointColumns(
            ("loss",),
            np.zeros(25_000, np.int32),
            steps[at:end],
            1_700_000_000_000 + steps[at:end] * 10,
            values[at:end],
        )
        await store.append(ONE, some)
        await store.seal_due()
    assert (await counted(world))[2] >= 2
    for first, last, buckets in ((0, count - 1, 20), (500, 120_000, 10), (77_000, 78_500, 400)):
        part = values[first : last + 1]
        zooms: list[tuple[Axis, Window]] = [
            ("step", Window(step_min=first, step_max=last)),
            (
                "time",
                Window(
                    time_ms_min=1_700_000_000_000 + first * 10,
                    time_ms_max=1_700_000_000_000 + last * 10,
                ),
            ),
        ]
        for x, window in zooms:
            chart = await store.chart(ONE, "loss", buckets=buckets, window=window, x=x)
            assert len(chart) <= buckets
            assert sum(bucket.points for bucket in chart) == len(part)
            assert sum(bucket.nans for bucket in chart) == np.isnan(part).sum()
            assert (chart[0].step_first, chart[-1].step_last) == (first, last)
            for bucket in chart:
                held = values[bucket.step_first : bucket.step_last + 1]
                assert bucket.points == len(held)
                assert (bucket.min, bucket.max) == (np.nanmin(held), np.nanmax(held))
                assert bucket.time_ms_last == 1_700_000_000_000 + bucket.step_last * 10


class _Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def spoil(world: SqlMetricWorld, key: str) -> bytes:
    """Change an object; return what it was."""
    whole = b"".join([chunk async for chunk in world.objects.read(key)])
    await world.objects.delete(key)
    await world.objects.put(key, whole[:40] + b"?" + whole[41:])
    return whole


@pytest.mark.parametrize("kind", ["parquet", "index"])
@pytest.mark.parametrize("fault", ["gone", "changed"])
async def test_compaction__one_of_sixteen_is_damaged__is_told_and_kept_and_the_rest_is_joined(
    world: SqlMetricWorld, kind: str, fault: str
) -> None:
    """It was in every group of sixteen, so the run had ever more segments."""
    store = sealing(world, EIGHT)
    await store.append(ONE, [point(step) for step in range(8)])
    await store.seal_due()
    [damaged] = [key for key in await keys_of(world) if key.endswith(kind)]
    if fault == "gone":
        await world.objects.delete(damaged)
    else:
        await spoil(world, damaged)
    clock = _Clock()
    fresh = MetricSealing(world.database, SegmentObjects(world.objects), EIGHT, clock_s=clock)
    for at in range(1, 2 * FAN + 1):
        await store.append(ONE, [point(8 * at + step) for step in range(8)])
        if at < FAN - 1:
            await fresh.seal_due()
            continue
        with pytest.raises(StoreCorrupt, match=damaged):  # each time, not once
            await fresh.seal_due()
    assert await counted(world) == (0, 0, 3)  # two of sixteen, and the damaged one
    rows = await world.database.read(lambda found: segment_rows.of_workload(found, ONE, Window()))
    assert sorted(row.points for row in rows) == [8, 8 * FAN, 8 * FAN]


async def test_compaction__what_was_damaged_is_brought_back__is_taken_up_again(
    world: SqlMetricWorld,
) -> None:
    clock = _Clock()
    sealer = MetricSealing(world.database, SegmentObjects(world.objects), EIGHT, clock_s=clock)
    for at in range(FAN - 1):
        await world.store.append(ONE, [point(8 * at + step) for step in range(8)])
        await sealer.seal_due()
    damaged = min(key for key in await keys_of(world) if key.endswith("parquet"))
    whole = await spoil(world, damaged)
    await world.store.append(ONE, [point(8 * FAN + step) for step in range(8)])
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=damaged):
            await sealer.seal_due()
    clock.now_s += AGAIN_S
    with pytest.raises(StoreCorrupt, match=damaged):
        await sealer.seal_due()
    await world.objects.delete(damaged)
    await world.objects.put(damaged, whole)
    clock.now_s += 2 * AGAIN_S
    await sealer.seal_due()
    assert await counted(world) == (0, 0, 1)
    assert len(await all_of(world.store)) == 8 * FAN


async def test_compaction__the_run_of_a_damaged_segment_is_purged__is_told_no_more(
    world: SqlMetricWorld,
) -> None:
    clock = _Clock()
    sealer = MetricSealing(world.database, SegmentObjects(world.objects), EIGHT, clock_s=clock)
    for at in range(FAN):
        if at == FAN - 1:
            await world.objects.delete_folder(f"runs/{ONE}")
        await world.store.append(ONE, [point(8 * at + step) for step in range(8)])
        if at < FAN - 1:
            await sealer.seal_due()
    with pytest.raises(StoreCorrupt, match="no object"):
        await sealer.seal_due()
    await world.workload_delete(1)
    clock.now_s += AGAIN_S
    await sealer.seal_due()


async def test_compaction__the_store_is_away__is_tried_again_though_nothing_comes(
    world: SqlMetricWorld,
) -> None:
    clock = _Clock()
    plain = SegmentObjects(world.objects)
    sealer = MetricSealing(world.database, plain, EIGHT, clock_s=clock)
    for at in range(FAN - 1):
        await world.store.append(ONE, [point(8 * at + step) for step in range(8)])
        await sealer.seal_due()
    await world.store.append(ONE, [point(8 * FAN + step) for step in range(8)])

    async def away() -> None:
        raise StoreUnavailable("planted")

    failing = SegmentObjects(_Hooked(world.objects, away))
    sealer = MetricSealing(world.database, failing, EIGHT, clock_s=clock)
    with pytest.raises(StoreUnavailable):
        await sealer.seal_due()
    await sealer.seal_due()
    assert await counted(world) == (0, 0, FAN)
    clock.now_s += 60
    await sealer.seal_due()
    assert await counted(world) == (0, 0, 1)


@pytest.mark.parametrize("where", ["journal", "inline"])
async def test_seal__a_row_with_points_is_damaged__is_told_and_kept_and_the_rest_is_sealed(
    world: SqlMetricWorld, where: str
) -> None:
    """The run was never sealed again: its journal grew, and every pass read it in vain."""
    clock = _Clock()
    limits = replace(INLINE, rows=4, idle_s=1e9)
    sealer = MetricSealing(world.database, SegmentObjects(world.objects), limits, clock_s=clock)
    for step in range(4):
        await world.store.append(ONE, [point(step)])
    if where == "inline":
        await sealer.seal_due()
    table = metric_journal if where == "journal" else metric_segment
    key = table.c.sequence if where == "journal" else table.c.id
    with_points = select(key, table.c.payload).order_by(key).limit(1)
    name, payload = await world.database.read(
        lambda connection: connection.execute(with_points).one()
    )
    spoiled = update(table).where(key == name).values(payload=payload[:-1] + b"!")
    await world.database.write(lambda connection: connection.execute(spoiled))
    for step in range(4, 20):
        await world.store.append(ONE, [point(step)])
        if step % 4 == 3:
            for _ in range(2):
                with pytest.raises(StoreCorrupt, match=f'"{name}" in .* of run "{ONE}"'):
                    await sealer.seal_due()
    assert (await counted(world))[0] == (1 if where == "journal" else 0)
    mended = update(table).where(key == name).values(payload=payload)
    await world.database.write(lambda connection: connection.execute(mended))
    clock.now_s += AGAIN_S
    await sealer.seal_due()
    assert [step for step, _, _ in await all_of(world.store)] == list(range(20))
    for step in (20, 21):
        await world.store.append(ONE, [point(step)])
    await sealer.seal_due()
    clock.now_s += 2e9  # what is whole again is sealed when the run is idle
    await sealer.seal_due()
    assert (await counted(world))[0] == 0
    assert [step for step, _, _ in await all_of(world.store)] == list(range(22))


async def test_seal__keys_are_too_many_for_one_segment__become_several(
    world: SqlMetricWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was no failure of a store, so no other run was sealed from then on."""
    monkeypatch.setattr(segment_index, "_BODY_BYTES_MAX", 1_500)
    store = sealing(world, replace(EIGHT, points_max=1_000))
    names = [f"{at:03}" + "n" * 200 for at in range(20)]
    await store.append(ONE, [point(1, at, key=name) for at, name in enumerate(names)])
    await store.append(TWO, [point(step) for step in range(8)])
    assert await store.seal_due() == 28
    journal, inline, segments = await counted(world)
    assert (journal, inline) == (0, 0)
    assert segments > 4
    for at in range(FAN):  # nor are they joined
        await store.append(ONE, [point(2, at, key=f"{at:03}-{name}"[:250]) for name in names[:8]])
        await store.seal_due()
    for at, name in enumerate(names):
        assert len(await all_of(store, name)) == 1, at


async def test_seal__a_transaction_is_open_over_a_pass__its_row_is_seen_by_the_next(
    tmp_path: Path, database_kind: str
) -> None:
    """Were another to commit a greater number meanwhile, the sealer would never see this one."""
    async with opened(tmp_path) as world:
        other = Database(database_url(tmp_path))
        server = SqlMetricStore(other, world.objects, limits=EIGHT)
        store = sealing(world, EIGHT)
        await store.append(TWO, [point(step) for step in range(8)])
        assert await store.seal_due() == 8
        held, inserted = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        batch = await server.batch_of([point(step) for step in range(8)])

        def write(connection: Connection) -> None:
            server.append_within(connection, ONE, 0, [batch])
            loop.call_soon_threadsafe(inserted.set)
            assert held.wait(60)

        late = asyncio.create_task(other.write(write))
        await inserted.wait()
        quick = asyncio.create_task(store.append(TWO, [point(step) for step in range(8, 16)]))
        assert await store.seal_due() == 0  # neither is committed
        assert not quick.done()
        held.set()
        await asyncio.gather(late, quick)
        assert await store.seal_due() == 16
        await other.close()


_LAST_NUMBER = {
    "sqlite": "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'metric_journal'",
    "postgresql": "SELECT setval(pg_get_serial_sequence('metric_journal', 'sequence'), 1, false)",
    "mariadb": "ALTER TABLE metric_journal AUTO_INCREMENT = 1",
}


async def test_seal__the_database_goes_back_to_an_earlier_state__finds_what_comes_after(
    world: SqlMetricWorld, database_kind: str
) -> None:
    """As when a replica takes over that lacks the last commits: numbers are given once more."""
    sealer = sealing(world, INLINE)
    for step in range(4):
        await world.store.append(ONE, [point(step)])
    await sealer.seal_due()
    await world.database.write(
        lambda connection: connection.exec_driver_sql(_LAST_NUMBER[database_kind])
    )

    def lose(_: Connection) -> None:
        if world.database.losses == 0:
            raise DBAPIError(None, None, Exception("gone"), connection_invalidated=True)

    await world.database.read(lose)
    for step in range(2):
        await world.store.append(TWO, [point(step)])
    assert await sealer.seal_due() == 2
    assert await counted(world) == (0, 2, 0)


async def test_compaction__who_sealed_was_killed_before__the_next_sealer_joins(
    world: SqlMetricWorld,
) -> None:
    """The run is over: no further point would have its segments looked at."""

    class Killed(Exception):
        pass

    async def die() -> None:
        raise Killed

    points = [point(step) for step in range(8 * FAN)]
    for at in range(FAN):
        await world.store.append(ONE, points[8 * at : 8 * at + 8])
        with suppress(Killed):  # at its first look into a segment, to join it
            await sealing(world, EIGHT, _Hooked(world.objects, die)).seal_due()
    assert await counted(world) == (0, 0, FAN)
    await sealing(world, EIGHT).seal_due()
    assert await counted(world) == (0, 0, 1)
    assert await all_of(world.store) == triples(points)
