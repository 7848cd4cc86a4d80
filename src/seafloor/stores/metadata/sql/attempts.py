"""Attempts and events in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, and_, bindparam, func, insert, select, update

from seafloor.domain.code import Receipt
from seafloor.domain.errors import Conflict, NotFound, StaleLease
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.workloads import Attempt, Event, Workload, WorkloadState
from seafloor.stores.metadata.protocol import NewEvent
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import dump
from seafloor.stores.metadata.sql.leases import check_fence
from seafloor.stores.metadata.sql.prepared import Prepared
from seafloor.stores.metadata.sql.rows import attempt_of, event_of, get_workload
from seafloor.stores.metadata.sql.tables import attempt, event, task, workload
from seafloor.stores.metadata.sql.volumes import attach_again

_LAST_EVENT = Prepared(
    select(func.max(event.c.sequence)).where(event.c.workload_id == bindparam("owner"))
)
_INSERT_EVENT = Prepared(insert(event))


class SqlAttempts:
    """``AttemptRecords`` in SQL."""

    _database: Database

    async def attempt_create(
        self, workload_id: WorkloadId, *, created_ns: int, event: NewEvent
    ) -> Attempt:
        """See ``AttemptRecords``."""

        def write(connection: Connection) -> Attempt:
            found = get_workload(connection, workload_id)
            if not found.state.is_final:
                raise Conflict(f"The newest attempt is {found.state}: it must end first.")
            attach_again(connection, workload_id)
            return begin_attempt(connection, found, created_ns=created_ns, event=event)

        return await self._database.write(write)

    async def attempt_list(self, workload_id: WorkloadId) -> tuple[Attempt, ...]:
        """See ``AttemptRecords``."""

        def read(connection: Connection) -> tuple[Attempt, ...]:
            rows = connection.execute(
                select(attempt)
                .where(attempt.c.workload_id == workload_id)
                .order_by(attempt.c.number)
            )
            return tuple(attempt_of(row) for row in rows)

        return await self._database.read(read)

    async def attempts_newest(
        self, workload_ids: Sequence[WorkloadId]
    ) -> dict[WorkloadId, Attempt]:
        """See ``AttemptRecords``."""
        newest = and_(
            attempt.c.workload_id == workload.c.id, attempt.c.number == workload.c.attempt
        )
        wanted = select(attempt).join(workload, newest).where(workload.c.id.in_(workload_ids))

        def read(connection: Connection) -> dict[WorkloadId, Attempt]:
            rows = connection.execute(wanted)
            return {WorkloadId(row.workload_id): attempt_of(row) for row in rows}

        return await self._database.read(read) if workload_ids else {}

    async def attempt_record(
        self,
        workload_id: WorkloadId,
        number: int,
        *,
        receipts: Mapping[str, Receipt] | None = None,
        environment: str | None = None,
        environment_digest: str | None = None,
        launching_ns: int | None = None,
        claim: Claim | None = None,
    ) -> None:
        """See ``AttemptRecords``."""

        def write(connection: Connection) -> None:
            this = (attempt.c.workload_id == workload_id) & (attempt.c.number == number)
            row = connection.execute(select(attempt).where(this)).first()
            if row is None:
                raise NotFound(f"The run has no attempt {number}.", field="attempt")
            found = attempt_of(row)
            if claim is not None:
                check_claim(connection, workload_id, claim, number=number)
            if launching_ns is not None and found.state.is_final:
                raise StaleLease(f"Attempt {number} is over: it is not started any more.")
            values: dict[str, object] = {}
            if receipts is not None:
                values["receipts"] = dump({**found.receipts, **receipts})
            if environment is not None:
                values["environment"] = environment
            if environment_digest is not None:
                values["environment_digest"] = environment_digest
            if launching_ns is not None and found.launching_ns is None:
                values["launching_ns"] = launching_ns
            if values:
                connection.execute(update(attempt).where(this).values(**values))

        await self._database.write(write)

    async def event_append(
        self, workload_id: WorkloadId, event: NewEvent, *, claim: Claim | None = None
    ) -> Event:
        """See ``AttemptRecords``."""

        def write(connection: Connection) -> Event:
            found = get_workload(connection, workload_id)
            if claim is not None:
                check_claim(connection, workload_id, claim, number=found.attempt)
            return add_event(connection, workload_id, event, attempt_=found.attempt or None)

        return await self._database.write(write)

    async def event_list(
        self, workload_id: WorkloadId, *, after: int = 0, limit: int = 1000
    ) -> tuple[Event, ...]:
        """See ``AttemptRecords``."""

        def read(connection: Connection) -> tuple[Event, ...]:
            rows = connection.execute(
                select(event)
                .where(event.c.workload_id == workload_id, event.c.sequence > after)
                .order_by(event.c.sequence)
                .limit(limit)
            )
            return tuple(event_of(row) for row in rows)

        return await self._database.read(read)


def check_claim(
    connection: Connection, workload_id: WorkloadId, claim: Claim, *, number: int
) -> None:
    """Refuse a claim of before, one on another place's attempt, and one on an older attempt.

    Raises:
        StaleLease: so it is.
    """
    check_fence(connection, claim.fence)
    newest = connection.execute(
        select(attempt.c.number, attempt.c.place)
        .where(attempt.c.workload_id == workload_id)
        .order_by(attempt.c.number.desc())
        .limit(1)
    ).first()
    if newest is None or newest.number != number or newest.place not in (None, claim.place):
        raise StaleLease("Another server has taken the run over.")


def begin_attempt(
    connection: Connection, found: Workload, *, created_ns: int, event: NewEvent
) -> Attempt:
    """Queue the next attempt of a workload whose newest one is over."""
    made = Attempt(found.attempt + 1, WorkloadState.QUEUED, created_ns)
    add_attempt(connection, found.id, made)
    connection.execute(
        update(workload)
        .where(workload.c.id == found.id)
        .values(
            state=str(made.state),
            attempt=made.number,
            started_ns=None,
            ended_ns=None,
            updated_ns=created_ns,
        )
    )
    add_event(connection, found.id, event, attempt_=made.number, state=made.state)
    return made


def add_attempt(connection: Connection, workload_id: WorkloadId, made: Attempt) -> None:
    """Add an attempt that begins, with its main task."""
    state = str(made.state)
    connection.execute(
        insert(attempt).values(
            workload_id=workload_id,
            number=made.number,
            state=state,
            created_ns=made.created_ns,
            receipts="{}",
        )
    )
    connection.execute(
        insert(task).values(
            workload_id=workload_id, attempt=made.number, name="main", role="main", state=state
        )
    )


def add_event(
    connection: Connection,
    workload_id: WorkloadId,
    new: NewEvent,
    *,
    attempt_: int | None,
    state: WorkloadState | None = None,
) -> Event:
    """Append an event with the next number."""
    ((last,),) = _LAST_EVENT.rows(connection, {"owner": workload_id})
    made = _event_of(new, sequence=(last or 0) + 1, attempt_=attempt_, state=state)
    _INSERT_EVENT.run(connection, _event_row(workload_id, made))
    return made


def add_first_events(connection: Connection, created: Sequence[tuple[Workload, NewEvent]]) -> None:
    """Append to each workload, which was just created, its first event."""
    rows = [
        _event_row(
            one.id, _event_of(new, sequence=1, attempt_=one.attempt or None, state=one.state)
        )
        for one, new in created
    ]
    _INSERT_EVENT.run_all(connection, rows)


def _event_of(
    new: NewEvent, *, sequence: int, attempt_: int | None, state: WorkloadState | None
) -> Event:
    return Event(
        sequence=sequence,
        time_ns=new.time_ns,
        kind=new.kind if state is None else "state",
        actor=new.actor,
        message=new.message,
        attempt=attempt_,
        state=state,
    )


def _event_row(workload_id: WorkloadId, made: Event) -> dict[str, object]:
    return {
        "workload_id": workload_id,
        "sequence": made.sequence,
        "time_ns": made.time_ns,
        "kind": made.kind,
        "actor": made.actor,
        "message": made.message,
        "attempt": made.attempt,
        "state": None if made.state is None else str(made.state),
    }
