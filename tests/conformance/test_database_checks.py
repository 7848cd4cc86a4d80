"""What ``seafloor doctor`` finds of a database: on each kind, end to end, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import inspect
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
