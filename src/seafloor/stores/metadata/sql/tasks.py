"""Tasks of distributed runs in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, select, update

from seafloor.domain.code import Receipt
from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.members import MAIN
from seafloor.domain.workloads import Ending, Task, WorkloadState
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.attempts import check_claim
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import dump, load

_TASK = tables.task.c


class SqlTasks:
    """``TaskRecords`` in SQL."""

    _database: Database

    async def tasks_record(
        self, workload_id: WorkloadId, tasks: Sequence[Task], *, claim: Claim | None = None
    ) -> tuple[Task, ...]:
        """See ``TaskRecords``."""

        def write(connection: Connection) -> tuple[Task, ...]:
            return _record(connection, workload_id, tasks, claim)

        return await self._database.write(write) if tasks else ()

    async def task_list(
        self, workload_ids: Sequence[WorkloadId], *, newest: bool, name: str | None = None
    ) -> dict[WorkloadId, tuple[Task, ...]]:
        """See ``TaskRecords``."""
        wanted = select(tables.task).where(_TASK.workload_id.in_(workload_ids), _TASK.name != MAIN)
        if name is not None:
            wanted = wanted.where(_TASK.name == name)
        if newest:
            of_newest = and_(
                tables.workload.c.id == _TASK.workload_id,
                tables.workload.c.attempt == _TASK.attempt,
            )
            wanted = wanted.join(tables.workload, of_newest)
        wanted = wanted.order_by(_TASK.workload_id, _TASK.attempt, _TASK.name)

        def read(connection: Connection) -> dict[WorkloadId, tuple[Task, ...]]:
            found: dict[WorkloadId, list[Task]] = {}
            for row in connection.execute(wanted):
                found.setdefault(WorkloadId(row.workload_id), []).append(_task_of(row))
            return {one: tuple(tasks) for one, tasks in found.items()}

        return await self._database.read(read) if workload_ids else {}


def _record(
    connection: Connection, workload_id: WorkloadId, tasks: Sequence[Task], claim: Claim | None
) -> tuple[Task, ...]:
    number = tasks[0].attempt
    of_attempt = and_(
        tables.attempt.c.workload_id == workload_id, tables.attempt.c.number == number
    )
    if connection.execute(select(tables.attempt.c.number).where(of_attempt)).first() is None:
        raise NotFound(f"The run has no attempt {number}.", field="attempt")
    if claim is not None:
        check_claim(connection, workload_id, claim, number=number)
    mine = and_(_TASK.workload_id == workload_id, _TASK.attempt == number)
    # One task is told of at each time, but for the first, when all of them are.
    which = mine if len(tasks) > 1 else and_(mine, _TASK.name == tasks[0].name)
    known = {
        row.name: _task_of(row) for row in connection.execute(select(tables.task).where(which))
    }
    new: list[dict[str, object]] = []
    made: list[Task] = []
    for one in tasks:
        before = known.get(one.name)
        after = one if before is None else before.told(one)
        made.append(after)
        if before is None:
            role = one.name.rpartition("-")[0] or one.name
            key = {"workload_id": workload_id, "attempt": number, "name": one.name, "role": role}
            new.append({**key, **_values(after)})
        elif after != before:
            this = and_(mine, _TASK.name == one.name)
            connection.execute(update(tables.task).where(this).values(**_values(after)))
    if new:
        connection.execute(insert(tables.task), new)
    return tuple(made)


def _task_of(row: Row[Any]) -> Task:
    return Task(
        attempt=row.attempt,
        name=row.name,
        state=WorkloadState(row.state),
        started_ns=row.started_ns,
        ended_ns=row.ended_ns,
        ending=None if row.ending is None else load(row.ending, Ending),
        receipts={} if row.receipts is None else load(row.receipts, dict[str, Receipt]),
    )


def _values(task: Task) -> dict[str, object]:
    return {
        "state": str(task.state),
        "started_ns": task.started_ns,
        "ended_ns": task.ended_ns,
        "ending": None if task.ending is None else dump(task.ending),
        "receipts": dump(task.receipts) if task.receipts else None,
    }
