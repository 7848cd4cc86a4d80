"""What every event file store must do. Subclass ``EventFileStoreSuite`` and give ``make_world``.

Stores that outlive their process subclass ``DurableEventFileStoreSuite``, those that do so in a
folder ``OnDiskEventFileStoreSuite``.
"""

from __future__ import annotations

import asyncio
import math
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from seafloor.domain.errors import (
    Closed,
    InvalidValue,
    LimitExceeded,
    NotFound,
    OutOfOrder,
    StoreFull,
)
from seafloor.domain.metrics import SeriesPoint
from seafloor.stores.events.protocol import EventFile, EventFileKey, EventFileStore
from seafloor.stores.events.tfrecord import encode_frame
from seafloor.stores.metrics.protocol import MetricStore
from seafloor.testing.event_records import (
    T0_S,
    event,
    event_file,
    event_file_key,
    scalar,
    scalar_file,
    scalar_record,
)
from seafloor.testing.event_worlds import EventWorld
from seafloor.testing.killed_child import run_until_killed
from seafloor.testing.metric_worlds import workload_id
from seafloor.testing.small_disk import small_disk

KEY = event_file_key()
ONE = workload_id(1)


async def send(
    store: EventFileStore, key: EventFileKey, data: bytes, *, pieces_bytes: int, start: int = 0
) -> None:
    """Send a file in pieces of a size."""
    for at in range(start, len(data), pieces_bytes):
        piece = data[at : at + pieces_bytes]
        assert await store.append(key, offset=at, data=piece) == at + len(piece)


async def bytes_of(
    store: EventFileStore, key: EventFileKey, *, start: int = 0, length: int | None = None
) -> bytes:
    """Read a file."""
    chunks = [chunk async for chunk in store.read(key, start=start, length=length)]
    assert all(chunks)
    return b"".join(chunks)


async def steps_of(metrics: MetricStore, key: str = "loss", *, number: int = 1) -> list[int]:
    """The steps of a series, in order."""
    page = await metrics.series(workload_id(number), key, limit=50_000)
    return [point.step for point in page.points]


