"""HDFS as a pair of NameNodes, one of which dies; quotas, safe mode, no access times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.services._service import Service
from tests.services.hdfs_ha import Pair, pair

from hdfs_world import Fs, path_of
from seafloor.domain.errors import StoreFull, StoreUnavailable
from seafloor.stores.objects.hdfs import remote
from seafloor.stores.objects.hdfs.store import HdfsObjectStore, from_url
from seafloor.stores.objects.protocol import ObjectInfo
from seafloor.testing.object_cases import content, keys_of, outcomes, stream_of

WRITERS = 8
PUTS_AFTER = 6
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def running(service: Callable[[str], Service]) -> Iterator[Pair]:
    """A pair of this module's own, both of which run at the beginning of each test."""
    service("hdfs")  # a machine that cannot run it is told so
    # Access times are switched off, as in many clusters: times are whole milliseconds there.
    with pair(settings={"dfs.namenode.accesstime.precision": "0"}) as made:
        yield made


@pytest.fixture
def fs(running: Pair) -> Fs:
    running.ensure_active()
    env = {"HADOOP_CONF_DIR": str(running.conf)}
    return Fs(Service(name="pair", url=running.url, env=env))


@asynccontextmanager
async def opened(fs: Fs, place: str) -> AsyncIterator[HdfsObjectStore]:
    store = from_url(place, {"HADOOP_CONF_DIR": fs.conf})
    try:
        yield store
    finally:
        await store.close()


class Writer:
    """Puts objects one after the other, again when told to, and keeps what was acknowledged."""

    def __init__(self, store: HdfsObjectStore, name: str) -> None:
        self.store = store
        self.name = name
        self.acknowledged: dict[str, bytes] = {}
        self.errors: list[StoreUnavailable] = []
        self.longest_s = 0.0
        self._number = 0

    async def one(self) -> None:
        """Put until it is acknowledged; every other one a stream, every third create-only."""
        self._number += 1
        key = f"{self.name}/{self._number}"
        body = f"{key} ".encode() * 400
        begun = time.monotonic()
        repeated = False
        while True:
            data = stream_of([body[:100], body[100:]]) if self._number % 2 else body
            try:
                await self.store.put(key, data, if_absent=self._number % 3 == 0 and not repeated)
                break
            except StoreUnavailable as error:
                self.errors.append(error)
                repeated = True
                await asyncio.sleep(0.2)
        self.longest_s = max(self.longest_s, time.monotonic() - begun)
        self.acknowledged[key] = body

    async def until(self, stop: asyncio.Event) -> None:
        """Put until told to stop, and some more."""
        while not stop.is_set():
            await self.one()
        for _ in range(PUTS_AFTER):
            await self.one()


async def reading(store: HdfsObjectStore, stop: asyncio.Event) -> int:
    """Read one object again and again; give how often that was told to be repeated."""
    failed = 0
    while not stop.is_set():
        try:
            assert await content(store, "steady") == b"steady" * 1000
        except StoreUnavailable:
            failed += 1
            await asyncio.sleep(0.2)
    return failed


async def test_writers__active_namenode_is_killed__nothing_acknowledged_is_lost(
    running: Pair, fs: Fs
) -> None:
    active = running.active()
    other = running.other(active)
    place = fs.fresh()
    async with opened(fs, place) as store, opened(fs, place) as second:
        await store.put("steady", b"steady" * 1000)
        writers = [Writer((store, second)[number % 2], f"w{number}") for number in range(WRITERS)]
        stop = asyncio.Event()
        tasks = [asyncio.create_task(writer.until(stop)) for writer in writers]
        reader = asyncio.create_task(reading(second, stop))
        while min(len(writer.acknowledged) for writer in writers) < 3:
            await asyncio.sleep(0.05)
        begun = time.monotonic()
        await asyncio.to_thread(running.kill, active)
        await asyncio.to_thread(running.make_active, other)
        nobody_s = time.monotonic() - begun  # a busy machine takes its time for that
        stop.set()
        await asyncio.gather(*tasks)
        await reader
        acknowledged = {key: body for each in writers for key, body in each.acknowledged.items()}
        assert await keys_of(store) == sorted([*acknowledged, "steady"])
        for key, body in acknowledged.items():
            assert await content(store, key) == body
        assert max(writer.longest_s for writer in writers) < nobody_s + 30
        # What was begun and not acknowledged leaves no file but in the staging folder.
        await asyncio.to_thread(running.restart, active)


