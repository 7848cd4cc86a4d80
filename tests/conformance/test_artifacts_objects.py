"""The artifact store over an object store: the suite, crashes at every call, damage, its files."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from seafloor.domain.artifacts import ArtifactFile
from seafloor.domain.errors import (
    Conflict,
    NotFound,
    NotSupported,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from seafloor.stores.artifacts import store as artifact_store
from seafloor.stores.artifacts.layout import ArtifactLayout
from seafloor.stores.artifacts.memory import MemoryManifestStore
from seafloor.stores.artifacts.protocol import ArtifactStore, IntentView, new_intent
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectInfo, ObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore, RetryPolicy
from seafloor.testing.artifact_store_suite import (
    ArtifactStoreSuite,
    assert_true_to_its_digest,
    file_bytes,
    put_bytes,
    sha256_of,
)
from seafloor.testing.manifest_store_suite import MODEL, OWNER
from seafloor.testing.object_cases import content, keys_of, stream_of
from seafloor.testing.object_count import CountObjectStore
from seafloor.testing.object_fault import Fault, FaultObjectStore, Moment, Operation

LAYOUT = ArtifactLayout()
KEY = LAYOUT.artifact_key(OWNER, "a/b")
NOTE = LAYOUT.replacement_key(OWNER, "a/b")
AWAY = StoreUnavailable("away")


class TestArtifactsInMemory(ArtifactStoreSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ArtifactStore]:
        yield ObjectArtifactStore(MemoryObjectStore(), MemoryManifestStore())


class TestArtifactsInAFolder(ArtifactStoreSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ArtifactStore]:
        objects = LocalObjectStore(folder)
        yield ObjectArtifactStore(objects, MemoryManifestStore())
        await objects.close()


# -- what lies in the object store


async def test_put__natural_path__is_that_of_the_layout(tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path)
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    await put_bytes(store, "model/weights 1.bin", b"1")
    await put_bytes(store, "MLmodel", b"2", owner=MODEL)
    await store.seal(OWNER)
    await store.seal(MODEL)
    await objects.close()
    files = sorted(
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    )
    assert files == [
        f"models/logged/{MODEL}/artifacts/MLmodel",
        f"models/logged/{MODEL}/manifest.json",
        f"runs/{OWNER}/artifacts/model/weights 1.bin",
        f"runs/{OWNER}/manifest.json",
    ]


async def test_seal__files__are_listed_in_order_with_their_digests() -> None:
    objects = MemoryObjectStore()
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    rows = [await put_bytes(store, path, path.encode()) for path in ("a-b", "a/b", "ab", "é\"'")]
    assert await store.seal(OWNER) == 4
    document = json.loads(await content(objects, LAYOUT.manifest_key(OWNER)))
    assert list(document) == ["format_version", "owner", "files"]
    assert document["format_version"] == 1
    assert document["owner"] == OWNER
    assert [ArtifactFile(**file) for file in document["files"]] == rows


async def test_seal__more_files_than_a_page__lists_all() -> None:
    objects, manifest = CountObjectStore(MemoryObjectStore()), MemoryManifestStore()
    store = ObjectArtifactStore(objects, manifest)
    for number in range(1_100):
        await put_bytes(store, f"f/{number:05}", b"1")
    before = objects.counts
    assert await store.seal(OWNER) == 1_100
    document = json.loads(await content(objects, LAYOUT.manifest_key(OWNER)))
    assert [file["path"] for file in document["files"]] == [f"f/{n:05}" for n in range(1_100)]
    # Nothing was read or looked up file by file.
    assert objects.counts.list.calls - before.list.calls == 2
    assert objects.counts.head.calls == before.head.calls


async def test_put__first_time__costs_one_call_of_the_object_store() -> None:
    objects = FaultObjectStore(MemoryObjectStore())
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    await put_bytes(store, "a/b", b"1")
    await put_bytes(store, "a/b", b"1")
    assert objects.calls == (Operation.PUT, Operation.PUT)


async def test_put__replaced__leaves_no_note() -> None:
    objects = MemoryObjectStore()
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    await put_bytes(store, "a/b", b"1")
    await put_bytes(store, "a/b", b"2")
    assert await keys_of(objects) == [KEY]


# -- crashes: what is called fails, and another store goes on with what is left


class FaultManifestStore(MemoryManifestStore):
    """A manifest store whose n-th put fails, before or after taking effect."""

    def __init__(self) -> None:
        super().__init__()
        self.puts_left = -1
        self.moment = Moment.BEFORE

    async def manifest_put(self, owner: str, file: ArtifactFile) -> None:
        self.puts_left -= 1
        if self.puts_left == 0 and self.moment is Moment.BEFORE:
            raise AWAY
        await super().manifest_put(owner, file)
        if self.puts_left == 0 and self.moment is Moment.AFTER:
            raise AWAY


Call = Callable[[ArtifactStore], Awaitable[object]]
CHANGES: dict[str, tuple[bytes | None, Call, set[bytes | None]]] = {
    "create": (None, lambda store: put_bytes(store, "a/b", b"new!"), {None, b"new!"}),
    "replace": (b"old", lambda store: put_bytes(store, "a/b", b"new!"), {b"old", b"new!"}),
    "replace_same_size": (
        b"old!",
        lambda store: put_bytes(store, "a/b", b"new!"),
        {b"old!", b"new!"},
    ),
    "repeat": (b"old", lambda store: put_bytes(store, "a/b", b"old"), {b"old"}),
    "delete": (b"old", lambda store: store.delete(OWNER, "a/b"), {b"old", None}),
    "delete_folder": (b"old", lambda store: store.delete(OWNER, "a"), {b"old", None}),
}


async def assert_lives_on(
    objects: ObjectStore, manifest: MemoryManifestStore, change: Call, allowed: set[bytes | None]
) -> None:
    """Look at what a crash left with a new store, then make the change again, and others."""
    store = ObjectArtifactStore(objects, manifest)
    assert await assert_true_to_its_digest(store, "a/b") in allowed
    assert await assert_true_to_its_digest(store, "c") == b"keep"
    count = await store.seal(OWNER)
    document = json.loads(await content(objects, LAYOUT.manifest_key(OWNER)))
    assert len(document["files"]) == count
    for file in document["files"]:
        found = await content(objects, LAYOUT.artifact_key(OWNER, file["path"]))
        assert file["sha256"] == sha256_of(found)
    await change(store)
    assert await assert_true_to_its_digest(store, "a/b") in allowed
    await put_bytes(store, "a/b", b"something else")
    assert await assert_true_to_its_digest(store, "a/b") == b"something else"
    await store.delete(OWNER, "a")
    await put_bytes(store, "a", b"a file")
    left = [key for key in await keys_of(objects) if not key.endswith(".json")]
    assert left == [LAYOUT.artifact_key(OWNER, path) for path in ("a", "c")]


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("name", CHANGES)
async def test_change__object_store_fails_at_every_call__old_or_new_and_true(
    name: str, moment: Moment
) -> None:
    before, change, allowed = CHANGES[name]
    for call in range(1, 20):
        inner, manifest = MemoryObjectStore(), MemoryManifestStore()
        store = ObjectArtifactStore(inner, manifest)
        await put_bytes(store, "c", b"keep")
        if before is not None:
            await put_bytes(store, "a/b", before)
        faulty = FaultObjectStore(inner, Fault(AWAY, call=call, moment=moment))
        ended = await ended_well(change, ObjectArtifactStore(faulty, manifest))
        if ended and name != "repeat":
            assert await assert_true_to_its_digest(store, "a/b") in allowed - {before}
        await assert_lives_on(inner, manifest, change, allowed)
        if len(faulty.calls) < call:
            assert ended
            return
    raise AssertionError("more calls than expected")


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
@pytest.mark.parametrize("name", ["create", "replace", "replace_same_size", "repeat"])
async def test_put__manifest_store_fails__old_or_new_and_true(name: str, moment: Moment) -> None:
    before, change, allowed = CHANGES[name]
    objects, manifest = MemoryObjectStore(), FaultManifestStore()
    store = ObjectArtifactStore(objects, manifest)
    await put_bytes(store, "c", b"keep")
    if before is not None:
        await put_bytes(store, "a/b", before)
    manifest.puts_left, manifest.moment = 1, moment
    with pytest.raises(StoreUnavailable):
        await change(store)
    await assert_lives_on(objects, manifest, change, allowed)


async def ended_well(change: Call, store: ArtifactStore) -> bool:
    """Make a change; say whether it was acknowledged."""
    try:
        await change(store)
    except StoreUnavailable:
        return False
    return True


async def test_put__crashed_twice_in_a_row__the_newest_bytes_are_known() -> None:
    """The note of the second replacement must not forget what the first one left."""
    for second_call in range(1, 8):
        objects, manifest = MemoryObjectStore(), FaultManifestStore()
        store = ObjectArtifactStore(objects, manifest)
        await put_bytes(store, "a/b", b"one")
        manifest.puts_left = 1
        with pytest.raises(StoreUnavailable):
            await put_bytes(store, "a/b", b"two")
        faulty = FaultObjectStore(objects, Fault(AWAY, call=second_call))
        await ended_well(
            lambda store: put_bytes(store, "a/b", b"six"), ObjectArtifactStore(faulty, manifest)
        )
        store = ObjectArtifactStore(objects, manifest)
        assert await assert_true_to_its_digest(store, "a/b") in {b"two", b"six"}


async def test_put__crashed_before_its_row__is_repaired_by_a_reader_once() -> None:
    objects, manifest = CountObjectStore(MemoryObjectStore()), FaultManifestStore()
    store = ObjectArtifactStore(objects, manifest)
    await put_bytes(store, "a/b", b"old")
    manifest.puts_left = 1
    with pytest.raises(StoreUnavailable):
        await put_bytes(store, "a/b", b"new")
    assert (await manifest.manifest_get(OWNER, "a/b")).sha256 == sha256_of(b"old")
    heads = await asyncio.gather(*(store.head(OWNER, "a/b") for _ in range(5)))
    assert {row.sha256 for row in heads} == {sha256_of(b"new")}
    assert objects.counts.read.size_bytes < 200, "hashed more than once"
    assert await keys_of(objects) == [KEY]


async def test_read__clock_too_coarse_to_show_a_cut_off_replacement__is_mended() -> None:
    class CoarseClock(MemoryObjectStore):
        async def put(
            self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
        ) -> ObjectInfo:
            info = await super().put(key, data, if_absent=if_absent)
            coarse = msgspec.structs.replace(info, modified_ns=0)
            self._objects[key] = (self._objects[key][0], coarse)
            return coarse

    objects, manifest = CoarseClock(), FaultManifestStore()
    store = ObjectArtifactStore(objects, manifest)
    await put_bytes(store, "a/b", b"old")
    manifest.puts_left = 1
    with pytest.raises(StoreUnavailable):
        await put_bytes(store, "a/b", b"new")
    assert await file_bytes(store, "a/b") == b"new"
    assert await assert_true_to_its_digest(store, "a/b") == b"new"


async def test_put__row_is_refused__the_bytes_go() -> None:
    """The rows know of a file that the object store does not have: no row, so no bytes."""
    objects, manifest = MemoryObjectStore(), MemoryManifestStore()
    await manifest.manifest_put(OWNER, ArtifactFile("a", 1, sha256_of(b"1"), 0))
    store = ObjectArtifactStore(objects, manifest)
    with pytest.raises(Conflict):
        await put_bytes(store, "a/b", b"2")
    assert await keys_of(objects) == []


async def test_put__object_without_a_row_in_the_way__can_be_deleted() -> None:
    objects = MemoryObjectStore()
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    await objects.put(LAYOUT.artifact_key(OWNER, "a"), b"left by a crash")
    with pytest.raises(NotFound):
        await store.head(OWNER, "a")
    with pytest.raises(Conflict, match="delete what is there"):
        await put_bytes(store, "a/b", b"1")
    assert await store.delete(OWNER, "a") == 0
    await put_bytes(store, "a/b", b"1")


async def test_put__store_comes_back__a_replayed_stream_is_hashed_anew() -> None:
    class Chunks:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"123"
            yield b"456"

    async def no_sleep(_: float) -> None:
        pass

    inner = FaultObjectStore(MemoryObjectStore())
    objects = RetryObjectStore(inner, RetryPolicy(), sleep=no_sleep)
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    for moment in (Moment.MIDSTREAM, Moment.AFTER, Moment.BEFORE):
        for data in (b"old", b"older"):
            await put_bytes(store, "a/b", data)
        inner.plant(Fault(AWAY, operation=Operation.PUT, moment=moment, after_bytes=4))
        put = await store.put(OWNER, "a/b", Chunks(), sha256=sha256_of(b"123456"), size_bytes=6)
        assert await store.head(OWNER, "a/b") == put
        assert await file_bytes(store, "a/b") == b"123456"
    inner.plant(Fault(AWAY, operation=Operation.PUT, moment=Moment.MIDSTREAM))
    with pytest.raises(StoreUnavailable):
        await store.put(OWNER, "a/b", stream_of([b"used up"]))
    assert await assert_true_to_its_digest(store, "a/b") == b"123456"


async def test_put__disk_full__nothing_is_visible() -> None:
    objects = FaultObjectStore(MemoryObjectStore())
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    await put_bytes(store, "a/b", b"old")
    objects.plant(Fault(StoreFull("full"), operation=Operation.PUT, moment=Moment.MIDSTREAM))
    with pytest.raises(StoreFull):
        await put_bytes(store, "a/b", b"new")
    assert await assert_true_to_its_digest(store, "a/b") == b"old"


# -- damage


@pytest.fixture
async def damaged(tmp_path: Path) -> AsyncIterator[tuple[ObjectArtifactStore, Path]]:
    """A store with one file of 3 MiB and the path of that file."""
    objects = LocalObjectStore(tmp_path)
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    await put_bytes(store, "a/b", bytes(3 * 1024 * 1024))
    yield store, tmp_path / KEY
    await objects.close()


async def test_read__file_changed_by_hand__is_corrupt_until_it_is_put_again(
    damaged: tuple[ObjectArtifactStore, Path],
) -> None:
    store, file = damaged
    file.write_bytes(b"changed")
    for call in (lambda: store.head(OWNER, "a/b"), lambda: file_bytes(store, "a/b")):
        with pytest.raises(StoreCorrupt, match="another sha256"):
            await call()
    assert await store.seal(OWNER) == 1
    document = json.loads((file.parents[2] / "manifest.json").read_bytes())
    assert document["files"][0]["sha256"] == sha256_of(bytes(3 * 1024 * 1024))
    await put_bytes(store, "a/b", b"changed")
    assert await assert_true_to_its_digest(store, "a/b") == b"changed"


async def test_read__bit_rot_that_no_time_tells__comes_before_the_last_chunk(
    damaged: tuple[ObjectArtifactStore, Path],
) -> None:
    store, file = damaged
    status = file.stat()
    with file.open("r+b") as opened:
        opened.seek(5)
        opened.write(b"\x01")
    os.utime(file, ns=(status.st_mtime_ns, status.st_mtime_ns))
    chunks = store.read(OWNER, "a/b")
    got = len(await anext(chunks)) + len(await anext(chunks))
    with pytest.raises(StoreCorrupt):
        await anext(chunks)
    assert got < status.st_size


async def test_read__file_gone__is_corrupt_and_not_simply_missing(
    damaged: tuple[ObjectArtifactStore, Path],
) -> None:
    store, file = damaged
    file.unlink()
    with pytest.raises(StoreCorrupt, match="gone from the object store"):
        await file_bytes(store, "a/b")
    assert await store.delete(OWNER, "a/b") == 1


async def test_read__restored_from_a_copy__is_taken_with_its_new_time(
    damaged: tuple[ObjectArtifactStore, Path],
) -> None:
    store, file = damaged
    os.utime(file, ns=(5, 5))
    row = await store.head(OWNER, "a/b")
    assert row.created_ns == 5
    assert row.sha256 == sha256_of(bytes(3 * 1024 * 1024))
    assert await assert_true_to_its_digest(store, "a/b") is not None


@pytest.mark.parametrize(
    ("note", "error"),
    [(b"{}", StoreCorrupt), (b'{"format', StoreCorrupt), (None, StoreCorrupt), (2, NotSupported)],
)
async def test_head__note_is_damaged_or_newer__is_told(
    damaged: tuple[ObjectArtifactStore, Path], note: bytes | int | None, error: type[Exception]
) -> None:
    store, file = damaged
    file.write_bytes(b"changed")
    if note is not None:
        text = {"format_version": 2, "path": "a/b", "sha256": "0" * 64, "size_bytes": 1}
        path = file.parents[2] / NOTE.partition(f"{OWNER}/")[2]
        path.parent.mkdir()
        path.write_bytes(note if isinstance(note, bytes) else json.dumps(text).encode())
    with pytest.raises(error):
        await store.head(OWNER, "a/b")


async def test_delete__killed_when_another_put_came_between__the_file_is_deleted(
    tmp_path: Path,
) -> None:
    # A put whose row comes before the bytes are deleted, and a deletion that never ends.
    manifest, objects = MemoryManifestStore(), LocalObjectStore(tmp_path)
    other = ObjectArtifactStore(objects, manifest)

    class Interrupted(LocalObjectStore):
        async def delete(self, key: str) -> bool:
            await put_bytes(other, "a/b", b"between")
            await super().delete(key)
            raise asyncio.CancelledError

    interrupted = Interrupted(tmp_path)
    await put_bytes(other, "a/b", b"first")
    with pytest.raises(asyncio.CancelledError):
        await ObjectArtifactStore(interrupted, manifest).delete(OWNER, "a/b")
    with pytest.raises(NotFound):
        await other.head(OWNER, "a/b")
    assert await other.list(OWNER) == ()
    await put_bytes(other, "a/b", b"last")
    assert await file_bytes(other, "a/b") == b"last"
    await interrupted.close()
    await objects.close()


@pytest.mark.parametrize("killed", [False, True])
async def test_put__overtaken_by_one_whose_row_a_deletion_took__waits_for_the_bytes_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    deleting, looked = asyncio.Event(), asyncio.Event()

    class Slow(LocalObjectStore):
        async def delete(self, key: str) -> bool:
            deleting.set()
            await looked.wait()
            return await super().delete(key)

    class Overtaken(MemoryManifestStore):
        deletion: asyncio.Task[int] | None = None
        looks = 0

        async def intent_end(
            self, owner: str, path: str, intent: str, row: ArtifactFile | None, *, alone: bool
        ) -> bool:
            if self.deletion is None and row is not None and row.sha256 == sha256_of(b"first"):
                await put_bytes(other, "a/b", b"second")
                self.deletion = asyncio.create_task(removing.delete(OWNER, "a/b"), name="deletion")
                await deleting.wait()
            return await super().intent_end(owner, path, intent, row, alone=alone)

        async def intent_look(self, owner: str, path: str, intent: str) -> IntentView:
            self.looks += deleting.is_set()
            if self.looks == 3 and not killed:
                looked.set()
            return await super().intent_look(owner, path, intent)

    monkeypatch.setattr(artifact_store, "_TURNS_MAX", 5)
    manifest, objects, slow = Overtaken(), LocalObjectStore(tmp_path), Slow(tmp_path)
    other, removing = ObjectArtifactStore(objects, manifest), ObjectArtifactStore(slow, manifest)
    store = ObjectArtifactStore(objects, manifest)
    if killed:
        with pytest.raises(StoreUnavailable, match="repeat"):
            await put_bytes(store, "a/b", b"first")
    else:
        await put_bytes(store, "a/b", b"first")
    assert manifest.deletion is not None
    looked.set()
    await manifest.deletion
    assert manifest.looks >= 3
    with pytest.raises(NotFound):
        await other.head(OWNER, "a/b")
    await put_bytes(other, "a/b", b"last")
    assert await assert_true_to_its_digest(other, "a/b") == b"last"
    await slow.close()
    await objects.close()


async def test_head__bytes_lost_and_nobody_deletes__is_corrupt_and_the_row_stays(
    tmp_path: Path,
) -> None:
    objects = LocalObjectStore(tmp_path)
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    await put_bytes(store, "a/b", b"1")
    await objects.delete(KEY)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="gone"):
            await store.head(OWNER, "a/b")
    assert [file.path for file in await store.list(OWNER)] == ["a/b"]
    await objects.close()


async def test_head__another_put_comes_between_the_intents_and_the_bytes__is_that_one(
    tmp_path: Path,
) -> None:
    objects = LocalObjectStore(tmp_path)

    class Overtaken(MemoryManifestStore):
        done = False

        async def intent_look(self, owner: str, path: str, intent: str) -> IntentView:
            seen = await super().intent_look(owner, path, intent)
            if not self.done:
                self.done = True
                other = new_intent(time_ms=time.time_ns() // 1_000_000)
                await self.intent_begin(OWNER, "a/b", other, sha256=sha256_of(b"third"))
                await objects.put(KEY, b"third")
            return seen

    manifest = Overtaken()
    store = ObjectArtifactStore(objects, manifest)
    await put_bytes(store, "a/b", b"first")
    await objects.put(KEY, b"second")  # the row is not that of the bytes, so both are looked at
    other = new_intent(time_ms=time.time_ns() // 1_000_000)
    await manifest.intent_begin(OWNER, "a/b", other, sha256=sha256_of(b"second"))
    assert (await store.head(OWNER, "a/b")).sha256 == sha256_of(b"third")
    assert manifest.done
    assert await file_bytes(store, "a/b") == b"third"
    await objects.close()
