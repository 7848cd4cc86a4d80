"""A media store together with the workloads whose media it keeps, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from seafloor.stores.media.memory import MemoryMediaStore
from seafloor.stores.media.protocol import MediaStore
from seafloor.stores.media.store import ObjectMediaStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.metric_worlds import T0_NS, SqlMetricWorld, workload_id


class MediaWorld(Protocol):
    """A media store and its workloads."""

    @property
    def store(self) -> MediaStore:
        """The store under test."""
        ...

    async def open(self) -> None:
        """Make it ready; workloads 1, 2 and 3 exist."""
        ...

    async def workload_set_deleted(self, number: int) -> None:
        """Delete a workload, restorable."""
        ...

    async def close(self) -> None:
        """Close the store and what is below it."""
        ...


class MemoryMediaWorld:
    """The model."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryMediaStore()

    async def open(self) -> None:
        """Let there be workloads."""
        for number in (1, 2, 3):
            self.store.workload_create(workload_id(number))

    async def workload_set_deleted(self, number: int) -> None:
        """Delete a workload."""
        self.store.workload_set_deleted(workload_id(number))

    async def close(self) -> None:
        """Nothing is held."""
        await self.store.close()


class ObjectMediaWorld:
    """The database and the object store of a folder.

    Args:
        objects: Another object store; closed with the world.
    """

    def __init__(self, folder: Path, *, objects: ObjectStore | None = None) -> None:
        self.below = SqlMetricWorld(folder)
        self.objects: ObjectStore = objects or LocalObjectStore(folder / "objects")
        self.store = ObjectMediaStore(self.below.database, self.objects)

    async def open(self) -> None:
        """Migrate, create the workloads."""
        await self.below.open()

    async def workload_set_deleted(self, number: int) -> None:
        """Delete a workload, restorable."""
        await self.below.metadata.workload_set_deleted(workload_id(number), deleted_ns=T0_NS)

    async def close(self) -> None:
        """Close everything, the store first."""
        await self.store.close()
        await self.objects.close()
        await self.below.close()
