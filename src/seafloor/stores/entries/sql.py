"""The entry store over the one database of metadata and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from seafloor.domain.ids import WorkloadId
from seafloor.stores.entries.protocol import Entries
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.labels import change_tags, log_params, set_tags
from seafloor.stores.metadata.sql.models import add_model_metrics
from seafloor.stores.metadata.sql.rows import attempts_to_write
from seafloor.stores.metadata.sql.workloads import enter, rename
from seafloor.stores.metrics.batch import Batch
from seafloor.stores.metrics.sql import Append, SqlMetricStore


@dataclass(frozen=True, slots=True)
class _Logged:
    """What one caller logs.

    Args:
        batch: Its points, ready to be written; None: there are none.
        updated_ns: When, for a new name.
    """

    workload_id: WorkloadId
    entries: Entries
    batch: Batch | None
    updated_ns: int


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
        """See ``EntryStore``."""
        batch = await self._metrics.batch_of(entries.points) if len(entries.points) else None
        piece = _Logged(workload_id, entries, batch, updated_ns)
        await self._database.write_joined(piece, self._write_all)

    def _write_all(self, connection: Connection, pieces: Sequence[_Logged]) -> list[None]:
        """Params come first, points next: where MLflow refuses, so is here.

        Each statement of what is logged all day serves all pieces; what is seldom has its own.
        """
        ids = list(dict.fromkeys(piece.workload_id for piece in pieces))
        attempts = attempts_to_write(connection, ids)
        params = [(of.workload_id, of.entries.params) for of in pieces if of.entries.params]
        if params:
            log_params(connection, params)
        appends = [
            Append(of.workload_id, attempts[of.workload_id], of.batch)
            for of in pieces
            if of.batch is not None
        ]
        if appends:
            self._metrics.append_all(connection, appends)
        for piece in pieces:
            for model_id, metrics in piece.entries.model_metrics.items():
                add_model_metrics(connection, model_id, metrics)
        plain = [of for of in pieces if of.entries.tags and not of.entries.delete_tags]
        if plain:
            set_tags(connection, [(of.workload_id, of.entries.tags) for of in plain])
        for piece in pieces:
            self._write_seldom(connection, piece)
        return [None] * len(pieces)

    def _write_seldom(self, connection: Connection, piece: _Logged) -> None:
        workload_id, entries = piece.workload_id, piece.entries
        if entries.delete_tags:
            change_tags(connection, workload_id, set_=entries.tags, delete=entries.delete_tags)
        if entries.name is not None:
            rename(connection, workload_id, entries.name, updated_ns=piece.updated_ns)
        if entries.transition is not None:
            enter(connection, workload_id, entries.transition)
