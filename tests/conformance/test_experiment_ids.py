"""A copy of a database gives no id of an experiment that the original gave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Connection, insert
from tests.databases import KINDS, fresh_database_of
from tests.services._service import Service

from seafloor.stores.metadata.sql.copy import begin_copy, end_copy
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.experiment_ids import note_gone
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metadata.sql.tables import experiment, installation, project
from seafloor.testing.metadata_records import T0_NS
from seafloor.testing.metadata_records import experiment as an_experiment


@pytest.fixture(params=KINDS)
async def database(
    request: pytest.FixtureRequest, service: Callable[[str], Service]
) -> AsyncIterator[Database]:
    with fresh_database_of(request.param, service) as url:
        database = Database(url)
        yield database
        await database.close()


@pytest.mark.parametrize("there", [0, 3, 900])
async def test_end_copy__the_newest_experiment_is_gone__ids_go_on_behind_it(
    database: Database, there: int
) -> None:
    """Whether experiments that are there have smaller ids or greater ones."""
    await begin_copy(database, b"a copy")

    def copied(connection: Connection) -> None:
        connection.execute(insert(project).values(name="default", created_ns=T0_NS))
        times = {"created_ns": T0_NS, "updated_ns": T0_NS}
        connection.execute(
            insert(experiment).values(id=there, project="default", name="a", **times)
        )
        connection.execute(insert(installation).values(name="experiment_id_gone", content=b"41"))

    await database.write(copied)
    await end_copy(database)
    store = SqlMetadataStore(database)
    made = [await store.experiment_create(an_experiment(f"e{number}")) for number in range(2)]
    assert [one.id for one in made] == [max(there, 41) + 1, max(there, 41) + 2]


async def test_note_gone__twice__the_greatest_is_remembered(database: Database) -> None:
    store = SqlMetadataStore(database)
    for name in ("first", "second"):
        await store.project_create(name, created_ns=T0_NS)
        await store.experiment_create(an_experiment("a", project=name))

    def note(connection: Connection) -> list[bytes]:
        for name in ("second", "first", "default"):
            note_gone(connection, name)
        return list(connection.execute(installation.select()).scalars("content"))

    assert b"2" in await database.write(note)
