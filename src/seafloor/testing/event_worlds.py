"""An event file store together with what it needs, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from seafloor.stores.events.memory import MemoryEventFileStore
from seafloor.stores.events.protocol import EventFileKey, EventFileStore
from seafloor.stores.events.shared_store import SharedEventFileStore
from seafloor.stores.events.store import SpoolEventFileStore
from seafloor.stores.metrics.protocol import MetricStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.metric_worlds import MemoryMetricWorld, SqlMetricWorld
from seafloor.testing.stream_worlds import SMALL, objects_in


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


class SharedEventWorld:
    """A shared event file store over the database and the object store of a folder.

    Args:
        objects: Another object store; closed with the world.
        below: Another database with its metric store.
    """

    def __init__(
        self,
        folder: Path,
        *,
        objects: ObjectStore | None = None,
        below: SqlMetricWorld | None = None,
    ) -> None:
        self.below = below or SqlMetricWorld(folder)
        self.metrics = self.below.store
        self.objects: ObjectStore = objects or objects_in(folder)
        self.shared = SharedEventFileStore(
            self.below.database, self.objects, self.metrics, limits=SMALL
        )
        self.store: EventFileStore = self.shared

    async def open(self) -> None:
        """Migrate, create the workloads."""
        await self.below.open()

    async def close(self) -> None:
        """Close everything, the store first."""
        await self.store.close()
        await self.objects.close()
        await self.below.close()


class SealingEventFileStore:
    """A shared store that seals what is due after every append."""

    def __init__(self, inner: SharedEventFileStore) -> None:
        self._inner = inner
        self.list, self.read, self.finish = inner.list, inner.read, inner.finish
        self.delete, self.close = inner.delete, inner.close

    async def append(self, key: EventFileKey, *, offset: int, data: bytes) -> int:
        """Append, then seal."""
        accepted = await self._inner.append(key, offset=offset, data=data)
        await self._inner.seal_due()
        return accepted


class SealingEventWorld(SharedEventWorld):
    """The same, sealed after every append: nearly all is read from objects."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = SealingEventFileStore(self.shared)
