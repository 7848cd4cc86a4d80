"""Attempts and events in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from seafloor.domain.code import Receipt
from seafloor.domain.errors import Conflict, NotFound, StaleLease
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.workloads import Attempt, Event, WorkloadState
from seafloor.stores.metadata.memory.leases import check_claim
from seafloor.stores.metadata.memory.rows import Rows, WorkloadRows
from seafloor.stores.metadata.memory.volumes import check_use
from seafloor.stores.metadata.protocol import NewEvent


class MemoryAttempts:
    """``AttemptRecords`` in memory."""

    _rows: Rows
    _now_ns: Callable[[], int]

    async def attempt_create(
        self, workload_id: WorkloadId, *, created_ns: int, event: NewEvent
    ) -> Attempt:
        """See ``AttemptRecords``."""
        rows = self._rows.of_workload(workload_id)
        if not rows.workload.state.is_final:
            raise Conflict(f"The newest attempt is {rows.workload.state}: it must end first.")
        now_ns = self._now_ns()
        for use in rows.volumes:
            check_use(self._rows, workload_id, use, now_ns=now_ns)
        return begin_attempt(rows, created_ns=created_ns, event=event)

    async def attempt_list(self, workload_id: WorkloadId) -> tuple[Attempt, ...]:
        """See ``AttemptRecords``."""
        rows = self._rows.workloads.get(workload_id)
        return (
            () if rows is None else tuple(rows.attempts[number] for number in sorted(rows.attempts))
        )

    async def attempts_newest(
        self, workload_ids: Sequence[WorkloadId]
    ) -> dict[WorkloadId, Attempt]:
        """See ``AttemptRecords``."""
        found = {one: self._rows.workloads.get(one) for one in workload_ids}
        return {
            one: rows.attempts[rows.workload.attempt]
            for one, rows in found.items()
            if rows is not None and rows.workload.attempt
        }

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
        rows = self._rows.workloads.get(workload_id)
        found = None if rows is None else rows.attempts.get(number)
        if rows is None or found is None:
            raise NotFound(f"The run has no attempt {number}.", field="attempt")
        if claim is not None:
            check_claim(self._rows, rows, claim, number=number)
        if launching_ns is not None and found.state.is_final:
            raise StaleLease(f"Attempt {number} is over: it is not started any more.")
        rows.attempts[number] = replace(
            found,
            receipts={**found.receipts, **(receipts or {})},
            environment=found.environment if environment is None else environment,
            environment_digest=(
                found.environment_digest if environment_digest is None else environment_digest
            ),
            launching_ns=launching_ns if found.launching_ns is None else found.launching_ns,
        )

    async def event_append(
        self, workload_id: WorkloadId, event: NewEvent, *, claim: Claim | None = None
    ) -> Event:
        """See ``AttemptRecords``."""
        rows = self._rows.of_workload(workload_id)
        if claim is not None:
            check_claim(self._rows, rows, claim, number=rows.workload.attempt)
        return rows.add_event(event)

    async def event_list(
        self, workload_id: WorkloadId, *, after: int = 0, limit: int = 1000
    ) -> tuple[Event, ...]:
        """See ``AttemptRecords``."""
        rows = self._rows.workloads.get(workload_id)
        events = [] if rows is None else rows.events
        return tuple(event for event in events if event.sequence > after)[:limit]


def begin_attempt(rows: WorkloadRows, *, created_ns: int, event: NewEvent) -> Attempt:
    """Queue the next attempt of a workload whose newest one is over."""
    found = rows.workload
    made = Attempt(found.attempt + 1, WorkloadState.QUEUED, created_ns)
    rows.attempts[made.number] = made
    rows.workload = replace(
        found,
        state=made.state,
        attempt=made.number,
        started_ns=None,
        ended_ns=None,
        updated_ns=created_ns,
    )
    rows.add_event(event, state=made.state)
    return made
