"""Where tasks run. A launcher prepares a task, starts it, and says how it fares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from seafloor.domain.code import CodeSource, Receipt
from seafloor.domain.ids import WorkloadId
from seafloor.domain.specs import ExperimentSpec
from seafloor.domain.workloads import Ending


class TaskKey(msgspec.Struct, frozen=True):
    """Which task: of one attempt of one workload."""

    workload_id: WorkloadId
    attempt: int
    task: str = "main"


class EnvironmentLockRef(msgspec.Struct, frozen=True):
    """What a launcher needs to build or fetch an environment.

    Args:
        reference: ``<name>@<version>``, for messages.
        python: Exact version.
        lock: Locked requirements, text.
        digest: What the built environment is cached by.
        image: Of the environment, by its digest; None: it has none.
    """

    reference: str
    python: str
    lock: str
    digest: str
    image: str | None = None


class AttachedVolume(msgspec.Struct, frozen=True):
    """A volume that a task gets.

    Args:
        name: Of the volume, for messages and the variable that tells where it is.
        volume_id, content: Which folder.
        path: Where the command sees it, if this machine allows that.
        read_only: Whether it cannot be written to there.
    """

    name: str
    volume_id: str
    content: int
    path: str
    read_only: bool


class TaskLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything needed to start one attempt. Immutable, so that a repeat is the same launch.

    Args:
        key: Which task. A distributed run's is that of a run with one task, and stands for all
            members of its spec, each of which has a key with its own name.
        api_path: Of the workload on the server, e.g. ``/api/v1/runs/<id>``.
        command: A shell line, or arguments that no shell reads; empty where ``spec.tasks`` has
            them.
        code: What to localise, or None.
        environment: What to build, or None: the Python that the launcher is run by.
        role_environments: What roles have instead, by its reference in the spec.
        env: Variables from the spec and from the app (tracking addresses, ids), final.
        token: Run-scoped token the agent and the user's tools present, or None.
        cpu_count, memory_bytes, timeout_s: Limits; None for none.
        grace_s: Between SIGTERM and SIGKILL when it is stopped or times out.
        name: Of the run, for people.
        spec: All that was asked for; what the other fields say is of it.
        volumes: What is attached.
    """

    key: TaskKey
    api_path: str
    command: str | list[str]
    code: CodeSource | None
    environment: EnvironmentLockRef | None
    env: dict[str, str]
    token: str | None = None
    cpu_count: float | None = None
    memory_bytes: int | None = None
    timeout_s: float | None = None
    grace_s: float = 10.0
    name: str = ""
    spec: ExperimentSpec = ExperimentSpec(name="")
    volumes: tuple[AttachedVolume, ...] = ()
    role_environments: dict[str, EnvironmentLockRef] = {}

    @property
    def environments(self) -> dict[str, EnvironmentLockRef]:
        """All of them, by the references in the spec."""
        own, reference = self.environment, self.spec.environment
        named = {} if own is None or reference is None else {reference: own}
        return {**self.role_environments, **named}


class Prepared(msgspec.Struct, frozen=True):
    """What preparation brought.

    Args:
        receipt: Of the code, None when there is none.
        environment_cached: Whether the environment was there already; None without one.
        duration_s: How long it took.
        environment_fetched: Whether it came from the object store, rather than being built.
        here: Whether anything was prepared before the start at all; a pod prepares itself.
    """

    receipt: Receipt | None
    environment_cached: bool | None
    duration_s: float
    environment_fetched: bool = False
    here: bool = True


class TaskAbsent(msgspec.Struct, frozen=True, tag="absent"):
    """The launcher knows no such task: it was never started, or was released.

    Args:
        reason: One sentence for the user, should it have been started.
    """

    reason: str = "The task's folder is gone, so nobody can say how it ended."


class TaskPreparing(msgspec.Struct, frozen=True, tag="preparing"):
    """It was started, and waits for something before the command begins.

    Args:
        words: For what, one sentence for the user.
    """

    words: str


class TaskAlive(msgspec.Struct, frozen=True, tag="alive"):
    """The agent lives; the command may be running or its output still be on the way.

    Args:
        words: What threatens it, one sentence for the user; empty: nothing is known to.
    """

    words: str = ""


class TaskEnded(msgspec.Struct, frozen=True, tag="ended"):
    """The command ended and the agent wrote down how.

    Args:
        ending: How.
        delivered: Whether the agent has delivered all it captured.
        started: Whether the command ever began.
        left: Whether nobody has come to the end of delivering; else the server refused some of it.
    """

    ending: Ending
    delivered: bool
    started: bool = True
    left: bool = False


class TaskLost(msgspec.Struct, frozen=True, tag="lost"):
    """The agent disappeared without writing how the command ended.

    Args:
        reason: One sentence for the user with what is known.
        lines: Whole lines in its spool.
        undelivered_bytes: Of the spool, not yet accepted by the server.
        left: Whether nobody has come to the end of delivering, output files and all.
    """

    reason: str
    lines: int
    undelivered_bytes: int
    left: bool = False


TaskObservation = TaskAbsent | TaskPreparing | TaskAlive | TaskEnded | TaskLost


class Launcher(Protocol):
    """Where tasks run. Every method may be repeated."""

    async def prepare(self, launch: TaskLaunch, *, progress: Callable[[str], None]) -> Prepared:
        """Localise code and build the environment. May take minutes; may be cancelled.

        Args:
            progress: Told what is being done, one short sentence each, from any thread.

        Raises:
            SourceError: code or packages could not be had; the message is for the user.
            StoreFull: no space left. What was half done is removed or begun anew next time.
        """
        ...

    async def start(self, launch: TaskLaunch) -> None:
        """Start the agent of a prepared task; returns once it is certain to be found again.

        A task that was started before is left alone. The agents of several begin their commands
        when the server lets them, which is after this has returned.

        Raises:
            PodRejected: it cannot be started; the message says why.
        """
        ...

    async def observe(self, key: TaskKey) -> TaskObservation:
        """Say how a task fares, from what is there now; never from memory."""
        ...

    async def tasks(self) -> tuple[TaskKey, ...]:
        """The tasks that have a working folder here, whatever became of them; none that is kept."""
        ...

    async def stop(self, key: TaskKey) -> None:
        """Ask the agent to end the command (SIGTERM, after the grace SIGKILL). Returns at once."""
        ...

    async def salvage(self, key: TaskKey) -> None:
        """Deliver what a lost agent left behind, and end what still lives of its command."""
        ...

    async def keep(self, key: TaskKey) -> str:
        """Leave what a task could not deliver where it is: ``tasks`` does not name it any more.

        What else the task had is given up, such as its code.

        Returns:
            Why, and where it is, as the end of a sentence; empty: there is no such place.
        """
        ...

    async def forget(self, workload_id: WorkloadId) -> None:
        """Note that a workload is purged, and remove what is kept of it; there may be nothing.

        What else there is of it here is for ``release``, which a task that lives has to end before.
        """
        ...

    async def is_forgotten(self, key: TaskKey) -> bool:
        """Whether a task that no records know may go: its workload was purged."""
        ...

    def whereabouts(self, key: TaskKey) -> str:
        """Where a person finds what there is of a task."""
        ...

    async def release(self, key: TaskKey) -> None:
        """Remove the task's working folders. Only for a task that ended or was salvaged."""
        ...

    async def close(self) -> None:
        """Give back what the launcher holds. Tasks go on."""
        ...
