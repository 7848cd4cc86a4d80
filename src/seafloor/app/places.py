"""Places: whose tasks a server drives, and what becomes of those of a server that is gone.

A *place* is where a launcher has its tasks: the local launcher's is a data folder. One server at a
time drives it, the one that holds the lease ``reconciler/<place>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from seafloor.app.clock import Clock
from seafloor.app.leases import LeaseHolder, LeaseTerms, boot_time_s
from seafloor.app.tasks import Tasks
from seafloor.domain.errors import Conflict, SeafloorError
from seafloor.domain.leases import RECONCILER, Claim, Lease, lease_of_place, place_of_lease
from seafloor.domain.workloads import Attempt, Ending, Workload, WorkloadState
from seafloor.stores.metadata.protocol import MetadataStore, NewEvent, Transition

_log = structlog.get_logger(__name__)

GRACE_S = 1.0
"""After the end of its lease a place counts as gone."""

LOOK_S = 1.0
"""How often leases of other places are looked at."""

_LOOKED_FOR_MAX_S = 10.0
"""Of the time between two looks so much counts at most: this server was paused, or asleep."""


class OwnPlace:
    """The place that this server drives.

    Args:
        place: Its id.
        holder: Holds its lease.
        is_shared: Several servers have it, and all but one wait for their turn; otherwise it is an
            error that another has it.
    """

    def __init__(self, place: str, holder: LeaseHolder, *, is_shared: bool = False) -> None:
        self.place = place
        self.holder = holder
        self._is_shared = is_shared

    @property
    def problem(self) -> str | None:
        """Why nothing can be driven, if that is no state to be in."""
        waits = self._is_shared and self.holder.is_elsewhere
        return None if waits else self.holder.problem

    @property
    def claim(self) -> Claim | None:
        """In whose name to write; None while the lease is not certainly held."""
        held = self.holder.held
        return None if held is None else Claim(self.place, held.fence)

    def has(self, attempt: Attempt) -> bool:
        """Whether an attempt is this place's; one of before there were places is anybody's."""
        return attempt.place is None or attempt.place == self.place


@dataclass(frozen=True)
class Living:
    """A run that is not at its end, with its newest attempt."""

    workload: Workload
    attempt: Attempt


@dataclass
class _Silence:
    """How long a place was seen to say nothing.

    Args:
        expires_ns: Of its lease, which each word of it changes.
        lasted_s: For which it stayed the same, as far as this server looked.
    """

    expires_ns: int
    lasted_s: float = 0.0


class LostPlaces:
    """Takes back what servers that are gone were to do.

    A place is gone when the database says that its lease has ended, and this server itself has
    seen it say nothing for as long. The one alone is no proof: the lease of a place is old when all
    servers were stopped, or when the database was brought back from a backup, and its server may be
    the next to be started; and the clock of the database may be set.

    Args:
        given_up_after_s: After so long without a word a place is held to be gone for good.
    """

    def __init__(
        self, metadata: MetadataStore, tasks: Tasks, clock: Clock, *, given_up_after_s: float
    ) -> None:
        self._metadata = metadata
        self._tasks = tasks
        self._clock = clock
        self._given_up_after_ns = int(given_up_after_s * 1e9)
        self._looked_s = 0.0
        self._silences: dict[str, _Silence] = {}

    async def look(self, others: Sequence[Living]) -> None:
        """See to runs of other places, if any of these is gone.

        What was not started yet begins anew elsewhere. What was goes on without its server; when
        that does not come back in a long time, it is lost.
        """
        now_s = boot_time_s()
        since_s = now_s - self._looked_s
        if not others or since_s < LOOK_S:
            return
        self._looked_s = now_s
        leases = await self._metadata.lease_list(RECONCILER)
        self._listen(leases, for_s=min(since_s, _LOOKED_FOR_MAX_S))
        for lease in leases:
            place = place_of_lease(lease.name)
            theirs = [one for one in others if one.attempt.place == place]
            if -lease.left_ns >= GRACE_S * 1e9 and self._due(lease, theirs):
                await self._take_back(lease, theirs)

    def _listen(self, leases: Sequence[Lease], *, for_s: float) -> None:
        """Note of each place whether it has said something since the look before."""
        before, self._silences = self._silences, {}
        for lease in leases:
            found = before.get(lease.name)
            if found is None or found.expires_ns != lease.expires_ns:
                found = _Silence(lease.expires_ns)
            else:
                found.lasted_s += for_s
            self._silences[lease.name] = found

    def _due(self, lease: Lease, theirs: Sequence[Living]) -> list[Living]:
        """Those that must not wait for their place any longer."""
        silent_ns = int(min(-lease.left_ns, self._silences[lease.name].lasted_s * 1e9))
        if silent_ns >= self._given_up_after_ns:
            return list(theirs)
        if self._silences[lease.name].lasted_s < LeaseTerms().ttl_s:
            return []
        return [one for one in theirs if one.attempt.launching_ns is None]

    async def _take_back(self, lease: Lease, theirs: Sequence[Living]) -> None:
        place = place_of_lease(lease.name)
        try:
            broken = await self._metadata.lease_break(
                lease_of_place(place), ended_ns=int(GRACE_S * 1e9)
            )
        except Conflict:  # it came back
            return
        claim = Claim(place, broken.fence)
        # Only now is certain what its server has written: from here on it is refused.
        ids = [one.workload.id for one in theirs]
        newest = await self._metadata.attempts_newest(ids)
        for one in theirs:
            attempt = newest.get(one.workload.id)
            if attempt is None or attempt.number != one.attempt.number or attempt.state.is_final:
                continue
            for due in self._due(broken, [Living(one.workload, attempt)]):
                await self._end(due, claim)

    async def _end(self, due: Living, claim: Claim) -> None:
        try:
            await self._end_attempt(due, claim)
        except SeafloorError as error:
            _log.warning(
                "a run of a server that is gone was not taken back",
                run_id=due.workload.id,
                place=claim.place,
                error=error.code,
                message=error.message,
            )
        else:
            _log.warning(
                "a run of a server that is gone was taken back",
                run_id=due.workload.id,
                place=claim.place,
            )

    async def _end_attempt(self, due: Living, claim: Claim) -> None:
        workload_id, number = due.workload.id, due.attempt.number
        if due.attempt.launching_ns is not None:
            reason = f"The server {claim.place} has not answered for a long time."
            await self._tasks.lost(workload_id, number, reason, claim=claim)
        elif due.attempt.state is WorkloadState.STOPPING:
            await self._stopped(due, claim)
        else:
            reason = f"The server {claim.place} stopped answering while it prepared the run."
            await self._tasks.give_back(workload_id, number, reason, claim=claim)

    async def _stopped(self, due: Living, claim: Claim) -> None:
        now_ns = self._clock.now_ns()
        message = "Stopped before the command was started."
        await self._metadata.workload_transition(
            due.workload.id,
            Transition(
                expected=(WorkloadState.STOPPING,),
                state=WorkloadState.STOPPED,
                event=NewEvent(now_ns, "launcher", message, kind="state"),
                ending=Ending(reason=message),
                ended_ns=now_ns,
                attempt=due.attempt.number,
                claim=claim,
            ),
        )
        await self._tasks.close_log(due.workload.id, due.attempt.number)
