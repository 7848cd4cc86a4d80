"""A metric store together with the workloads whose points it keeps, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import Workload, WorkloadKind, WorkloadState
from seafloor.stores.metadata.protocol import Labels, NewEvent
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metrics.memory import MemoryMetricStore
from seafloor.stores.metrics.protocol import MetricStore
from seafloor.stores.metrics.sql import SqlMetricStore
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
        self.store = SqlMetricStore(self.database)

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
        """Close the store, then the database."""
        await self.store.close()
        await self.database.close()
