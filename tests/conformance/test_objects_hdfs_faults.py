"""What a real HDFS does to a store: races, deaths, rights, odd names, folders in its own order."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hdfs_native import WriteOptions
from tests.services._service import Service, free_port

from hdfs_world import Fs, path_of
from seafloor.domain.errors import (
    AlreadyExists,
    InvalidValue,
    NotFound,
    StoreError,
    StoreUnavailable,
)
from seafloor.stores.objects.hdfs import remote
from seafloor.stores.objects.hdfs.remote import OpenFile, Remote
from seafloor.stores.objects.hdfs.store import HdfsObjectStore, from_url
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectInfo, ObjectPage, ObjectStore
from seafloor.testing.killed_child import run_until_killed
from seafloor.testing.object_cases import content, keys_of, listed, outcomes, stream_of

MIB = 1024 * 1024
RACERS = 16


@pytest.fixture
def fs(service: Callable[[str], Service]) -> Fs:
    return Fs(service("hdfs"))


@asynccontextmanager
async def opened(place: str) -> AsyncIterator[HdfsObjectStore]:
    store = from_url(place, {})
    try:
        yield store
    finally:
        await store.close()


def with_leftovers_gone(fs: Fs, place: str) -> HdfsObjectStore:
    """A store that takes any unfinished file for a crash's leftover."""
    client = Remote(fs.url, config_dir=fs.conf, kerberos={}, place=place)
    return HdfsObjectStore(client, path_of(place), leftover_age_s=-3600)


async def test_put__if_absent_by_many_stores__exactly_one_succeeds(fs: Fs) -> None:
    place = fs.fresh()
    async with opened(place) as one, opened(place) as two:
        for round_ in range(3):
            key = f"race/{round_}/x"
            ends = await outcomes(
                (one, two)[number % 2].put(key, b"%d" % number, if_absent=True)
                for number in range(RACERS)
            )
            winners = [number for number, end in enumerate(ends) if isinstance(end, ObjectInfo)]
            assert len(winners) == 1
            assert sum(isinstance(end, AlreadyExists) for end in ends) == RACERS - 1
            assert await content(one, key) == b"%d" % winners[0]
            assert await two.head(key) == ends[winners[0]]
        await one.delete_folder("race")
    assert fs.paths(place) == [".seafloor-tmp"]


async def test_put__many_at_once_to_one_key__no_two_have_one_time(fs: Fs) -> None:
    place = fs.fresh()
    async with opened(place) as one, opened(place) as two:
        ends = await outcomes(
            (one, two)[number % 2].put("a", b"%02d" % number) for number in range(RACERS)
        )
        infos = [end for end in ends if isinstance(end, ObjectInfo)]
        assert len(infos) == RACERS
        assert len({info.modified_ns for info in infos}) == RACERS
        assert len({info.etag for info in infos}) == RACERS
        last = await one.head("a")
        assert last in infos
        assert (await two.put("a", b"03")).modified_ns > last.modified_ns


async def test_put__clock_is_behind_what_is_there__time_still_rises(fs: Fs) -> None:
    place = fs.fresh()
    async with opened(place) as store:
        first = await store.put("a", b"1")
        ahead_ms = first.modified_ns // 1_000_000 + 3_600_000
        fs.client.set_times(f"{path_of(place)}/a", ahead_ms, ahead_ms)
        assert (await store.put("a", b"2")).modified_ns > ahead_ms * 1_000_000


async def test_put__answer_of_the_rename_is_lost__is_known_to_have_been_ours(fs: Fs) -> None:
    async with opened(fs.fresh()) as store:
        rename = store.remote.rename

        async def lossy(source: str, target: str, *, overwrite: bool) -> None:
            await rename(source, target, overwrite=overwrite)
            raise StoreUnavailable("The answer was lost.")

        store.remote.rename = lossy  # type: ignore[method-assign]
        put = await store.put("a/b", b"content", if_absent=True)
        assert await store.head("a/b") == put
        store.remote.rename = rename  # type: ignore[method-assign]
        with pytest.raises(AlreadyExists):
            await store.put("a/b", b"again", if_absent=True)


async def test_put__process_is_killed_in_the_middle__nothing_is_visible_and_cleaned_later(
    fs: Fs,
) -> None:
    place = fs.fresh()
    async with opened(place) as store:
        await store.put("a/b", b"old")
        said = await asyncio.to_thread(
            run_until_killed, "hdfs_child", ["put", place], after_lines=1
        )
        assert said == ["written"]
        assert await content(store, "a/b") == b"old"
        assert await keys_of(store) == ["a/b"]
        await store.put("c", b"")
    assert sum(path.startswith(".seafloor-tmp/") for path in fs.paths(place)) == 1
    async with opened(place) as store:
        await store.put("c", b"")  # what is young may belong to another server
    assert sum(path.startswith(".seafloor-tmp/") for path in fs.paths(place)) == 1
    late = with_leftovers_gone(fs, place)
    await late.put("c", b"")
    await late.close()
    assert fs.paths(place) == [".seafloor-tmp", "a", "a/b", "c"]


