"""The SQL store on SQLite: the suites, and what is its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, event, insert, select, text

from seafloor.domain.errors import (
    Conflict,
    InvalidValue,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from seafloor.domain.models import DatasetInput
from seafloor.domain.search import WorkloadQuery
from seafloor.domain.search_grammar import parse_filter, parse_order
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql.database import GROUP_MAX, Database
from seafloor.stores.metadata.sql.tables import METADATA, project, workload
from seafloor.testing.metadata_durable_suite import DurableMetadataStoreSuite
from seafloor.testing.metadata_records import T0_NS, create, entering, launched, note, run, run_id
from seafloor.testing.metadata_run_cases import fill_run
from seafloor.testing.metadata_search_suite import MetadataSearchSuite
from seafloor.testing.metadata_store_suite import MetadataStoreSuite
from seafloor.testing.metadata_worlds import (
    SqlStoreUnderTest,
    open_sql_store,
    put_sql_metric,
)
from seafloor.testing.small_disk import small_disk


class TestSqlMetadataStore(MetadataStoreSuite, MetadataSearchSuite, DurableMetadataStoreSuite):
    factory = "seafloor.testing.metadata_worlds:open_sql_store"

    async def make_store(self, folder: Path) -> MetadataStore:
        return await open_sql_store(folder)

    async def put_metric(
        self, store: MetadataStore, workload_id: str, key: str, value: float
    ) -> None:
        await put_sql_metric(store, workload_id, key, value)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStoreUnderTest]:
    store = await open_sql_store(tmp_path)
    yield store
    await store.close()


@contextmanager
def statements_of(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Collect what is said to the database."""
    said: list[tuple[str, Any]] = []

    def listen(_connection, _cursor, statement, parameters, _context, _many) -> None:
        said.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", listen)
    try:
        yield said
    finally:
        event.remove(database.engine, "before_cursor_execute", listen)


async def test_purge__a_full_run__no_row_of_any_table_knows_it(store: SqlStoreUnderTest) -> None:
    await fill_run(store, 1)
    await put_sql_metric(store, run_id(1), "loss", 1.0)
    ids = {"workload_id": run_id(1), "attempt": 1}
    numbers = {"step_min": 0, "step_max": 0, "time_ms_min": 0, "time_ms_max": 0, "points": 1}
    counts = {"size_bytes": 0, "decoded_bytes": 0, "records": 0, "scalars": 0, "path": "a"}

    def fill_the_others(connection: Connection) -> None:
        tables = METADATA.tables
        connection.execute(insert(tables["metric_journal"]), [{**ids, **numbers, "payload": b""}])
        connection.execute(insert(tables["event_file"]), [{**ids, **counts}])

    await store.database.write(fill_the_others)
    await store.model_update("m-" + run_id(1), updated_ns=T0_NS, params={"a": "b"})
    knowing = await store.database.read(tables_that_know)
    unrelated = {"project", "experiment", "experiment_tag", "environment"}
    assert knowing == METADATA.tables.keys() - unrelated
    await store.workload_set_deleted(run_id(1), deleted_ns=T0_NS)
    await store.workload_purge(run_id(1))
    assert await store.database.read(tables_that_know) == {"logged_model"}  # by its own id


def tables_that_know(connection: Connection) -> set[str]:
    """The tables with run 1's id anywhere in a row."""
    return {
        table.name
        for table in METADATA.tables.values()
        for row in connection.execute(select(table))
        if any(run_id(1) in str(value) for value in row)
    }


