"""What the suites of metadata stores share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.protocol import MetadataStore

UNICODE = "ключ 日本 🏝️ ñ " + chr(0x10FFFF)
QUEUED, PREPARING, RUNNING = WorkloadState.QUEUED, WorkloadState.PREPARING, WorkloadState.RUNNING
FAILED, SUCCEEDED, STOPPED = WorkloadState.FAILED, WorkloadState.SUCCEEDED, WorkloadState.STOPPED


class MetadataStoreCases(ABC):
    """What the suites of metadata stores share."""

    @abstractmethod
    async def make_store(self, folder: Path) -> MetadataStore:
        """Open a store over a folder; a second one over it sees the same if it is durable."""

    @abstractmethod
    async def put_metric(
        self, store: MetadataStore, workload_id: str, key: str, *values: float
    ) -> None:
        """Write a metric's summary where searches find it, past the store.

        Args:
            values: At the steps 0, 1, …; see ``metadata_records.summary``.
        """

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[MetadataStore]:
        store = await self.make_store(tmp_path)
        yield store
        await store.close()
