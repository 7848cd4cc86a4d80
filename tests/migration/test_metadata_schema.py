"""Migrations of the metadata database: they lead to the tables, once, whoever runs them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Index, event, inspect, text
from tests.databases import KINDS, fresh_database_of
from tests.searchable_runs import fill
from tests.services._service import Service

from seafloor.domain.errors import Conflict, StoreError
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.mariadb import WRITER_TABLE
from seafloor.stores.metadata.sql.migrations import run as migrations
from seafloor.stores.metadata.sql.migrations.run import VERSION_TABLE, revisions
from seafloor.stores.metadata.sql.open import open_backend, parse_url
from seafloor.stores.metadata.sql.tables import METADATA
from seafloor.testing.metadata_records import create, run, run_id
from seafloor.testing.metadata_worlds import SqlStoreUnderTest

_MIGRATE = """
import asyncio, sys
from seafloor.stores.metadata.sql.database import Database

async def main():
    database = Database(sys.argv[1])
    sys.stdin.readline()
    await database.migrate()
    await database.close()
    print("alembic" in sys.modules)

asyncio.run(main())
"""
_READ_VERSION = "SELECT max(version_num) FROM alembic_version"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def empty(kind: str, service: Callable[[str], Service]) -> Iterator[str]:
    """The URL of a database without tables."""
    with fresh_database_of(kind, service, migrated=False) as url:
        yield url


@pytest.fixture
async def database(empty: str) -> AsyncIterator[Database]:
    """A migrated database."""
    database = Database(empty)
    await database.migrate()
    yield database
    await database.close()


def start_migrating(url: str) -> subprocess.Popen[str]:
    """Start a process that migrates when it is told to."""
    return subprocess.Popen(
        [sys.executable, "-c", _MIGRATE, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def schema(connection: Connection) -> dict[str, object]:
    """All that can be read of a schema: columns, keys, constraints, indexes, with their names."""
    found = inspect(connection)
    return {
        table: {
            "columns": [
                (one["name"], repr(one["type"]), one["nullable"], one["default"])
                for one in found.get_columns(table)
            ],
            "primary key": found.get_pk_constraint(table),
            "foreign keys": sorted(
                found.get_foreign_keys(table), key=lambda one: one["name"] or ""
            ),
            "unique": sorted(found.get_unique_constraints(table), key=lambda one: str(one["name"])),
            "indexes": sorted(found.get_indexes(table), key=lambda one: str(one["name"])),
            "options": found.get_table_options(table),
        }
        for table in found.get_table_names()
        if table not in {VERSION_TABLE, WRITER_TABLE}
    }


def fresh_schema(kind: str, service: Callable[[str], Service]) -> dict[str, object]:
    """What the tables of the code would be, made at once."""
    with fresh_database_of(kind, service, migrated=False) as url:
        engine = open_backend(parse_url(url), connections=1).engine
        METADATA.create_all(engine)
        with engine.connect() as connection:
            made = schema(connection)
        engine.dispose()
    return made


async def said(database: Database, statement: str) -> list[tuple[object, ...]]:
    """Ask a database something."""
    return await database.read(
        lambda connection: [tuple(row) for row in connection.execute(text(statement))]
    )


async def test_migrate__empty_database__equals_the_tables(
    database: Database, kind: str, service: Callable[[str], Service]
) -> None:
    migrated = await database.read(schema)
    fresh = await asyncio.to_thread(fresh_schema, kind, service)
    assert migrated.keys() == fresh.keys() == METADATA.tables.keys()
    for table in fresh:
        assert migrated[table] == fresh[table], table


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
async def test_migrate__compared_by_alembic__finds_no_difference(database: Database) -> None:
    def difference(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection,
            opts={
                # MariaDB says of a long text how long it made it; the test above compares those.
                "compare_type": connection.dialect.name != "mariadb",
                "include_name": lambda name, *_: name != WRITER_TABLE,
                # Alembic does not ask which database an index is for.
                "include_object": lambda of, *_: (
                    not isinstance(of, Index) or _is_for(of, connection.dialect.name)
                ),
            },
        )
        return compare_metadata(context, METADATA)

    assert await database.read(difference) == []


def _is_for(index: Index, database: str) -> bool:
    """Whether an index of values is that of a database; any other index is of all."""
    found = re.fullmatch(r"ix_(param|tag|trace_label)_key_value(|_head|_run)", str(index.name))
    if found is None:
        return True
    by_run = "_run" if database == "mariadb" and found[1] != "trace_label" else ""
    return found[2] == ("_head" if database == "postgresql" else by_run)


async def test_migrate__twice__nothing_changes(database: Database, empty: str) -> None:
    await create(SqlStoreUnderTest(database), run(1), params={"a": "1"})
    before = await database.read(schema)
    await database.migrate()
    again = Database(empty)
    await again.migrate()
    store = SqlStoreUnderTest(again)
    assert await again.read(schema) == before
    assert (await store.workload_get(run_id(1))).state is WorkloadState.RUNNING
    assert len(await store.project_list()) == 1
    await again.close()


@pytest.mark.usefixtures("database")
async def test_migrate__up_to_date__alembic_is_not_imported(empty: str) -> None:
    child = await asyncio.to_thread(start_migrating, empty)
    out, err = await asyncio.to_thread(child.communicate, "go\n")
    assert (out, child.returncode) == ("False\n", 0), err


async def test_migrate__several_processes_at_once__all_succeed(empty: str) -> None:
    children = [start_migrating(empty) for _ in range(3)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, err = await asyncio.to_thread(child.communicate)
        assert child.returncode == 0, err
    database = Database(empty)
    assert await said(database, _READ_VERSION) == [(max(revisions()),)]
    assert await said(database, "SELECT name FROM project") == [("default",)]
    assert await said(database, "SELECT id, name FROM experiment") == [(0, "Default")]
    await database.close()


async def test_migrate__newer_database__is_refused_and_untouched(
    database: Database, empty: str
) -> None:
    newer = text("UPDATE alembic_version SET version_num = '9999'")
    await database.write(lambda connection: connection.execute(newer))
    other = Database(empty)
    with pytest.raises(Conflict, match="newer version of Seafloor"):
        await other.migrate()
    await other.close()
    assert await said(database, _READ_VERSION) == [("9999",)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_migrate__fails_half_way__leaves_nothing(empty: str) -> None:
    database = Database(empty)
    # Stands in the way of the last ones.
    await database.write(lambda connection: connection.execute(text("CREATE TABLE task (x INT)")))
    with pytest.raises(Exception, match="refused a statement"):
        await database.migrate()
    assert await database.read(lambda connection: inspect(connection).get_table_names()) == ["task"]
    await database.close()


class Crash(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("kind", ["mariadb"])
async def test_migrate__killed_after_each_step__goes_on_where_it_was(
    empty: str, service: Callable[[str], Service]
) -> None:
    """Each change commits by itself there, so a start begins among any two of them."""

    def crash(_connection, cursor, statement: str, *_) -> None:
        changes = statement.lstrip().startswith(("CREATE", "ALTER")) or (
            statement.startswith("INSERT") and cursor.rowcount > 0
        )
        if changes and "IF NOT EXISTS" not in statement and WRITER_TABLE not in statement:
            raise Crash

    crashes = 0
    while True:
        backend = open_backend(parse_url(empty), connections=1)
        event.listen(backend.engine, "after_cursor_execute", crash)
        try:
            migrations.migrate(backend)
            break
        except Crash:
            crashes += 1
        finally:
            backend.engine.dispose()
        assert crashes < 300
    assert crashes > len(METADATA.tables)
    database = Database(empty)
    fresh = await asyncio.to_thread(fresh_schema, "mariadb", service)
    assert await database.read(schema) == fresh
    assert await said(database, _READ_VERSION) == [(max(revisions()),)]
    assert await said(database, "SELECT id, name FROM experiment") == [(0, "Default")]
    await database.close()


async def test_migrate__the_old_version_goes_on_writing__no_write_fails(
    empty: str, monkeypatch: pytest.MonkeyPatch, kind: str, service: Callable[[str], Service]
) -> None:
    """What the first version said, while the tables grow under it."""
    with monkeypatch.context() as only_the_first:
        first = {key: value for key, value in revisions().items() if key == "0001"}
        only_the_first.setattr(migrations, "revisions", lambda: first)
        old = Database(empty)
        await old.migrate()
    user = "`user`" if kind == "mariadb" else '"user"'
    await old.write(lambda connection: connection.execute(text(_OLD_WORKLOAD.format(user=user))))
    stopped, written = asyncio.Event(), 0

    async def go_on_writing() -> None:
        nonlocal written
        while not stopped.is_set() or written < 20:
            number = written + 1
            row = {"number": number}
            await old.write(lambda c, row=row: c.execute(text(_OLD_ATTEMPT), row))
            assert (await said(old, "SELECT count(*) FROM attempt")) == [(number,)]
            written = number

    writing = asyncio.create_task(go_on_writing())
    new = Database(empty)
    await new.migrate()
    stopped.set()
    await writing
    assert await said(new, "SELECT count(*), max(number) FROM attempt") == [(written, written)]
    assert await new.read(schema) == await asyncio.to_thread(fresh_schema, kind, service)
    await old.close()
    await new.close()


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_migrate__rows_are_put_in_order__all_are_kept_and_nothing_is_left_beside(
    empty: str, monkeypatch: pytest.MonkeyPatch, kind: str, service: Callable[[str], Service]
) -> None:
    with monkeypatch.context() as only_before:
        before = {key: value for key, value in revisions().items() if key < _IN_ORDER}
        only_before.setattr(migrations, "revisions", lambda: before)
        old = Database(empty)
        await old.migrate()
    await old.write(lambda connection: fill(connection, range(1, 50)))
    tables = ("param", "tag", "metric_summary")
    kept = [set(await said(old, f"SELECT * FROM {table}")) for table in tables]  # noqa: S608  # ours
    await old.migrate()
    assert [set(await said(old, f"SELECT * FROM {table}")) for table in tables] == kept  # noqa: S608  # ours
    assert [len(rows) for rows in kept] == [490, 490, 490]
    assert await old.read(schema) == await asyncio.to_thread(fresh_schema, kind, service)
    assert await said(old, "PRAGMA foreign_key_check") == []
    with pytest.raises(StoreError):  # its rows refer to workloads as before
        await old.write(lambda c: c.execute(text("INSERT INTO tag VALUES ('none', 'key', '')")))
    await old.close()


_IN_ORDER = "0011"
"""Which revision does that."""
_OLD_WORKLOAD = (
    "INSERT INTO workload (id, kind, project, name, {user}, state, origin, spec, created_ns, "
    "updated_ns, attempt) VALUES ('00', 'run', 'default', 'n', 'u', 'running', 'launched', '{{}}', "
    "1, 1, 1)"
)
_OLD_ATTEMPT = (
    "INSERT INTO attempt (workload_id, number, state, created_ns, receipts) "
    "VALUES ('00', :number, 'running', 1, '{}')"
)


def test_revisions__in_order__without_gap() -> None:
    known = list(revisions())
    assert known == [f"{number:04d}" for number in range(1, len(known) + 1)]
