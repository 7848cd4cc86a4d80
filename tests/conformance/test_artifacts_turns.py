"""Puts of one file that overlap: what a client gave up, to send something newer, stays below it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.services._service import Service

from object_worlds import fresh_objects
from seafloor.domain.artifacts import ANY, FileCondition
from seafloor.domain.errors import InvalidValue, PreconditionFailed
from seafloor.stores.artifacts.memory import MemoryManifestStore
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.objects.cloud.upload import PART_BYTES
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore
from seafloor.testing.artifact_store_suite import file_bytes, put_bytes, sha256_of
from seafloor.testing.manifest_store_suite import OWNER
from seafloor.testing.object_cases import keys_of, stream_of

LARGE = bytes(PART_BYTES + 1)


class Upload:
    """Bytes of which the last come when it is said."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content[:-1]
        self.begun.set()
        await self.go_on.wait()
        yield self._content[-1:]

    def stream(self) -> AsyncIterator[bytes]:
        """It, as the network brings it: it cannot be begun again."""
        return aiter(self)


@pytest.mark.parametrize("kind", ["memory", "local", "s3"])
async def test_put__ends_after_one_that_began_later__the_later_stays(
    kind: str, service: Callable[[str], Service]
) -> None:
    async with fresh_objects(kind, service) as objects:
        store = ObjectArtifactStore(RetryObjectStore(objects), MemoryManifestStore())
        await put_bytes(store, "a", b"first")
        upload = Upload(LARGE)
        old = asyncio.create_task(store.put(OWNER, "a", upload.stream()))
        await upload.begun.wait()
        new = await put_bytes(store, "a", b"new")
        upload.go_on.set()
        told = await old
        assert (told.sha256, told.size_bytes) == (sha256_of(LARGE), len(LARGE))
        assert await file_bytes(store, "a") == b"new"
        assert await store.head(OWNER, "a") == new
        assert len(await keys_of(objects)) == 1
        # It is over: who begins now is the last.
        assert (await put_bytes(store, "a", b"next")).sha256 == sha256_of(b"next")
        assert await file_bytes(store, "a") == b"next"


@pytest.mark.parametrize("kind", ["memory", "local", "s3"])
@pytest.mark.parametrize("deleted", ["folder/a", "folder"])
async def test_put__ends_after_a_deletion_that_began_later__does_not_bring_the_file_back(
    kind: str, deleted: str, service: Callable[[str], Service]
) -> None:
    async with fresh_objects(kind, service) as objects:
        store = ObjectArtifactStore(RetryObjectStore(objects), MemoryManifestStore())
        await put_bytes(store, "folder/a", b"first")
        upload, other = Upload(LARGE), Upload(b"of another path")
        old = asyncio.create_task(store.put(OWNER, "folder/a", upload.stream()))
        beside = asyncio.create_task(store.put(OWNER, "folder-b", other.stream()))
        await upload.begun.wait()
        await other.begun.wait()
        assert await store.delete(OWNER, deleted) == 1
        upload.go_on.set()
        other.go_on.set()
        told = await old
        await beside
        assert (told.sha256, told.size_bytes) == (sha256_of(LARGE), len(LARGE))
        assert [file.path for file in await store.list(OWNER)] == ["folder-b"]
        assert len(await keys_of(objects)) == 1
        # It is over: who begins now is the last.
        await put_bytes(store, "folder/a", b"next")
        assert await file_bytes(store, "folder/a") == b"next"


async def test_put__meanwhile_a_deletion_finds_nothing__is_there() -> None:
    store = ObjectArtifactStore(MemoryObjectStore(), MemoryManifestStore())
    upload = Upload(b"new")
    put = asyncio.create_task(store.put(OWNER, "a", upload.stream()))
    await upload.begun.wait()
    assert await store.delete(OWNER, "a") == 0
    upload.go_on.set()
    await put
    assert await file_bytes(store, "a") == b"new"


async def test_put__ends_before_one_that_began_earlier_fails__both_are_as_they_should() -> None:
    store = ObjectArtifactStore(MemoryObjectStore(), MemoryManifestStore())
    upload = Upload(b"old")
    damaged = store.put(OWNER, "a", upload.stream(), sha256=sha256_of(b"another"))
    old = asyncio.create_task(damaged)
    await upload.begun.wait()
    await put_bytes(store, "a", b"new")
    await put_bytes(store, "b", b"of another path")
    upload.go_on.set()
    with pytest.raises(InvalidValue):
        await old
    assert await file_bytes(store, "a") == b"new"


async def test_put__the_later_one_failed__the_earlier_stays() -> None:
    store = ObjectArtifactStore(MemoryObjectStore(), MemoryManifestStore())
    upload = Upload(b"old")
    old = asyncio.create_task(store.put(OWNER, "a", upload.stream()))
    await upload.begun.wait()
    with pytest.raises(InvalidValue):
        await store.put(OWNER, "a", stream_of([b"new"]), sha256=sha256_of(b"another"))
    upload.go_on.set()
    await old
    assert await file_bytes(store, "a") == b"old"


async def test_put__with_a_condition_on_what_overtook_it__is_as_the_condition_says() -> None:
    store = ObjectArtifactStore(MemoryObjectStore(), MemoryManifestStore())
    there = FileCondition(any_of=frozenset({ANY}))
    await put_bytes(store, "a", b"first")
    for only_if, stays in (
        (there, b"old"),
        (FileCondition(any_of=frozenset({sha256_of(b"first"), sha256_of(b"old")})), b"new"),
    ):
        upload = Upload(b"old")
        old = asyncio.create_task(store.put(OWNER, "a", upload.stream(), only_if=only_if))
        await upload.begun.wait()
        await put_bytes(store, "a", b"new")
        upload.go_on.set()
        if stays == b"new":
            with pytest.raises(PreconditionFailed):
                await old
        else:
            await old
        assert await file_bytes(store, "a") == stays
