"""One tf.events file by several servers: at once, and while it is put into the object store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.stream_places import KINDS, run_module, stream_place

from conftest import real_service
from seafloor.domain.errors import Closed, Conflict, NotFound, OutOfOrder, StoreUnavailable
from seafloor.stores.events.protocol import EventFileKey, EventFileStore
from seafloor.stores.events.tfrecord import encode_frame
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.event_file_store_suite import KEY, ONE, bytes_of, send, steps_of
from seafloor.testing.event_records import (
    event,
    event_file_key,
    field_bytes,
    scalar_file,
    version_record,
)
from seafloor.testing.event_worlds import SharedEventWorld
from seafloor.testing.metric_worlds import workload_id
from seafloor.testing.object_fault import Fault, FaultObjectStore, Moment, Operation
from seafloor.testing.stream_worlds import objects_in

OBJECT = f"runs/{ONE}/events/1/events.out"


@pytest.fixture(params=KINDS)
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    with stream_place(tmp_path, request.param, real_service):
        yield tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with stream_place(tmp_path, "sqlite", real_service):
        yield tmp_path


@asynccontextmanager
async def server(
    folder: Path, *, objects: ObjectStore | None = None
) -> AsyncIterator[SharedEventWorld]:
    """What one server has: nothing in common with another but what is below."""
    world = SharedEventWorld(folder, objects=objects)
    await world.open()
    yield world
    await world.close()


async def keys_below(folder: Path, path: str) -> list[str]:
    objects = objects_in(folder)
    page = await objects.list(path)
    await objects.close()
    return [info.key for info in page.objects]


async def send_overlapping(store: EventFileStore, data: bytes, *, piece_bytes: int) -> None:
    """Send a file of which another server may have more, or not yet as much."""
    at = 0
    while at < len(data):
        start = max(0, at - 700)
        try:
            at = await store.append(KEY, offset=start, data=data[start : at + piece_bytes])
        except OutOfOrder as exc:
            at = exc.next_offset or 0


async def test_append__two_servers_send_one_file__each_point_is_there_once(place: Path) -> None:
    data = scalar_file(4_000)
    async with server(place) as one, server(place) as two:
        going = True

        async def seal() -> None:
            while going:
                await one.shared.seal_due()
                await two.shared.seal_due()

        sealing = asyncio.create_task(seal())
        await asyncio.gather(
            send_overlapping(one.store, data, piece_bytes=3_333),
            send_overlapping(two.store, data, piece_bytes=5_001),
            send_overlapping(two.store, data, piece_bytes=777),
        )
        going = False
        await sealing
        for world in (one, two):
            assert await bytes_of(world.store, KEY) == data
            (file,) = await world.store.list(ONE)
            assert (file.records, file.scalars, file.decoded_bytes) == (4_001, 4_000, len(data))
        assert await steps_of(one.metrics) == list(range(4_000))


async def test_append__servers_take_turns_within_records__is_the_same_file(place: Path) -> None:
    data = scalar_file(60)
    async with server(place) as one, server(place) as two:
        for turn, at in enumerate(range(0, len(data), 37)):
            writer, reader = (one, two) if turn % 2 else (two, one)
            await writer.store.append(KEY, offset=at, data=data[at : at + 37])
            (file,) = await reader.store.list(ONE)
            assert file.size_bytes == min(len(data), at + 37)
            assert await steps_of(reader.metrics) == list(range(file.scalars))
        assert await two.store.finish(ONE, 1) == 1
        with pytest.raises(Closed):
            await one.store.append(KEY, offset=len(data), data=b"\0")
        assert await bytes_of(one.store, KEY) == data


async def test_finish__sealer_killed_at_each_call__loses_and_doubles_nothing(folder: Path) -> None:
    data = scalar_file(3_000)
    async with server(folder) as world:
        await send(world.store, KEY, data, pieces_bytes=9_000)
        for at in range(0, len(data), 30_000):  # parts, while it grows
            await world.shared.seal_due()
            assert await bytes_of(world.store, KEY, start=at) == data[at:]
    async with objects_of_fault(folder) as failing, server(folder, objects=failing) as world:
        with pytest.raises(StoreUnavailable):
            await world.store.finish(ONE, 1)
    deaths = 0
    while True:
        child = run_module(
            "seafloor.testing.stream_crash_cases", "events", str(folder), str(deaths + 1)
        )
        out, err = await asyncio.to_thread(child.communicate)
        async with server(folder) as world:
            assert await bytes_of(world.store, KEY) == data
            assert await bytes_of(world.store, KEY, start=777, length=50_000) == data[777:50_777]
            assert await steps_of(world.metrics) == list(range(3_000))
        if out == "done\n":
            break
        assert child.returncode == -9, err
        deaths += 1
    assert deaths >= 3
    async with server(folder) as world:
        assert await world.store.finish(ONE, 1) == 1
    assert await keys_below(folder, f"runs/{ONE}") == [OBJECT]


@asynccontextmanager
async def objects_of_fault(folder: Path) -> AsyncIterator[ObjectStore]:
    """An object store whose first put fails; the world closes it."""
    fault = Fault(StoreUnavailable("planted"), 1, Operation.PUT, Moment.BEFORE)
    yield FaultObjectStore(objects_in(folder), fault)


async def test_finish__several_servers_at_once__is_one_object(place: Path) -> None:
    data = scalar_file(30_000)
    async with server(place) as one, server(place) as two:
        await send(one.store, KEY, data, pieces_bytes=400_000)
        await one.shared.seal_due()

        async def read() -> bytes:
            return await bytes_of(two.store, KEY)

        reading = [asyncio.create_task(read()) for _ in range(4)]
        found = await asyncio.gather(
            one.store.finish(ONE, 1), two.store.finish(ONE, 1), one.shared.seal_due()
        )
        assert found[:2] == [1, 1]
        assert set(await asyncio.gather(*reading)) == {data}
        assert await bytes_of(one.store, KEY) == data
    assert await keys_below(place, f"runs/{ONE}") == [OBJECT]


async def test_finish__a_file__lies_byte_for_byte_under_its_path(folder: Path) -> None:
    data = scalar_file(100)[:-3]
    async with server(folder) as world:
        await world.store.append(event_file_key("train/events.1"), offset=0, data=data)
        await world.store.finish(ONE, 1)
    assert (folder / "objects" / "runs" / ONE / "events/1/train/events.1").read_bytes() == data


async def test_finish__the_object_store_is_away__the_sealer_does_it(folder: Path) -> None:
    data = scalar_file(500)
    async with objects_of_fault(folder) as failing, server(folder, objects=failing) as world:
        await send(world.store, KEY, data, pieces_bytes=4_000)
        with pytest.raises(StoreUnavailable):
            await world.store.finish(ONE, 1)
        with pytest.raises(Closed):
            await world.store.append(KEY, offset=len(data), data=b"\0")
        assert await bytes_of(world.store, KEY) == data
        assert await world.shared.seal_due() > 0
        assert await world.shared.seal_due() == 0
        assert await bytes_of(world.store, KEY) == data
    assert await keys_below(folder, f"runs/{ONE}") == [OBJECT]


async def test_append__a_file_where_a_folder_is__is_a_conflict(place: Path) -> None:
    async with server(place) as one, server(place) as two:
        await one.store.append(event_file_key("a"), offset=0, data=b"x")
        with pytest.raises(Conflict):
            await two.store.append(event_file_key("a/b"), offset=0, data=b"x")
        await two.store.append(event_file_key("c/d"), offset=0, data=b"x")
        with pytest.raises(Conflict):
            await one.store.append(event_file_key("c"), offset=0, data=b"x")
        await one.store.append(event_file_key("a/b", attempt=2), offset=0, data=b"x")
        await one.store.append(event_file_key("ab"), offset=0, data=b"x")
        assert [file.path for file in await two.store.list(ONE)] == ["a", "ab", "c/d", "a/b"]


async def test_append__no_such_workload__leaves_nothing(place: Path) -> None:
    async with server(place) as world:
        key = EventFileKey(workload_id(9), 1, "e")
        with pytest.raises(NotFound):
            await world.store.append(key, offset=0, data=scalar_file(3))
        assert await world.store.list(workload_id(9)) == ()


async def test_append__a_long_record_in_many_pieces__stays_readable(folder: Path) -> None:
    """A record that is not whole yet is never sealed: it is decoded when it is."""
    image = encode_frame(event(1) + field_bytes(9, bytes(300_000)))
    data = version_record() + image + scalar_file(10)
    async with server(folder) as world:
        for at in range(0, len(data), 20_000):
            await world.store.append(KEY, offset=at, data=data[at : at + 20_000])
            await world.shared.seal_due()
        (file,) = await world.store.list(ONE)
        assert (file.scalars, file.problem) == (10, None)
        assert await bytes_of(world.store, KEY) == data
