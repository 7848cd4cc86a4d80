"""From a pod as the cluster sees it: where its task stands, in the user's words. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from seafloor.domain.workloads import Ending
from seafloor.launch.kubernetes.agent_volume import AGENT_CONTAINER
from seafloor.launch.kubernetes.code_volume import CODE_CONTAINER, GIT_CONTAINER
from seafloor.launch.kubernetes.observed import (
    Condition,
    ContainerStatus,
    Pod,
    PodEvent,
    Terminated,
    Waiting,
)
from seafloor.launch.kubernetes.pod import MAIN
from seafloor.launch.protocol import TaskAlive, TaskEnded, TaskLost, TaskPreparing

PodObservation = TaskPreparing | TaskAlive | TaskEnded | TaskLost

_WORDS_MAX: Final = 600
_SIGNALS: Final = {
    1: "SIGHUP",
    2: "SIGINT",
    6: "SIGABRT",
    9: "SIGKILL",
    11: "SIGSEGV",
    15: "SIGTERM",
}
_PREPARING: Final = {
    GIT_CONTAINER: "Fetching the code",
    CODE_CONTAINER: "Fetching the code",
    "kernel-fetch": "Fetching the environment",
    AGENT_CONTAINER: "Bringing Seafloor's agent",
}
_GONE_FOR_GOOD: Final = re.compile(
    r"not ?found|does not exist|manifest unknown|name unknown|invalid reference|unauthorized",
    re.IGNORECASE,
)
"""Of an image: what no further try mends."""

_INTERRUPTIONS: Final = {
    "Evicted": "The node ran short, and the pod was evicted",
    "Preempting": "The pod had to make room for one of a higher priority",
    "Shutdown": "The node was shut down",
    "NodeShutdown": "The node was shut down",
    "Terminated": "The node was shut down",
    "NodeLost": "The node is lost",
    "PreemptionByScheduler": "The pod had to make room for one of a higher priority",
    "DeletionByTaintManager": "The node became unusable, and the pod was taken off it",
    "EvictionByEvictionAPI": "The pod was evicted, as when a node is emptied for maintenance",
    "TerminationByKubelet": "The node ended the pod: it is short of something, or shuts down",
    "DeletionByPodGC": "The node is gone",
}
"""Reasons of a pod, or of its condition ``DisruptionTarget``, that are no fault of the command."""

_PYTHON_HINT: Final = (
    " Seafloor's agent, which starts it, needs a python3 in the image. For an image without one: "
    "an administrator names it in `images.without_python` of the policy, and its log is then read "
    "from the cluster."
)
_UNANSWERED_S: Final = 60.0
"""After the grace of a pod: a node that lives has said long before that it ended."""

_NEVER_RAN: Final = ("ContainerCannotRun", "StartError")
_REFUSED_BY_NODE: Final = ("OutOf", "UnexpectedAdmissionError", "NodeAffinity", "NodePorts")
_SHORTAGE: Final = re.compile(r"Insufficient ([\w./-]*\w)")


class AgentWord(msgspec.Struct, frozen=True):
    """What our agent leaves as the termination message of the main container.

    Args:
        seafloor_agent: Version of this format.
        ending: How the command ended.
        delivered: Whether all it captured was taken by the server.
    """

    seafloor_agent: int
    ending: Ending
    delivered: bool


def observation_of(
    pod: Pod, events: Sequence[PodEvent] = (), *, gone: bool = False
) -> PodObservation:
    """Say how the task of a pod fares.

    A pod that the cluster interrupts is not lost before its command is over: until then its last
    words may be delivered, and no other attempt may begin.

    Args:
        events: Those of the pod, newest last; only a pod that does not get on needs them.
        gone: Whether this is how the pod was when it was removed.
    """
    status = pod.status
    if status.phase == "Unknown" or status.reason == "NodeLost":
        return TaskLost(_lost_words(pod), 0, 0)
    interrupted = _interruption(pod)
    if interrupted is not None and (gone or _is_over(pod)):
        return TaskLost(interrupted, 0, 0)
    if status.phase in ("Succeeded", "Failed"):
        return _ended(pod)
    main = _of(status.container_statuses, MAIN)
    if main is not None and main.state.terminated is not None:
        return _main_ended(pod, main.state.terminated)
    if main is not None and main.state.running is not None:
        return TaskAlive(interrupted or (_silent_words(pod) if _is_silent(pod) else ""))
    return _preparing(pod, events)


def needs_events(pod: Pod) -> bool:
    """Whether its events may say more than the pod itself: it is on a node and nothing runs yet."""
    return pod.status.phase == "Pending" and bool(pod.spec.node_name)


def has_agent(pod: Pod) -> bool:
    """Whether our agent is in it, and delivers what its command leaves."""
    return any(one.name == AGENT_CONTAINER for one in pod.spec.init_containers)


def main_began(pod: Pod) -> bool:
    """Whether its command began, so that there is a log of it."""
    main = _of(pod.status.container_statuses, MAIN)
    if main is None:
        return False
    ended = main.state.terminated
    return main.state.running is not None or (ended is not None and ended.reason not in _NEVER_RAN)


def main_is_over(pod: Pod) -> bool:
    """Whether its command prints nothing any more."""
    main = _of(pod.status.container_statuses, MAIN)
    return main is not None and main.state.terminated is not None


class SetupContainer(msgspec.Struct, frozen=True):
    """A container that prepares a pod, and began.

    Args:
        over: Whether it prints nothing any more.
    """

    name: str
    over: bool


def setup_containers(pod: Pod) -> tuple[SetupContainer, ...]:
    """Those of a pod that have a log, in the order in which they run."""
    return tuple(
        SetupContainer(one.name, one.state.terminated is not None)
        for one in pod.status.init_container_statuses
        if one.state.running is not None
        or (one.state.terminated is not None and one.state.terminated.reason not in _NEVER_RAN)
    )


def setup_is_over(pod: Pod) -> bool:
    """Whether no further one of them begins."""
    return main_began(pod) or pod.status.phase in ("Succeeded", "Failed")


def ended_at_s(pod: Pod) -> float | None:
    """When the last of its containers ended, in seconds of the epoch.

    None: it does not say, or its command goes on or is yet to begin.
    """
    if not _is_over(pod):
        return None
    containers = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    times = [
        datetime.fromisoformat(one.state.terminated.finished_at).timestamp()
        for one in containers
        if one.state.terminated is not None and one.state.terminated.finished_at
    ]
    return max(times, default=None)


def unanswered(pod: Pod, now_s: float) -> TaskLost | None:
    """Say that a pod is lost whose node was to end it and never said that it did.

    Its object stays for as long as the node's does. Where the cluster says that the node does not
    answer, it is lost as soon as its grace is over: a node that came back would have ended it.

    Args:
        now_s: Seconds of the epoch.
    """
    by = pod.metadata.deletion_timestamp  # when its grace is over
    if by is None or _is_over(pod):
        return None
    silent = _is_silent(pod)
    patience_s = 0.0 if silent else _UNANSWERED_S
    if now_s < datetime.fromisoformat(by).timestamp() + patience_s:
        return None
    if silent:
        return TaskLost(_lost_words(pod), 0, 0)
    interrupted = _interruption(pod)
    if interrupted is not None:
        return TaskLost(interrupted, 0, 0)
    return TaskLost(
        f"The node ({pod.spec.node_name}) does not answer: the pod was told to end, by somebody or "
        "because its node is lost, and nobody says that it did.",
        0,
        0,
    )


def _is_over(pod: Pod) -> bool:
    """Whether its command does nothing any more."""
    return pod.status.phase in ("Succeeded", "Failed") or main_is_over(pod)


def _is_silent(pod: Pod) -> bool:
    """Whether the cluster says that the pod's node does not answer.

    It takes the condition ``Ready`` from the node's pods, and leaves the one that only the node
    can know: that their containers are.
    """
    ready, containers = _condition(pod, "Ready"), _condition(pod, "ContainersReady")
    if ready is None or containers is None or ready.reason == "ReadinessGatesNotReady":
        return False
    return (ready.status, containers.status) == ("False", "True")


def _lost_words(pod: Pod) -> str:
    node = f" ({pod.spec.node_name})" if pod.spec.node_name else ""
    return f"The node{node} is lost: it does not answer the cluster any more."


def _silent_words(pod: Pod) -> str:
    return (
        f"The node ({pod.spec.node_name}) does not answer the cluster. "
        "If it stays away, the run is lost."
    )


def _of(statuses: Sequence[ContainerStatus], name: str) -> ContainerStatus | None:
    return next((one for one in statuses if one.name == name), None)


def _interruption(pod: Pod) -> str | None:
    """Why the pod ends or has ended, when that is the cluster's doing."""
    status = pod.status
    target = _condition(pod, "DisruptionTarget")
    if status.phase != "Failed" and pod.metadata.deletion_timestamp is None:
        return None
    if target is not None and target.status == "True":
        words = _INTERRUPTIONS.get(target.reason, "The cluster ended the pod")
        return _sentence(words, target.message)
    if status.phase != "Failed":
        return None
    if status.reason in _INTERRUPTIONS:
        return _sentence(_INTERRUPTIONS[status.reason], status.message)
    if status.reason.startswith(_REFUSED_BY_NODE):
        return _sentence("The node had no place for the pod after all", status.message)
    return None


