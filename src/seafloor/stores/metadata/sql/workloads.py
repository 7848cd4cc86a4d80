"""Workloads in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from seafloor.domain.errors import AlreadyExists, Conflict
from seafloor.domain.ids import WorkloadId
from seafloor.domain.members import MAIN
from seafloor.domain.search import WorkloadQuery
from seafloor.domain.volumes import VolumeUse
from seafloor.domain.workloads import Attempt, Workload, WorkloadState, check_transition
from seafloor.stores.metadata.protocol import (
    Labels,
    NewEvent,
    Transition,
    WorkloadPage,
    check_expected,
)
from seafloor.stores.metadata.sql import metric_objects, tables
from seafloor.stores.metadata.sql.attempts import (
    add_attempt,
    add_event,
    add_first_events,
    begin_attempt,
    check_claim,
)
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import dump
from seafloor.stores.metadata.sql.experiments import ID_MAX, check_experiment
from seafloor.stores.metadata.sql.labels import add_labels
from seafloor.stores.metadata.sql.prepared import Prepared, PreparedIn
from seafloor.stores.metadata.sql.projects import check_project
from seafloor.stores.metadata.sql.rows import (
    check_workload,
    get_workload,
    workload_of,
    workload_values,
)
from seafloor.stores.metadata.sql.search import search
from seafloor.stores.metadata.sql.volumes import attach
from seafloor.stores.metadata.sql.wide_scopes import WideScopes

FOUND_MAX = 10

_INSERT = Prepared(insert(tables.workload))
_KNOWN_REQUEST = Prepared(
    select(tables.workload).where(
        tables.workload.c.project == bindparam("of_project"),
        tables.workload.c.idempotency_key == bindparam("of_key"),
    )
)
_TAKEN = PreparedIn(lambda asked: select(tables.workload.c.id).where(asked(tables.workload.c.id)))
_PLACE = Prepared(
    select(
        select(tables.workload.c.id)
        .where(tables.workload.c.id == bindparam("of_id"))
        .scalar_subquery()
        .label("taken"),
        tables.experiment.c.deleted_ns,
    ).where(
        tables.experiment.c.id == bindparam("of_experiment"),
        # A project that has an experiment is there.
        tables.experiment.c.project == bindparam("of_project"),
    )
)
"""Nothing, or (None, None): a workload of the id can be made in the experiment of the project."""


@dataclass(frozen=True, slots=True)
class _New:
    """A workload that is to be created; see ``WorkloadRecords.workload_create``."""

    workload: Workload
    labels: Labels
    event: NewEvent
    idempotency_key: str | None
    volumes: Sequence[VolumeUse]


class SqlWorkloads:
    """``WorkloadRecords`` in SQL."""

    _database: Database
    _wide: WideScopes

    async def workload_create(
        self,
        workload: Workload,
        *,
        labels: Labels,
        event: NewEvent,
        idempotency_key: str | None,
        volumes: Sequence[VolumeUse] = (),
    ) -> Workload:
        """See ``WorkloadRecords``."""

        piece = _New(workload, labels, event, idempotency_key, volumes)
        return await self._database.write_joined(piece, _create_all)

    async def workload_get(self, workload_id: WorkloadId) -> Workload:
        """See ``WorkloadRecords``."""
        return await self._database.read(lambda connection: get_workload(connection, workload_id))

    async def workload_find(self, prefix: str) -> tuple[WorkloadId, ...]:
        """See ``WorkloadRecords``."""
        column = tables.workload.c.id
        # "g" follows the last hex digit: a range, which enters the index at the right place.
        begins = and_(column >= prefix, column < f"{prefix}g")
        ends = column.endswith(prefix, autoescape=True)

        def read(connection: Connection) -> tuple[WorkloadId, ...]:
            rows = connection.execute(
                select(column).where(or_(begins, ends)).order_by(column.desc()).limit(FOUND_MAX)
            )
            return tuple(WorkloadId(row.id) for row in rows)

        return await self._database.read(read)

    async def workload_search(self, query: WorkloadQuery) -> WorkloadPage:
        """See ``WorkloadRecords``."""
        return await self._database.read(
            lambda connection: search(connection, query, wide=self._wide)
        )

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
            check_workload(connection, workload_id)
            _update(connection, workload_id, values)
            return get_workload(connection, workload_id)

        return await self._database.write(write)

    async def workload_transition(
        self, workload_id: WorkloadId, transition: Transition
    ) -> Workload:
        """See ``WorkloadRecords``."""

        def write(connection: Connection) -> Workload:
            enter(connection, workload_id, transition)
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
            for table in (tables.artifact, tables.artifact_intent):
                connection.execute(delete(table).where(table.c.owner == found.id))
            metric_objects.remove_those_of(connection, found.id)
            # The rest goes with it by its foreign keys.
            connection.execute(delete(tables.workload).where(tables.workload.c.id == found.id))

        await self._database.write(write)


def _create_all(connection: Connection, pieces: Sequence[_New]) -> list[Workload]:
    """Create workloads; see ``WorkloadRecords.workload_create``.

    Two of one id or request are refused by the tables: written alone, the second finds the first.
    """
    made: list[Workload] = []
    new: list[tuple[_New, Workload]] = []
    for piece in pieces:
        asked = piece.workload
        known = _by_idempotency_key(connection, asked.project, piece.idempotency_key)
        made.append(known or replace(asked, attempt=1 if asked.origin == "launched" else 0))
        if known is None:
            new.append((piece, made[-1]))
    _check_places(connection, [one for _, one in new])
    rows = [
        {**workload_values(one), "idempotency_key": piece.idempotency_key} for piece, one in new
    ]
    _INSERT.run_all(connection, rows)
    add_labels(connection, tables.param, [(one.id, piece.labels.params) for piece, one in new])
    add_labels(connection, tables.tag, [(one.id, piece.labels.tags) for piece, one in new])
    for piece, one in new:
        attach(connection, one.id, piece.volumes)
        if one.attempt:
            add_attempt(connection, one.id, Attempt(one.attempt, one.state, one.created_ns))
    add_first_events(connection, [(one, piece.event) for piece, one in new])
    return made


def _by_idempotency_key(connection: Connection, project: str, key: str | None) -> Workload | None:
    if key is None:
        return None
    found = _KNOWN_REQUEST.rows(connection, {"of_project": project, "of_key": key})
    return workload_of(found[0]) if found else None


def _check_places(connection: Connection, workloads: Sequence[Workload]) -> None:
    """Refuse workloads of which one cannot be made; see ``_check_place``."""
    for one in {(one.experiment_id, one.project): one for one in workloads}.values():
        _check_place(connection, one)
    if len(workloads) > 1:
        for (id_,) in _TAKEN.rows(connection, {}, [one.id for one in workloads]):
            raise _taken(id_)


def _check_place(connection: Connection, workload: Workload) -> None:
    """Refuse a workload that cannot be made; one look says that it can, several what is wrong."""
    experiment_id = workload.experiment_id
    if experiment_id is not None and 0 <= experiment_id <= ID_MAX:
        place = {
            "of_id": workload.id,
            "of_experiment": experiment_id,
            "of_project": workload.project,
        }
        if [*_PLACE.rows(connection, place)] == [(None, None)]:
            return
    _check_id_is_free(connection, workload.id)
    check_project(connection, workload.project)
    _check_experiment(connection, experiment_id)


def _check_id_is_free(connection: Connection, workload_id: WorkloadId) -> None:
    if _TAKEN.rows(connection, {}, [workload_id]):
        raise _taken(workload_id)


def _taken(workload_id: str) -> AlreadyExists:
    return AlreadyExists(f"There is a workload {workload_id} already.", field="id")


def _check_experiment(connection: Connection, experiment_id: int | None) -> None:
    if experiment_id is not None and check_experiment(connection, experiment_id) is not None:
        raise Conflict("The experiment is deleted: restore it first.", field="experiment_id")


def enter(connection: Connection, workload_id: WorkloadId, transition: Transition) -> None:
    """Enter a state; see ``WorkloadRecords.workload_transition``."""
    found = get_workload(connection, workload_id)
    check_expected(found, transition)
    if transition.claim is not None:
        check_claim(connection, workload_id, transition.claim, number=found.attempt)
    check_transition(found.state, transition.state)
    values = _transition_values(transition)
    _update(connection, workload_id, {**values, "updated_ns": transition.event.time_ns})
    if found.attempt:
        more = {**_ending_values(transition), **_place_values(transition)}
        _update_attempt(connection, found, {**values, **more})
    add_event(
        connection,
        workload_id,
        transition.event,
        attempt_=found.attempt or None,
        state=transition.state,
    )
    if transition.further is not None:
        created_ns = transition.further.time_ns
        begin_attempt(connection, found, created_ns=created_ns, event=transition.further)


def rename(connection: Connection, workload_id: WorkloadId, name: str, *, updated_ns: int) -> None:
    """Give a workload another name."""
    _update(connection, workload_id, {"name": name, "updated_ns": updated_ns})


def _update(connection: Connection, workload_id: WorkloadId, values: dict[str, object]) -> None:
    connection.execute(
        update(tables.workload).where(tables.workload.c.id == workload_id).values(**values)
    )


def _transition_values(transition: Transition) -> dict[str, object]:
    values: dict[str, object] = {"state": str(transition.state)}
    if transition.started_ns is not None:
        values["started_ns"] = transition.started_ns
    if not transition.state.is_final:  # a client that resumes its run leaves the end behind
        values["ended_ns"] = None
    elif transition.ended_ns is not None:
        values["ended_ns"] = transition.ended_ns
    return values


def _ending_values(transition: Transition) -> dict[str, object]:
    if not transition.state.is_final:
        return {"ending": None}
    return {} if transition.ending is None else {"ending": dump(transition.ending)}


def _place_values(transition: Transition) -> dict[str, object]:
    claim = transition.claim
    if claim is None or transition.state is not WorkloadState.PREPARING:
        return {}
    return {"place": claim.place, "fence": claim.number}


def _update_attempt(connection: Connection, found: Workload, values: dict[str, object]) -> None:
    connection.execute(
        update(tables.attempt)
        .where(tables.attempt.c.workload_id == found.id, tables.attempt.c.number == found.attempt)
        .values(**values)
    )
    task_values = {key: values[key] for key in ("state", "ending") if key in values}
    connection.execute(
        update(tables.task)
        .where(
            tables.task.c.workload_id == found.id,
            tables.task.c.attempt == found.attempt,
            tables.task.c.name == MAIN,  # the tasks of a distributed run have ends of their own
        )
        .values(**task_values)
    )
