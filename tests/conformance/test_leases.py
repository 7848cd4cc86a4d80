"""Leases and claims in memory and on every database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from seafloor.stores.metadata.memory import MemoryMetadataStore
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.lease_suite import ClaimSuite, LeaseMachine
from seafloor.testing.metadata_worlds import open_sql_store


class TestMemoryLeases(ClaimSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncGenerator[MetadataStore]:
        store = MemoryMetadataStore()
        yield store
        await store.close()


@pytest.mark.usefixtures("database_kind")
class TestSqlLeases(ClaimSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncGenerator[MetadataStore]:
        store = await open_sql_store(folder)
        yield store
        await store.close()


class MemoryLeaseMachine(LeaseMachine):
    @staticmethod
    def make_store(now_ns: Callable[[], int]) -> MetadataStore:
        return MemoryMetadataStore(now_ns=now_ns)


TestMemoryLeaseMachine = MemoryLeaseMachine.TestCase
