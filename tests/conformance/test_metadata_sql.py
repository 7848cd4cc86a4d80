"""The SQL store on every database: the suites, and what is its own."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, event, insert, select, text

from seafloor.domain.errors import (
    Conflict,
    InvalidValue,
    StoreError,
    StoreUnavailable,
)
from seafloor.domain.models import DatasetInput
from seafloor.domain.search import (
    AllOf,
    Comparison,
    Identifier,
    Operator,
    Order,
    Subject,
    WorkloadQuery,
)
from seafloor.domain.search_grammar import parse_filter, parse_order
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.comparisons import COMPARISONS_MAX, VALUES_MAX, fold
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql.database import GROUP_MAX, Database
from seafloor.stores.metadata.sql.folding import folded
from seafloor.stores.metadata.sql.open import parse_url
from seafloor.stores.metadata.sql.tables import METADATA, project, tag
from seafloor.testing.databases import database_url
from seafloor.testing.metadata_durable_suite import DurableMetadataStoreSuite
from seafloor.testing.metadata_records import (
    T0_NS,
    create,
    entering,
    launched,
    note,
    run,
    run_id,
    trace,
)
from seafloor.testing.metadata_run_cases import fill_run
from seafloor.testing.metadata_search_suite import MetadataSearchSuite
from seafloor.testing.metadata_store_suite import MetadataStoreSuite
from seafloor.testing.metadata_volume_cases import a_volume
from seafloor.testing.metadata_worlds import (
    SqlStoreUnderTest,
    open_sql_store,
    put_sql_metric,
)
from seafloor.testing.process_facts import connections_to
from sql_statements import every_statement_of

pytestmark = pytest.mark.usefixtures("database_kind")


class TestSqlMetadataStore(MetadataStoreSuite, MetadataSearchSuite, DurableMetadataStoreSuite):
    factory = "seafloor.testing.metadata_worlds:open_sql_store"

    async def make_store(self, folder: Path) -> MetadataStore:
        return await open_sql_store(folder)

    async def put_metric(
        self, store: MetadataStore, workload_id: str, key: str, *values: float
    ) -> None:
        await put_sql_metric(store, workload_id, key, *values)

    def held_open(self, folder: Path) -> list[str]:
        url = parse_url(database_url(folder))
        return super().held_open(folder) if url.port is None else connections_to(url.port)


@pytest.fixture
async def store(tmp_path: Path, database_kind: str) -> AsyncIterator[SqlStoreUnderTest]:
    store = await open_sql_store(tmp_path)
    yield store
    await store.close()


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
        segment = {**ids, **numbers, "id": "3" * 32, "data_bytes": 1, "index_bytes": 1}
        connection.execute(insert(tables["metric_segment"]), [segment])
        of_run = {"workload_id": run_id(1)}
        writer = {**of_run, "writer": "a", "sequence": 1, "sha256": "2" * 64}
        connection.execute(insert(tables["metric_writer"]), [writer])
        blob = {"blob_sha256": "2" * 64, "blob_format": "png", "blob_bytes": 1}
        media = {**ids, **blob, "digest": "4" * 32, "key": "a", "kind": "image", "content": "{}"}
        media = {**media, "step": 0, "time_ms": 0, "place": 0}
        connection.execute(insert(tables["media_record"]), [media])
        series = {**of_run, "key": "a", "kind": "image", "records": 1, "step_min": 0, "step_max": 0}
        connection.execute(insert(tables["media_series"]), [series])
        kept = {**of_run, "sha256": "2" * 64, "format": "png", "size_bytes": 1}
        connection.execute(insert(tables["media_blob"]), [kept])
        intent = {"id": "1" * 32, "owner": run_id(1), "path": "a", "sha256": "2" * 64}
        intent = {**intent, "deletes": 0, "outdated": 0}
        connection.execute(insert(tables["artifact_intent"]), [intent])

        use = {**of_run, "volume_id": attached.id, "read_only": 0}
        connection.execute(insert(tables["volume_use"]), [use])

    attached = await store.volume_create(a_volume(7))
    await store.database.write(fill_the_others)
    await store.trace_tell(trace(2))
    await store.traces_link([trace(2).id], run_id(1))
    await store.model_update("m-" + run_id(1), updated_ns=T0_NS, params={"a": "b"})
    knowing = await store.database.read(tables_that_know)
    unrelated = {"project", "experiment", "experiment_tag", "environment", "lease", "installation"}
    unrelated |= {"metric_removal"}  # knows objects, which outlive their rows
    unrelated |= {"volume", "volume_snapshot"}  # outlive the runs that they were attached to
    unrelated |= {table for table in METADATA.tables if table.startswith(("byte_stream", "trace"))}
    unrelated -= {"trace_run"}
    assert knowing == METADATA.tables.keys() - unrelated
    await store.workload_set_deleted(run_id(1), deleted_ns=T0_NS)
    await store.workload_purge(run_id(1))
    # The model by its own id; the objects of the segment, so that they go too.
    left = {"logged_model", "metric_removal"}
    assert await store.database.read(tables_that_know) == left


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

    @pytest.mark.parametrize("error", [StopIteration(), BaseException()], ids=["stop", "base"])
    async def test_write__raises_what_nobody_should__the_writer_goes_on(
        self, store: SqlStoreUnderTest, error: BaseException
    ) -> None:
        await create(store, run(1))

        def broken(_connection: Connection) -> None:
            raise error

        async with asyncio.timeout(60):
            told = await asyncio.gather(
                store.database.write(broken),
                store.event_append(run_id(1), note()),
                return_exceptions=True,
            )
            assert isinstance(told[0], BaseException)
            await store.event_append(run_id(1), note())

    async def test_write__is_done__nothing_of_it_is_kept(self, store: SqlStoreUnderTest) -> None:
        class Large:
            """What a piece of writing holds."""

        held = Large()
        gone = weakref.ref(held)

        def write(_connection: Connection, held: Large = held) -> None:
            assert held is not None

        await store.database.write(write)
        del held, write
        async with asyncio.timeout(60):
            while gone() is not None:  # the writer's thread is about to let go of it
                await asyncio.sleep(0.01)

    async def test_write__thread_is_refused__the_next_tries_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = Database(f"sqlite:///{tmp_path}/refused.db")
        await database.migrate()

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="start new thread"):
                await database.write(lambda _connection: None)
        assert await database.write(lambda _connection: 7) == 7
        await database.close()

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

    async def test_write__one_after_the_other_beside_readers__by_one_connection(
        self, store: SqlStoreUnderTest
    ) -> None:
        async def used_by(*, refused: bool) -> int:
            used: list[int] = []

            def write(connection: Connection) -> None:
                used.append(id(connection.connection.dbapi_connection))
                if refused:
                    raise KeyError("a bug")

            told = await asyncio.gather(
                store.database.write(write), store.project_list(), return_exceptions=True
            )
            assert isinstance(told[0], KeyError) is refused
            return used[0]

        assert len({await used_by(refused=turn % 3 == 1) for turn in range(9)}) == 1
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
        self, store: SqlStoreUnderTest, database_kind: str
    ) -> None:
        begins = 2 if database_kind == "mariadb" else 1  # statements to begin a write with
        few = await self._counts(store, 1)
        many = await self._counts(store, 40)
        assert few == many
        # BEGIN, how narrow each way is, the ids, the runs; PostgreSQL is told how to plan.
        assert few["search"] == 4 + (database_kind == "postgresql")
        assert few["labels_get"] == 3
        assert few["params_log"] <= 4 + begins
        assert few["tags_change"] <= 4 + begins
        assert max(few.values()) <= 11 + begins, few

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
            "manifest_children": lambda: store.manifest_children(ids[0], "", limit=100),
        }
        counts: dict[str, int] = {}
        for name, call in calls.items():
            with every_statement_of(store.database) as said:
                await call()
            counts[name] = len(said)
        return counts


class TestDatabase:
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

    async def test_fold__every_letter__as_the_model_does(self, store: SqlStoreUnderTest) -> None:
        """Databases know different versions of Unicode, and so do the libraries they run on."""
        letters = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x20000)]))
        parts = [letters[at : at + 1000] for at in range(0, len(letters), 1000)]
        tags = {f"{number:03d}": part for number, part in enumerate(parts)}
        await create(store, run(1), tags=tags)
        folding = select(tag.c.key, folded(tag.c.value)).order_by(tag.c.key)
        rows = await store.database.read(lambda connection: connection.execute(folding).all())
        for (key, answer), part in zip(rows, parts, strict=True):
            assert answer == fold(part), key

    async def test_search__patterns__only_two_signs_are_special(
        self, store: SqlStoreUnderTest
    ) -> None:
        names = ("a\\b", "a/b", "a%b", "axb", "ΟΔΌΣ", "οδός")
        for number, name in enumerate(names, start=1):
            await create(store, run(number, name=name))
        for operator, pattern, expected in (
            (Operator.LIKE, "a\\b", {"a\\b"}),
            (Operator.LIKE, "a\\%", {"a\\b"}),
            (Operator.LIKE, "a/b", {"a/b"}),
            (Operator.LIKE, "a//b", set[str]()),
            (Operator.LIKE, "a_b", {"a\\b", "a/b", "a%b", "axb"}),
            (Operator.LIKE, "%\\", set[str]()),
            (Operator.ILIKE, "ΟΔΌΣ", {"ΟΔΌΣ", "οδός"}),
            (Operator.ILIKE, "%όσ", {"ΟΔΌΣ", "οδός"}),
        ):
            compared = Comparison(Identifier(Subject.ATTRIBUTE, "name"), operator, pattern)
            page = await store.workload_search(WorkloadQuery(filter=compared))
            assert {item.name for item in page.items} == expected, pattern

    async def test_search__numbers__are_compared_exactly(self, store: SqlStoreUnderTest) -> None:
        """Near 2^60 a float is 256 apart from the next."""
        for number in range(1, 4):
            await create(store, run(number, started_ns=(1 << 60) + number))
        for operator, value, expected in (
            (Operator.GT, float(1 << 60), {1, 2, 3}),
            (Operator.GE, (1 << 60) + 2, {2, 3}),
            (Operator.LT, (1 << 60) + 2, {1}),
            (Operator.EQ, float(1 << 60), set[int]()),
            (Operator.NE, 1.5, {1, 2, 3}),
            (Operator.LT, 1e30, {1, 2, 3}),
            (Operator.GT, 1e30, set[int]()),
            (Operator.GE, -1e30, {1, 2, 3}),
        ):
            by = Identifier(Subject.ATTRIBUTE, "started_ns")
            query = WorkloadQuery(filter=Comparison(by, operator, value))
            page = await store.workload_search(query)
            assert {int(item.id, 16) for item in page.items} == expected, (operator, value)

    async def test_search__long_values__are_ordered_and_paged_by_all_of_them(
        self, store: SqlStoreUnderTest
    ) -> None:
        """Some databases sort by the beginnings of texts only."""
        ends = ["b", "a", "ö", "c", "A"]
        for number, end in enumerate(ends, start=1):
            long = "ö" * 7_999 + end
            await create(store, run(number), tags={f"t{key}": long for key in range(15)})
        orders = tuple(Order(Identifier(Subject.TAG, f"t{key}")) for key in range(15))
        query = WorkloadQuery(order=orders, limit=2)
        found: list[str] = []
        while True:
            page = await store.workload_search(query)
            found += [ends[int(item.id, 16) - 1] for item in page.items]
            if page.next is None:
                break
            query = replace(query, cursor=page.next)
        assert found == sorted(ends)

    @pytest.mark.parametrize("comparisons", [1, 20, COMPARISONS_MAX])
    @pytest.mark.parametrize("subject", [Subject.METRIC, Subject.PARAM])
    async def test_search__as_many_comparisons_and_values_as_may_be__says_each_value_once(
        self, store: SqlStoreUnderTest, subject: Subject, comparisons: int
    ) -> None:
        """PostgreSQL takes 65,535 values; making a statement of 40,000 took half a minute."""
        await create(store, run(1), params={f"p{n}": "7" for n in range(COMPARISONS_MAX)})
        await put_sql_metric(store, run_id(1), "m", 7.0)
        numbers = [*range(7, 7 + VALUES_MAX // comparisons)]

        def one(number: int) -> Comparison:
            if subject is Subject.METRIC:
                floats = tuple(float(value) for value in numbers)
                return Comparison(Identifier(subject, "m"), Operator.IN, floats)
            texts = tuple(str(value) for value in numbers)
            return Comparison(Identifier(subject, f"p{number}"), Operator.IN, texts)

        wanted = AllOf(tuple(one(number) for number in range(comparisons)))
        given: list[int] = []

        def listen(_connection: object, _cursor: object, _said: str, values: Any, *_: Any) -> None:
            given.append(len(values or ()))

        event.listen(store.database.engine, "before_cursor_execute", listen)
        page = await store.workload_search(WorkloadQuery(filter=wanted))
        assert [found.id for found in page.items] == [run_id(1)]
        assert VALUES_MAX <= max(given) < VALUES_MAX + 1_000

    async def test_write__what_not_every_database_keeps__is_refused(
        self, store: SqlStoreUnderTest
    ) -> None:
        await create(store, run(1))
        for odd in ("\ud800", "\udc80", "a\0b"):
            with pytest.raises(InvalidValue):
                await store.tags_change(run_id(1), set_={"a": odd})
            with pytest.raises(InvalidValue):
                await store.workload_find(odd)
        with pytest.raises(InvalidValue):
            await store.workload_update(run_id(1), updated_ns=1 << 63)
        assert (await store.labels_get([run_id(1)]))[run_id(1)].tags == {}

    async def test_close__then_a_call__store_unavailable(self, store: SqlStoreUnderTest) -> None:
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.project_list()
        with pytest.raises(StoreUnavailable):
            await store.project_create("new", created_ns=1)
