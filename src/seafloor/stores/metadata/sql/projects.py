"""Projects in SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from seafloor.domain.errors import AlreadyExists, NotFound, nearest
from seafloor.domain.experiments import DEFAULT_PROJECT, Project
from seafloor.domain.workloads import FINAL_STATES
from seafloor.stores.metadata.project_records import both_have, still_contains, still_going
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.experiment_ids import note_gone
from seafloor.stores.metadata.sql.prepared import Prepared
from seafloor.stores.metadata.sql.tables import (
    environment,
    experiment,
    logged_model,
    project,
    trace,
    volume,
    workload,
)

_EXISTS = Prepared(select(project.c.name).where(project.c.name == bindparam("name")))


class SqlProjects:
    """``ProjectRecords`` in SQL."""

    _database: Database

    async def project_create(
        self, name: str, *, created_ns: int, description: str | None = None
    ) -> Project:
        """See ``ProjectRecords``."""

        def write(connection: Connection) -> Project:
            if _exists(connection, name):
                raise AlreadyExists(f'There is a project "{name}" already.', field="name")
            made = Project(name, created_ns, description)
            connection.execute(insert(project).values(**asdict(made)))
            return made

        return await self._database.write(write)

    async def project_get(self, name: str) -> Project:
        """See ``ProjectRecords``."""

        def read(connection: Connection) -> Project:
            check_project(connection, name)
            row = connection.execute(select(project).where(project.c.name == name)).one()
            return _project(row)

        return await self._database.read(read)

    async def project_list(self) -> tuple[Project, ...]:
        """See ``ProjectRecords``."""

        def read(connection: Connection) -> tuple[Project, ...]:
            rows = connection.execute(select(project).order_by(project.c.name))
            return tuple(_project(row) for row in rows)

        return await self._database.read(read)

    async def project_describe(self, name: str, description: str) -> Project:
        """See ``ProjectRecords``."""

        def write(connection: Connection) -> Project:
            check_project(connection, name)
            this = project.c.name == name
            connection.execute(update(project).where(this).values(description=description))
            return _project(connection.execute(select(project).where(this)).one())

        return await self._database.write(write)

    async def project_delete(self, name: str, *, with_experiments: bool) -> None:
        """See ``ProjectRecords``."""

        def write(connection: Connection) -> None:
            check_project(connection, name)
            for noun, count in _in_the_way(connection, name, experiments=not with_experiments):
                if count:
                    raise still_contains(name, noun, count)
            note_gone(connection, name)
            own = select(experiment.c.id).where(experiment.c.project == name)
            connection.execute(delete(logged_model).where(logged_model.c.experiment_id.in_(own)))
            for table in (experiment, environment):
                connection.execute(delete(table).where(table.c.project == name))
            # What is left of volumes out of use goes when their cluster is back.
            gone = update(volume).where(volume.c.project == name)
            connection.execute(gone.values(project=DEFAULT_PROJECT))
            connection.execute(delete(project).where(project.c.name == name))

        await self._database.write(write)

    async def project_hand_over(self, name: str, *, to: str) -> None:
        """See ``ProjectRecords``."""

        def write(connection: Connection) -> None:
            check_project(connection, name)
            check_project(connection, to)
            going = _living(connection, name)
            if going:
                raise still_going(name, going)
            conflicts = [*_conflicts(connection, name, to)]
            if conflicts:
                raise both_have(name, to, conflicts)
            # A request that is repeated would be one for the project that is gone.
            own = workload.c.project == name
            connection.execute(update(workload).where(own).values(idempotency_key=None))
            for table in (experiment, workload, environment, volume):
                moved = update(table).where(table.c.project == name)
                connection.execute(moved.values(project=to))
            connection.execute(delete(project).where(project.c.name == name))

        await self._database.write(write)


def _in_the_way(
    connection: Connection, name: str, *, experiments: bool
) -> Iterator[tuple[str, int]]:
    """How many of what a project has that keeps it from being deleted."""
    own = select(experiment.c.id).where(experiment.c.project == name)
    if experiments:
        yield "experiments", _count(connection, experiment, experiment.c.project == name)
    yield "runs", _count(connection, workload, workload.c.project == name)
    yield "traces", _count(connection, trace, trace.c.experiment_id.in_(own))
    living = (environment.c.project == name) & environment.c.deleted_ns.is_(None)
    yield "environments", _count(connection, environment, living)
    in_use = (volume.c.project == name) & volume.c.deleted_ns.is_(None)
    yield "volumes", _count(connection, volume, in_use)


def _count(connection: Connection, table: Any, where: Any) -> int:
    return connection.execute(select(func.count()).select_from(table).where(where)).scalar_one()


def _living(connection: Connection, name: str) -> int:
    return _count(
        connection,
        workload,
        (workload.c.project == name)
        & (workload.c.origin == "launched")
        & workload.c.state.not_in(sorted(str(state) for state in FINAL_STATES)),
    )


def _conflicts(connection: Connection, name: str, other: str) -> Iterator[tuple[str, str]]:
    for noun, table in (
        ("experiments", experiment),
        ("environments", environment),
        ("volumes", volume),
    ):
        theirs = select(table.c.name).where(table.c.project == other)
        both = select(table.c.name).where(table.c.project == name, table.c.name.in_(theirs))
        for found in connection.execute(both.distinct().order_by(table.c.name)).scalars():
            yield noun, found


def _project(row: Row[Any]) -> Project:
    return Project(row.name, row.created_ns, row.description)


def _exists(connection: Connection, name: str) -> bool:
    return bool(_EXISTS.rows(connection, {"name": name}))


def check_project(connection: Connection, name: str) -> None:
    """Refuse a project that does not exist, with the nearest name."""
    if not _exists(connection, name):
        names = connection.execute(select(project.c.name).limit(1000)).scalars()
        raise NotFound(f'There is no project "{name}".{nearest(name, names)}', field="project")
