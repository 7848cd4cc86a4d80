"""What may befall a database server: killed connections, restarts, refusals, paused writers."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from alembic import op
from sqlalchemy import Connection, create_engine, event, insert, select, text
from sqlalchemy.engine import make_url
from tests.databases import KINDS, fresh_database_of
from tests.services import _mariadb, _postgresql
from tests.services import postgresql as newest_postgresql
from tests.services._mariadb import MariaDB
from tests.services._postgresql import PostgreSQL
from tests.services._service import Missing, Service

from seafloor.domain.errors import Conflict, StoreError, StoreUnavailable
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.sql import mariadb, prepared
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.migrations.run import revisions
from seafloor.stores.metadata.sql.postgresql import WRITER_LOCK
from seafloor.stores.metadata.sql.postgresql_connection import PatientConnection
from seafloor.stores.metadata.sql.tables import project
from seafloor.testing.metadata_records import (
    T0_NS,
    create,
    entering,
    environment,
    launched,
    note,
    run,
    run_id,
)
from seafloor.testing.metadata_run_cases import everything_of, fill_run
from seafloor.testing.metadata_worlds import SqlStoreUnderTest

SERVERS = ("postgresql", "mariadb")
_DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}


@pytest.fixture(params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def url(kind: str, service: Callable[[str], Service]) -> Iterator[str]:
    """The URL of a fresh database."""
    with fresh_database_of(kind, service) as url:
        yield url


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStoreUnderTest]:
    store = SqlStoreUnderTest(Database(url))
    yield store
    await store.close()


@contextmanager
def beside(url: str) -> Iterator[Connection]:
    """A connection past the store, which commits each statement."""
    parsed = make_url(url)
    engine = create_engine(
        parsed.set(drivername=_DRIVERS[parsed.drivername]), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def end_connection(url: str, connection: Connection) -> None:
    """End another's connection, and return when it is gone."""
    driver = connection.connection.dbapi_connection
    with beside(url) as other:
        if url.startswith("postgresql"):
            pid = driver.info.backend_pid  # pyright: ignore
            other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        else:
            other.execute(text(f"KILL CONNECTION {driver.thread_id()}"))  # pyright: ignore


@contextmanager
def connection_ended_at(database: Database, url: str, statement: int) -> Iterator[list[str]]:
    """Have the connection end just before the n-th statement that is said; gives all that are."""
    said: list[str] = []

    def listen(connection: Connection, _cursor, one: str, *_) -> None:
        said.append(one)
        if len(said) == statement:
            end_connection(url, connection)

    class Heard(prepared._Driver):  # pyright: ignore[reportPrivateUsage]  # goes past the events
        def __enter__(self) -> Any:
            listen(self._connection, None, self._text)
            return super().__enter__()

    event.listen(database.engine, "before_cursor_execute", listen)
    try:
        with patch.object(prepared, "_Driver", Heard):
            yield said
    finally:
        event.remove(database.engine, "before_cursor_execute", listen)


async def test_write__its_connection_ends_at_any_statement__once_or_not_at_all(
    store: SqlStoreUnderTest, url: str
) -> None:
    await create(store, run(1))
    statement = 0
    for statement in itertools.count(1):
        with connection_ended_at(store.database, url, statement) as said:
            told = await asyncio.gather(
                store.event_append(run_id(1), note(f"one {statement}")),
                store.event_append(run_id(1), note(f"two {statement}")),
                return_exceptions=True,
            )
        found = [one.message for one in await store.event_list(run_id(1), limit=10_000)]
        for name, one in zip(("one", "two"), told, strict=True):
            times = found.count(f"{name} {statement}")
            if isinstance(one, BaseException):
                # Only where nobody can know: the answer to COMMIT was lost.
                assert isinstance(one, StoreUnavailable), one
                assert said[statement - 1] == "COMMIT"
                assert one.retry_after_s
                assert times <= 1
            else:
                assert times == 1
        if len(said) < statement:
            break
    assert statement > 8


async def test_read__its_connection_ends_at_any_statement__is_read_again(
    store: SqlStoreUnderTest, url: str
) -> None:
    await create(store, run(1), params={"a": "1"})
    statement = 0
    for statement in itertools.count(1):
        with connection_ended_at(store.database, url, statement) as said:
            labels = await store.labels_get([run_id(1)])
        assert labels[run_id(1)].params == {"a": "1"}
        if len(said) < statement:
            break
    assert statement > 3  # what begins it, params, tags: each was the last one once


