"""Tasks: what agents deliver, and how an attempt comes to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from seafloor.app.clock import Clock
from seafloor.app.folding import end_state, state_of
from seafloor.app.wakeup import Wakeup
from seafloor.domain.code import Receipt
from seafloor.domain.errors import Conflict, LimitExceeded, NotFound, StaleLease
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.members import MAIN, Member, members_of_spec, task_names_of
from seafloor.domain.quantities import shown_count
from seafloor.domain.specs import parse_experiment
from seafloor.domain.workloads import Ending, Task, Workload, WorkloadState
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.stores.events.media import EventMedia
from seafloor.stores.events.protocol import EventFileKey, EventFileStore
from seafloor.stores.logs.protocol import LogKey, LogStore
from seafloor.stores.metadata.protocol import MetadataStore, NewEvent, Transition

RECEIPTS_MAX: Final = 16
WAITING: Final = "waiting"
"""Of a task that may not be started yet, since not all of its run were let in."""

_STARTED = (WorkloadState.PREPARING, WorkloadState.QUEUED)


class TaskStores(msgspec.Struct, frozen=True):
    """Where what a task leaves is kept."""

    metadata: MetadataStore
    logs: LogStore
    event_files: EventFileStore
    artifacts: ArtifactStore
    event_media: EventMedia


class TaskReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a task ended and what its agent captured; see ``wire.tasks.TaskEnd``.

    ``started`` is False for one whose command never began.
    """

    time_ns: int
    ending: Ending
    log_bytes: int = 0
    output_failed: tuple[str, ...] = ()
    output_failed_more: int = 0
    started: bool = True


