"""Entry stores through their suite, and that what is written at once is one commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection

from seafloor.domain.ids import WorkloadId
from seafloor.stores.entries.protocol import Entries
from seafloor.stores.metadata.protocol import Labels, NewEvent
from seafloor.testing.entry_store_suite import EVERYTHING, T0_NS, EntryStoreSuite, point
from seafloor.testing.entry_worlds import ONE, EntryWorld, MemoryEntryWorld, SqlEntryWorld
from seafloor.testing.metric_worlds import workload_id, workload_of
from sql_statements import every_statement_of


class TestMemoryEntryStore(EntryStoreSuite):
    def make_world(self, folder: Path) -> EntryWorld:
        return MemoryEntryWorld(folder)


@pytest.mark.usefixtures("database_kind")
class TestSqlEntryStore(EntryStoreSuite):
    def make_world(self, folder: Path) -> EntryWorld:
        return SqlEntryWorld(folder)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[SqlEntryWorld]:
    world = SqlEntryWorld(tmp_path)
    await world.open()
    yield world
    await world.close()


async def test_write__everything_at_once__is_one_commit(world: SqlEntryWorld) -> None:
    before = world.database.commits
    await world.store.write(ONE, EVERYTHING, updated_ns=T0_NS)
    assert world.database.commits == before + 1


@pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.usefixtures("database_kind")
async def test_write__many_at_once__in_as_many_statements_as_two(world: SqlEntryWorld) -> None:
    """To a database on another machine each is a trip, and writers wait for one another."""
    runs = [workload_id(number) for number in range(10, 40)]
    for at, one in enumerate(runs):
        await world.metadata.workload_create(
            workload_of(10 + at),
            labels=Labels({}, {}),
            event=NewEvent(T0_NS, "tester", "created"),
            idempotency_key=one,
        )
    first = await _said(world, runs[:2])
    assert await _said(world, runs[2:]) == first
    # Now they change what is there.
    changing = await _said(world, runs[:2], step=2)
    assert await _said(world, runs[2:], step=2) == changing
    shown = await world.metadata.labels_get(runs)
    assert all(shown[one] == Labels({"lr": one}, {"step": "2"}) for one in runs)
    summaries = await world.metrics.summaries(runs)
    assert {one: summaries[one][0].points for one in runs} == dict.fromkeys(runs, 2)


async def _said(world: SqlEntryWorld, runs: Sequence[WorkloadId], step: int = 1) -> int:
    """How many statements it takes to log to runs at once."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        begun.set()
        assert go_on.wait(60)

    holding = asyncio.ensure_future(world.database.write(hold))
    await asyncio.to_thread(begun.wait, 60)
    before = world.database.commits
    entries = [
        Entries(points=[point(step)], params={"lr": one}, tags={"step": str(step)}) for one in runs
    ]
    waiting = [
        asyncio.ensure_future(world.store.write(one, each, updated_ns=T0_NS))
        for one, each in zip(runs, entries, strict=True)
    ]
    while world.database._waiting.qsize() < len(runs):
        await asyncio.sleep(0)
    with every_statement_of(world.database) as said:
        go_on.set()
        await asyncio.gather(holding, *waiting)
    assert world.database.commits == before + 2  # what held the writer, and all others
    return len(said)
