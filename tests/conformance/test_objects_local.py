"""The object store in a folder: the suite, the state machine, and what is its own."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from seafloor.domain.errors import (
    Conflict,
    InvalidValue,
    NotFound,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from seafloor.stores.objects.keys import STAGING_FOLDER
from seafloor.stores.objects.local import LocalObjectStore, listings
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.object_cases import content, keys_of, listed, put_all, stream_of
from seafloor.testing.object_store_machine import ObjectStoreMachine
from seafloor.testing.object_store_suite import DurableObjectStoreSuite
from seafloor.testing.process_facts import open_files_below
from seafloor.testing.small_disk import small_disk

MIB = 1024 * 1024


@asynccontextmanager
async def local_store(folder: Path) -> AsyncIterator[LocalObjectStore]:
    """A store whose end is looked at: no temporary file, no descriptor, no thread is left."""
    store = LocalObjectStore(folder)
    threads = set(threading.enumerate())
    yield store
    assert unfinished(folder) == []
    await store.close()
    assert open_files_below(folder) == []
    assert not [
        thread
        for thread in set(threading.enumerate()) - threads
        if thread.name.startswith("seafloor-objects")
    ]
    if (folder / STAGING_FOLDER).exists():
        assert [path.name for path in (folder / STAGING_FOLDER).iterdir()] == ["opening.lock"]


def unfinished(folder: Path) -> list[Path]:
    """Files that are being written."""
    staging = folder / STAGING_FOLDER
    return [path for path in staging.rglob("*") if path.is_file() and path.suffix != ".lock"]


def tree(folder: Path) -> list[str]:
    """All that is in a folder, folders and files, but the staging folder."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(path for path in found if not path.startswith(STAGING_FOLDER))


class TestLocalObjectStore(DurableObjectStoreSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        async with local_store(folder) as store:
            yield store


class LocalObjectStoreMachine(ObjectStoreMachine):
    make_store = staticmethod(local_store)


def test_any_calls__in_any_order__are_those_of_the_model() -> None:
    run_state_machine_as_test(LocalObjectStoreMachine)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalObjectStore]:
    async with local_store(tmp_path) as store:
        yield store


# -- the tree, seen without the store


async def test_put__natural_path__is_a_plain_file(store: LocalObjectStore, tmp_path: Path) -> None:
    await store.put("runs/1/artifacts/model/weights 1.bin", stream_of([b"12", b"3"]))
    assert (tmp_path / "runs/1/artifacts/model/weights 1.bin").read_bytes() == b"123"
    assert tree(tmp_path)[-1] == "runs/1/artifacts/model/weights 1.bin"