async def test_write__undone_by_the_database__is_run_again(
    store: SqlStoreUnderTest, kind: str
) -> None:
    """A deadlock, as the server tells of one."""
    deadlock = {
        "postgresql": "DO $$ BEGIN RAISE 'chosen' USING ERRCODE = '40P01'; END $$",
        "mariadb": "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'chosen'",
    }[kind]
    runs = 0

    def write(connection: Connection) -> int:
        nonlocal runs
        runs += 1
        name = "again" if runs > 0 else "never"
        connection.execute(insert(project), {"name": name, "created_ns": runs})
        if runs < 3:
            connection.exec_driver_sql(deadlock)
        return runs

    others = [store.project_create(f"other-{n}", created_ns=1) for n in range(3)]
    assert (await asyncio.gather(store.database.write(write), *others))[0] == 3
    assert (await store.project_get("again")).created_ns == 3
    assert len(await store.project_list()) == 5
    runs = -100
    with pytest.raises(StoreUnavailable):
        await store.database.write(write)
    assert len(await store.project_list()) == 5


async def test_write__another_holds_the_lock__unavailable_and_reads_go_on(
    url: str, kind: str
) -> None:
    database = Database(url)
    store = SqlStoreUnderTest(database)
    shorter = {
        "postgresql": "SET lock_timeout = '300ms'",
        "mariadb": "SET innodb_lock_wait_timeout = 1",
    }[kind]
    take = {
        "postgresql": f"BEGIN; SELECT pg_advisory_xact_lock({WRITER_LOCK})",
        "mariadb": "SELECT * FROM seafloor_writer FOR UPDATE",
    }[kind]

    def shorten(connection: Any, _) -> None:
        with connection.cursor() as cursor:
            cursor.execute(shorter)

    event.listen(database.engine, "connect", shorten)
    await create(store, run(1))
    with beside(url) as other:
        if kind == "mariadb":
            other.exec_driver_sql("START TRANSACTION")
        other.exec_driver_sql(take)
        with pytest.raises(StoreUnavailable, match="Other writers"):
            await store.event_append(run_id(1), note())
        assert len(await store.event_list(run_id(1))) == 1
        other.exec_driver_sql("ROLLBACK")
    await store.event_append(run_id(1), note())
    await store.close()


async def test_write__the_database_is_read_only__unavailable(
    url: str, kind: str, service: Callable[[str], Service]
) -> None:
    database = Database(url)
    name = make_url(url).database
    if kind == "postgresql":
        with beside(url) as other:
            other.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    else:

        def make_read_only(connection, _) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")

        event.listen(database.engine, "connect", make_read_only)
    store = SqlStoreUnderTest(database)
    with pytest.raises(StoreUnavailable, match="no writes at present"):
        await store.project_create("new", created_ns=1)
    assert [found.name for found in await store.project_list()] == ["default"]
    await store.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_two_servers__the_same_rows_at_once__nothing_is_lost_or_doubled(url: str) -> None:
    one, two = (SqlStoreUnderTest(Database(url)) for _ in range(2))
    await one.project_list()
    for number in range(1, 6):
        await create(one, launched(number))
        both = (one, two)
        told = await asyncio.gather(
            *(
                store.params_log(run_id(number), {"shared": str(which), f"own{which}": "x"})
                for which, store in enumerate(both)
            ),
            return_exceptions=True,
        )
        assert {type(failed) for failed in told} == {type(None), Conflict}
        winner = next(which for which, failed in enumerate(told) if failed is None)
        params = (await one.labels_get([run_id(number)]))[run_id(number)].params
        assert params == {"shared": str(winner), f"own{winner}": "x"}
        failing = entering(WorkloadState.FAILED, WorkloadState.QUEUED)
        told = await asyncio.gather(
            *(store.workload_transition(run_id(number), failing) for store in both * 2),
            return_exceptions=True,
        )
        assert sum(not isinstance(failed, BaseException) for failed in told) == 1
        told = await asyncio.gather(
            *(
                store.attempt_create(run_id(number), created_ns=T0_NS, event=note())
                for store in both * 2
            ),
            return_exceptions=True,
        )
        assert sum(not isinstance(failed, BaseException) for failed in told) == 1
        assert [found.number for found in await two.attempt_list(run_id(number))] == [1, 2]
    made = await asyncio.gather(
        *(
            (one, two)[number % 2].environment_create(environment(digest=f"{number:064x}"))
            for number in range(12)
        )
    )
    assert sorted(found.version for found in made) == list(range(1, 13))
    told = await asyncio.gather(
        *((one, two)[number % 2].event_append(run_id(1), note()) for number in range(40))
    )
    sequences = [found.sequence for found in await one.event_list(run_id(1))]
    assert sequences == list(range(1, len(sequences) + 1))
    assert {found.sequence for found in told} <= set(sequences)
    await one.close()
    await two.close()