def _ended(pod: Pod) -> TaskEnded:
    status = pod.status
    main = _of(status.container_statuses, MAIN)
    ended = None if main is None else main.state.terminated
    word = None if ended is None else _agent_word(ended.message)
    # What the deadline ended is never said to have exit code 0: such a command ended before, and
    # its agent was about to deliver what it left.
    ended_well = word is not None and word.ending.exit_code == 0
    if status.reason == "DeadlineExceeded" and not ended_well:
        limit = pod.spec.active_deadline_seconds
        after = "" if limit is None else f" of {limit} s"
        return _ending(
            Ending(f"The run took longer than its timeout{after} and was ended.", timed_out=True)
        )
    for one in status.init_container_statuses:
        failed = one.state.terminated
        if failed is not None and failed.exit_code != 0:
            return _never(_init_failure(one, failed))
    if ended is not None:
        return _main_ended(pod, ended)
    if status.phase == "Succeeded":
        return _ending(Ending(exit_code=0))
    return _never(_sentence("The pod failed", status.message or status.reason))


def _init_failure(container: ContainerStatus, ended: Terminated) -> str:
    doing = _PREPARING.get(container.name, "Preparing the pod")
    how = f"{container.name}, exit code {ended.exit_code}"
    if ended.reason == "OOMKilled":
        how = f"{container.name} used more memory than it may"
    return _sentence(f"{doing} failed ({how})", _last_lines(ended.message))


