"""Migrations of the metadata database: they lead to the tables, once, whoever runs them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from seafloor.domain.errors import Conflict
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.migrations.run import VERSION_TABLE, revisions
from seafloor.stores.metadata.sql.sqlite import make_engine
from seafloor.stores.metadata.sql.tables import METADATA
from seafloor.testing.metadata_records import create, run, run_id
from seafloor.testing.metadata_worlds import open_sql_store

READ_VERSION = "SELECT version_num FROM alembic_version"
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


def url_in(folder: Path) -> str:
    """The database of a folder."""
    return f"sqlite:///{folder / 'seafloor.db'}"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated database."""
    database = Database(url_in(tmp_path))
    await database.migrate()
    yield database
    await database.close()


def start_migrating(folder: Path) -> subprocess.Popen[str]:
    """Start a process that migrates when it is told to."""
    return subprocess.Popen(
        [sys.executable, "-c", _MIGRATE, url_in(folder)],
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
                (one["name"], str(one["type"]), one["nullable"], one["default"])
                for one in found.get_columns(table)
            ],
            "primary key": found.get_pk_constraint(table),
            "foreign keys": sorted(found.get_foreign_keys(table), key=lambda one: one["name"]),
            "unique": sorted(found.get_unique_constraints(table), key=lambda one: one["name"]),
            "indexes": sorted(found.get_indexes(table), key=lambda one: one["name"]),
        }
        for table in found.get_table_names()
        if table != VERSION_TABLE
    }


async def test_migrate__empty_database__equals_the_tables(
    database: Database, tmp_path: Path
) -> None:
    migrated = await database.read(schema)
    engine = make_engine(f"sqlite:///{tmp_path / 'fresh.db'}", connections=1)
    METADATA.create_all(engine)
    with engine.connect() as connection:
        fresh = schema(connection)
    engine.dispose()
    assert migrated.keys() == fresh.keys() == METADATA.tables.keys()
    for table in fresh:
        assert migrated[table] == fresh[table], table


async def test_migrate__compared_by_alembic__finds_no_difference(database: Database) -> None:
    def difference(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, METADATA)

    assert await database.read(difference) == []


async def test_migrate__twice__nothing_changes(tmp_path: Path) -> None:
    store = await open_sql_store(tmp_path)
    await create(store, run(1), params={"a": "1"})
    before = await store.database.read(schema)
    await store.database.migrate()
    await store.close()
    store = await open_sql_store(tmp_path)
    assert await store.database.read(schema) == before
    assert (await store.workload_get(run_id(1))).state is WorkloadState.RUNNING
    assert len(await store.project_list()) == 1
    await store.close()


async def test_migrate__up_to_date__alembic_is_not_imported(
    database: Database, tmp_path: Path
) -> None:
    child = await asyncio.to_thread(start_migrating, tmp_path)
    out, err = await asyncio.to_thread(child.communicate, "go\n")
    assert (out, child.returncode) == ("False\n", 0), err


async def test_migrate__several_processes_at_once__all_succeed(tmp_path: Path) -> None:
    children = [start_migrating(tmp_path) for _ in range(3)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, err = await asyncio.to_thread(child.communicate)
        assert child.returncode == 0, err
    with closing(sqlite3.connect(tmp_path / "seafloor.db")) as connection:
        rows = connection.execute(READ_VERSION).fetchall()
        assert rows == [(max(revisions()),)]
        assert connection.execute("SELECT name FROM project").fetchall() == [("default",)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_migrate__newer_database__is_refused_and_untouched(tmp_path: Path) -> None:
    database = Database(url_in(tmp_path))
    await database.migrate()
    await database.close()
    with closing(sqlite3.connect(tmp_path / "seafloor.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    database = Database(url_in(tmp_path))
    with pytest.raises(Conflict, match="newer version of Seafloor"):
        await database.migrate()
    await database.close()
    with closing(sqlite3.connect(tmp_path / "seafloor.db")) as connection:
        rows = connection.execute(READ_VERSION).fetchall()
    assert rows == [("9999",)]


async def test_migrate__fails_half_way__leaves_nothing(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "seafloor.db")) as connection, connection:
        connection.execute("CREATE TABLE task (x INTEGER)")  # stands in the way of the last ones
    database = Database(url_in(tmp_path))
    with pytest.raises(Exception, match="refused a statement"):
        await database.migrate()
    await database.close()
    with closing(sqlite3.connect(tmp_path / "seafloor.db")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert names == [("task",)]


def test_revisions__in_order__without_gap() -> None:
    known = list(revisions())
    assert known == [f"{number:04d}" for number in range(1, len(known) + 1)]
