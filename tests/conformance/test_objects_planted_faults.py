"""The state machine of the object store notices stores that are wrong."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from seafloor.domain.errors import AlreadyExists, Conflict, NotFound
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectInfo, ObjectPage, ObjectStore
from seafloor.testing.object_store_machine import ObjectStoreMachine


class ListsByStringPrefix(MemoryObjectStore):
    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        whole = await super().list("", limit=1000)
        if not recursive:
            return await super().list(folder, recursive=False, limit=limit, cursor=cursor)
        found = [
            info
            for info in whole.objects
            if info.key.startswith(folder) and (cursor is None or info.key > cursor)
        ]
        next_ = found[limit - 1].key if len(found) > limit else None
        return ObjectPage(objects=tuple(found[:limit]), next=next_)


class ListsInOrderOfFolders(MemoryObjectStore):
    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        page = await super().list(folder, recursive=recursive, limit=limit, cursor=cursor)
        objects = sorted(page.objects, key=lambda info: info.key.split("/"))
        return ObjectPage(objects=tuple(objects), folders=page.folders, next=page.next)


class ForgetsAPageThatIsFull(MemoryObjectStore):
    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        page = await super().list(folder, recursive=recursive, limit=limit, cursor=cursor)
        if page.next is None and len(page.objects) == limit:
            return ObjectPage(objects=page.objects[:-1], folders=page.folders)
        return page


class ListsAFolderPerObject(MemoryObjectStore):
    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        page = await super().list(folder, recursive=recursive, limit=limit, cursor=cursor)
        below = [len((await super(type(self), self).list(key)).objects) for key in page.folders]
        folders = [
            key for key, count in zip(page.folders, below, strict=True) for _ in range(count)
        ]
        return ObjectPage(objects=page.objects, folders=tuple(folders), next=page.next)


class DropsEmptyObjects(MemoryObjectStore):
    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        page = await super().list(folder, recursive=recursive, limit=limit, cursor=cursor)
        full = tuple(info for info in page.objects if info.size_bytes)
        return ObjectPage(objects=full, folders=page.folders, next=page.next)


class DeletesByStringPrefix(MemoryObjectStore):
    async def delete_folder(self, folder: str) -> int:
        count = await super().delete_folder(folder)
        for key in [key for key in self._objects if key.startswith(folder) and key != folder]:
            count += await self.delete(key)
        return count


class DeletesAFolderAsAnObject(MemoryObjectStore):
    async def delete(self, key: str) -> bool:
        return await super().delete(key) or await self.delete_folder(key) > 0


class KeepsWhatABrokenStreamGave(MemoryObjectStore):
    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        if isinstance(data, bytes):
            return await super().put(key, data, if_absent=if_absent)
        got = b""
        try:
            async for chunk in data:
                got += chunk
        except Exception:
            if got:
                await super().put(key, got)
            raise
        return await super().put(key, got, if_absent=if_absent)


class CreatesTwice(MemoryObjectStore):
    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        try:
            return await super().put(key, data, if_absent=if_absent)
        except AlreadyExists:
            return await super().put(key, data)


class WritesOverFolders(MemoryObjectStore):
    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        try:
            return await super().put(key, data, if_absent=if_absent)
        except Conflict:
            await self.delete_folder(key)
            return await super().put(key, data, if_absent=if_absent)


class HasFolders(MemoryObjectStore):
    async def head(self, key: str) -> ObjectInfo:
        try:
            return await super().head(key)
        except NotFound:
            if (await self.list(key)).objects:
                return ObjectInfo(key=key, size_bytes=0, modified_ns=0, etag="folder")
            raise


class ReadsOneByteMore(MemoryObjectStore):
    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        async for chunk in super().read(key, start=start, length=length and length + 1):
            yield chunk


FAULTY = (
    ListsByStringPrefix,
    ListsInOrderOfFolders,
    ForgetsAPageThatIsFull,
    ListsAFolderPerObject,
    DropsEmptyObjects,
    DeletesByStringPrefix,
    DeletesAFolderAsAnObject,
    KeepsWhatABrokenStreamGave,
    CreatesTwice,
    WritesOverFolders,
    HasFolders,
    ReadsOneByteMore,
)

# No search for the smallest example: that it is found at all is what counts. What is tried depends
# on the numbers and texts in all our sources too, so one in thirty faults needs more than 200.
_once = settings(
    max_examples=4_000,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def machine_of(make: type[MemoryObjectStore]) -> type[ObjectStoreMachine]:
    """A machine that drives stores of a class."""

    @asynccontextmanager
    async def make_store(_: Path) -> AsyncIterator[ObjectStore]:
        yield make()

    class Machine(ObjectStoreMachine):
        durable = False

    def made(folder: Path) -> AbstractAsyncContextManager[ObjectStore]:
        return make_store(folder)

    Machine.make_store = staticmethod(made)  # type: ignore[assignment]
    return Machine


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda faulty: faulty.__name__)
def test_machine__faulty_store__is_caught(faulty: type[MemoryObjectStore]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine_of(faulty), settings=_once)


def test_machine__the_model_itself__passes() -> None:
    run_state_machine_as_test(machine_of(MemoryObjectStore))
