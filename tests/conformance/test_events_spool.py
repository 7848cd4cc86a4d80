"""The event file store on disk: the suite, the state machine, real writers, faults in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from seafloor.domain.errors import Conflict, NotFound, StoreCorrupt, StoreUnavailable
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import Point
from seafloor.stores.events.protocol import EventFileKey
from seafloor.stores.events.scalars import key_of, read_batches
from seafloor.stores.events.tfrecord import read_frames
from seafloor.stores.metrics.memory import MemoryMetricStore
from seafloor.stores.metrics.protocol import AppendReceipt
from seafloor.testing.event_file_store_machine import EventFileStoreMachine
from seafloor.testing.event_file_store_suite import (
    KEY,
    ONE,
    OnDiskEventFileStoreSuite,
    bytes_of,
    send,
    steps_of,
)
from seafloor.testing.event_records import event_file_key, scalar_file
from seafloor.testing.event_worlds import EventWorld, SpoolEventWorld
from seafloor.testing.metric_worlds import workload_id
from seafloor.testing.process_facts import open_files_below


class TestSpoolEventFileStore(OnDiskEventFileStoreSuite):
    factory = "seafloor.testing.event_worlds:SpoolEventWorld"

    def make_world(self, folder: Path) -> EventWorld:
        return SpoolEventWorld(folder)


class SpoolEventFileStoreMachine(EventFileStoreMachine):
    make_world = staticmethod(SpoolEventWorld)


SpoolEventFileStoreMachine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSpoolEventFileStoreMachine = SpoolEventFileStoreMachine.TestCase


@pytest.fixture(scope="module")
def real_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What tensorboardX writes: scalars, and what is none."""
    folder = tmp_path_factory.mktemp("tensorboard")
    writer = SummaryWriter(str(folder))
    for step in range(300):
        writer.add_scalar("train/loss", 1 / (step + 1), step)
        writer.add_scalar("épreuve (ü)", float("nan") if step == 7 else step, step)
    writer.add_histogram("weights", np.arange(1_000), 1)
    writer.add_text("notes", "hello", 2)
    image = Summary.Image(height=1, width=1, colorspace=3, encoded_image_string=bytes(30_000))
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag="image", image=image)]), 3)
    for step in range(100, 150):
        writer.add_scalar("train/loss", 2.0, step)
    writer.close()
    (path,) = folder.glob("events.out.tfevents.*")
    return path.read_bytes()


def oracle(data: bytes) -> list[tuple[str, int, float]]:
    """What the library that wrote the file reads in it: (tag, step, value)."""
    found: list[tuple[str, int, float]] = []
    frames = read_frames(lambda at, size: data[at : at + size], start=0, end=len(data))
    for frame in frames:
        event: Any = Event.FromString(frame.data or b"")
        found += [
            (value.tag, event.step, value.simple_value)
            for value in event.summary.value
            if value.WhichOneof("value") == "simple_value"
        ]
    return found


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 9_000), min_size=1, max_size=20))
def test_decode__a_real_file_in_any_pieces__is_what_its_writer_wrote(
    real_file: bytes, sizes: list[int]
) -> None:
    def read_at(start: int, size: int) -> bytes:
        return real_file[start : start + size]

    points: list[Point] = []
    decoded, at, turn = 0, 0, 0
    while at < len(real_file):
        at = min(len(real_file), at + sizes[turn % len(sizes)])
        turn += 1
        for batch in read_batches("run/events", read_at, start=decoded, end=at):
            assert batch.problem is None
            decoded = batch.end
            points += batch.points
    assert decoded == len(real_file)
    expected = [(key_of("run", tag), step, value) for tag, step, value in oracle(real_file)]
    assert repr([(point.key, point.step, point.value) for point in points]) == repr(expected)


async def test_append__a_real_file__is_kept_byte_for_byte(tmp_path: Path, real_file: bytes) -> None:
    world = SpoolEventWorld(tmp_path)
    await world.open()
    await send(world.store, KEY, real_file, pieces_bytes=1_111)
    spooled = world.spool / ONE / "1" / "events.out"
    assert spooled.read_bytes() == real_file
    assert await world.store.finish(ONE, 1) == 1
    assert not spooled.exists()
    assert (tmp_path / "objects" / "runs" / ONE / "events/1/events.out").read_bytes() == real_file
    summaries = (await world.metrics.summaries([ONE]))[ONE]
    counts = {summary.key: summary.points for summary in summaries}
    assert counts["train/loss"] == 350
    assert sum(counts.values()) == len(oracle(real_file))
    await world.close()


class FailingMetrics(MemoryMetricStore):
    """Fails the appends with these numbers, before or after they took effect."""

    def __init__(self, *, before: Sequence[int] = (), after: Sequence[int] = ()) -> None:
        super().__init__()
        self.calls = 0
        self._before, self._after = before, after
        for number in (1, 2, 3):
            self.workload_create(workload_id(number))

    async def append(
        self, workload_id: WorkloadId, points: Sequence[Point], *, attempt: int = 0
    ) -> AppendReceipt:
        self.calls += 1
        if self.calls in self._before:
            raise StoreUnavailable("planted")
        receipt = await super().append(workload_id, points, attempt=attempt)
        if self.calls in self._after:
            raise StoreUnavailable("planted")
        return receipt