class EventFileStoreSuite(ABC):
    """True of every event file store."""

    @abstractmethod
    def make_world(self, folder: Path) -> EventWorld:
        """Make a store and what it needs in a folder."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[EventWorld]:
        world = self.make_world(tmp_path)
        await world.open()
        yield world
        await world.close()

    @pytest.fixture
    def store(self, world: EventWorld) -> EventFileStore:
        return world.store

    async def test_list__nothing_sent__is_empty(self, store: EventFileStore) -> None:
        assert await store.list(ONE) == ()
        assert await store.finish(ONE, 1) == 0
        assert await store.delete(ONE) == 0

    async def test_append__a_file__its_scalars_are_points(self, world: EventWorld) -> None:
        data = scalar_file(5)
        assert await world.store.append(KEY, offset=0, data=data) == len(data)
        assert await world.store.list(ONE) == (
            EventFile("events.out", 1, len(data), len(data), 6, 5),
        )
        page = await world.metrics.series(ONE, "loss")
        assert page.points == tuple(
            SeriesPoint(step, round((T0_S + step) * 1000), step / 2) for step in range(5)
        )
        assert await bytes_of(world.store, KEY) == data

    async def test_append__cut_at_every_byte__is_the_same_file(self, world: EventWorld) -> None:
        data = event_file([scalar_record(1, "loss", 0.5), scalar_record(2, "loss", 0.25)])
        for cut in range(len(data) + 1):
            key = event_file_key(f"{cut}/events.out")
            await world.store.append(key, offset=0, data=data[:cut])
            assert await world.store.append(key, offset=cut, data=data[cut:]) == len(data)
            assert await steps_of(world.metrics, f"{cut}/loss") == [1, 2]
            assert await bytes_of(world.store, key) == data

    async def test_append__a_torn_tail__waits_for_the_rest(self, world: EventWorld) -> None:
        data = scalar_file(3)
        await world.store.append(KEY, offset=0, data=data[:-1])
        (file,) = await world.store.list(ONE)
        assert (file.records, file.scalars, file.problem) == (3, 2, None)
        assert file.decoded_bytes < file.size_bytes == len(data) - 1
        assert await steps_of(world.metrics) == [0, 1]
        await world.store.append(KEY, offset=len(data) - 1, data=data[-1:])
        assert await steps_of(world.metrics) == [0, 1, 2]

    async def test_append__repeated_and_overlapping__is_harmless(self, world: EventWorld) -> None:
        data = scalar_file(20)
        await world.store.append(KEY, offset=0, data=data[:500])
        assert await world.store.append(KEY, offset=0, data=data[:500]) == 500
        assert await world.store.append(KEY, offset=100, data=data[100:200]) == 500
        assert await world.store.append(KEY, offset=300, data=data[300:]) == len(data)
        assert await world.store.append(KEY, offset=len(data), data=b"") == len(data)
        assert await steps_of(world.metrics) == list(range(20))
        (file,) = await world.store.list(ONE)
        assert (file.records, file.scalars) == (21, 20)

    async def test_append__a_gap__says_where_to_go_on(self, store: EventFileStore) -> None:
        data = scalar_file(3)
        with pytest.raises(OutOfOrder) as first:
            await store.append(KEY, offset=8, data=data[8:])
        assert first.value.next_offset == 0
        assert await store.list(ONE) == ()
        await store.append(KEY, offset=0, data=data[:50])
        with pytest.raises(OutOfOrder) as second:
            await store.append(KEY, offset=51, data=data[51:])
        assert second.value.next_offset == 50

    @pytest.mark.parametrize(
        ("damaged", "told"), [(20, "data"), (0, "length"), (9, "length"), (-1, "data")]
    )
    async def test_append__a_checksum_is_wrong__stops_there_and_keeps_all(
        self, world: EventWorld, damaged: int, told: str
    ) -> None:
        records = [bytearray(scalar_record(step, "loss", 1.0)) for step in range(6)]
        records[3][damaged] ^= 1
        data = event_file(bytes(record) for record in records)
        await send(world.store, KEY, data, pieces_bytes=70)
        (file,) = await world.store.list(ONE)
        assert file.problem is not None
        assert told in file.problem
        assert (file.size_bytes, file.records, file.scalars) == (len(data), 4, 3)
        assert file.decoded_bytes == data.index(bytes(records[3]))
        assert await steps_of(world.metrics) == [0, 1, 2]
        assert await bytes_of(world.store, KEY) == data

    @pytest.mark.parametrize("data", [b"hello, this is no event file", encode_frame(b"\xff\xff")])
    async def test_append__no_event_file__is_kept_and_told(
        self, store: EventFileStore, data: bytes
    ) -> None:
        assert await store.append(KEY, offset=0, data=data) == len(data)
        (file,) = await store.list(ONE)
        assert file.problem is not None
        assert (file.decoded_bytes, file.records) == (0, 0)
        assert await bytes_of(store, KEY) == data

    async def test_append__one_bad_file__does_not_stop_the_others(self, world: EventWorld) -> None:
        await world.store.append(event_file_key("a/bad"), offset=0, data=b"x" * 40)
        await world.store.append(event_file_key("a/good"), offset=0, data=scalar_file(3))
        assert [file.problem is None for file in await world.store.list(ONE)] == [False, True]
        assert await steps_of(world.metrics, "a/loss") == [0, 1, 2]

    async def test_append__odd_values_and_steps__are_kept(self, world: EventWorld) -> None:
        values = [1.0, math.nan, math.inf, -math.inf, -0.0]
        steps = [5, 6, 7, 2, 1]  # the writer was restarted and goes back
        data = event_file(
            scalar_record(step, "loss", value) for step, value in zip(steps, values, strict=True)
        )
        await world.store.append(KEY, offset=0, data=data)
        page = await world.metrics.series(ONE, "loss")
        assert [point.step for point in page.points] == [1, 2, 5, 6, 7]
        packed = [struct.pack("<d", point.value) for point in page.points]
        assert packed == [
            struct.pack("<d", value) for value in (-0.0, -math.inf, 1.0, math.nan, math.inf)
        ]

    async def test_append__several_values_in_one_event__are_all_there(
        self, world: EventWorld
    ) -> None:
        record = encode_frame(event(3, scalar("a", 1.0), scalar("b", 2.0), scalar("a", 3.0)))
        await world.store.append(KEY, offset=0, data=event_file([record]))
        (file,) = await world.store.list(ONE)
        assert (file.records, file.scalars) == (2, 3)
        assert len((await world.metrics.series(ONE, "a")).points) == 2

    async def test_append__two_writers_in_two_folders__do_not_mix(self, world: EventWorld) -> None:
        keys = [event_file_key(path) for path in ("train/events.1", "train/validation/events.1")]
        data = scalar_file(400)
        await asyncio.gather(*(send(world.store, key, data, pieces_bytes=3_000) for key in keys))
        assert await steps_of(world.metrics, "train/loss") == list(range(400))
        assert await steps_of(world.metrics, "train/validation/loss") == list(range(400))
        assert [file.path for file in await world.store.list(ONE)] == [key.path for key in keys]

    async def test_append__attempts_and_workloads__do_not_mix(self, world: EventWorld) -> None:
        keys = [KEY, event_file_key(attempt=2), event_file_key(number=2)]
        for index, key in enumerate(keys):
            await world.store.append(key, offset=0, data=scalar_file(index + 1))
        assert [file.attempt for file in await world.store.list(ONE)] == [1, 2]
        assert await steps_of(world.metrics, number=2) == [0, 1, 2]
        assert await bytes_of(world.store, keys[1]) == scalar_file(2)

    async def test_append__the_same_file_by_two_senders__is_one(self, world: EventWorld) -> None:
        data = scalar_file(300)
        sends = [send_loosely(world.store, data) for _ in range(3)]
        await asyncio.gather(*sends)
        assert await bytes_of(world.store, KEY) == data
        assert await steps_of(world.metrics) == list(range(300))
        (file,) = await world.store.list(ONE)
        assert (file.records, file.scalars) == (301, 300)

    async def test_append__bad_arguments__are_refused(self, store: EventFileStore) -> None:
        for path in ("", "/etc/passwd", "../up", "a/../b", "a//b", "a\\b", "a\0b", "."):
            with pytest.raises(InvalidValue):
                await store.append(event_file_key(path), offset=0, data=b"x")
        for path in ("n" * 256, "/".join(["n" * 200] * 6)):
            with pytest.raises(LimitExceeded):
                await store.append(event_file_key(path), offset=0, data=b"x")
        with pytest.raises(InvalidValue):
            await store.append(KEY, offset=-1, data=b"x")
        with pytest.raises(InvalidValue):
            await store.append(event_file_key(attempt=-1), offset=0, data=b"x")
        with pytest.raises(LimitExceeded):
            await store.append(KEY, offset=0, data=bytes(8 * 1024 * 1024 + 1))
        assert await store.list(ONE) == ()

    async def test_read__ranges__in_every_state(self, store: EventFileStore) -> None:
        data = scalar_file(40_000)
        await send(store, KEY, data, pieces_bytes=500_000)
        for _ in ("in the spool", "finished"):
            assert await bytes_of(store, KEY) == data
            assert await bytes_of(store, KEY, start=7, length=20) == data[7:27]
            assert await bytes_of(store, KEY, start=len(data) - 5, length=50) == data[-5:]
            assert await bytes_of(store, KEY, start=len(data) + 5) == b""
            assert await bytes_of(store, KEY, start=3, length=0) == b""
            assert await store.finish(ONE, 1) == 1

    async def test_read__no_such_file__is_not_found_at_the_first_step(
        self, store: EventFileStore
    ) -> None:
        await store.append(event_file_key("a/b"), offset=0, data=b"x")
        for path in ("a/bc", "b", "a/b/c"):
            reading = store.read(event_file_key(path))
            with pytest.raises(NotFound):
                await anext(reading)

    async def test_finish__an_attempt__is_closed_and_readable(self, world: EventWorld) -> None:
        data = scalar_file(50)
        other = event_file_key(attempt=2)
        await world.store.append(KEY, offset=0, data=data)
        await world.store.append(event_file_key("v/events.out"), offset=0, data=data[:-3])
        await world.store.append(other, offset=0, data=data[:100])
        before = await world.store.list(ONE)
        assert await world.store.finish(ONE, 1) == 2
        assert await world.store.finish(ONE, 1) == 2
        assert await world.store.list(ONE) == before
        assert await bytes_of(world.store, KEY) == data
        assert await world.store.append(KEY, offset=0, data=data) == len(data)
        with pytest.raises(Closed):
            await world.store.append(KEY, offset=len(data), data=b"\0")
        with pytest.raises(OutOfOrder):
            await world.store.append(KEY, offset=len(data) + 1, data=b"\0")
        assert await world.store.append(other, offset=100, data=data[100:]) == len(data)
        assert await world.store.finish(ONE, 3) == 0

    async def test_delete__a_workload__leaves_the_others(self, store: EventFileStore) -> None:
        data = scalar_file(5)
        keys = [KEY, event_file_key("t/e", attempt=2), event_file_key(number=2)]
        for key in keys:
            await store.append(key, offset=0, data=data)
        await store.finish(ONE, 1)
        assert await store.delete(ONE) == 2
        assert await store.delete(ONE) == 0
        assert await store.list(ONE) == ()
        with pytest.raises(NotFound):
            await anext(store.read(KEY))
        assert await bytes_of(store, keys[2]) == data
        assert await store.append(KEY, offset=0, data=data) == len(data)

    async def test_close__twice__is_harmless(self, tmp_path: Path) -> None:
        world = self.make_world(tmp_path)
        await world.open()
        await world.store.append(KEY, offset=0, data=scalar_file(2))
        await world.store.close()
        await world.close()


async def send_loosely(store: EventFileStore, data: bytes) -> None:
    """Send a file of which another sender may already have sent more."""
    at = 0
    while at < len(data):
        at = await store.append(KEY, offset=at, data=data[at : at + 1_234])


class DurableEventFileStoreSuite(EventFileStoreSuite):
    """True of every event file store that outlives its process."""

    factory: ClassVar[str]
    """``module:name`` of what makes the world of a folder, for a process of its own."""

    def prepare(self, folder: Path) -> None:
        """See to what a new folder needs before anything is opened over it."""

    async def test_reopen__files__go_on(self, tmp_path: Path) -> None:
        data = scalar_file(30)
        for at in range(0, len(data), 200):
            world = self.make_world(tmp_path)
            await world.open()
            await world.store.append(KEY, offset=at, data=data[at : at + 200])
            await world.close()
        world = self.make_world(tmp_path)
        await world.open()
        assert await steps_of(world.metrics) == list(range(30))
        (file,) = await world.store.list(ONE)
        assert (file.records, file.scalars, file.decoded_bytes) == (31, 30, len(data))
        await world.close()

    async def test_append__process_killed__has_every_point_exactly_once(
        self, tmp_path: Path
    ) -> None:
        data = scalar_file(20_000)
        for after_lines in (1, 9, 40):
            folder = tmp_path / str(after_lines)
            folder.mkdir()
            self.prepare(folder)
            said = await asyncio.to_thread(
                run_until_killed,
                "seafloor.testing.event_file_store_child",
                [self.factory, str(folder)],
                after_lines=after_lines,
            )
            world = self.make_world(folder)
            await world.open()
            (file,) = await world.store.list(ONE)
            assert file.size_bytes >= int(said[-1])
            assert await bytes_of(world.store, KEY) == data[: file.size_bytes]
            assert await steps_of(world.metrics) == list(range(file.scalars))
            assert file.records == file.scalars + 1
            await send(
                world.store, KEY, data[:400_000], pieces_bytes=100_000, start=file.size_bytes
            )
            (file,) = await world.store.list(ONE)
            assert await steps_of(world.metrics) == list(range(file.scalars))
            assert file.size_bytes - file.decoded_bytes < 60
            await world.close()


class OnDiskEventFileStoreSuite(DurableEventFileStoreSuite):
    """True of every event file store that keeps what it has in one folder."""

    async def test_append__disk_full__loses_nothing_and_goes_on(self, tmp_path: Path) -> None:
        data = scalar_file(30_000)
        with small_disk(tmp_path / "disk", size_bytes=16 << 20) as disk:
            world = self.make_world(disk.path)
            await world.open()
            await send(world.store, KEY, data[:50_000], pieces_bytes=10_000)
            disk.fill(leave_bytes=200 * 1024)
            accepted = 50_000

            async def fill() -> None:
                nonlocal accepted
                while accepted < len(data):
                    piece = data[accepted : accepted + 10_000]
                    accepted = await world.store.append(KEY, offset=accepted, data=piece)

            with pytest.raises(StoreFull):
                await fill()
            assert (await bytes_of(world.store, KEY))[:accepted] == data[:accepted]
            disk.free()
            await fill()
            assert await steps_of(world.metrics) == list(range(30_000))
            assert await world.store.finish(ONE, 1) == 1
            assert await bytes_of(world.store, KEY) == data
            await world.close()
