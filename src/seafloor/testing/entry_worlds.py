"""Entry stores to test, with the stores that show what they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from seafloor.domain.models import LoggedModel, LoggedModelState
from seafloor.stores.entries.memory import MemoryEntryStore
from seafloor.stores.entries.protocol import EntryStore
from seafloor.stores.entries.sql import SqlEntryStore
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.stores.metadata.protocol import Labels, MetadataStore, NewEvent
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metrics.memory import MemoryMetricStore
from seafloor.stores.metrics.protocol import MetricStore
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing.databases import database_url
from seafloor.testing.metric_worlds import T0_NS, workload_id, workload_of

ONE, TWO = workload_id(1), workload_id(2)
MODEL = "m-" + "1" * 32


class EntryWorld(Protocol):
    """An entry store, and the stores whose records it writes. Runs one and two, and a model."""

    store: EntryStore
    metadata: MetadataStore
    metrics: MetricStore
    nobody = workload_id(9)

    async def open(self) -> None:
        """Make it ready."""
        ...

    async def close(self) -> None:
        """Close all of it."""
        ...


async def _fill(metadata: MetadataStore) -> None:
    for number in (1, 2):
        await metadata.workload_create(
            workload_of(number),
            labels=Labels({}, {}),
            event=NewEvent(T0_NS, "tester", "created"),
            idempotency_key=f"workload-{number}",
        )
    await metadata.model_create(
        LoggedModel(
            id=MODEL,
            experiment_id=0,
            name="model",
            state=LoggedModelState.READY,
            created_ns=T0_NS,
            updated_ns=T0_NS,
        )
    )


class MemoryEntryWorld(EntryWorld):
    """The model."""

    def __init__(self, _folder: Path) -> None:
        metadata, metrics = MemoryMetadataStore(), MemoryMetricStore()
        self.store = MemoryEntryStore(metadata, metrics)
        self.metadata, self.metrics = metadata, metrics
        for one in (ONE, TWO):
            metrics.workload_create(one)

    async def open(self) -> None:
        """See ``EntryWorld``."""
        await _fill(self.metadata)

    async def close(self) -> None:
        """See ``EntryWorld``."""
        await self.metadata.close()


class SqlEntryWorld(EntryWorld):
    """The database of a folder."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(database_url(folder))
        self.objects = LocalObjectStore(folder / "objects")
        metrics = SqlMetricStore(self.database, self.objects)
        self.store = SqlEntryStore(self.database, metrics)
        self.metadata, self.metrics = SqlMetadataStore(self.database), metrics

    async def open(self) -> None:
        """See ``EntryWorld``."""
        await self.database.migrate()
        await _fill(self.metadata)

    async def close(self) -> None:
        """See ``EntryWorld``."""
        await self.metrics.close()
        await self.objects.close()
        await self.database.close()
