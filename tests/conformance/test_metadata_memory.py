"""The model itself passes the suite."""

from __future__ import annotations

from pathlib import Path

from seafloor.domain.metrics import MetricSummary
from seafloor.stores.metadata.memory import MemoryMetadataStore
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_records import summary
from seafloor.testing.metadata_search_suite import MetadataSearchSuite
from seafloor.testing.metadata_store_suite import MetadataStoreSuite


class TestMemoryMetadataStore(MetadataStoreSuite, MetadataSearchSuite):
    async def make_store(self, folder: Path) -> MetadataStore:
        self.metrics: dict[tuple[str, str], MetricSummary] = {}
        return MemoryMetadataStore(lambda workload_id, key: self.metrics.get((workload_id, key)))

    async def put_metric(
        self, store: MetadataStore, workload_id: str, key: str, *values: float
    ) -> None:
        self.metrics[workload_id, key] = summary(key, *values)
