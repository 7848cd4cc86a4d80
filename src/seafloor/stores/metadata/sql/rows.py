"""Rows of workloads as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from seafloor.domain.code import CodeSource, Receipt
from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.workloads import Attempt, Ending, Event, Workload, WorkloadKind, WorkloadState
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.documents import dump, load, load_plain
from seafloor.stores.metadata.sql.prepared import Prepared, PreparedIn

_GET = Prepared(select(tables.workload).where(tables.workload.c.id == bindparam("id")))
_IS_THERE = Prepared(select(tables.workload.c.id).where(tables.workload.c.id == bindparam("id")))
_WRITABLE = PreparedIn(
    lambda asked: select(
        tables.workload.c.id, tables.workload.c.attempt, tables.workload.c.deleted_ns
    ).where(asked(tables.workload.c.id))
)

# Looking a name up is cheaper than asking the enumeration; a page has a thousand runs.
_KINDS = {str(kind): kind for kind in WorkloadKind}
_COLUMNS = tables.workload.columns.keys().index("attempt") + 1
_STATES = {str(state): state for state in WorkloadState}


def get_workload(connection: Connection, workload_id: str) -> Workload:
    """Get a workload by id, or NotFound."""
    found = _GET.rows(connection, {"id": workload_id})
    if not found:
        raise NotFound(f"Run with id={workload_id} not found.", field="id")
    return workload_of(found[0])


def check_workload(connection: Connection, workload_id: str) -> None:
    """Refuse a workload that does not exist."""
    if not _IS_THERE.rows(connection, {"id": workload_id}):
        raise NotFound(f"Run with id={workload_id} not found.", field="id")


def attempts_to_write(connection: Connection, workload_ids: Sequence[str]) -> dict[str, int]:
    """The attempts that workloads are at.

    Raises:
        NotFound: there is one that does not exist.
        Conflict: there is one that is deleted.
    """
    found = {id_: row for id_, *row in _WRITABLE.rows(connection, {}, workload_ids)}
    for workload_id in workload_ids:
        if workload_id not in found:
            raise NotFound(f"Run with id={workload_id} not found.", field="id")
        if found[workload_id][1] is not None:
            raise Conflict("The run was deleted: restore it before writing to it.")
    return {id_: attempt for id_, (attempt, _) in found.items()}


def workload_of(row: Sequence[Any]) -> Workload:
    """A workload of its row, which has the table's columns first."""
    # Taken apart at once: asking a row for each column by name costs twice as much.
    (
        id_,
        kind,
        project,
        experiment_id,
        name,
        user,
        state,
        origin,
        spec,
        code,
        environment,
        created_ns,
        updated_ns,
        started_ns,
        ended_ns,
        deleted_ns,
        attempt,
    ) = row[:_COLUMNS]
    return Workload(
        id=id_,
        kind=_KINDS[kind],
        project=project,
        experiment_id=experiment_id,
        name=name,
        user=user,
        state=_STATES[state],
        origin=origin,
        spec={} if spec == "{}" else load_plain(spec),
        code=None if code is None else load(code, CodeSource),  # pyright: ignore
        environment=environment,
        created_ns=created_ns,
        updated_ns=updated_ns,
        started_ns=started_ns,
        ended_ns=ended_ns,
        deleted_ns=deleted_ns,
        attempt=attempt,
    )


def workload_values(workload: Workload) -> dict[str, object]:
    """The row of a workload."""
    return {
        "id": workload.id,
        "kind": str(workload.kind),
        "project": workload.project,
        "experiment_id": workload.experiment_id,
        "name": workload.name,
        "user": workload.user,
        "state": str(workload.state),
        "origin": workload.origin,
        "spec": dump(workload.spec),
        "code": None if workload.code is None else dump(workload.code),
        "environment": workload.environment,
        "created_ns": workload.created_ns,
        "updated_ns": workload.updated_ns,
        "started_ns": workload.started_ns,
        "ended_ns": workload.ended_ns,
        "deleted_ns": workload.deleted_ns,
        "attempt": workload.attempt,
    }


def attempt_of(row: Row[Any]) -> Attempt:
    """An attempt of its row."""
    return Attempt(
        number=row.number,
        state=WorkloadState(row.state),
        created_ns=row.created_ns,
        started_ns=row.started_ns,
        ended_ns=row.ended_ns,
        ending=None if row.ending is None else load(row.ending, Ending),
        receipts=load(row.receipts, dict[str, Receipt]),
        environment=row.environment,
        environment_digest=row.environment_digest,
        place=row.place,
        fence=row.fence,
        launching_ns=row.launching_ns,
    )


def event_of(row: Row[Any]) -> Event:
    """An event of its row."""
    return Event(
        sequence=row.sequence,
        time_ns=row.time_ns,
        kind=row.kind,
        actor=row.actor,
        message=row.message,
        attempt=row.attempt,
        state=None if row.state is None else WorkloadState(row.state),
    )