async def test_writer__active_namenode_falls_silent__goes_on_at_the_other(
    running: Pair, fs: Fs, monkeypatch: pytest.MonkeyPatch
) -> None:
    active = running.active()
    other = running.other(active)
    async with opened(fs, fs.fresh()) as store:
        await store.put("a", b"before")
        await asyncio.to_thread(running.pause, active)
        try:
            with monkeypatch.context() as impatient:
                impatient.setattr(remote, "CALL_TIMEOUT_S", 1.5)
                with pytest.raises(StoreUnavailable, match="did not answer in time"):
                    await store.head("a")
                # Begun before: the other steps in while we ask on.
                taking_over = asyncio.create_task(asyncio.to_thread(running.make_active, other))
                writer = Writer(store, "w")
                await writer.one()
                await taking_over
            assert await content(store, "w/1") == writer.acknowledged["w/1"]
        finally:
            await asyncio.to_thread(running.resume, active)
            await asyncio.to_thread(running.kill, active)
            await asyncio.to_thread(running.restart, active)


async def test_open_file__forgotten_while_the_namenode_is_silent__nobody_waits_for_it(
    running: Pair, fs: Fs
) -> None:
    active = running.active()
    place = fs.fresh()
    async with opened(fs, place) as store:
        files = [await store.remote.create(f"{path_of(place)}/a")]
        await store.remote.write(files[0], b"content")
        await asyncio.to_thread(running.pause, active)
        try:
            await asyncio.wait_for(asyncio.to_thread(files.clear), timeout=60)
        finally:
            await asyncio.to_thread(running.resume, active)


async def test_put__nobody_is_active_when_it_is_to_be_placed__waits_for_one(
    running: Pair, fs: Fs
) -> None:
    active = running.active()
    other = running.other(active)
    async with opened(fs, fs.fresh()) as store:
        moved = store.remote.rename

        async def rename(source: str, target: str, *, overwrite: bool) -> None:
            nonlocal active
            if active:
                stepping, active = active, ""
                await asyncio.to_thread(running.make_standby, stepping)
                asyncio.get_running_loop().run_in_executor(None, running.make_active, other)
            await moved(source, target, overwrite=overwrite)

        store.remote.rename = rename  # type: ignore[method-assign]
        put = await store.put("a/b", stream_of([b"content"]), if_absent=True)
        assert await store.head("a/b") == put


async def test_put__several_at_once_without_access_times__times_differ(fs: Fs) -> None:
    place = fs.fresh()
    async with opened(fs, place) as store:
        ends = await outcomes(store.put("a", b"%02d" % number) for number in range(12))
        infos = [end for end in ends if isinstance(end, ObjectInfo)]
        assert len(infos) == 12
        assert len({info.modified_ns for info in infos}) == 12
        assert {info.modified_ns % 1_000_000 for info in infos} == {0}
        assert await store.head("a") in infos
        last = await store.head("a")
        assert await store.append("a", offset=2, data=b"more") == 6
        assert (await store.head("a")).modified_ns > last.modified_ns


async def test_viewfs__mount_of_the_pair__is_the_same_store(fs: Fs) -> None:
    place = fs.fresh()
    async with opened(fs, place) as store, opened(fs, f"viewfs://mounts{path_of(place)}") as view:
        put = await view.put("a b/ü", b"content")
        assert await store.head("a b/ü") == put
        assert await keys_of(view) == ["a b/ü"]
        assert await view.delete_folder("a b") == 1


@pytest.mark.parametrize("quota", ["-setSpaceQuota 1m", "-setQuota 4"])
async def test_put__quota_is_used_up__store_is_full(running: Pair, fs: Fs, quota: str) -> None:
    place = fs.fresh()
    async with opened(fs, place) as store:
        await store.put("there", b"")
        await asyncio.to_thread(running.admin, *quota.split(), path_of(place))
        for _ in range(2):
            with pytest.raises(StoreFull, match=f"quota.*dfsadmin {quota.split()[0]}`"):
                await store.put("a/b/c", stream_of([b"x" * MIB] * 2))
        assert fs.paths(place) == [".seafloor-tmp", "there"]


async def test_put__safe_mode__says_when_to_come_back(running: Pair, fs: Fs) -> None:
    async with opened(fs, fs.fresh()) as store:
        await store.put("a", b"1")
        await asyncio.to_thread(running.admin, "-safemode", "enter")
        try:
            with pytest.raises(StoreUnavailable, match="safe mode") as told:
                await store.put("a", b"2")
            assert told.value.retry_after_s
            assert await content(store, "a") == b"1"
        finally:
            await asyncio.to_thread(running.admin, "-safemode", "leave")
        await store.put("a", b"3")