async def test_paused__while_it_writes__others_go_on_and_it_writes_all_or_nothing(
    store: SqlStoreUnderTest, url: str
) -> None:
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("paused_writer.py")), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    try:
        assert await asyncio.to_thread(child.stdout.readline) == "holding\n"
        child.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(60):  # who waits for the lock for 10 s is told that it is taken
            for number in range(3):
                await store.project_create(f"other-{number}", created_ns=1)
        names = {found.name for found in await store.project_list()}
        assert names == {"default", "other-0", "other-1", "other-2"}
        child.send_signal(signal.SIGCONT)
        said, _ = await asyncio.to_thread(child.communicate, "go on\n", 60)
    finally:
        child.kill()
        child.wait()
    names = {found.name for found in await store.project_list()} - names
    assert said.startswith(("written", "unavailable"))
    assert names == ({"paused-1", "paused-2"} if said == "written\n" else set())


@contextmanager
def own_server(kind: str) -> Iterator[PostgreSQL | MariaDB]:
    """A server that a test may end."""
    try:
        if kind == "postgresql":
            with _postgresql.postgresql(newest_postgresql.programs()) as server:
                yield server
        else:
            with _mariadb.mariadb() as server:
                yield server
    except Missing as error:
        if "CI" in os.environ:
            raise AssertionError(f"CI needs {kind}: {error}") from error
        pytest.skip(str(error))


@pytest.mark.slow
async def test_restart__under_load__nothing_acknowledged_is_lost_nor_anything_doubled(
    kind: str,
) -> None:
    with own_server(kind) as server:
        stores = [SqlStoreUnderTest(Database(server.url)) for _ in range(2)]
        await stores[0].database.migrate()
        await create(stores[0], run(1))
        tried, acknowledged, refused, stopped = itertools.count(1), set[str](), 0, False

        async def work(store: SqlStoreUnderTest) -> None:
            nonlocal refused
            while not stopped:
                name = f"event {next(tried)}"
                try:
                    await store.event_append(run_id(1), note(name))
                    acknowledged.add(name)
                    await store.workload_get(run_id(1))
                except StoreUnavailable:
                    refused += 1
                    await asyncio.sleep(0.02)

        workers = [asyncio.ensure_future(work(store)) for store in stores * 4]

        async def until_more(than: int) -> None:
            while len(acknowledged) < than:
                await asyncio.sleep(0.01)
                for worker in workers:
                    assert not worker.done(), worker.exception()

        async with asyncio.timeout(240):
            for _ in range(3):
                await until_more(len(acknowledged) + 100)
                await asyncio.to_thread(server.crash)
                await asyncio.to_thread(server.start)
            await until_more(len(acknowledged) + 100)
        stopped = True
        await asyncio.gather(*workers)
        found = await stores[0].event_list(run_id(1), limit=1_000_000)
        assert [one.sequence for one in found] == list(range(1, len(found) + 1))
        places: dict[str, list[int]] = {}
        for one in found:
            places.setdefault(one.message, []).append(one.sequence)
        assert acknowledged <= places.keys()
        assert {name: there for name, there in places.items() if len(there) > 1} == {}
        assert refused
        for store in stores:
            await store.close()


