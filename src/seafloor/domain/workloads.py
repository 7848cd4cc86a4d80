"""Workloads: what has code, an environment, tasks and logs. Runs, notebooks and servings."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from seafloor.domain.bounds import Int64
from seafloor.domain.code import CodeSource, Receipt
from seafloor.domain.errors import Conflict
from seafloor.domain.ids import WorkloadId


class WorkloadKind(StrEnum):
    """The three kinds of workload."""

    RUN = "run"
    NOTEBOOK = "notebook"
    SERVING = "serving"


class WorkloadState(StrEnum):
    """Where a workload, or one attempt of it, stands.

    ``queued → preparing → running → stopping → succeeded | failed | stopped | lost``. A run that
    an outside client tracks begins in ``running``.
    """

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows in this attempt."""
        return self in FINAL_STATES


FINAL_STATES = frozenset(
    {
        WorkloadState.SUCCEEDED,
        WorkloadState.FAILED,
        WorkloadState.STOPPED,
        WorkloadState.LOST,
    }
)
LIVING_STATES = tuple(state for state in WorkloadState if state not in FINAL_STATES)

_NEXT: dict[WorkloadState, frozenset[WorkloadState]] = {
    WorkloadState.QUEUED: frozenset(
        {WorkloadState.PREPARING, WorkloadState.STOPPED, WorkloadState.FAILED}
    ),
    WorkloadState.PREPARING: frozenset(
        {
            WorkloadState.QUEUED,  # the server died while it prepared; it begins again
            WorkloadState.RUNNING,
            WorkloadState.STOPPING,
            WorkloadState.STOPPED,
            WorkloadState.FAILED,
            WorkloadState.LOST,
        }
    ),
    WorkloadState.RUNNING: frozenset({WorkloadState.STOPPING, *FINAL_STATES}),
    WorkloadState.STOPPING: FINAL_STATES,
    # A final state is left only by a new attempt, or by an outside client that resumes its run.
    WorkloadState.SUCCEEDED: frozenset({WorkloadState.QUEUED, WorkloadState.RUNNING}),
    WorkloadState.FAILED: frozenset({WorkloadState.QUEUED, WorkloadState.RUNNING}),
    WorkloadState.STOPPED: frozenset({WorkloadState.QUEUED, WorkloadState.RUNNING}),
    WorkloadState.LOST: frozenset({WorkloadState.QUEUED, WorkloadState.RUNNING}),
}


def check_transition(old: WorkloadState, new: WorkloadState) -> None:
    """Refuse a transition that the state machine does not have.

    Raises:
        Conflict: new does not follow old.
    """
    if new not in _NEXT[old]:
        raise Conflict(f"A workload that is {old} cannot become {new}.")


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a task ended.

    Args:
        exit_code: Of the command, 0..255; None when a signal or Seafloor ended it.
        signal: Name of the signal that ended it (``SIGKILL``); None otherwise.
        reason: One sentence for the user.
        timed_out: Whether the spec's timeout ended it.
        memory_exceeded: Whether the memory limit ended it.
    """

    reason: str = ""
    exit_code: Int64 | None = None
    signal: str | None = None
    timed_out: bool = False
    memory_exceeded: bool = False


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One of the tasks of a distributed attempt.

    Args:
        attempt: Of which it is.
        name: ``worker-0``.
        state: ``preparing``, ``running``, or how it ended; ``stopped``: another's end was its own.
        started_ns, ended_ns: UTC; None when it has not come to that.
        ending: How it ended, None while it has not.
        receipts: What was localised for it, by folder under ``/code``.
    """

    attempt: int
    name: str
    state: WorkloadState = WorkloadState.PREPARING
    started_ns: int | None = None
    ended_ns: int | None = None
    ending: Ending | None = None
    receipts: dict[str, Receipt] = {}

    def told(self, more: Task) -> Task:
        """This task, after something more is known of it: its first start and first end stay."""
        over = self.state.is_final
        further = more.state.is_final or more.state is WorkloadState.RUNNING
        return Task(
            attempt=self.attempt,
            name=self.name,
            state=more.state if further and not over else self.state,
            started_ns=more.started_ns if self.started_ns is None else self.started_ns,
            ended_ns=self.ended_ns if over else more.ended_ns,
            ending=self.ending if over else more.ending,
            receipts={**self.receipts, **more.receipts},
        )


class Attempt(msgspec.Struct, frozen=True):
    """One start of a workload.

    Args:
        number: 1, 2, …
        state: Where it stands.
        created_ns, started_ns, ended_ns: UTC; None when it has not come to that.
        ending: How its main task ended, None while it has not.
        receipts: What was localised, by folder under ``/code``.
        environment: ``<name>@<version>`` that it ran in, or None (the Python it was given).
        environment_digest: Digest of the lock, or None.
        place: Whose launcher has it (one server's data folder, say); None while it is queued.
        fence: Of the lease of that place when it was claimed.
        launching_ns: When its agent was about to be started, UTC. Before, another place may begin
            anew; from then on only its place can say what became of it.
    """

    number: int
    state: WorkloadState
    created_ns: int
    started_ns: int | None = None
    ended_ns: int | None = None
    ending: Ending | None = None
    receipts: dict[str, Receipt] = {}
    environment: str | None = None
    environment_digest: str | None = None
    place: str | None = None
    fence: int | None = None
    launching_ns: int | None = None

    @property
    def was_given_back(self) -> bool:
        """Whether its place vanished before it came to a start: no try of the user's command."""
        return (
            self.state is WorkloadState.LOST
            and self.place is not None
            and self.launching_ns is None
        )


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to a workload, in the user's words.

    Args:
        sequence: Order within the workload, from 1.
        time_ns: UTC.
        kind: ``state`` (a transition), ``note`` or ``warning``.
        actor: Who: ``user``, ``server``, ``launcher``, ``agent``.
        message: One or two sentences.
        attempt: Which attempt, or None.
        state: The state entered, for ``kind == "state"``.
    """

    sequence: int
    time_ns: int
    kind: str
    actor: str
    message: str
    attempt: int | None = None
    state: WorkloadState | None = None


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A run, a notebook session or a serving, as the metadata store keeps it.

    Args:
        id: 32 hex digits, UUIDv7.
        kind: Which of the three.
        project: Name of its project.
        experiment_id: Of a run, its experiment; None for the other kinds.
        name: For people; not unique.
        user: Who started it, as the client said.
        state: Of the newest attempt.
        origin: ``launched`` (Seafloor runs its tasks) or ``tracked`` (an outside client does).
        spec: The whole spec as accepted, plain data (``domain.specs``), ``{}`` for a tracked run.
        code: Resolved code source, None when it has none.
        environment: ``<name>@<version>``, or None.
        created_ns, started_ns, ended_ns, updated_ns: UTC; None when it has not come to that.
        deleted_ns: When a user deleted it (restorable until purged); None while it lives.
        attempt: Number of the newest attempt; 0 for a tracked run.
    """

    id: WorkloadId
    kind: WorkloadKind
    project: str
    name: str
    user: str
    state: WorkloadState
    origin: str
    created_ns: int
    updated_ns: int
    experiment_id: int | None = None
    spec: dict[str, Any] = {}
    code: CodeSource | None = None
    environment: str | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    deleted_ns: int | None = None
    attempt: int = 0