class Tasks:
    """What agents deliver."""

    def __init__(self, stores: TaskStores, clock: Clock, wakeup: Wakeup) -> None:
        self._stores = stores
        self._metadata = stores.metadata
        self._clock = clock
        self._wakeup = wakeup

    async def _attempt(self, workload_id: WorkloadId, attempt: int) -> Workload:
        found = await self._metadata.workload_get(workload_id)
        if not 1 <= attempt <= found.attempt:
            raise NotFound(f"The run has no attempt {attempt}.", field="attempt")
        return found

    async def _check_tracked(self, workload_id: WorkloadId) -> None:
        found = await self._metadata.workload_get(workload_id)
        if found.attempt:
            raise NotFound("Attempt 0 is that of tracked runs; this one is launched.")
        if found.deleted_ns is not None:
            raise Conflict("The run was deleted: restore it before writing to it.")

    async def append_log(self, key: LogKey, *, offset: int, data: bytes) -> int:
        """Append spool bytes; the contract of ``LogStore.append``."""
        await self._attempt(key.workload_id, key.attempt)
        return await self._stores.logs.append(key, offset=offset, data=data)

    async def append_event_file(self, key: EventFileKey, *, offset: int, data: bytes) -> int:
        """Append bytes of a tf.events file; the contract of ``EventFileStore.append``.

        The files of a tracked run, which has no attempts, are those of attempt 0.
        """
        if key.attempt:
            await self._attempt(key.workload_id, key.attempt)
        else:
            await self._check_tracked(key.workload_id)
        accepted = await self._stores.event_files.append(key, offset=offset, data=data)
        await self._stores.event_media.catch_up(key)
        return accepted

    async def may_start(self, workload_id: WorkloadId, attempt: int, task: str) -> str:
        """Refuse to have a command started whose attempt is over.

        Returns:
            The state of the run; ``WAITING``: ask again, not all of its tasks were let in yet.

        Raises:
            Conflict: it is.
            NotFound: no such task.
        """
        found = await self._attempt(workload_id, attempt)
        if attempt != found.attempt:
            raise Conflict(f"Attempt {attempt} is over: attempt {found.attempt} took its place.")
        if found.state.is_final:
            raise Conflict(f"The run is {found.state} already.")
        if self._members(found, task) and task not in await self._rows(workload_id, name=task):
            return WAITING
        return str(found.state)

    async def _rows(self, workload_id: WorkloadId, *, name: str | None = None) -> dict[str, Task]:
        """What is known of the tasks of the newest attempt, or of one of them."""
        found = await self._metadata.task_list([workload_id], newest=True, name=name)
        return {one.name: one for one in found.get(workload_id, ())}

    def _members(self, workload: Workload, task: str) -> tuple[Member, ...]:
        """The tasks of a distributed run; none: it is not, and its one task is no row.

        Raises:
            NotFound: the run has no task of that name.
        """
        members = members_of_spec(workload.spec)
        if members and all(one.name != task for one in members):
            raise NotFound(f'The run has no task "{task}".', field="task")
        return members

    async def task_started(
        self,
        workload_id: WorkloadId,
        attempt: int,
        task: str,
        *,
        time_ns: int,
        receipts: Mapping[str, Receipt],
    ) -> Workload:
        """Note that a task was started, and what it found localised; a repeat changes nothing.

        A distributed run starts when all of its tasks have, which the reconciler says.

        Raises:
            LimitExceeded: more receipts than a run has.
            NotFound: no such attempt or task.
        """
        found = await self._attempt(workload_id, attempt)
        if len(receipts) > RECEIPTS_MAX:
            raise LimitExceeded(f"An attempt has at most {RECEIPTS_MAX} receipts.")
        members = self._members(found, task)
        if receipts and (not members or task == members[0].name):
            await self._metadata.attempt_record(workload_id, attempt, receipts=receipts)
        if not members:
            return await self.started(workload_id, attempt, time_ns=time_ns)
        told = Task(
            attempt=attempt,
            name=task,
            state=WorkloadState.RUNNING,
            started_ns=time_ns,
            receipts=dict(receipts),
        )
        await self._metadata.tasks_record(workload_id, [told])
        self._wakeup.ring()
        return found

    async def task_ended(
        self, workload_id: WorkloadId, attempt: int, task: str, report: TaskReport
    ) -> Workload:
        """Note how a task ended; a repeat changes nothing.

        Its log is closed. A run of one task comes to its end, as ``ended`` says; a distributed one
        when all of its tasks have, which the reconciler sees to.

        Raises:
            Conflict: the attempt has ended otherwise.
            NotFound: no such attempt or task.
        """
        found = await self._attempt(workload_id, attempt)
        members = self._members(found, task)
        if not members:
            return await self.ended(workload_id, attempt, report)
        if attempt != found.attempt or found.state.is_final:
            return found
        # One that ended well did so whatever the others did, and they may be a thousand.
        well = state_of(report.ending) is WorkloadState.SUCCEEDED
        rows = await self._rows(workload_id, name=task if well else None)
        if task in rows and rows[task].state.is_final:
            return found
        key = LogKey(workload_id, attempt, task)
        await self._stores.logs.finish(key)
        for message in await self._log_losses(key, report):
            await self._warn(workload_id, f"{task}: {message}")
        stopping = found.state is WorkloadState.STOPPING
        told = Task(
            attempt=attempt,
            name=task,
            state=end_state(
                members, rows, report.ending, ended_ns=report.time_ns, stopping=stopping
            ),
            ended_ns=report.time_ns,
            ending=report.ending,
        )
        await self._metadata.tasks_record(workload_id, [told])
        self._wakeup.ring()
        return found

    async def started(
        self, workload_id: WorkloadId, attempt: int, *, time_ns: int, claim: Claim | None = None
    ) -> Workload:
        """Note that the task was started; a repeat changes nothing.

        Raises:
            StaleLease: the claim is none any more.
        """
        found = await self._attempt(workload_id, attempt)
        if attempt != found.attempt or found.state not in _STARTED:
            return found
        return await self._enter_running(found, time_ns=time_ns, claim=claim)

    async def _enter_running(
        self, workload: Workload, *, time_ns: int, claim: Claim | None = None
    ) -> Workload:
        try:
            return await self._metadata.workload_transition(
                workload.id,
                Transition(
                    expected=(WorkloadState.PREPARING,),
                    state=WorkloadState.RUNNING,
                    event=NewEvent(time_ns, "agent", "Started.", kind="state"),
                    started_ns=time_ns,
                    attempt=workload.attempt,
                    claim=claim,
                ),
            )
        except StaleLease:
            raise
        except Conflict:  # another told of it first
            return await self._metadata.workload_get(workload.id)

    async def ended(
        self,
        workload_id: WorkloadId,
        attempt: int,
        report: TaskReport,
        *,
        claim: Claim | None = None,
    ) -> Workload:
        """Bring an attempt to its end; a repeat changes nothing.

        Everything the task left is closed and sealed before the state says that it ended, so
        whoever sees a final state sees all there is.

        Raises:
            Conflict: the attempt has ended otherwise.
            StaleLease: the claim is none any more.
        """
        found = await self._attempt(workload_id, attempt)
        if attempt != found.attempt or found.state.is_final:
            return found
        if report.started and found.state in _STARTED:
            found = await self._enter_running(found, time_ns=report.time_ns, claim=claim)
        await self._seal(found, report)
        state = _final_state(found, report.ending)
        ended = await self._metadata.workload_transition(
            workload_id,
            Transition(
                expected=(
                    WorkloadState.RUNNING,
                    WorkloadState.STOPPING,
                    *(() if report.started else (WorkloadState.PREPARING,)),
                ),
                state=state,
                event=NewEvent(
                    report.time_ns, "agent", _ending_message(report.ending, state), kind="state"
                ),
                ending=report.ending,
                ended_ns=report.time_ns,
                attempt=attempt,
                claim=claim,
                further=await self._retry(found, state),
            ),
        )
        self._wakeup.ring()
        return ended

    async def close_log(self, workload_id: WorkloadId, attempt: int) -> None:
        """Say to whoever follows the log of an attempt without a command that nothing comes."""
        found = await self._metadata.workload_get(workload_id)
        for task in task_names_of(found.spec):
            await self._stores.logs.finish(LogKey(workload_id, attempt, task))

    async def lost(
        self, workload_id: WorkloadId, attempt: int, reason: str, *, claim: Claim | None = None
    ) -> Workload:
        """Bring an attempt to its end whose agent disappeared, with the count of what is known.

        Raises:
            Conflict: it has ended otherwise.
            StaleLease: the claim is none any more.
        """
        found = await self._attempt(workload_id, attempt)
        if attempt != found.attempt or found.state.is_final:
            return found
        lines = 0
        for task in task_names_of(found.spec):
            state = await self._stores.logs.state(LogKey(workload_id, attempt, task))
            lines += state.lines
        kept = f"{shown_count(lines, 'line')} {'was' if lines == 1 else 'were'} kept"
        message = (
            f"{reason} {kept}; what was printed after that, and what was written to the output "
            "folder, may be missing."
        )
        await self._seal(found, None)
        return await self._end_lost(
            found, message, claim=claim, further=await self._retry(found, WorkloadState.LOST)
        )

    async def give_back(
        self, workload_id: WorkloadId, attempt: int, reason: str, *, claim: Claim
    ) -> Workload:
        """End an attempt that never came to a start, and begin another that is no retry.

        Raises:
            Conflict: it came to a start, or has ended.
            StaleLease: the claim is none any more.
        """
        found = await self._attempt(workload_id, attempt)
        if attempt != found.attempt or found.state is not WorkloadState.PREPARING:
            raise Conflict(f"Attempt {attempt} is not being prepared any more.")
        message = f"Attempt {attempt + 1} begins at another server; it does not count as a retry."
        further = NewEvent(self._clock.now_ns(), "server", message, kind="state")
        await self.close_log(workload_id, attempt)
        return await self._end_lost(found, reason, claim=claim, further=further)

    async def _end_lost(
        self, found: Workload, message: str, *, claim: Claim | None, further: NewEvent | None
    ) -> Workload:
        now_ns = self._clock.now_ns()
        ended = await self._metadata.workload_transition(
            found.id,
            Transition(
                expected=(found.state,),
                state=WorkloadState.LOST,
                event=NewEvent(now_ns, "launcher", message, kind="state"),
                ending=Ending(reason=message),
                ended_ns=now_ns,
                attempt=found.attempt,
                claim=claim,
                further=further,
            ),
        )
        self._wakeup.ring()
        return ended

    async def _seal(self, workload: Workload, report: TaskReport | None) -> None:
        tasks = task_names_of(workload.spec)
        for task in tasks:
            await self._stores.logs.finish(LogKey(workload.id, workload.attempt, task))
        await self._stores.event_files.finish(workload.id, workload.attempt)
        await self._stores.event_media.finish(workload.id, workload.attempt)
        await self._stores.artifacts.seal(workload.id)
        said: list[str] = []
        if tasks == (MAIN,):  # of several, each told of its own
            said += await self._log_losses(LogKey(workload.id, workload.attempt), report)
        for message in said + await self._event_losses(workload.id, workload.attempt):
            await self._warn(workload.id, message)

    async def _warn(self, workload_id: WorkloadId, message: str) -> None:
        event = NewEvent(self._clock.now_ns(), "server", message, kind="warning")
        await self._metadata.event_append(workload_id, event)

    async def _log_losses(self, key: LogKey, report: TaskReport | None) -> list[str]:
        """Sentences for what is known to be missing of a task's log and outputs."""
        said: list[str] = []
        state = await self._stores.logs.state(key)
        if state.lines_missing:
            said.append(f"Missing: {shown_count(state.lines_missing, 'log line')}.")
        if report is not None and report.log_bytes > state.size_bytes:
            missing_bytes = report.log_bytes - state.size_bytes
            said.append(f"Did not arrive: {shown_count(missing_bytes, 'byte')} of the log.")
        if report is not None and report.output_failed:
            names = ", ".join(report.output_failed[:5])
            count = len(report.output_failed) + report.output_failed_more
            what = shown_count(count, "file")
            said.append(f"Not kept of the output folder: {what} ({names}); the log says why.")
        return said

    async def _event_losses(self, workload_id: WorkloadId, attempt: int) -> list[str]:
        """Sentences for event files that are damaged."""
        said: list[str] = []
        files = await self._stores.event_files.list(workload_id)
        for file in files:
            if file.attempt != attempt:
                continue
            torn_bytes = file.size_bytes - file.decoded_bytes
            if file.problem:
                said.append(f"{file.path}: {file.problem}")
            elif torn_bytes:
                said.append(
                    f"{file.path}: its last {torn_bytes:,} bytes are a record that was not written "
                    "to its end: kept but not read."
                )
        return said

    async def _retry(self, workload: Workload, state: WorkloadState) -> NewEvent | None:
        """The event of a further attempt, when this end and the spec allow one more."""
        if state not in (WorkloadState.FAILED, WorkloadState.LOST):
            return None
        retries = parse_experiment(workload.spec).retries
        if not retries or workload.state is WorkloadState.STOPPING:
            return None
        attempts = await self._metadata.attempt_list(workload.id)
        tries = sum(not one.was_given_back for one in attempts)
        if tries > retries:
            return None
        message = (
            f"Attempt {workload.attempt + 1} of {retries + 1} begins."
            if tries == workload.attempt
            else f"Attempt {workload.attempt + 1} begins: retry {tries} of {retries}."
        )
        return NewEvent(self._clock.now_ns(), "server", message, kind="state")


def _final_state(workload: Workload, ending: Ending) -> WorkloadState:
    if ending.exit_code == 0 and not ending.timed_out:
        return WorkloadState.SUCCEEDED
    if workload.state is WorkloadState.STOPPING and not ending.timed_out:
        return WorkloadState.STOPPED
    return WorkloadState.FAILED


def _ending_message(ending: Ending, state: WorkloadState) -> str:
    if ending.reason:
        return ending.reason
    if ending.signal is not None:
        return f"The command was ended by {ending.signal}."
    if state is WorkloadState.SUCCEEDED:
        return "The command ended with exit code 0."
    return f"The command ended with exit code {ending.exit_code}."