async def test_delete__last_object__removes_empty_folders_up_to_the_root(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    await put_all(store, ["a/b/c/d", "a/x"])
    await store.delete("a/b/c/d")
    assert tree(tmp_path) == ["a", "a/x"]
    await store.delete_folder("a")
    assert tree(tmp_path) == []
    assert tmp_path.is_dir()


async def test_put__refused__leaves_no_folder(store: LocalObjectStore, tmp_path: Path) -> None:
    await store.put("a", b"1")
    with pytest.raises(Conflict):
        await store.put("a/b/c", b"2")
    assert tree(tmp_path) == ["a"]


async def test_list__files_put_there_by_hand__are_objects(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "by/hand").mkdir(parents=True)
    (tmp_path / "by/hand/x").write_bytes(b"1")
    assert await keys_of(store) == ["by/hand/x"]
    assert await content(store, "by/hand/x") == b"1"


async def test_list__names_that_are_no_keys__are_not_seen(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    for name in (b"back\\slash", b"new\nline", b"not-utf8-\xff"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"1")
        (tmp_path / os.fsdecode(b"f" + name)).mkdir()
        (tmp_path / os.fsdecode(b"f" + name) / "x").write_bytes(b"1")
    await store.put("a", b"1")
    assert await keys_of(store) == ["a"]
    assert (await listed(store, recursive=False))[1] == []


async def test_empty_folder__left_by_a_crash__does_not_exist(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "left/over").mkdir(parents=True)
    (tmp_path / "left/too").mkdir()
    assert await listed(store, recursive=False) == ([], [])
    await store.put("left/over", b"1", if_absent=True)
    await store.delete("left/over")
    (tmp_path / "left/over").mkdir(parents=True)
    await store.put("left", b"2")
    assert tree(tmp_path) == ["left"]


async def test_list__folder_larger_than_a_batch_of_folders__finds_all(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    """Empty folders fill the batch of names that a page reads first."""
    for number in range(30):
        (tmp_path / f"f/{number:03}").mkdir(parents=True)
    await put_all(store, ["f/030/a", "f/031", "g"])
    for recursive in (True, False):
        page = await store.list("f", limit=1, recursive=recursive)
        assert [*(info.key for info in page.objects), *page.folders] == [
            "f/030/a" if recursive else "f/030"
        ]
        assert page.next is not None
    assert await keys_of(store, limit=2) == ["f/030/a", "f/031", "g"]


# -- links and other things that are no files


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that nobody may reach."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret").write_bytes(b"secret")
    return folder


async def test_list__many_pages_of_one_folder__it_is_not_read_for_each(
    store: LocalObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    names = [f"{number:05}" for number in range(2_500)]
    for name in names:
        (folder / name).touch()
    reads = 0

    def counted(place: Any, scandir: Callable[[Any], Any] = os.scandir) -> Any:
        nonlocal reads
        reads += 1
        return scandir(place)

    monkeypatch.setattr(os, "scandir", counted)
    assert await keys_of(store, "flat", limit=50) == [f"flat/{name}" for name in names]
    assert reads == 3  # for 50 pages, of which it has the names of 20 each time


async def test_list__next_page_is_asked_for_much_later__what_came_meanwhile_is_in_it(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "_KEPT_S", 0.0)
    await put_all(store, ["f/1", "f/3"])
    page = await store.list("f", limit=1)
    await store.put("f/2", b"new")
    page = await store.list("f", limit=1, cursor=page.next)
    assert [info.key for info in page.objects] == ["f/2"]


async def test_list__many_listings_at_once__each_is_whole(store: LocalObjectStore) -> None:
    keys = [f"f/{number:02}" for number in range(30)]
    await put_all(store, keys)
    found = await asyncio.gather(*(keys_of(store, "f", limit=limit) for limit in range(1, 13)))
    assert found == [keys] * 12


async def test_link_to_a_folder__leads_nowhere(
    store: LocalObjectStore, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(NotFound):
        await store.head("link/secret")
    with pytest.raises(NotFound):
        await content(store, "link/secret")
    with pytest.raises(NotFound):
        await store.local_path("link/secret")
    with pytest.raises(Conflict):
        await store.put("link/new", b"1")
    assert await store.delete("link/secret") is False
    assert await store.delete_folder("link") == 0
    assert await listed(store) == ([], [])
    assert await listed(store, recursive=False) == ([], [])
    assert [path.name for path in outside.iterdir()] == ["secret"]


async def test_link_to_a_file__is_no_object(
    store: LocalObjectStore, tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/link").symlink_to(outside / "secret")
    for read in (store.head, store.local_path):
        with pytest.raises(NotFound):
            await read("f/link")
    with pytest.raises(NotFound):
        await content(store, "f/link")
    assert await keys_of(store) == []
    assert await store.delete("f/link") is False
    await store.put("f/link", b"mine")
    assert (outside / "secret").read_bytes() == b"secret"
    assert await content(store, "f/link") == b"mine"


async def test_delete_folder__with_links__removes_them_and_follows_none(
    store: LocalObjectStore, tmp_path: Path, outside: Path
) -> None:
    await store.put("f/a", b"1")
    (tmp_path / "f/link").symlink_to(outside)
    (tmp_path / "f/file").symlink_to(outside / "secret")
    assert await store.delete_folder("f") == 1
    assert tree(tmp_path) == []
    assert (outside / "secret").read_bytes() == b"secret"


async def test_pipe__read__does_not_wait_for_its_other_end(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotFound):
        await asyncio.wait_for(content(store, "pipe"), timeout=60)
    assert await keys_of(store) == []


async def test_root__is_a_link__is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    async with local_store(tmp_path / "link") as store:
        await store.put("a", b"1")
        assert await store.local_path("a") == tmp_path / "real/a"


# -- what the file system says


async def test_put__disk_full__says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=4 * MIB) as disk:
        root = tmp_path / "disk/objects"
        async with local_store(root) as store:
            await store.put("there", b"old" * 1000)
            disk.fill(leave_bytes=MIB)
            chunks = [bytes(300_000)] * 10
            for key, if_absent in (("there", False), ("new/one", False), ("new/two", True)):
                with pytest.raises(StoreFull, match="no space left"):
                    await store.put(key, stream_of(chunks), if_absent=if_absent)
                with pytest.raises(StoreFull):
                    await store.put(key, b"".join(chunks), if_absent=key != "there" and if_absent)
            assert unfinished(root) == []
            assert tree(root) == ["there"]
            assert await content(store, "there") == b"old" * 1000
            disk.free()
            await store.put("new/one", stream_of(chunks))
            assert (await store.head("new/one")).size_bytes == 3_000_000


async def test_put__no_room_for_a_name__leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=MIB) as disk:
        root = tmp_path / "disk/objects"
        async with local_store(root) as store:
            disk.fill()
            with pytest.raises(StoreFull):
                await store.put("a/b", bytes(10_000))
            assert tree(root) == []
            disk.free()
            await store.put("a/b", b"1")


async def test_root__cannot_be_made__is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        LocalObjectStore(tmp_path / "file/objects")
    assert str(tmp_path / "file/objects") in caught.value.message


async def test_root__goes_away__is_unavailable(tmp_path: Path) -> None:
    root = tmp_path / "objects"
    async with local_store(root) as store:
        await store.put("a", b"1")
        root.rename(tmp_path / "elsewhere")
        (tmp_path / "elsewhere/a").unlink()
        (tmp_path / "elsewhere" / STAGING_FOLDER).rename(tmp_path / "staging")
        for path in (tmp_path / "staging").iterdir():
            if path.is_dir():
                path.rmdir()
        with pytest.raises(StoreUnavailable, match="look whether it is there"):
            await store.put("b", b"1")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreError),
        (errno.EROFS, StoreError),
        (errno.ENAMETOOLONG, InvalidValue),
        (errno.EMFILE, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EXDEV, StoreError),
        (errno.EIO, StoreUnavailable),
        (errno.ENODEV, StoreError),
    ],
)
async def test_put__file_system_says_no__is_told_in_our_words(
    store: LocalObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    expected: type[SeafloorError],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(expected) as caught:
        await store.put("a/b", b"1")
    assert type(caught.value) is expected
    assert isinstance(caught.value.__cause__, OSError)
    assert errno.errorcode[number] in (caught.value.detail or "")
    assert tree(tmp_path) == []


async def test_read__file_cut_short_meanwhile__is_corrupt(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    await store.put("a", bytes(3 * MIB))
    chunks = store.read("a")
    await anext(chunks)
    os.truncate(tmp_path / "a", MIB + 10)
    with pytest.raises(StoreCorrupt):
        await anext(chunks)


async def test_read__left_early__closes_the_file(store: LocalObjectStore, tmp_path: Path) -> None:
    await store.put("a", bytes(3 * MIB))
    chunks = store.read("a")
    await anext(chunks)
    assert open_files_below(tmp_path / "a") == [tmp_path / "a"]
    await chunks.aclose()  # type: ignore[attr-defined]
    assert open_files_below(tmp_path / "a") == []


async def test_read__cancelled__closes_the_file(store: LocalObjectStore, tmp_path: Path) -> None:
    await store.put("a", bytes(3 * MIB))
    for turns in range(30):
        task = asyncio.create_task(content(store, "a"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert open_files_below(tmp_path / "a") == []


async def test_put__cancelled_at_any_moment__is_whole_or_not_there(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    pieces = [bytes(MIB)] * 3
    turns, ended = 0, False
    while not ended:
        task = asyncio.create_task(store.put("f/a", stream_of(pieces)))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.wait([task])
        assert unfinished(tmp_path) == []
        if "f/a" in await keys_of(store):
            assert (await store.head("f/a")).size_bytes == 3 * MIB
        await store.delete("f/a")
        ended = not task.cancelled()
        turns += 1 + turns // 100  # a disk that is busy is given more time, soon enough
    assert tree(tmp_path) == []


async def test_put__cancelled_again_while_all_threads_are_busy__leaves_nothing(
    tmp_path: Path,
) -> None:
    begun, is_busy, go_on = asyncio.Event(), threading.Event(), threading.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        begun.set()
        await asyncio.Event().wait()

    def blocked() -> None:
        is_busy.set()
        go_on.wait()

    store = LocalObjectStore(tmp_path, threads=1)
    task = asyncio.create_task(store.put("a", slow()))
    await begun.wait()
    blocking = asyncio.create_task(store._run(blocked, "b"))
    await asyncio.to_thread(is_busy.wait)
    for _ in range(3):  # what is staged waits for a thread to be discarded
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(unfinished(tmp_path)) == 1
    go_on.set()
    await asyncio.wait([task, blocking])
    assert task.cancelled()
    assert unfinished(tmp_path) == []
    await store.close()
    assert open_files_below(tmp_path) == []


# -- two processes, or two stores, on one root


async def test_open__another_store_writes__its_files_are_left_alone(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        begun.set()
        await go_on.wait()
        yield b"end"

    first = LocalObjectStore(tmp_path)
    task = asyncio.create_task(first.put("a", slow()))
    await begun.wait()
    second = LocalObjectStore(tmp_path)
    assert len(unfinished(tmp_path)) == 1
    await second.close()
    go_on.set()
    assert (await task).size_bytes == 2 * MIB + 3
    await first.close()


async def test_two_stores__change_one_folder__nobody_fails(tmp_path: Path) -> None:
    async def change(store: ObjectStore, name: str) -> None:
        for _ in range(40):
            await store.put(f"f/g/{name}", b"1")
            assert await store.delete(f"f/g/{name}") is True

    async with local_store(tmp_path) as first:
        second = LocalObjectStore(tmp_path)
        async with asyncio.TaskGroup() as group:
            for number, store in enumerate([first, second] * 2):
                group.create_task(change(store, str(number)))
        await second.close()
        assert tree(tmp_path) == []


# -- order of what is asked of the file system


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Name the calls that make things durable or visible, in order."""
    names: list[str] = []

    def kind(target: object) -> str:
        return "folder" if os.path.isdir(f"/proc/self/fd/{target}") else "file"  # noqa: PTH112

    real_fsync, real_rename, real_link, real_mkdir = os.fsync, os.rename, os.link, os.mkdir

    def fsync(fd: int) -> None:
        names.append(f"fsync {kind(fd)}")
        real_fsync(fd)

    def rename(*args: str, **fds: int) -> None:
        names.append("rename")
        real_rename(*args, **fds)

    def link(*args: str, **fds: int) -> None:
        names.append("link")
        real_link(*args, **fds)

    def mkdir(*args: object, **fds: int) -> None:
        names.append("mkdir")
        real_mkdir(*args, **fds)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "mkdir", mkdir)
    return names


async def test_put__content_is_durable_before_its_name_and_the_name_before_the_answer(
    store: LocalObjectStore, asked: list[str]
) -> None:
    await store.put("a/b/c", b"1")
    made = ["mkdir", "fsync folder"] * 2
    assert asked == ["fsync file", *made, "rename", "fsync folder"]
    asked.clear()
    await store.put("a/b/d", b"1", if_absent=True)
    assert asked == ["fsync file", "link", "fsync folder"]