async def test_away__then_back__is_unavailable_then_answers(kind: str) -> None:
    with own_server(kind) as server:
        store = SqlStoreUnderTest(Database(server.url))
        await store.database.migrate()
        await store.project_create("before", created_ns=1)
        server.crash()
        for call in (store.project_list, lambda: store.project_create("no", created_ns=1)):
            with pytest.raises(StoreUnavailable) as told:
                await call()
            assert told.value.retry_after_s
        server.start()
        # The very next calls succeed: connections of before are not used again.
        await store.project_create("after", created_ns=1)
        names = [found.name for found in await store.project_list()]
        assert names == ["after", "before", "default"]
        await store.close()


_SILENT = {"postgresql": "SELECT pg_sleep(5)", "mariadb": "SELECT SLEEP(5)"}


async def test_silent__for_longer_than_is_waited__unavailable_and_goes_on(
    kind: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is whole and nothing comes, as of a database whose machine stands still."""
    monkeypatch.setattr(PatientConnection, "answer_timeout_s", 0.5)
    monkeypatch.setattr(mariadb, "ANSWER_TIMEOUT_S", 1)
    store = SqlStoreUnderTest(Database(url))

    def wait(connection: Connection) -> None:
        connection.execute(text(_SILENT[kind]))

    async with asyncio.timeout(60):
        for call in (store.database.read, store.database.write):
            with pytest.raises(StoreUnavailable):
                await call(wait)
    monkeypatch.undo()  # the server may hold the writer's lock until it finds out that we left
    await store.project_create("after", created_ns=1)
    assert [found.name for found in await store.project_list()] == ["after", "default"]
    await store.close()


async def test_silent__while_it_changes_a_large_table__is_waited_for(
    kind: str, service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientConnection, "answer_timeout_s", 0.5)
    monkeypatch.setattr(mariadb, "ANSWER_TIMEOUT_S", 1)
    first = importlib.import_module(revisions()["0001"])
    make_tables = first.upgrade

    def long_upgrade() -> None:
        op.execute(_SILENT[kind])
        make_tables()

    monkeypatch.setattr(first, "upgrade", long_upgrade)
    with fresh_database_of(kind, service, migrated=False) as url:
        store = SqlStoreUnderTest(Database(url))
        await store.database.migrate()
        assert [found.name for found in await store.project_list()] == ["default"]
        with pytest.raises(StoreUnavailable):  # its connection is as impatient as before
            await store.database.read(lambda connection: connection.execute(text(_SILENT[kind])))
        await store.close()


async def test_silent__while_it_still_says_something__is_waited_for(
    service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long answer that comes piece by piece is none of a database that hangs."""
    monkeypatch.setattr(PatientConnection, "answer_timeout_s", 0.5)
    with fresh_database_of("postgresql", service) as url:
        database = Database(url)
        rows = text("SELECT repeat('x', 100000), pg_sleep(0.1) FROM generate_series(1, 12)")
        found = await database.read(lambda connection: connection.execute(rows).all())
        assert len(found) == 12
        await database.close()


async def test_password__of_whatever_url__is_never_shown(
    kind: str, service: Callable[[str], Service], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    good = make_url(service(kind).url)
    for url in (
        good.set(port=1, password="geheim#1"),
        good.set(database="nowhere", password="geheim#1"),
        good.set(username="nobody", password="geheim#1"),
    ):
        database = Database(url.render_as_string(hide_password=False))
        with pytest.raises(StoreError) as told:
            await database.read(lambda connection: connection.execute(select(project)).all())
        shown = f"{database!r} {database.shown_url} {told.value.message} {told.value.detail}"
        assert "geheim" not in shown
        await database.close()
    for odd in ("postgres//u:geheim@x", "postgresql://u:geheim@x:port/d", "oracle://u:geheim@x/d"):
        with pytest.raises(Exception) as refused:  # noqa: PT011  # one of two, both of ours
            Database(odd)
        assert "geheim" not in f"{refused.value!r} {refused.value.__cause__!r}"
    assert "geheim" not in caplog.text


async def test_postgresql15__a_run_and_all_of_it__is_kept(
    service: Callable[[str], Service],
) -> None:
    with fresh_database_of("postgresql15", service) as url:
        store = SqlStoreUnderTest(Database(url))
        await fill_run(store, 1)
        kept = await everything_of(store, 1)
        await store.close()
        store = SqlStoreUnderTest(Database(url))
        assert await everything_of(store, 1) == kept
        await store.close()
