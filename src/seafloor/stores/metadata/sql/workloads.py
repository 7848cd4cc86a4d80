"""Workloads in SQL."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, or_, select, update

from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.search import WorkloadQuery
from seafloor.domain.workloads import Workload, check_transition
from seafloor.stores.metadata.protocol import Labels, NewEvent, Transition, WorkloadPage
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.attempts import add_attempt, add_event
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import dump
from seafloor.stores.metadata.sql.projects import check_project
from seafloor.stores.metadata.sql.rows import get_workload, workload_of, workload_values
from seafloor.stores.metadata.sql.search import search

FOUND_MAX = 10


class SqlWorkloads:
    """``WorkloadRecords`` in SQL."""

    _database: Database

    async def workload_create(
        self, workload: Workload, *, labels: Labels, event: NewEvent, idempotency_key: str | None
    ) -> Workload:
        """See ``WorkloadRecords``."""

        def write(connection: Connection) -> Workload:
            known = _by_idempotency_key(connection, workload.project, idempotency_key)
            if known is not None:
                return known
            check_project(connection, workload.project)
            _check_experiment(connection, workload.experiment_id)
            values = {**workload_values(workload), "idempotency_key": idempotency_key}
            connection.execute(insert(tables.workload).values(**values))
            _add_labels(connection, workload.id, labels)
            if workload.attempt:
                add_attempt(
                    connection, workload.id, workload.attempt, created_ns=workload.created_ns
                )
            add_event(
                connection,
                workload.id,
                event,
                attempt_=workload.attempt or None,
                state=workload.state,
            )
            return workload

        return await self._database.write(write)

    async def workload_get(self, workload_id: WorkloadId) -> Workload:
        """See ``WorkloadRecords``."""
        return await self._database.read(lambda connection: get_workload(connection, workload_id))

    async def workload_find(self, prefix: str) -> tuple[WorkloadId, ...]:
        """See ``WorkloadRecords``."""
        column = tables.workload.c.id

        def read(connection: Connection) -> tuple[WorkloadId, ...]:
            rows = connection.execute(
                select(column)
                .where(or_(column.like(f"{prefix}%"), column.like(f"%{prefix}")))
                .order_by(column.desc())
                .limit(FOUND_MAX)
            )
            return tuple(WorkloadId(row.id) for row in rows)

        return await self._database.read(read)

    async def workload_search(self, query: WorkloadQuery) -> WorkloadPage:
        """See ``WorkloadRecords``."""
        return await self._database.read(lambda connection: search(connection, query))

    async def workload_update(
        self,
        workload_id: WorkloadId,
        *,
        updated_ns: int,
        name: str | None = None,
        environment: str | None = None,
    ) -> Workload:
        """See ``WorkloadRecords``."""
        values: dict[str, object] = {"updated_ns": updated_ns}
        if name is not None:
            values["name"] = name
        if environment is not None:
            values["environment"] = environment

        def write(connection: Connection) -> Workload:
            get_workload(connection, workload_id)
            _update(connection, workload_id, values)
            return get_workload(connection, workload_id)

        return await self._database.write(write)

    async def workload_transition(
        self, workload_id: WorkloadId, transition: Transition
    ) -> Workload:
        """See ``WorkloadRecords``."""

        def write(connection: Connection) -> Workload:
            found = get_workload(connection, workload_id)
            if found.state not in transition.expected:
                raise Conflict(f"The run is {found.state}; it cannot become {transition.state}.")
            check_transition(found.state, transition.state)
            values = _transition_values(found, transition)
            _update(connection, workload_id, {**values, "updated_ns": transition.event.time_ns})
            if found.attempt:
                if transition.ending is not None:
                    values["ending"] = dump(transition.ending)
                _update_attempt(connection, found, values)
            add_event(
                connection,
                workload_id,
                transition.event,
                attempt_=found.attempt or None,
                state=transition.state,
            )
            return get_workload(connection, workload_id)

        return await self._database.write(write)

    async def workload_set_deleted(
        self, workload_id: WorkloadId, *, deleted_ns: int | None
    ) -> None:
        """See ``WorkloadRecords``."""

        def write(connection: Connection) -> None:
            found = get_workload(connection, workload_id)
            if (found.deleted_ns is None) is not (deleted_ns is None):
                _update(connection, workload_id, {"deleted_ns": deleted_ns})

        await self._database.write(write)

    async def workload_purge(self, workload_id: WorkloadId) -> None:
        """See ``WorkloadRecords``."""

        def write(connection: Connection) -> None:
            found = get_workload(connection, workload_id)
            if found.deleted_ns is None:
                raise Conflict("The run is not deleted: delete it before purging it.")
            connection.execute(delete(tables.artifact).where(tables.artifact.c.owner == found.id))
            # The rest goes with it by its foreign keys.
            connection.execute(delete(tables.workload).where(tables.workload.c.id == found.id))

        await self._database.write(write)


def _by_idempotency_key(connection: Connection, project: str, key: str | None) -> Workload | None:
    if key is None:
        return None
    found = connection.execute(
        select(tables.workload).where(
            tables.workload.c.project == project, tables.workload.c.idempotency_key == key
        )
    ).first()
    return None if found is None else workload_of(found)


def _check_experiment(connection: Connection, experiment_id: int | None) -> None:
    if experiment_id is None:
        return
    column = tables.experiment.c.deleted_ns
    found = connection.execute(
        select(column).where(tables.experiment.c.id == experiment_id)
    ).first()
    if found is None:
        raise NotFound(f"No Experiment with id={experiment_id} exists.", field="experiment_id")
    if found.deleted_ns is not None:
        raise Conflict("The experiment is deleted: restore it first.", field="experiment_id")


def _add_labels(connection: Connection, workload_id: WorkloadId, labels: Labels) -> None:
    for table, values in ((tables.param, labels.params), (tables.tag, labels.tags)):
        if values:
            connection.execute(
                insert(table),
                [
                    {"workload_id": workload_id, "key": key, "value": value}
                    for key, value in values.items()
                ],
            )


def _update(connection: Connection, workload_id: WorkloadId, values: dict[str, object]) -> None:
    connection.execute(
        update(tables.workload).where(tables.workload.c.id == workload_id).values(**values)
    )


def _transition_values(found: Workload, transition: Transition) -> dict[str, object]:
    values: dict[str, object] = {"state": str(transition.state)}
    if transition.started_ns is not None:
        values["started_ns"] = transition.started_ns
    if transition.state.is_final:
        values["ended_ns"] = transition.ended_ns
    elif found.state.is_final:  # an outside client resumes its run
        values["ended_ns"] = None
    return values


def _update_attempt(connection: Connection, found: Workload, values: dict[str, object]) -> None:
    connection.execute(
        update(tables.attempt)
        .where(tables.attempt.c.workload_id == found.id, tables.attempt.c.number == found.attempt)
        .values(**values)
    )
    task_values = {key: values[key] for key in ("state", "ending") if key in values}
    connection.execute(
        update(tables.task)
        .where(tables.task.c.workload_id == found.id, tables.task.c.attempt == found.attempt)
        .values(**task_values)
    )
