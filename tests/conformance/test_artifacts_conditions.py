"""Artifacts that are put only in place of what the writer knows, by several at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from unittest import mock

import pytest

from seafloor.domain.artifacts import ANY, ArtifactFile, FileCondition
from seafloor.domain.errors import NotFound, PreconditionFailed, StoreUnavailable
from seafloor.stores.artifacts import store as artifact_store
from seafloor.stores.artifacts.layout import ArtifactLayout
from seafloor.stores.artifacts.memory import MemoryManifestStore
from seafloor.stores.artifacts.protocol import ArtifactStore, new_intent
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.objects.local.store import LocalObjectStore
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.testing.artifact_crash_cases import artifacts_in
from seafloor.testing.artifact_store_suite import file_bytes, put_bytes, sha256_of
from seafloor.testing.manifest_store_suite import OWNER
from seafloor.testing.object_cases import keys_of, stream_of

KEY = ArtifactLayout().artifact_key(OWNER, "a")
NEW_ONLY = FileCondition(none_of=frozenset({ANY}))
OLD, OTHER = sha256_of(b"old"), sha256_of(b"other")

Stores = tuple[ArtifactStore, ArtifactStore]


@asynccontextmanager
async def _stores(kind: str, folder: Path) -> AsyncIterator[Stores]:
    """Two, as two processes have them; or one, twice."""
    if kind == "a database":
        async with artifacts_in(folder) as first, artifacts_in(folder) as second:
            yield first, second
    else:
        objects, manifest = MemoryObjectStore(), MemoryManifestStore()
        first = ObjectArtifactStore(objects, manifest)
        alike = kind == "one process"
        yield first, first if alike else ObjectArtifactStore(objects, manifest)


@pytest.fixture(params=["one process", "two processes", "a database"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    async with _stores(request.param, tmp_path) as made:
        yield made


async def put_if(store: ArtifactStore, data: bytes, only_if: FileCondition) -> ArtifactFile:
    return await store.put(OWNER, "a", stream_of([data]), only_if=only_if)


def in_place_of(*digests: str) -> FileCondition:
    return FileCondition(any_of=frozenset(digests))


@pytest.mark.parametrize(
    ("only_if", "is_put"),
    [
        (NEW_ONLY, (True, False)),
        (in_place_of(ANY), (False, True)),
        (in_place_of(OLD), (False, True)),
        (in_place_of(OTHER, OLD), (False, True)),
        (in_place_of(OTHER), (False, False)),
        (in_place_of(), (False, False)),
        (FileCondition(none_of=frozenset({OLD})), (True, False)),
        (FileCondition(none_of=frozenset({OTHER})), (True, True)),
        (FileCondition(), (True, True)),
    ],
)
@pytest.mark.parametrize("is_there", [False, True])
async def test_put__with_a_condition__is_put_only_if_it_holds(
    only_if: FileCondition, is_put: tuple[bool, bool], is_there: bool
) -> None:
    objects = MemoryObjectStore()
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    if is_there:
        await put_bytes(store, "a", b"old")
    if is_put[is_there]:
        assert (await put_if(store, b"new", only_if)).sha256 == sha256_of(b"new")
        assert await file_bytes(store, "a") == b"new"
        return
    with pytest.raises(PreconditionFailed) as caught:
        await put_if(store, b"new", only_if)
    assert (OLD in caught.value.message) == is_there
    assert await keys_of(objects) == ([KEY] if is_there else [])
    if is_there:
        assert await file_bytes(store, "a") == b"old"
    assert await put_bytes(store, "a", b"next")  # nothing of it is in anybody's way


async def test_put__of_a_new_file_by_many_at_once__one_puts_it(stores: Stores) -> None:
    """All bring the same bytes, as whoever takes a lock does."""

    async def take(store: ArtifactStore) -> bool:
        try:
            await put_if(store, b"taken", NEW_ONLY)
        except PreconditionFailed:
            return False
        return True

    for _ in range(5):
        assert sum(await asyncio.gather(*(take(store) for store in stores * 4))) == 1
        assert await stores[0].delete(OWNER, "a") == 1


async def test_put__in_place_of_what_was_read_by_many_at_once__none_is_lost(
    stores: Stores,
) -> None:
    await put_bytes(stores[0], "a", b"0")

    async def count_on(store: ArtifactStore) -> None:
        for _ in range(5):
            while True:
                try:
                    known = await file_bytes(store, "a")
                    new = str(int(known) + 1).encode()
                    await put_if(store, new, in_place_of(sha256_of(known)))
                except (PreconditionFailed, StoreUnavailable):
                    continue
                break

    await asyncio.gather(*(count_on(store) for store in stores * 3))
    assert await file_bytes(stores[1], "a") == b"30"


async def test_put__another_comes_while_its_bytes_do__is_refused_at_their_end(
    stores: Stores,
) -> None:
    known = await put_bytes(stores[0], "a", b"old")

    async def slowly() -> AsyncIterator[bytes]:
        yield b"mine"
        await put_bytes(stores[1], "a", b"other")
        yield b"more"

    with pytest.raises(PreconditionFailed):
        await stores[0].put(OWNER, "a", slowly(), only_if=in_place_of(known.sha256))
    assert await file_bytes(stores[1], "a") == b"other"


@pytest.mark.parametrize("age_s", [0, 61])
async def test_put__another_was_about_to_put_it__is_held_off_unless_that_is_long_ago(
    age_s: int,
) -> None:
    manifest = MemoryManifestStore()
    store = ObjectArtifactStore(MemoryObjectStore(), manifest)
    other = new_intent(time_ms=time.time_ns() // 1_000_000 - age_s * 1000)
    await manifest.intent_begin(OWNER, "a", other, sha256=OTHER)
    with mock.patch.object(artifact_store, "_PUT_PAUSE_S", 0.0):
        if age_s:
            await put_if(store, b"new", NEW_ONLY)
        else:
            with pytest.raises(StoreUnavailable):
                await put_if(store, b"new", NEW_ONLY)
            await manifest.intent_drop(other)
            await put_if(store, b"new", NEW_ONLY)  # it left nothing that would hold itself off
    assert await file_bytes(store, "a") == b"new"


async def test_put__in_place_of_a_damaged_file__mends_it(tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path)
    store = ObjectArtifactStore(objects, MemoryManifestStore())
    await put_bytes(store, "a", b"old")
    (tmp_path / KEY).write_bytes(b"rotten")
    with pytest.raises(PreconditionFailed):
        await put_if(store, b"new", NEW_ONLY)
    await put_if(store, b"new", in_place_of(OLD))
    assert await file_bytes(store, "a") == b"new"
    await objects.close()


async def test_put__over_bytes_whose_row_a_crash_left_behind__is_compared_with_the_bytes() -> None:
    objects, manifest = MemoryObjectStore(), MemoryManifestStore()
    store = ObjectArtifactStore(objects, manifest)
    await put_bytes(store, "a", b"old")
    crashed = new_intent(time_ms=time.time_ns() // 1_000_000 - 61_000)
    await manifest.intent_begin(OWNER, "a", crashed, sha256=OTHER)
    await objects.put(KEY, b"other")
    with pytest.raises(PreconditionFailed):
        await put_if(store, b"new", in_place_of(OLD))
    assert await file_bytes(store, "a") == b"other"


@pytest.mark.parametrize(
    ("only_if", "is_deleted"),
    [
        (NEW_ONLY, False),
        (in_place_of(ANY), True),
        (in_place_of(OLD), True),
        (in_place_of(OTHER), False),
        (FileCondition(none_of=frozenset({OLD})), False),
        (FileCondition(), True),
    ],
)
async def test_delete__with_a_condition__deletes_only_if_it_holds(
    stores: Stores, only_if: FileCondition, is_deleted: bool
) -> None:
    await put_bytes(stores[1], "a", b"old")
    if is_deleted:
        assert await stores[0].delete(OWNER, "a", only_if=only_if) == 1
        assert await stores[1].children(OWNER) == ()
    else:
        with pytest.raises(PreconditionFailed):
            await stores[0].delete(OWNER, "a", only_if=only_if)
        assert await file_bytes(stores[1], "a") == b"old"
    assert await put_if(stores[1], b"next", FileCondition())  # nothing is in anybody's way
    assert await stores[0].delete(OWNER, "b", only_if=only_if) == 0


async def test_delete__of_what_was_read_by_many_at_once__none_of_a_later_one_goes(
    stores: Stores,
) -> None:
    """Each makes the file if it is not there, and deletes the one that he has seen.

    Of what a store that was too busy could not say, either may be true.
    """
    made, deleted = list[bytes](), list[bytes]()
    perhaps_made, perhaps_deleted = set[bytes](), set[bytes]()

    async def take_and_give_back(store: ArtifactStore, name: int) -> None:
        for turn in range(6):
            data = b"%d.%d" % (name, turn)
            with suppress(PreconditionFailed):
                try:
                    await put_if(store, data, NEW_ONLY)
                    made.append(data)
                except StoreUnavailable:
                    perhaps_made.add(data)
            with suppress(PreconditionFailed, StoreUnavailable, NotFound):
                seen = await file_bytes(store, "a")
                try:
                    if await store.delete(OWNER, "a", only_if=in_place_of(sha256_of(seen))):
                        deleted.append(seen)
                except StoreUnavailable:
                    perhaps_deleted.add(seen)

    await asyncio.gather(
        *(take_and_give_back(store, name) for name, store in enumerate(stores * 3))
    )
    left = [await file_bytes(stores[1], "a")] if await stores[0].children(OWNER) else []
    ended = sorted(deleted + left)
    assert len(set(ended)) == len(ended)  # none is deleted twice, or there when it was deleted
    assert set(made) - set(ended) <= perhaps_deleted
    assert set(ended) - set(made) <= perhaps_made
    assert len(made) > 1


@pytest.mark.parametrize("place", ["a/b", "a", ""])
@pytest.mark.parametrize("age_s", [0, 61])
async def test_put__somebody_deletes__is_held_off_unless_that_is_long_ago(
    place: str, age_s: int
) -> None:
    """What is put while a deletion goes on goes with the rest, though it was acknowledged."""
    manifest = MemoryManifestStore()
    store = ObjectArtifactStore(MemoryObjectStore(), manifest)
    other = new_intent(time_ms=time.time_ns() // 1_000_000 - age_s * 1000)
    await manifest.manifest_delete(OWNER, place, intent=other)
    with mock.patch.object(artifact_store, "_PUT_PAUSE_S", 0.0):
        if not age_s:
            with pytest.raises(StoreUnavailable):
                await store.put(OWNER, "a/b", stream_of([b"new"]), only_if=NEW_ONLY)
            await manifest.intent_drop(other)
        await store.put(OWNER, "a/b", stream_of([b"new"]), only_if=NEW_ONLY)
    assert await file_bytes(store, "a/b") == b"new"
