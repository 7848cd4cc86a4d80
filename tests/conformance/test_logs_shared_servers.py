"""One log by several servers: at once, one after the other's death, and while it is sealed."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import zstandard
from sqlalchemy import Connection, event, func, select
from tests.stream_places import KINDS, run_module, stream_place

from conftest import real_service
from seafloor.domain.errors import Closed, NotFound, StoreCorrupt, StoreUnavailable
from seafloor.stores.logs.protocol import LogPage
from seafloor.stores.logs.record import MAGIC
from seafloor.stores.logs.shared_store import SharedLogStore
from seafloor.stores.logs.signals import FOLLOW_QUIET_S
from seafloor.stores.metadata.sql.tables import byte_stream
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.streams.chunk_format import MAGIC as CHUNK_MAGIC
from seafloor.stores.streams.streams import SealLimits
from seafloor.testing.log_sender_child import LINES
from seafloor.testing.log_spools import line, log_key, numbered, spool
from seafloor.testing.log_store_suite import append_all, numbers_of, raw_of
from seafloor.testing.object_count import CountObjectStore
from seafloor.testing.object_fault import Fault, FaultObjectStore, Moment, Operation
from seafloor.testing.stream_worlds import SMALL, below_in

KEY = log_key()
FOLDER = f"runs/{KEY.workload_id}/logs/1/main"


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
    folder: Path,
    *,
    limits: SealLimits = SMALL,
    objects: ObjectStore | None = None,
    quiet_s: float = FOLLOW_QUIET_S,
) -> AsyncIterator[SharedLogStore]:
    """What one server has of a log store: nothing in common with another but what is below."""
    async with AsyncExitStack() as stack:
        database, below = below_in(folder)
        stack.push_async_callback(database.close)
        stack.push_async_callback(below.close)
        await database.migrate()
        store = SharedLogStore(database, objects or below, limits=limits, quiet_s=quiet_s)
        stack.push_async_callback(store.close)
        yield store


@asynccontextmanager
async def objects_of(folder: Path) -> AsyncIterator[ObjectStore]:
    database, objects = below_in(folder)
    await database.close()
    yield objects
    await objects.close()


async def chunks_of(folder: Path) -> list[bytes]:
    """The objects of KEY in order of key."""
    async with objects_of(folder) as objects:
        page = await objects.list(FOLDER)
        return [b"".join([part async for part in objects.read(info.key)]) for info in page.objects]


def unpacked(chunk: bytes) -> bytes:
    """What any zstd tool makes of a chunk."""
    reader = zstandard.ZstdDecompressor().stream_reader(chunk, read_across_frames=True)
    return reader.read()


async def records_of(store: SharedLogStore) -> bytes:
    return b"".join([chunk async for chunk in store.records(KEY)])


def finished(child: subprocess.Popen[str]) -> str:
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return out


async def test_append__two_processes_send_one_spool__is_the_spool(place: Path) -> None:
    async with server(place):
        pass  # migrated
    children = [
        run_module("seafloor.testing.log_sender_child", str(place), piece, overlap)
        for piece, overlap in (("17777", "3001"), ("40000", "0"))
    ]
    for child in children:
        await asyncio.to_thread(finished, child)
    async with server(place) as store:
        assert await records_of(store) == numbered(LINES)
        assert (await store.state(KEY)).lines == LINES
        for start in range(1, LINES, 1_999):
            assert await numbers_of(store, KEY, from_line=start, limit=2) == [start, start + 1]


async def test_append__by_two_servers_in_turn__each_sees_all_at_once(place: Path) -> None:
    data = numbered(900)
    async with server(place) as one, server(place) as two:
        for turn, at in enumerate(range(0, len(data), 1_003)):
            writer, reader = (one, two) if turn % 2 else (two, one)
            accepted = await writer.append(KEY, offset=at, data=data[at : at + 1_003])
            assert (await reader.state(KEY)).size_bytes == accepted
            await (one, two)[turn % 3 == 0].seal_due()
        assert await records_of(one) == await records_of(two) == data
        await one.finish(KEY)
        with pytest.raises(Closed):
            await two.append(KEY, offset=len(data), data=b"\0")


async def test_finish__races_with_appends_elsewhere__none_is_lost(place: Path) -> None:
    async with server(place) as one, server(place) as two:
        for attempt in range(1, 13):
            key = log_key(attempt=attempt)
            data = numbered(40)
            await one.append(key, offset=0, data=data[:100])

            async def send(key=key, data=data) -> int:
                at = 100
                while at < len(data):
                    try:
                        at = await two.append(key, offset=at, data=data[at : at + 97])
                    except Closed:
                        break
                return at

            sending = asyncio.create_task(send())
            await asyncio.sleep(0.002 * attempt)
            await one.finish(key)
            size_bytes = (await one.state(key)).size_bytes
            assert await sending == size_bytes
            assert (await two.state(key)).finished


async def test_follow__another_server_appends__is_seen_without_waiting_for_quiet(
    place: Path,
) -> None:
    async with server(place) as one, server(place, quiet_s=3_600) as two:
        await one.append(KEY, offset=0, data=numbered(1))
        pages: list[LogPage] = []

        async def follow() -> list[int]:
            numbers: list[int] = []
            async for page in two.follow(KEY, from_line=1):
                pages.append(page)
                numbers += [shown.number for shown in page.lines]
            return numbers

        async with asyncio.timeout(120):  # nobody is woken by time alone: that takes an hour
            following = asyncio.create_task(follow())
            data = numbered(50)
            while not pages:
                await asyncio.sleep(0.01)
            await one.append(KEY, offset=0, data=data)
            while sum(len(page.lines) for page in pages) < 50:
                await asyncio.sleep(0.01)
            await one.finish(KEY)
            assert await following == list(range(1, 51))
        assert pages[-1].finished


async def test_follow__many_logs__one_query_looks_at_all(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        database, objects = below_in(folder)
        stack.push_async_callback(database.close)
        stack.push_async_callback(objects.close)
        await database.migrate()
        store = SharedLogStore(database, objects, poll_s=0.02)
        stack.push_async_callback(store.close)
        looks: list[str] = []

        async def follow(number: int) -> None:
            async for _ in store.follow(log_key(number), from_line=1):
                pass

        @event.listens_for(database.engine, "before_cursor_execute")
        def note(*arguments: object) -> None:
            if "byte_stream" in str(arguments[2]):
                looks.append("at many" if " IN (" in str(arguments[2]) else "at one")

        following = [asyncio.create_task(follow(number)) for number in range(1, 41)]
        async with asyncio.timeout(120):
            while looks.count("at one") < 40:  # then all looked for themselves, and wait
                await asyncio.sleep(0.01)
            looks.clear()
            while looks.count("at many") < 10:
                await asyncio.sleep(0.01)
        assert "at one" not in looks
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        async with asyncio.timeout(60):
            while looks:  # one may have been under way
                looks.clear()
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("is_finished", [True, False])
async def test_seal__killed_at_each_call__loses_and_doubles_nothing(
    folder: Path, is_finished: bool
) -> None:
    data = numbered(4_000)
    async with server(folder, limits=SealLimits(1 << 30, 1 << 30)) as store:
        await append_all(store, KEY, data, pieces_bytes=9_999)
        if is_finished:
            await store.finish(KEY)
    async with server(folder) as store:  # by its own limits it is due
        rest = b"".join(line_bytes(number) for number in range(4_001, 4_400))
        if not is_finished:
            await store.append(KEY, offset=len(data), data=rest)
            data += rest
    deaths = 0
    while True:
        child = run_module(
            "seafloor.testing.stream_crash_cases", "logs", str(folder), str(deaths % 7 + 1)
        )
        out, err = await asyncio.to_thread(child.communicate)
        async with server(folder) as store:
            assert await records_of(store) == data
            assert await numbers_of(store, KEY, from_line=-2) == (
                [3_999, 4_000] if is_finished else [4_398, 4_399]
            )
        if out == "done\n":
            break
        assert child.returncode == -9, err
        deaths += 1
    assert deaths > 7
    chunks = await chunks_of(folder)
    if is_finished:  # what the dead had put and not named is gone, too
        assert b"".join(unpacked(chunk) for chunk in chunks) == data


def line_bytes(number: int) -> bytes:
    return spool([line(number, b"%020d" % number)])[len(MAGIC) :]


async def test_seal__several_processes_at_once__each_byte_is_in_one_chunk(place: Path) -> None:
    data = numbered(20_000)
    async with server(place, limits=SealLimits(1 << 30, 1 << 30)) as store:
        await append_all(store, KEY, data, pieces_bytes=30_011)
        await store.finish(KEY)
    children = [
        run_module("seafloor.testing.stream_crash_cases", "logs", str(place), "1000000")
        for _ in range(3)
    ]
    for child in children:
        await asyncio.to_thread(finished, child)
    async with server(place) as store:
        assert await records_of(store) == data
        assert await store.seal_due() == 0
    chunks = await chunks_of(place)
    assert b"".join(unpacked(chunk) for chunk in chunks) == data


async def test_read__while_another_server_seals__is_whole(place: Path) -> None:
    data = numbered(20_000)
    async with server(place) as one, server(place) as two:
        going = True

        async def read() -> int:
            rounds = 0
            while going or not rounds:
                before = (await two.state(KEY)).size_bytes
                found = await records_of(two)
                assert len(found) >= before
                assert found == data[: len(found)]
                last = (await two.state(KEY)).lines
                if last:
                    shown = await numbers_of(two, KEY, from_line=max(1, last // 2), limit=5)
                    assert shown[0] == max(1, last // 2)
                rounds += 1
            return rounds

        reading = [asyncio.create_task(read()) for _ in range(3)]
        for at in range(0, len(data), 25_000):
            await one.append(KEY, offset=at, data=data[at : at + 25_000])
            await one.seal_due()
        await one.finish(KEY)
        await one.seal_due()
        going = False
        assert min(await asyncio.gather(*reading)) >= 1
        assert await raw_of(two, KEY) == b"".join(b"%020d\n" % n for n in range(1, 20_001))


@pytest.mark.parametrize("moment", list(Moment))
async def test_seal__the_object_store_fails__is_done_the_next_time(
    folder: Path, moment: Moment
) -> None:
    data = numbered(3_000)
    async with objects_of(folder) as below:
        for call in (1, 2, 3):
            fault = Fault(StoreUnavailable("planted"), call, Operation.PUT, moment)
            objects = FaultObjectStore(below, fault)
            key = log_key(attempt=call)
            async with server(folder, objects=objects) as store:
                await append_all(store, key, data, pieces_bytes=20_000)
                await store.finish(key)
                with pytest.raises(StoreUnavailable):
                    await store.seal_due()
                assert await raw_of(store, key) == b"".join(b"%020d\n" % n for n in range(1, 3_001))
                assert await store.seal_due() > 0
                assert await store.seal_due() == 0
                assert (await store.page(key, from_line=-1, limit=1)).lines[0].number == 3_000


async def test_page__of_a_long_sealed_log__reads_few_frames(folder: Path) -> None:
    data = numbered(150_000, width=60)
    async with objects_of(folder) as below:
        objects = CountObjectStore(below)
        async with server(folder, limits=SealLimits(), objects=objects) as store:
            await append_all(store, KEY, data, pieces_bytes=1 << 20)
            await store.finish(KEY)
            await store.seal_due()
            for start in (1, 75_000, -10):
                before = objects.counts.read
                page = await store.page(KEY, from_line=start, limit=10)
                assert len(page.lines) == 10
                after = objects.counts.read
                assert after.calls - before.calls <= 3
                assert after.size_bytes - before.size_bytes < 300_000
            shown = await numbers_of(store, KEY, from_line=74_999, stream="err", limit=2)
            assert shown == [75_000, 75_005]


@pytest.mark.parametrize("pieces_bytes", [700, 60_000])
async def test_page__of_any_length__asks_the_database_as_little(
    place: Path, pieces_bytes: int
) -> None:
    """Rows of one append each, up to what is sealed: a place among them is found by halving."""
    database, objects = below_in(place)
    await database.migrate()
    store = SharedLogStore(database, objects)
    asked: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(*arguments: object) -> None:
        asked.append(str(arguments[2]))

    for attempt, lines in enumerate((100, 1_000, 10_000), 1):
        key = log_key(attempt=attempt)
        await append_all(store, key, numbered(lines), pieces_bytes=pieces_bytes)
        for from_line in (1, lines // 2, -10, lines - 5):
            asked.clear()
            assert await numbers_of(store, key, from_line=from_line, limit=1)
            assert len([one for one in asked if "byte_stream" in one]) <= 32
    await store.close()
    await objects.close()
    await database.close()


async def test_read__a_chunk_is_damaged_or_gone__is_told(folder: Path) -> None:
    async with server(folder) as store:
        await append_all(store, KEY, numbered(2_000), pieces_bytes=10_000)
        await store.finish(KEY)
        await store.seal_due()
    async with objects_of(folder) as objects:
        first, *_, last = (await objects.list(FOLDER)).objects
        content = b"".join([part async for part in objects.read(first.key)])
        assert content[8:16] == CHUNK_MAGIC
        for damaged in (
            content[:100] + bytes([content[100] ^ 1]) + content[101:],
            content[:-1] + bytes([content[-1] ^ 1]),
            content[:-30] + bytes([content[-30] ^ 1]) + content[-29:],
            content[:-40],
            b"",
        ):
            await objects.put(first.key, damaged)
            async with server(folder) as store:
                if damaged[:-1] == content[:-1]:  # only a reader without the database needs it
                    assert await numbers_of(store, KEY, limit=1) == [1]
                else:
                    with pytest.raises(StoreCorrupt):
                        await store.page(KEY, from_line=1, limit=1)
                    with pytest.raises(StoreCorrupt):
                        await raw_of(store, KEY)
                assert await numbers_of(store, KEY, from_line=-1) == [2_000]
        await objects.put(first.key, content)
        await objects.delete(last.key)
        async with server(folder) as store:
            assert await numbers_of(store, KEY, limit=1) == [1]
            with pytest.raises(StoreCorrupt, match="missing"):
                await store.page(KEY, from_line=-1, limit=1)


async def test_delete__sealed_and_not__leaves_no_row_and_no_object(place: Path) -> None:
    data = numbered(40_000)  # more than one look of a reader
    async with server(place, limits=SealLimits()) as one, server(place) as two:
        await append_all(one, KEY, data, pieces_bytes=400_000)
        reading = two.raw(KEY)
        await anext(reading)
        assert await one.delete(KEY.workload_id) == len(data)
        with pytest.raises(NotFound):
            await drain(reading)
        assert await two.keys(KEY.workload_id) == ()
        assert await chunks_of(place) == []
        assert await two.append(KEY, offset=0, data=data) == len(data)
        await two.seal_due()
        assert await records_of(one) == data
    database, objects = below_in(place)
    await objects.close()
    counted = await database.read(count_rows)
    await database.close()
    assert counted == 1


async def drain(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


def count_rows(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(byte_stream)).scalar_one()


async def test_close__while_followed__leaves_no_task(folder: Path) -> None:
    async with server(folder) as store:
        begun = asyncio.Event()

        async def follow() -> None:
            async for _ in store.follow(KEY, from_line=1):
                begun.set()

        await store.append(KEY, offset=0, data=numbered(1))
        following = asyncio.create_task(follow())
        await begun.wait()
        await store.close()
        await asyncio.wait_for(following, 60)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "followed logs"] == []
