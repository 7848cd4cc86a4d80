"""A metric store together with the workloads whose points it keeps, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from seafloor.domain.errors import StoreFull
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import BatchId, Point
from seafloor.domain.workloads import Workload, WorkloadKind, WorkloadState
from seafloor.stores.metadata.protocol import Labels, NewEvent
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metrics.columns import PointColumns
from seafloor.stores.metrics.memory import MemoryMetricStore
from seafloor.stores.metrics.protocol import AppendReceipt, MetricStore
from seafloor.stores.metrics.sealing import MetricSealLimits
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.databases import database_url

T0_NS = 1_700_000_000_000_000_000


def workload_id(number: int) -> WorkloadId:
    """The id of the n-th workload."""
    return WorkloadId(f"{number:032x}")


def workload_of(number: int) -> Workload:
    """The n-th workload: a tracked run of the default experiment."""
    return Workload(
        id=workload_id(number),
        kind=WorkloadKind.RUN,
        project="default",
        experiment_id=0,
        name=f"run-{number}",
        user="tester",
        state=WorkloadState.RUNNING,
        origin="tracked",
        created_ns=T0_NS,
        updated_ns=T0_NS,
    )


class MetricWorld(Protocol):
    """A metric store and its workloads."""

    @property
    def store(self) -> MetricStore:
        """The store under test."""
        ...

    async def open(self) -> None:
        """Make it ready; workloads 1, 2 and 3 exist."""
        ...

    async def workload_delete(self, number: int) -> None:
        """Delete a workload for good."""
        ...

    async def close(self) -> None:
        """Close the store and what is below it."""
        ...


class MemoryMetricWorld:
    """The model."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryMetricStore()

    async def open(self) -> None:
        """Let there be workloads."""
        for number in (1, 2, 3):
            self.store.workload_create(workload_id(number))

    async def workload_delete(self, number: int) -> None:
        """Delete a workload."""
        self.store.workload_delete(workload_id(number))

    async def close(self) -> None:
        """Nothing is held."""
        await self.store.close()


class SqlMetricWorld:
    """The database of a folder."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(database_url(folder))
        self.metadata = SqlMetadataStore(self.database)
        self.objects = LocalObjectStore(folder / "objects")
        self.store = self.make_store()

    def make_store(self) -> SqlMetricStore:
        """The store under test."""
        return SqlMetricStore(self.database, self.objects)

    async def open(self) -> None:
        """Migrate, and create the workloads that are not there."""
        await self.database.migrate()
        for number in (1, 2, 3):
            await self.metadata.workload_create(
                workload_of(number),
                labels=Labels({}, {}),
                event=NewEvent(T0_NS, "tester", "created"),
                idempotency_key=f"workload-{number}",
            )

    async def workload_delete(self, number: int) -> None:
        """Purge a workload: the database takes its points along."""
        await self.metadata.workload_set_deleted(workload_id(number), deleted_ns=T0_NS)
        await self.metadata.workload_purge(workload_id(number))

    async def close(self) -> None:
        """Close the store, then what is below it."""
        await self.store.close()
        await self.objects.close()
        await self.database.close()


SEALED_AT_ONCE = MetricSealLimits(rows=1, points=12, points_max=12, idle_s=0.0)


class SealedMetricStore(SqlMetricStore):
    """Seals after every append, small sets into segments too: readers find all of it sealed.

    Appends that end while a pass runs share the next one, as those of a server do.
    """

    def __init__(
        self, database: Database, objects: ObjectStore, *, limits: MetricSealLimits
    ) -> None:
        super().__init__(database, objects, limits=limits)
        self._one_pass = asyncio.Lock()
        self._passes = 0

    async def append(
        self,
        workload_id: WorkloadId,
        points: Sequence[Point] | PointColumns,
        *,
        attempt: int | None = 0,
        batch: BatchId | None = None,
    ) -> AppendReceipt:
        """Append, and seal."""
        receipt = await super().append(workload_id, points, attempt=attempt, batch=batch)
        begun = self._passes
        async with self._one_pass:
            if self._passes <= begun:
                self._passes += 1
                with suppress(StoreFull):  # what was appended is kept all the same
                    await self.seal_due()
        return receipt


class SealedMetricWorld(SqlMetricWorld):
    """The database and the objects of a folder, where everything is sealed at once."""

    def make_store(self) -> SqlMetricStore:
        """The store under test."""
        return SealedMetricStore(self.database, self.objects, limits=SEALED_AT_ONCE)