async def test_put__its_recovery_begins_before_it_is_closed__the_bytes_stay(
    fs: Fs, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    with ThreadPoolExecutor(1) as closing:
        async with opened(fs.fresh()) as store:
            recover = store.remote.recover_lease

            async def recovered(path: str) -> bool:
                is_closed = await recover(path)
                begun.set()
                return is_closed

            def close_late(file: OpenFile) -> Future[None]:
                def close() -> None:
                    begun.wait()
                    file.writer.close()

                return closing.submit(close)

            with monkeypatch.context() as slow:
                slow.setattr(store.remote, "finish", close_late)
                slow.setattr(store.remote, "recover_lease", recovered)
                await store.put("a", b"one")
            assert await store.append("a", offset=3, data=b" two") == 7
            assert await content(store, "a") == b"one two"


async def test_append__last_writer_was_killed__goes_on_after_it(fs: Fs) -> None:
    place = fs.fresh()
    async with opened(place) as store:
        assert await store.append("log", offset=0, data=b"one") == 3
        said = await asyncio.to_thread(
            run_until_killed, "hdfs_child", ["append", place], after_lines=1
        )
        assert said == ["written"]
        assert await store.append("log", offset=3, data=b" two three") == 13
        assert await content(store, "log") == b"one two three"
        assert (await store.head("log")).size_bytes == 13


@pytest.mark.parametrize("end", ["deleted", "replaced"])
async def test_read__object_of_many_blocks_goes_meanwhile__never_wrong_bytes(
    fs: Fs, end: str
) -> None:
    place = fs.fresh()
    async with opened(place) as store:
        writer = fs.client.create(f"{path_of(place)}/a", WriteOptions(block_size=MIB))
        for number in range(4):
            writer.write(bytes([number]) * MIB)
        writer.close()
        chunks = store.read("a")
        got = [await anext(chunks)]
        await (store.delete("a") if end == "deleted" else store.put("a", b"new"))
        try:
            async for chunk in chunks:
                got.append(chunk)  # noqa: PERF401 what came before the error counts
        except StoreUnavailable:
            pass
        else:
            assert len(got) == 4
        assert [chunk[0] for chunk in got] == list(range(len(got)))
        assert all(len(chunk) == MIB and len(set(chunk)) == 1 for chunk in got)


async def test_any_call__as_another_user__says_who_may_not_what(
    fs: Fs, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = fs.fresh()
    async with opened(place) as store:
        await store.put("a/b", b"1")
        monkeypatch.setenv("HADOOP_USER_NAME", "alice")  # hdfs-native reads it when it connects
        async with opened(place) as alices:
            assert await content(alices, "a/b") == b"1"
            calls: list[Callable[[], object]] = [
                lambda: alices.put("a/c", b"2"),
                lambda: alices.delete("a/b"),
                lambda: alices.delete_folder("a"),
                lambda: alices.append("a/b", offset=1, data=b"2"),
            ]
            for call in calls:
                with pytest.raises(StoreError, match=f'"alice" may not write .*{path_of(place)}'):
                    await call()  # type: ignore[misc]
            for key in ("a/b/c", "a/b/c/d"):
                with pytest.raises(NotFound):
                    await alices.head(key)
                assert await alices.delete(key) is False
        monkeypatch.delenv("HADOOP_USER_NAME")
        assert await content(store, "a/b") == b"1"


async def test_any_call__nobody_listens__is_told_at_once(
    fs: Fs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("CALL_TIMEOUT_S", "DATA_TIMEOUT_S"):
        monkeypatch.setattr(remote, limit, 120.0)
    async with opened(f"hdfs://127.0.0.1:{free_port()}/x") as store:
        calls: list[Callable[[], object]] = [
            lambda: store.head("a"),
            lambda: store.put("a", b""),
            lambda: store.list(""),
            lambda: content(store, "a"),
            lambda: store.delete("a"),
        ]
        for call in calls:
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable, match="does not answer") as told:
                await call()  # type: ignore[misc]
            assert told.value.retry_after_s
            assert time.monotonic() - begun < 60, "the time limit told it"


async def test_any_call__server_is_silent__is_told_in_time_and_others_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "CALL_TIMEOUT_S", limit_s := 2.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        async with opened(f"hdfs://127.0.0.1:{mute.getsockname()[1]}/x") as store:
            for _ in range(3):
                begun = time.monotonic()
                ends = await outcomes(store.head(f"{number}") for number in range(RACERS))
                assert time.monotonic() - begun < RACERS * limit_s, "one waited for the other"
                assert [type(end) for end in ends] == [StoreUnavailable] * RACERS
            hanging = sum(thread.name == "seafloor-hdfs" for thread in threading.enumerate())
            assert hanging <= 2 * RACERS, "only one call at a time tries a server that fell silent"


def test_process__a_call_hangs__ends_all_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        place = f"hdfs://127.0.0.1:{mute.getsockname()[1]}/x"
        ran = subprocess.run(
            [sys.executable, "-m", "hdfs_child", "head", place],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (ran.returncode, ran.stdout) == (0, "unavailable\n"), ran.stderr


@pytest.mark.parametrize("url", ["hdfs://nowhere/x", "viewfs://nowhere/x", "hdfs:///x"])
def test_open__name_is_in_no_settings__is_refused(url: str) -> None:
    with pytest.raises(InvalidValue, match="HADOOP_CONF_DIR"):
        from_url(url, {})


def test_open__settings_are_missing__is_refused() -> None:
    with pytest.raises(InvalidValue, match="no folder"):
        from_url("hdfs://ns1/x", {"HADOOP_CONF_DIR": "/nowhere"})


async def test_keys__that_hdfs_has_no_names_for__are_like_any_other(fs: Fs) -> None:
    place = fs.fresh()
    keys = ["ab:c/d:", "a/.snapshot", ".snapshot/x", "a0", "ab:d", "é:1", ":"]
    async with opened(place) as store:
        for key in keys:
            await store.put(key, key.encode())
        assert await keys_of(store, limit=2) == sorted(keys)
        for key in keys:
            assert await content(store, key) == key.encode()
        assert await store.delete_folder("ab:c") == 1
        for key in ("x\uf03a", "\uf02esnapshot"):
            with pytest.raises(InvalidValue):
                await store.put(key, b"")


async def pages(store: ObjectStore, limit: int, *, recursive: bool) -> list[object]:
    """All pages of a listing, without what is a store's own."""
    found: list[object] = []
    page: ObjectPage | None = None
    while page is None or page.next is not None:
        cursor = page.next if page else None
        page = await store.list("", recursive=recursive, limit=limit, cursor=cursor)
        found.append(([info.key for info in page.objects], page.folders, page.next))
    return found


async def test_list__names_in_the_order_of_hdfs__are_in_that_of_keys(fs: Fs) -> None:
    place = fs.fresh()
    keys = [
        *("a", "a b", "a-", "a-b/x", "a.b", "a0", "aé", "aé/x", "b/é", "b/a/x", "b/a-", "b!/x"),
        *("é", "éa", "e\u0301", "日本/語", "日本語", "🙂/a", "🙂", "z", "~", "b/日", "b/z"),
        *("!x", "!/y", "a\u00e9b", "a\uffeex", "c/d/é/f", "c/d/e/f", "c/d/e-", "c/d/\u00e9-"),
    ]
    keys = [key for key in keys if not any(other.startswith(f"{key}/") for other in keys)]
    model = MemoryObjectStore()
    for key in keys:
        await model.put(key, b"")
        fs.write(place, key)
    fs.client.mkdirs(f"{path_of(place)}/empty/emptier", create_parent=True)
    fs.client.mkdirs(f"{path_of(place)}/b/nothing", create_parent=True)
    async with opened(place) as store:
        for recursive in (True, False):
            for limit in (1, 3, 1000):
                expected = await pages(model, limit, recursive=recursive)
                assert await pages(store, limit, recursive=recursive) == expected


async def test_list__cursor_of_another_store__goes_on_there(fs: Fs) -> None:
    place = fs.fresh()
    keys = [f"f/{number:03}" for number in range(30)] + ["f/é/1", "f/é/2", "g"]
    for key in keys:
        fs.write(place, key)
    seen: list[str] = []
    cursor: str | None = None
    while not seen or cursor is not None:
        async with opened(place) as store:
            page = await store.list("", limit=7, cursor=cursor)
        seen += [info.key for info in page.objects]
        cursor = page.next
    assert seen == sorted(keys)


async def test_list__more_names_than_a_call_gives__cost_what_they_show(fs: Fs) -> None:
    place = fs.fresh()
    count = 2_300
    writers = [
        fs.client.create(f"{path_of(place)}/many/{number:05}", WriteOptions())
        for number in range(count)
    ]  # left open: that spares a call for each
    async with opened(place) as store:
        listing = store.remote.statuses
        asked: list[str] = []

        def counted(folder: str) -> object:
            asked.append(folder)
            return listing(folder)

        store.remote.statuses = counted  # type: ignore[method-assign, assignment]
        objects, _ = await listed(store, "many", limit=500)
        assert [info.key for info in objects] == [f"many/{number:05}" for number in range(count)]
        assert asked == [f"{path_of(place)}/many"], "a page that follows begins where one ended"
    del writers


async def test_delete__folder_becomes_an_object_meanwhile__the_object_stays(fs: Fs) -> None:
    async with opened(fs.fresh()) as store:
        for _ in range(15):
            await store.put("a/b", b"1")
            await asyncio.gather(
                store.delete("a/b"), outcomes([store.put("a", b"2"), store.put("a", b"3")])
            )
            # Whoever was told that it is there finds it, or was told that it is not.
            ends = await outcomes([store.put("a", b"4")])
            assert isinstance(ends[0], ObjectInfo)
            assert await content(store, "a") == b"4"
            await store.delete("a")


async def test_close__while_something_is_written__is_an_error_of_ours(fs: Fs) -> None:
    place = fs.fresh()
    async with opened(place) as store:
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(1000)
                begun.set()
                await asyncio.sleep(0)

        task = asyncio.create_task(store.put("a", endless()))
        await begun.wait()
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await task
        with pytest.raises(StoreError, match="closed"):
            await store.put("b", stream_of([b"x"]))