class TestGroupCommit:
    async def test_write__many_at_once__share_few_commits(self, store: SqlStoreUnderTest) -> None:
        for number in range(1, 9):
            await create(store, run(number))
        before = store.database.commits
        await asyncio.gather(
            *(
                store.tags_change(run_id(1 + number % 8), set_={f"k{number}": "v"})
                for number in range(200)
            )
        )
        assert store.database.commits - before <= 10
        found = await store.labels_get([run_id(number) for number in range(1, 9)])
        assert sum(len(labels.tags) for labels in found.values()) == 200

    async def test_write__more_than_a_group_takes__all_are_done(
        self, store: SqlStoreUnderTest
    ) -> None:
        await create(store, run(1))
        count = GROUP_MAX * 2 + 3
        await asyncio.gather(*(store.event_append(run_id(1), note()) for _ in range(count)))
        events = await store.event_list(run_id(1), limit=10_000)
        assert [event.sequence for event in events] == list(range(1, count + 2))

    async def test_write__some_fail__the_others_are_kept(self, store: SqlStoreUnderTest) -> None:
        await create(store, run(1), params={"p": "old"})

        def broken(connection: Connection) -> None:
            connection.execute(insert(project).values(name="half", created_ns=1))
            raise KeyError("a bug")

        def refused(connection: Connection) -> None:
            connection.execute(insert(project).values(name="other half", created_ns=1))
            connection.execute(text("SELECT nothing FROM nowhere"))

        def doubled(connection: Connection) -> None:
            connection.execute(insert(project).values(name="default", created_ns=1))

        before = store.database.commits
        told = await asyncio.gather(
            store.tags_change(run_id(1), set_={"a": "1"}),
            store.database.write(broken),
            store.params_log(run_id(1), {"p": "new", "q": "1"}),
            store.database.write(refused),
            store.database.write(doubled),
            store.tags_change(run_id(1), set_={"b": "2"}),
            return_exceptions=True,
        )
        kinds = [None if one is None else type(one) for one in told]
        assert kinds == [None, KeyError, Conflict, StoreError, StoreError, None]
        assert store.database.commits - before <= 3
        labels = (await store.labels_get([run_id(1)]))[run_id(1)]
        assert (labels.params, labels.tags) == ({"p": "old"}, {"a": "1", "b": "2"})
        assert [found.name for found in await store.project_list()] == ["default"]

    async def test_write__alone_and_failing__is_undone(self, store: SqlStoreUnderTest) -> None:
        def broken(connection: Connection) -> None:
            connection.execute(insert(project).values(name="half", created_ns=1))
            raise KeyError("a bug")

        with pytest.raises(KeyError):
            await store.database.write(broken)
        assert [found.name for found in await store.project_list()] == ["default"]
        await store.project_create("next", created_ns=T0_NS)

    async def test_write__its_caller_leaves__it_is_done_all_the_same(
        self, store: SqlStoreUnderTest
    ) -> None:
        await create(store, run(1))
        writes = [
            asyncio.ensure_future(store.tags_change(run_id(1), set_={str(number): ""}))
            for number in range(20)
        ]
        await asyncio.sleep(0)
        for write in writes[::2]:
            write.cancel()
        told = await asyncio.gather(*writes, return_exceptions=True)
        assert sum(isinstance(one, asyncio.CancelledError) for one in told) == 10
        await store.tags_change(run_id(1), set_={"last": ""})
        assert len((await store.labels_get([run_id(1)]))[run_id(1)].tags) == 21


class TestStatements:
    """How much is said per call does not depend on how much there is."""

    async def test_calls__with_much_or_little__say_the_same_number(
        self, store: SqlStoreUnderTest
    ) -> None:
        few = await self._counts(store, 1)
        many = await self._counts(store, 40)
        assert few == many
        assert few["search"] == 2  # BEGIN and one SELECT
        assert few["labels_get"] == 4
        assert few["params_log"] <= 5
        assert few["tags_change"] <= 5
        assert max(few.values()) <= 12, few

    async def _counts(self, store: SqlStoreUnderTest, size: int) -> dict[str, int]:
        first = size * 1000
        ids = [run_id(first + number) for number in range(size)]
        keys = {f"k{number}": "v" for number in range(size)}
        for number in range(size):
            await create(store, launched(first + number), params={"a": "1"}, tags={"a": "1"})
        datasets = [DatasetInput(f"d{number}", "1") for number in range(size)]
        query = WorkloadQuery(
            filter=parse_filter("params.a = '1' AND tags.a != '2'"),
            order=(parse_order("metrics.loss"),),
        )
        fresh = launched(first + size)
        calls = {
            "workload_create": lambda: create(store, fresh, params=keys, tags=keys),
            "workload_get": lambda: store.workload_get(ids[0]),
            "transition": lambda: store.workload_transition(
                fresh.id, entering(WorkloadState.FAILED, WorkloadState.QUEUED)
            ),
            "search": lambda: store.workload_search(query),
            "labels_get": lambda: store.labels_get(ids),
            "params_log": lambda: store.params_log(ids[0], keys),
            "tags_change": lambda: store.tags_change(ids[0], set_=keys),
            "event_list": lambda: store.event_list(ids[0]),
            "inputs_add": lambda: store.inputs_add(ids[0], datasets=datasets),
            "inputs_get": lambda: store.inputs_get(ids),
            "manifest_children": lambda: store.manifest_children(ids[0], ""),
        }
        counts: dict[str, int] = {}
        for name, call in calls.items():
            with statements_of(store.database) as said:
                await call()
            counts[name] = len(said)
        return counts


COMMON_QUERIES = (
    WorkloadQuery(),
    WorkloadQuery(project="default"),
    WorkloadQuery(experiment_ids=(0,)),
    WorkloadQuery(project="default", experiment_ids=(0,)),
    WorkloadQuery(states=(WorkloadState.QUEUED,)),
    WorkloadQuery(states=(WorkloadState.QUEUED, WorkloadState.RUNNING)),
    WorkloadQuery(filter=parse_filter("params.lr = '1' AND metrics.loss < 1")),
)


async def test_search__ten_thousand_runs__enters_an_index(store: SqlStoreUnderTest) -> None:
    await create(store, run(1))

    def fill(connection: Connection) -> None:
        row = dict(connection.execute(select(workload)).mappings().one())
        more = ({"id": run_id(n), "created_ns": T0_NS + n} for n in range(2, 10_001))
        connection.execute(insert(workload), [{**row, **changes} for changes in more])
        connection.execute(text("ANALYZE"))

    await store.database.write(fill)
    for query in COMMON_QUERIES:
        with statements_of(store.database) as said:
            page = await store.workload_search(query)
            if page.next is not None:
                await store.workload_search(replace(query, cursor=page.next))
        selects = [one for one in said if one[0].startswith("SELECT")]
        assert selects
        for one in selects:
            plan = await store.database.read(lambda connection, of=one: _plan(connection, *of))
            assert not [line for line in plan if line.startswith("SCAN")], (query, plan)
            ordered = [line for line in plan if "TEMP B-TREE FOR ORDER BY" in line]
            assert not ordered or query.states is not None, (query, plan)


