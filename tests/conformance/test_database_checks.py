"""What ``seafloor doctor`` finds of a database: on each kind, end to end, and nothing is left."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url
from tests.databases import KINDS, fresh_database_of
from tests.services._service import Service

from seafloor.app import store_checks
from seafloor.app.store_checks import check_metadata
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.trial import Buffers, DatabaseTrial


@pytest.mark.parametrize("kind", KINDS)
async def test_check__database_that_works__is_told_of_and_left_as_it_was(
    kind: str, service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    # How far away it seems is said of a busy machine, not of the database.
    monkeypatch.setattr(store_checks, "ROUND_TRIP_WARN_MS", 10_000.0)
    with fresh_database_of(kind, service) as url:
        database = Database(url)
        before = inspect(database.engine).get_table_names()
        found = {
            check.name.removeprefix("metadata: "): check for check in await check_metadata(database)
        }
        after = inspect(database.engine).get_table_names()
        await database.close()
    assert {check.state for check in found.values()} == {"ok"}
    assert "Seafloor's tables are there" in found["reach"].said
    assert kind in found["reach"].said
    assert ("memory" in found) is (kind == "mariadb")
    assert sorted(after) == sorted(before)


async def test_check__database_is_far_away__says_how_far(
    service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = DatabaseTrial("PostgreSQL 14", 50.0, 0.0, True)
    monkeypatch.setattr(store_checks, "try_database", lambda _: trial)
    with fresh_database_of("sqlite", service) as url:
        database = Database(url)
        found = {check.name: check for check in await check_metadata(database)}
        await database.close()
    assert found["metadata: distance"].state == "warn"
    assert found["metadata: distance"].said == "50.0 ms for a round trip"


async def test_check__tables_larger_than_the_memory_for_them__says_which_setting(
    service: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = DatabaseTrial("mariadb 10.11", 0.1, 0.0, True, Buffers(700 << 20, 128 << 20))
    monkeypatch.setattr(store_checks, "try_database", lambda _: trial)
    with fresh_database_of("sqlite", service) as url:
        database = Database(url)
        found = (await check_metadata(database))[-1]
        await database.close()
    assert (found.name, found.state) == ("metadata: memory", "warn")
    assert "128 MiB for tables of 700 MiB" in found.said
    assert "innodb_buffer_pool_size" in found.fix


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ("alter role {role} connection limit 0", "metadata: reach", "too many connections"),
        ("alter role {role} nologin", "metadata: reach", "not permitted to log in"),
        ("alter role {role} set default_transaction_read_only = on", "metadata: write", "writes"),
        ("revoke all on all tables in schema public from {role}", "metadata: write", "owner"),
    ],
)
async def test_check__database_refuses__says_why(
    service: Callable[[str], Service], change: str, name: str, said: str
) -> None:
    """What a backup brought back is often another user's: a table of one's own says nothing."""
    role = f"checked_{uuid.uuid4().hex[:8]}"
    with fresh_database_of("postgresql", service) as url:
        owner = make_url(url)
        engine = create_engine(
            owner.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            for statement in (
                "create role {role} login",
                "grant all on schema public to {role}",
                "grant all on all tables in schema public to {role}",
                change,
            ):
                connection.execute(text(statement.format(role=role)))
            database = Database(owner.set(username=role).render_as_string(hide_password=False))
            found = (await check_metadata(database))[-1]
            await database.close()
            connection.execute(text(f"drop owned by {role}"))
            connection.execute(text(f"drop role {role}"))
        engine.dispose()
    assert (found.name, found.state) == (name, "fail")
    assert said in found.said
