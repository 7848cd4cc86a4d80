"""The entry store over the one database of metadata and metrics."""

from __future__ import annotations

from sqlalchemy import Connection

from seafloor.domain.ids import WorkloadId
from seafloor.stores.entries.protocol import Entries
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.labels import change_tags, log_params
from seafloor.stores.metadata.sql.models import add_model_metrics
from seafloor.stores.metadata.sql.rows import attempt_to_write
from seafloor.stores.metadata.sql.workloads import enter, rename
from seafloor.stores.metrics.sql import SqlMetricStore


class SqlEntryStore:
    """Entries in SQL; the contract is ``EntryStore``.

    Args:
        database: Migrated; closed by whoever opened it.
        metrics: Over the same database.
    """

    def __init__(self, database: Database, metrics: SqlMetricStore) -> None:
        self._database = database
        self._metrics = metrics

    async def write(self, workload_id: WorkloadId, entries: Entries, *, updated_ns: int) -> None:
        """See ``EntryStore``. Params come first, points next: where MLflow refuses, so is here."""
        batch = await self._metrics.batch_of(entries.points) if len(entries.points) else None

        def write(connection: Connection) -> None:
            attempt = attempt_to_write(connection, workload_id)
            if entries.params:
                log_params(connection, workload_id, entries.params)
            if batch is not None:
                self._metrics.append_to(connection, workload_id, attempt, batch)
            for model_id, metrics in entries.model_metrics.items():
                add_model_metrics(connection, model_id, metrics)
            if entries.tags or entries.delete_tags:
                change_tags(connection, workload_id, set_=entries.tags, delete=entries.delete_tags)
            if entries.name is not None:
                rename(connection, workload_id, entries.name, updated_ns=updated_ns)
            if entries.transition is not None:
                enter(connection, workload_id, entries.transition)

        await self._database.write(write)