def _plan(connection: Connection, statement: str, parameters: Any) -> list[str]:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    return [row.detail for row in rows]


class TestDatabase:
    async def test_open__no_file__is_refused(self) -> None:
        for url in ("sqlite://", "sqlite:///:memory:"):
            with pytest.raises(InvalidValue):
                Database(url)

    async def test_settings__every_connection__is_durable_and_checked(
        self, store: SqlStoreUnderTest
    ) -> None:
        def settings(connection: Connection) -> list[object]:
            return [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]

        assert await store.database.read(settings) == ["wal", 2, 1]
        assert await store.database.write(settings) == ["wal", 2, 1]

    async def test_read__a_writer_holds_the_lock__reads_go_on(
        self, store: SqlStoreUnderTest, tmp_path: Path
    ) -> None:
        with closing(sqlite3.connect(tmp_path / "seafloor.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO project VALUES ('held', 1)")
            names = [found.name for found in await store.project_list()]
            assert names == ["default"]
            other.execute("ROLLBACK")

    async def test_read__two_statements__see_one_state(self, store: SqlStoreUnderTest) -> None:
        reading, written = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        counted = select(project.c.name)

        def read(connection: Connection) -> tuple[int, int]:
            first = len(connection.execute(counted).all())
            loop.call_soon_threadsafe(reading.set)
            asyncio.run_coroutine_threadsafe(written.wait(), loop).result()
            return first, len(connection.execute(counted).all())

        answer = asyncio.ensure_future(store.database.read(read))
        await reading.wait()
        await store.project_create("new", created_ns=1)
        written.set()
        assert await answer == (1, 1)

    async def test_write__half_a_character_or_a_huge_number__is_refused(
        self, store: SqlStoreUnderTest
    ) -> None:
        await create(store, run(1))
        with pytest.raises(InvalidValue):
            await store.tags_change(run_id(1), set_={"a": "\ud800"})
        with pytest.raises(InvalidValue):
            await store.workload_update(run_id(1), updated_ns=1 << 63)
        assert (await store.labels_get([run_id(1)]))[run_id(1)].tags == {}

    async def test_open__not_a_database__store_corrupt(self, tmp_path: Path) -> None:
        (tmp_path / "seafloor.db").write_bytes(b"this is no database at all, not by far" * 100)
        database = Database(f"sqlite:///{tmp_path / 'seafloor.db'}")
        with pytest.raises(StoreCorrupt):
            await database.migrate()
        await database.close()

    async def test_read__pages_are_damaged__store_corrupt(self, tmp_path: Path) -> None:
        store = await open_sql_store(tmp_path)
        for number in range(1, 40):
            await create(store, run(number), tags={"long": "x" * 5000})
        await store.close()
        path = tmp_path / "seafloor.db"
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        path.write_bytes(content)
        database = Database(f"sqlite:///{path}")
        with pytest.raises(StoreCorrupt):
            await database.read(lambda connection: connection.execute(select(workload)).all())
        await database.close()

    async def test_close__then_a_call__store_unavailable(self, store: SqlStoreUnderTest) -> None:
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.project_list()
        with pytest.raises(StoreUnavailable):
            await store.project_create("new", created_ns=1)

    async def test_write__disk_is_full__nothing_is_written_and_it_goes_on_after(
        self, tmp_path: Path
    ) -> None:
        with small_disk(tmp_path / "disk", size_bytes=8 << 20) as disk:
            store = await open_sql_store(disk.path)
            await create(store, run(1))
            disk.fill()
            told: list[BaseException | None] = []
            for number in range(30):
                change = {f"k{number}": "x" * 50_000}
                (one,) = await asyncio.gather(
                    store.tags_change(run_id(1), set_=change), return_exceptions=True
                )
                told.append(one)
            refused = [number for number, one in enumerate(told) if one is not None]
            assert refused, "the disk was never full"
            assert {type(one) for one in told if one is not None} == {StoreFull}
            several = await asyncio.gather(
                *(store.tags_change(run_id(1), set_={f"m{n}": "x" * 50_000}) for n in range(5)),
                return_exceptions=True,
            )
            assert {type(one) for one in several} == {StoreFull}
            tags = (await store.labels_get([run_id(1)]))[run_id(1)].tags  # reading goes on
            assert tags.keys() == {f"k{n}" for n, one in enumerate(told) if one is None}
            disk.free()
            await store.tags_change(run_id(1), set_={"after": "x" * 50_000})
            assert "after" in (await store.labels_get([run_id(1)]))[run_id(1)].tags
            await store.close()