def _main_ended(pod: Pod, ended: Terminated) -> TaskEnded:
    word = _agent_word(ended.message)
    if word is not None:
        return TaskEnded(_with_loss(word), delivered=True)
    if ended.reason == "OOMKilled":
        limit = _limit(pod, "memory")
        reason = f"The command used more memory than its limit{limit} and was killed."
        return _ending(Ending(reason, signal="SIGKILL", memory_exceeded=True))
    if ended.reason in _NEVER_RAN:
        hint = _PYTHON_HINT if "python3" in ended.message else ""
        return _never(_sentence("The command cannot be started", ended.message) + hint)
    number = ended.signal or (ended.exit_code - 128 if ended.exit_code > 128 else 0)
    signal = _SIGNALS.get(number)
    if _was_told_to_end(pod, ended):
        # Whoever saves his state on SIGTERM and ends with 0 has not finished what he began.
        how = f"by {signal}" if signal else f"with exit code {ended.exit_code}"
        reason = f"The pod was told to end, and the command with it; it ended {how}."
        return _ending(Ending(reason, signal=signal or "SIGTERM"))
    if signal is not None:
        return _ending(Ending(signal=signal))
    return _ending(Ending(exit_code=ended.exit_code))


def _was_told_to_end(pod: Pod, ended: Terminated) -> bool:
    """Whether the pod was deleted before its command ended."""
    by = pod.metadata.deletion_timestamp
    if by is None:
        return False
    grace = timedelta(seconds=pod.metadata.deletion_grace_period_seconds or 0)
    told = datetime.fromisoformat(by) - grace
    return not ended.finished_at or datetime.fromisoformat(ended.finished_at) >= told


