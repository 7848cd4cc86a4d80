"""The metric store in the database: the suite, the state machine, and what is its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select, update
from tests.databases import database_in

from conftest import real_service
from machines import run_machine
from seafloor.domain.errors import StoreCorrupt
from seafloor.domain.metrics import Point
from seafloor.stores.metadata.sql.tables import metric_journal, metric_summary
from seafloor.stores.metrics import journal
from seafloor.stores.metrics.protocol import AppendReceipt
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.testing.metric_store_machine import MetricStoreMachine
from seafloor.testing.metric_store_suite import ONE, TWO, DurableMetricStoreSuite, all_of, point
from seafloor.testing.metric_worlds import (
    SEALED_AT_ONCE,
    MetricWorld,
    SealedMetricWorld,
    SqlMetricWorld,
)


@pytest.mark.usefixtures("database_kind")
class TestSqlMetricStore(DurableMetricStoreSuite):
    factory = "seafloor.testing.metric_worlds:SqlMetricWorld"

    def make_world(self, folder: Path) -> MetricWorld:
        return SqlMetricWorld(folder)


@pytest.mark.usefixtures("database_kind")
class TestSealedMetricStore(DurableMetricStoreSuite):
    factory = "seafloor.testing.metric_worlds:SealedMetricWorld"

    def make_world(self, folder: Path) -> MetricWorld:
        return SealedMetricWorld(folder)


_EXAMPLES = {"sqlite": 25, "postgresql": 10, "mariadb": 10}


class _SmallSegments(SqlMetricWorld):
    """Seals when asked, what a few appends bring."""

    def make_store(self) -> SqlMetricStore:
        return SqlMetricStore(self.database, self.objects, limits=SEALED_AT_ONCE)


@pytest.mark.parametrize("kind", _EXAMPLES)
def test_machine__beside_the_model__all_answers_are_equal(kind: str) -> None:
    if kind != "sqlite":
        real_service(kind)  # skips here, where it is known to be a skip

    class Machine(MetricStoreMachine):
        make_world = staticmethod(_SmallSegments)
        prepared = staticmethod(partial(database_in, kind=kind, service=real_service))

    run_machine(Machine, examples=_EXAMPLES[kind])


@pytest.fixture
async def world(tmp_path: Path, database_kind: str) -> AsyncIterator[SqlMetricWorld]:
    world = SqlMetricWorld(tmp_path)
    await world.open()
    yield world
    await world.close()


async def decoded_per_append(world: SqlMetricWorld, batches: list[list[Point]]) -> list[int]:
    """How many stored rows each append looks into."""
    found: list[int] = []
    for batch in batches:
        before = world.store.rows_decoded
        await world.store.append(ONE, batch)
        found.append(world.store.rows_decoded - before)
    return found


async def test_append__steps_rise__looks_at_no_stored_row(world: SqlMetricWorld) -> None:
    batches = [[point(at + step) for step in range(5)] for at in range(0, 1_500, 5)]
    assert set(await decoded_per_append(world, batches)) == {0}


async def test_append__no_steps_and_times_rise__looks_at_no_stored_row(
    world: SqlMetricWorld,
) -> None:
    batches = [[point(0, at, time_ms=at * 10)] for at in range(300)]
    assert set(await decoded_per_append(world, batches)) == {0}


async def test_append__a_retry__looks_at_its_own_row_only(world: SqlMetricWorld) -> None:
    batches = [[point(at + step) for step in range(5)] for at in range(0, 1_500, 5)]
    await decoded_per_append(world, batches)
    assert await decoded_per_append(world, [batches[-1], batches[7]]) == [1, 1]


async def test_append__a_retry_of_many_keys__unpacks_each_row_once(
    world: SqlMetricWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpacked for each key, one retry of 4,000 keys kept every other append waiting for 25 s."""
    rows = [[point(step, key=f"k/{at}") for at in range(300)] for step in range(4)]
    for some in rows:
        await world.store.append(ONE, some)
    unpacked: list[int] = []
    body = journal._body

    def counted(payload: bytes) -> tuple[int, bytes]:
        unpacked.append(len(payload))
        return body(payload)

    monkeypatch.setattr(journal, "_body", counted)
    retried = [*rows[2], point(2, 0.25, key="k/7")]
    assert await world.store.append(ONE, retried) == AppendReceipt(1, 300)
    # Its own points when they are suspected and when some are left out, and the row that has them.
    assert len(unpacked) <= 4


async def test_append__two_writers_of_one_key__looks_at_few_rows(world: SqlMetricWorld) -> None:
    """The second writer is 20 ms and 3 batches behind; both log the same steps."""
    first = [
        [point(at + step, 1.0, time_ms=(at + step) * 10) for step in range(5)]
        for at in range(0, 1_500, 5)
    ]
    second = [
        [Point(made.key, 2.0, made.step, made.time_ms + 20) for made in batch] for batch in first
    ]
    looked: list[int] = []
    for number, batch in enumerate(first):
        looked += await decoded_per_append(world, [batch])
        if number >= 3:
            looked += await decoded_per_append(world, [second[number - 3]])
    assert max(looked) <= 4
    assert max(looked[-100:]) <= max(looked[:100])


async def test_append__each_key_has_its_own_pace__looks_at_no_stored_row(
    world: SqlMetricWorld,
) -> None:
    """One key is far ahead of another in the same batches."""
    batches = [
        [
            point(at, time_ms=at),
            point(at * 1_000, key="samples", time_ms=at),
            point(0, at, key="e", time_ms=at),
        ]
        for at in range(200)
    ]
    assert set(await decoded_per_append(world, batches)) == {0}


async def test_summaries__of_more_keys_than_a_statement_takes__are_found(
    world: SqlMetricWorld,
) -> None:
    """PostgreSQL takes 65,535 values in a statement, SQLite 250,000 at most."""
    await world.store.append(ONE, [point(1, key=key) for key in ("k/7", "k/400", "k/299999")])
    await world.store.append(TWO, [point(1, key="k/400"), point(1, key="other")])
    keys = [f"k/{at}" for at in range(300_000)]
    found = await world.store.summaries([ONE, TWO], keys=[*keys, "k/7"])
    assert {of: [one.key for one in some] for of, some in found.items()} == {
        ONE: ["k/299999", "k/400", "k/7"],
        TWO: ["k/400"],
    }


async def test_append__concurrent__share_commits(world: SqlMetricWorld) -> None:
    before = world.database.commits
    await asyncio.gather(*(world.store.append(ONE, [point(step)]) for step in range(500)))
    assert world.database.commits - before < 100


async def test_read__a_row_is_damaged__is_told(world: SqlMetricWorld) -> None:
    await world.store.append(ONE, [point(step) for step in range(100)])

    def damage(connection: Connection) -> None:
        payload = connection.execute(select(metric_journal.c.payload)).scalar_one()
        bad = payload[:-1] + bytes([payload[-1] ^ 1])
        connection.execute(update(metric_journal).values(payload=bad))

    await world.database.write(damage)
    with pytest.raises(StoreCorrupt):
        await all_of(world.store)
    with pytest.raises(StoreCorrupt):
        await world.store.append(ONE, [point(5)])
    assert await world.store.append(ONE, [point(500)]) == AppendReceipt(1, 0)


async def test_delete__a_workload__leaves_no_row(world: SqlMetricWorld) -> None:
    await world.store.append(ONE, [point(1)])
    await world.workload_delete(1)

    def count(connection: Connection) -> list[int]:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (metric_journal, metric_summary)
        ]

    assert await world.database.read(count) == [0, 0]
