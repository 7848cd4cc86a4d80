"""The model of manifest rows passes the suite it is the model of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from seafloor.stores.artifacts.memory import MemoryManifestStore
from seafloor.stores.artifacts.protocol import ManifestStore
from seafloor.testing.manifest_store_suite import ManifestStoreSuite


class TestMemoryManifestStore(ManifestStoreSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ManifestStore]:
        yield MemoryManifestStore()
