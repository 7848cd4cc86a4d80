"""The metadata store in SQL: one module per noun, joined here."""

from __future__ import annotations

from sqlalchemy import func, select, text

from seafloor.domain.workloads import LIVING_STATES, WorkloadKind, WorkloadState
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.attempts import SqlAttempts
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.environments import SqlEnvironments
from seafloor.stores.metadata.sql.experiments import SqlExperiments
from seafloor.stores.metadata.sql.labels import SqlLabels
from seafloor.stores.metadata.sql.leases import SqlInstallation, SqlLeases
from seafloor.stores.metadata.sql.manifest import SqlManifest
from seafloor.stores.metadata.sql.models import SqlModels
from seafloor.stores.metadata.sql.projects import SqlProjects
from seafloor.stores.metadata.sql.tasks import SqlTasks
from seafloor.stores.metadata.sql.traces import SqlTraces
from seafloor.stores.metadata.sql.volumes import SqlVolumes
from seafloor.stores.metadata.sql.wide_scopes import WideScopes
from seafloor.stores.metadata.sql.workloads import SqlWorkloads

_LIVING = (
    select(tables.workload.c.state, func.count().label("runs"))
    .where(
        tables.workload.c.kind == WorkloadKind.RUN.value,
        tables.workload.c.state.in_([state.value for state in LIVING_STATES]),
        tables.workload.c.deleted_ns.is_(None),
    )
    .group_by(tables.workload.c.state)
)


class SqlMetadataStore(
    SqlProjects,
    SqlExperiments,
    SqlWorkloads,
    SqlAttempts,
    SqlTasks,
    SqlLeases,
    SqlInstallation,
    SqlLabels,
    SqlEnvironments,
    SqlModels,
    SqlTraces,
    SqlManifest,
    SqlVolumes,
):
    """``MetadataStore`` in a SQL database.

    Args:
        database: Migrated; closed by whoever opened it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wide = WideScopes()

    async def check(self) -> None:
        """See ``MetadataStore``: one read, and one write that changes nothing."""
        await self._database.read(lambda connection: connection.execute(text("SELECT 1")).scalar())
        await self._database.write(lambda _: None)

    async def runs_living(self) -> dict[WorkloadState, int]:
        """See ``MetadataStore``."""
        rows = await self._database.read(lambda connection: connection.execute(_LIVING).all())
        found: dict[str, int] = {row.state: row.runs for row in rows}
        return {state: found.get(state, 0) for state in LIVING_STATES}

    async def close(self) -> None:
        """See ``MetadataStore``."""
        await self._database.close()