@pytest.mark.parametrize("repair", ["repeat", "next", "finish", "recover"])
@pytest.mark.parametrize("where", ["before", "after"])
async def test_append__metrics_fail__the_points_come_exactly_once_later(
    tmp_path: Path, where: str, repair: str
) -> None:
    metrics = FailingMetrics(**{where: (1,)})
    world = SpoolEventWorld(tmp_path, metrics=metrics)
    await world.open()
    data = scalar_file(10)
    cut = len(scalar_file(8)) + 5
    with pytest.raises(StoreUnavailable):
        await world.store.append(KEY, offset=0, data=data[:cut])
    if repair == "repeat":
        assert await world.store.append(KEY, offset=0, data=data[:cut]) == cut
    elif repair == "next":
        assert await world.store.append(KEY, offset=cut, data=data[cut:]) == len(data)
    elif repair == "finish":
        assert await world.store.finish(ONE, 1) == 1
    else:
        await world.store.close()
        await world.below.close()
        world = SpoolEventWorld(tmp_path, metrics=metrics)
        await world.below.open()
        assert await world.store.recover() == 1
        assert await world.store.recover() == 0
    (file,) = await world.store.list(ONE)
    assert await steps_of(metrics) == list(range(10 if repair == "next" else 8))
    assert file.scalars == len(await steps_of(metrics))
    await world.close()


class GatedMetrics(FailingMetrics):
    """Says when an append began, and lets it go on when told."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    async def append(
        self, workload_id: WorkloadId, points: Sequence[Point], *, attempt: int = 0
    ) -> AppendReceipt:
        self.began.set()
        await self.go_on.wait()
        return await super().append(workload_id, points, attempt=attempt)


async def test_append__caller_goes_away__the_append_is_done_all_the_same(tmp_path: Path) -> None:
    metrics = GatedMetrics()
    world = SpoolEventWorld(tmp_path, metrics=metrics)
    await world.open()
    data = scalar_file(50)
    sending = asyncio.create_task(world.store.append(KEY, offset=0, data=data))
    await metrics.began.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    metrics.go_on.set()
    await world.close()  # waits for what was begun
    world = SpoolEventWorld(tmp_path, metrics=metrics)
    await world.below.open()
    (file,) = await world.store.list(ONE)
    assert (file.records, file.scalars) == (51, 50)
    assert await steps_of(metrics) == list(range(50))
    await world.close()


async def test_finish__interrupted_after_the_put__is_done_by_the_next(tmp_path: Path) -> None:
    world = SpoolEventWorld(tmp_path)
    await world.open()
    data = scalar_file(100)
    await world.store.append(KEY, offset=0, data=data)
    await world.objects.put(f"runs/{ONE}/events/1/events.out", data[:50])  # half of an older try
    assert await world.store.finish(ONE, 1) == 1
    assert await bytes_of(world.store, KEY) == data
    assert open_files_below(tmp_path / "spool") == []
    assert list((tmp_path / "spool").iterdir()) == []
    await world.close()


async def test_append__a_file_where_a_folder_is__is_a_conflict(tmp_path: Path) -> None:
    world = SpoolEventWorld(tmp_path)
    await world.open()
    await world.store.append(event_file_key("a"), offset=0, data=b"x")
    with pytest.raises(Conflict):
        await world.store.append(event_file_key("a/b"), offset=0, data=b"x")
    await world.store.append(event_file_key("c/d"), offset=0, data=b"x")
    with pytest.raises(Conflict):
        await world.store.append(event_file_key("c"), offset=0, data=b"x")
    await world.close()


async def test_append__no_such_workload__leaves_nothing(tmp_path: Path) -> None:
    world = SpoolEventWorld(tmp_path)
    await world.open()
    with pytest.raises(NotFound):
        await world.store.append(EventFileKey(workload_id(9), 1, "e"), offset=0, data=b"x")
    assert not world.spool.exists()
    await world.close()


async def gather_all(chunks: AsyncIterator[bytes]) -> int:
    return sum([len(chunk) async for chunk in chunks])


async def test_read__while_it_is_finished__has_every_byte(tmp_path: Path) -> None:
    world = SpoolEventWorld(tmp_path)
    await world.open()
    data = scalar_file(60_000)
    await send(world.store, KEY, data, pieces_bytes=2_000_000)
    readers = [asyncio.create_task(gather_all(world.store.read(KEY))) for _ in range(8)]
    await world.store.finish(ONE, 1)
    assert set(await asyncio.gather(*readers)) == {len(data)}
    await world.close()


async def test_read__an_object_that_was_cut__is_told_after_what_is_left(tmp_path: Path) -> None:
    world = SpoolEventWorld(tmp_path)
    await world.open()
    data = scalar_file(50)
    await send(world.store, KEY, data, pieces_bytes=500)
    await world.store.finish(ONE, 1)
    await world.objects.put(f"runs/{ONE}/events/1/events.out", data[:1_000])
    reading = world.store.read(KEY)
    assert await anext(reading) == data[:1_000]
    with pytest.raises(StoreCorrupt, match="shorter"):
        await anext(reading)
    assert await bytes_of(world.store, KEY, start=100, length=900) == data[100:1_000]
    with pytest.raises(StoreCorrupt):
        await bytes_of(world.store, KEY, start=100, length=901)
    with pytest.raises(StoreCorrupt):
        await bytes_of(world.store, KEY, start=1_500)
    for start, length in ((len(data), None), (len(data) + 5, 10), (500, 0)):
        assert await bytes_of(world.store, KEY, start=start, length=length) == b""
    await world.close()
