"""The model of the object store passes the suite it is the model of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.object_store_suite import ObjectStoreSuite


class TestMemoryObjectStore(ObjectStoreSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        store = MemoryObjectStore()
        yield store
        await store.close()


class TestMemoryObjectStoreLikeABucket(ObjectStoreSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        store = MemoryObjectStore(nested_keys=True, append=False)
        yield store
        await store.close()
