"""The media store over database and object store: the suite, and what is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, select

from seafloor.domain.errors import InvalidValue, NotFound, StoreUnavailable
from seafloor.domain.media import MEDIA_PER_APPEND_MAX
from seafloor.stores.media.protocol import MediaQuery, MediaReceipt
from seafloor.stores.media.store import media_folder
from seafloor.stores.metadata.sql.tables import media_blob, media_record, media_series
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing.media_store_suite import (
    ONE,
    DurableMediaStoreSuite,
    all_of,
    blob_of,
    bytes_of,
    image,
    name_of,
    put,
    streamed,
    text,
)
from seafloor.testing.media_worlds import MediaWorld, ObjectMediaWorld
from seafloor.testing.object_fault import Fault, FaultObjectStore, Moment, Operation


@pytest.mark.usefixtures("database_kind")
class TestObjectMediaStore(DurableMediaStoreSuite):
    def make_world(self, folder: Path) -> MediaWorld:
        return ObjectMediaWorld(folder)


@pytest.fixture
async def world(tmp_path: Path, database_kind: str) -> AsyncIterator[ObjectMediaWorld]:
    world = ObjectMediaWorld(tmp_path)
    await world.open()
    yield world
    await world.close()


@pytest.fixture
def objects(tmp_path: Path) -> FaultObjectStore:
    return FaultObjectStore(LocalObjectStore(tmp_path / "objects"))


@pytest.fixture
async def faulty(tmp_path: Path, objects: FaultObjectStore) -> AsyncIterator[ObjectMediaWorld]:
    world = ObjectMediaWorld(tmp_path, objects=objects)
    await world.open()
    yield world
    await world.close()


@pytest.mark.parametrize("moment", Moment)
async def test_blob__its_object_fails__no_record_refers_to_it_until_it_is_sent_again(
    faulty: ObjectMediaWorld, objects: FaultObjectStore, moment: Moment
) -> None:
    content = b"picture" * 1_000
    away = Fault(StoreUnavailable("away"), operation=Operation.PUT, moment=moment)
    objects.plant(away)
    with pytest.raises(StoreUnavailable):
        await faulty.store.blob_put(ONE, name_of(content), streamed(content))
    with pytest.raises(InvalidValue):
        await faulty.store.append(ONE, [image(1, blob_of(content))])
    with pytest.raises(NotFound):
        await bytes_of(faulty.store, name_of(content))
    blob = await put(faulty.store, content)
    assert await faulty.store.append(ONE, [image(1, blob)]) == MediaReceipt(1, 0)
    assert await bytes_of(faulty.store, blob.name) == content


async def test_delete__the_folder_fails__goes_on_where_it_stopped(
    faulty: ObjectMediaWorld, objects: FaultObjectStore
) -> None:
    blob = await put(faulty.store, b"twelve bytes")
    await faulty.store.append(ONE, [image(1, blob)])
    await faulty.workload_set_deleted(1)
    away = Fault(StoreUnavailable("away"), operation=Operation.DELETE_FOLDER)
    objects.plant(away)
    with pytest.raises(StoreUnavailable):
        await faulty.store.delete(ONE)
    assert await all_of(faulty.store, MediaQuery("sample")) == []
    assert await faulty.store.delete(ONE) == 12
    assert (await objects.list(media_folder(ONE))).objects == ()


async def test_purge__a_workload__leaves_no_row(world: ObjectMediaWorld) -> None:
    blob = await put(world.store, b"bytes")
    await world.store.append(ONE, [image(1, blob), text(1)])
    await world.below.workload_delete(1)

    def count(connection: Connection) -> list[int]:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (media_record, media_series, media_blob)
        ]

    assert await world.below.database.read(count) == [0, 0, 0]


async def test_records__deep_in_a_series__no_row_before_the_page_is_looked_at(
    faulty: ObjectMediaWorld,
) -> None:
    """SQLite tells a plan that depends on no statistics."""
    await faulty.store.append(ONE, [text(step) for step in range(MEDIA_PER_APPEND_MAX)])
    cursor = (await faulty.store.records(ONE, MediaQuery("note", limit=500))).next
    asked: list[tuple[str, Any]] = []
    engine = faulty.below.database.engine

    def listen(
        _connection: object, _cursor: object, statement: str, given: Any, *_: object
    ) -> None:
        if "FROM media_record" in statement:
            asked.append((statement, given))

    event.listen(engine, "before_cursor_execute", listen)
    page = await faulty.store.records(ONE, MediaQuery("note", limit=500, cursor=cursor))
    event.remove(engine, "before_cursor_execute", listen)
    assert [made.step for made in page.records] == [*range(500, 1_000)]
    ((statement, given),) = asked
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given).all()
    assert len(plan) == 1, plan
    said = plan[0][3]
    assert said.startswith("SEARCH media_record USING INDEX ix_media_record")
    assert said.endswith("(workload_id=? AND key=? AND step>?)")
