"""An event file store together with what it needs, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from seafloor.stores.events.memory import MemoryEventFileStore
from seafloor.stores.events.protocol import EventFileStore
from seafloor.stores.events.store import SpoolEventFileStore
from seafloor.stores.metrics.protocol import MetricStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing.metric_worlds import MemoryMetricWorld, SqlMetricWorld


class EventWorld(Protocol):
    """An event file store, and the metric store that its scalars go to."""

    @property
    def store(self) -> EventFileStore:
        """The store under test."""
        ...

    @property
    def metrics(self) -> MetricStore:
        """Where its scalars are."""
        ...

    async def open(self) -> None:
        """Make it ready; workloads 1, 2 and 3 exist."""
        ...

    async def close(self) -> None:
        """Close the store and what is below it."""
        ...


class MemoryEventWorld:
    """The model."""

    def __init__(self, folder: Path) -> None:
        self._metrics = MemoryMetricWorld(folder)
        self.metrics = self._metrics.store
        self.store = MemoryEventFileStore(self.metrics)

    async def open(self) -> None:
        """Let there be workloads."""
        await self._metrics.open()

    async def close(self) -> None:
        """Nothing is held."""
        await self.store.close()


class SpoolEventWorld:
    """A spool, a local object store and a database in one folder."""

    def __init__(self, folder: Path, *, metrics: MetricStore | None = None) -> None:
        self.spool = folder / "spool"
        self.below = SqlMetricWorld(folder)
        self.metrics: MetricStore = metrics or self.below.store
        self.objects = LocalObjectStore(folder / "objects")
        self.store = SpoolEventFileStore(
            self.spool, self.objects, self.metrics, self.below.database
        )

    async def open(self) -> None:
        """Migrate, create the workloads, recover."""
        await self.below.open()
        await self.store.recover()

    async def close(self) -> None:
        """Close everything, the store first."""
        await self.store.close()
        await self.objects.close()
        await self.below.close()