def _with_loss(word: AgentWord) -> Ending:
    if word.delivered:
        return word.ending
    said = f"{word.ending.reason} " if word.ending.reason else ""
    reason = f"{said}The pod ended before all it had was delivered: logs or outputs may be missing."
    return msgspec.structs.replace(word.ending, reason=reason)


def _agent_word(message: str) -> AgentWord | None:
    try:
        return msgspec.json.decode(message, type=AgentWord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _preparing(pod: Pod, events: Sequence[PodEvent]) -> PodObservation:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return TaskPreparing(_no_node(pod, scheduled))
    for one in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        state = one.state
        if state.waiting is not None and state.waiting.reason not in _ORDINARY:
            return _cannot_start(one, state.waiting)
        if state.running is not None:
            return TaskPreparing(f"{_PREPARING.get(one.name, f'Preparing ({one.name})')}.")
    for event in reversed(events):
        if event.type == "Warning":
            return TaskPreparing(_sentence("The pod does not get on", event.message))
        if event.reason == "Pulling":
            return TaskPreparing(_sentence(event.message))
    if pod.spec.node_name:
        return TaskPreparing("Getting ready on a node.")
    return TaskPreparing("Waiting for a node.")


_ORDINARY: Final = ("", "PodInitializing", "ContainerCreating")


def _no_node(pod: Pod, scheduled: Condition) -> str:
    """Say what no node has, as the user asked for it."""
    if scheduled.reason == "SchedulingGated":
        return "Waiting: the cluster holds the pod back until it is let in."
    lacking = dict.fromkeys(_SHORTAGE.findall(scheduled.message))
    if not lacking:
        return _sentence("No node can take the pod", scheduled.message)
    asked = " and ".join(_amount(pod, resource) for resource in lacking)
    return _sentence(f"No node has {asked} free", scheduled.message)


def _amount(pod: Pod, resource: str) -> str:
    found = _limit_of(pod, resource)
    names = {"cpu": "CPUs", "memory": "of memory"}
    if resource in names:
        return f"{found or 'enough'} {names[resource]}"
    if "gpu" not in resource:
        return f"{found or 'enough'} {resource}"
    plural = "GPU" if found == "1" else "GPUs"
    return f"{found or 'enough'} {plural} ({resource})"


def _cannot_start(container: ContainerStatus, waiting: Waiting) -> PodObservation:
    reason, message = waiting.reason, waiting.message
    if reason in ("ErrImagePull", "ImagePullBackOff"):
        words = _sentence(f"The image {container.image} cannot be pulled", message)
        if _GONE_FOR_GOOD.search(message):
            return _never(words)
        return TaskPreparing(words)
    if reason in ("InvalidImageName", "ErrImageNeverPull"):
        words = f"The image {container.image} cannot be used"
        return _never(_sentence(words, message or reason))
    if reason in ("CreateContainerError", "RunContainerError"):
        return _never(_sentence(f"{container.name} cannot be started", message))
    if reason == "CreateContainerConfigError":
        # A Secret that is missing may be made at any moment; the kubelet looks again.
        return TaskPreparing(_sentence("The pod waits for what it names", message))
    return TaskPreparing(_sentence(f"{container.name} waits ({reason})", message))


def _condition(pod: Pod, kind: str) -> Condition | None:
    return next((one for one in pod.status.conditions if one.type == kind), None)


def _limit_of(pod: Pod, resource: str) -> str | None:
    main = next((one for one in pod.spec.containers if one.name == MAIN), None)
    value = None if main is None else main.resources.limits.get(resource)
    return None if value is None else str(value)


def _limit(pod: Pod, resource: str) -> str:
    found = _limit_of(pod, resource)
    return "" if found is None else f" of {found}"


def _ending(ending: Ending) -> TaskEnded:
    return TaskEnded(ending, delivered=True)


def _never(reason: str) -> TaskEnded:
    """It ended before the command began."""
    return TaskEnded(Ending(reason), delivered=True, started=False)


def _last_lines(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " | ".join(lines[-3:])


def _sentence(words: str, more: str = "") -> str:
    """One sentence, with the cluster's own words after a colon; bounded."""
    said = " ".join(more.split())
    whole = f"{words}: {said}" if said else words
    if len(whole) > _WORDS_MAX:
        whole = whole[: _WORDS_MAX - 1] + "…"
    return f"{whole.rstrip('.')}."
