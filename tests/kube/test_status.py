"""Pods as clusters really describe them, and what a user is told."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest

from seafloor.domain.workloads import Ending
from seafloor.launch.kubernetes.observed import Pod, PodEvent
from seafloor.launch.kubernetes.status import ended_at_s, observation_of, unanswered
from seafloor.launch.protocol import (
    TaskAlive,
    TaskEnded,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)

IMAGE = "registry.example/team/train@sha256:" + "0" * 64


DELETED: dict[str, Any] = {
    "deletionTimestamp": "2026-01-01T00:00:30Z",
    "deletionGracePeriodSeconds": 30,
}


def pod(status: dict[str, Any], *, deleted: bool = False, node: str = "") -> Pod:
    document = {
        "metadata": {
            "name": "run-t-1-main",
            "namespace": "ml",
            "uid": "u",
            "resourceVersion": "7",
            **(DELETED if deleted else {}),
        },
        "spec": {
            "nodeName": node,
            "activeDeadlineSeconds": 60,
            "containers": [
                {
                    "name": "main",
                    "image": IMAGE,
                    "resources": {"limits": {"cpu": "64", "memory": "2Gi", "nvidia.com/gpu": "2"}},
                }
            ],
        },
        "status": status,
    }
    return msgspec.json.decode(json.dumps(document), type=Pod)


def container(name: str = "main", **state: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "state": state}


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"phase": "Pending", "conditions": [{**condition, "message": message}]}


def waiting(reason: str, message: str, *, name: str = "main") -> dict[str, Any]:
    state = container(name, waiting={"reason": reason, "message": message})
    return {"phase": "Pending", "containerStatuses": [state]}


def failed(code: int, **more: Any) -> dict[str, Any]:
    return {
        "phase": "Failed",
        "containerStatuses": [container(terminated={"exitCode": code, **more})],
    }


def disrupted(reason: str) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}
    return {**failed(143), "conditions": [condition]}


AGENT = {
    "seafloor_agent": 1,
    "ending": {"exit_code": 3, "reason": "Three."},
    "delivered": True,
}
INIT_FAILED = {
    "phase": "Failed",
    "initContainerStatuses": [
        container(
            "git-localize",
            terminated={"exitCode": 1, "reason": "Error", "message": "a\nfatal: no such ref\n"},
        )
    ],
    "containerStatuses": [container(waiting={"reason": "PodInitializing"})],
}

CASES: list[tuple[str, dict[str, Any], type[TaskObservation], str]] = [
    ("new", {"phase": "Pending"}, TaskPreparing, "Waiting for a node."),
    (
        "no GPUs",
        unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        TaskPreparing,
        "No node has 2 GPUs (nvidia.com/gpu) free: 0/3 nodes",
    ),
    (
        "neither cpu nor memory",
        unscheduled("0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."),
        TaskPreparing,
        "No node has 64 CPUs and 2Gi of memory free",
    ),
    (
        "taints",
        unscheduled("0/2 nodes are available: 2 node(s) had untolerated taint {gpu: yes}."),
        TaskPreparing,
        "No node can take the pod: 0/2",
    ),
    (
        "image may come",
        waiting("ImagePullBackOff", "Back-off pulling image: i/o timeout"),
        TaskPreparing,
        f"The image {IMAGE} cannot be pulled: Back-off",
    ),
    (
        "image is not there",
        waiting("ErrImagePull", "rpc error: manifest unknown"),
        TaskEnded,
        f"The image {IMAGE} cannot be pulled: rpc error",
    ),
    ("image's name", waiting("InvalidImageName", "x"), TaskEnded, "cannot be used: x"),
    (
        "secret is missing",
        waiting("CreateContainerConfigError", 'secret "hub" not found'),
        TaskPreparing,
        'The pod waits for what it names: secret "hub" not found.',
    ),
    (
        "init runs",
        {
            "phase": "Pending",
            "initContainerStatuses": [container("git-localize", running={})],
            "containerStatuses": [container(waiting={"reason": "PodInitializing"})],
        },
        TaskPreparing,
        "Fetching the code.",
    ),
    (
        "init failed",
        INIT_FAILED,
        TaskEnded,
        "Fetching the code failed (git-localize, exit code 1): a | fatal: no such ref.",
    ),
    (
        "command cannot be started",
        failed(128, reason="ContainerCannotRun", message='exec: "pythn": not found'),
        TaskEnded,
        'The command cannot be started: exec: "pythn": not found.',
    ),
    (
        "no python3 for the agent",
        failed(128, reason="StartError", message='exec: "python3": not found in $PATH'),
        TaskEnded,
        "not found in $PATH. Seafloor's agent, which starts it, needs a python3 in the image.",
    ),
    (
        "out of memory",
        failed(137, reason="OOMKilled"),
        TaskEnded,
        "used more memory than its limit of 2Gi",
    ),
    (
        "timeout",
        {"phase": "Failed", "reason": "DeadlineExceeded"},
        TaskEnded,
        "longer than its timeout of 60 s",
    ),
    (
        "evicted",
        {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."},
        TaskLost,
        "evicted: The node was low on memory.",
    ),
    ("node refused", {"phase": "Failed", "reason": "OutOfcpu"}, TaskLost, "no place for the pod"),
    ("node shut down", {"phase": "Failed", "reason": "Terminated"}, TaskLost, "shut down"),
    ("node lost", {"phase": "Running", "reason": "NodeLost"}, TaskLost, "is lost"),
    ("unknown", {"phase": "Unknown"}, TaskLost, "is lost"),
    ("preempted", disrupted("PreemptionByScheduler"), TaskLost, "higher priority: m."),
    ("drained", disrupted("EvictionByEvictionAPI"), TaskLost, "maintenance: m."),
    ("failed, nothing known", {"phase": "Failed", "reason": "Odd"}, TaskEnded, "failed: Odd."),
    (
        "runs",
        {"phase": "Running", "containerStatuses": [container(running={})]},
        TaskAlive,
        "",
    ),
]


@pytest.mark.parametrize(
    ("status", "kind", "words"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_observation__of_a_pod__has_state_and_words(
    status: dict[str, Any], kind: type[TaskObservation], words: str
) -> None:
    found = observation_of(pod(status))
    assert isinstance(found, kind)
    assert words in _words(found)


def _words(found: TaskObservation) -> str:
    match found:
        case TaskPreparing(words=words):
            return words
        case TaskEnded(ending=ending):
            return ending.reason
        case TaskLost(reason=reason):
            return reason
        case _:
            return ""


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (failed(3), Ending(exit_code=3)),
        (failed(137, reason="Error"), Ending(signal="SIGKILL")),
        (failed(143), Ending(signal="SIGTERM")),
        (
            {"phase": "Succeeded", "containerStatuses": [container(terminated={"exitCode": 0})]},
            Ending(exit_code=0),
        ),
        ({"phase": "Succeeded"}, Ending(exit_code=0)),
        (failed(5, message=json.dumps(AGENT)), Ending(exit_code=3, reason="Three.")),
        (failed(5, message="no JSON"), Ending(exit_code=5)),
    ],
)
def test_observation__of_a_pod_that_ended__has_how(status: dict[str, Any], ending: Ending) -> None:
    assert observation_of(pod(status)) == TaskEnded(ending, delivered=True)


@pytest.mark.parametrize(("code", "timed_out"), [(0, False), (143, True)])
def test_observation__deadline_met_an_agent_that_delivered__is_no_timeout_of_what_ended_well(
    code: int, timed_out: bool
) -> None:
    """The agent's pod ends its command with SIGTERM, of which it never says that it ended well."""
    word = {**AGENT, "ending": {"exit_code": code}, "delivered": False}
    status = failed(137, message=json.dumps(word))
    observed = observation_of(pod({**status, "reason": "DeadlineExceeded"}))
    assert isinstance(observed, TaskEnded)
    assert observed.ending.timed_out == timed_out
    assert observed.ending.exit_code == (None if timed_out else 0)
    words = "longer than its timeout" if timed_out else "logs or outputs may be missing"
    assert words in observed.ending.reason


def test_observation__command_never_began__says_so() -> None:
    begun = observation_of(pod(failed(1)))
    never = observation_of(pod(INIT_FAILED))
    assert isinstance(begun, TaskEnded)
    assert isinstance(never, TaskEnded)
    assert (begun.started, never.started) == (True, False)


TARGET = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
RUNS: dict[str, Any] = {"phase": "Running", "containerStatuses": [container(running={})]}
SILENT: dict[str, Any] = {
    **RUNS,
    "conditions": [
        {"type": "Ready", "status": "False"},
        {"type": "ContainersReady", "status": "True"},
    ],
}


def test_observation__evicted__is_lost_once_its_command_is_over() -> None:
    evicted = {**RUNS, "conditions": [TARGET]}
    assert observation_of(pod(evicted, node="n1")) == TaskAlive()  # the cluster means to
    ending = observation_of(pod(evicted, deleted=True, node="n1"))
    assert isinstance(ending, TaskAlive)
    assert "The pod was evicted" in ending.words
    over = {**evicted, "containerStatuses": [container(terminated={"exitCode": 143})]}
    for found in (
        observation_of(pod(over, deleted=True, node="n1")),
        observation_of(pod(evicted, deleted=True, node="n1"), gone=True),
        unanswered(pod(evicted, deleted=True, node="n1"), NOW_S + 61),
    ):
        assert isinstance(found, TaskLost)
        assert "The pod was evicted" in found.reason
    assert unanswered(pod(evicted, deleted=True, node="n1"), NOW_S + 59) is None


def test_observation__node_does_not_answer__is_said_and_lost_when_its_grace_is_over() -> None:
    threatened = observation_of(pod(SILENT, node="n1"))
    assert isinstance(threatened, TaskAlive)
    assert "The node (n1) does not answer" in threatened.words
    assert unanswered(pod(SILENT, node="n1"), NOW_S + 9999) is None
    told = pod(SILENT, deleted=True, node="n1")
    assert unanswered(told, NOW_S - 1) is None
    found = unanswered(told, NOW_S + 1)
    assert isinstance(found, TaskLost)
    assert "The node (n1) is lost" in found.reason


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady"},
        {"type": "Ready", "status": "True"},
    ],
)
def test_observation__node_answers__is_not_lost_with_its_grace(condition: dict[str, str]) -> None:
    status = {**SILENT, "conditions": [condition, SILENT["conditions"][1]]}
    assert observation_of(pod(status, node="n1")) == TaskAlive()
    assert unanswered(pod(status, deleted=True, node="n1"), NOW_S + 1) is None


@pytest.mark.parametrize(
    ("code", "finished", "exit_code", "signal"),
    [
        (0, "2026-01-01T00:00:05Z", None, "SIGTERM"),  # it saved its state
        (143, "2026-01-01T00:00:05Z", None, "SIGTERM"),
        (137, "2026-01-01T00:00:30Z", None, "SIGKILL"),
        (0, "2025-12-31T23:59:59Z", 0, None),  # before anybody deleted it
        (3, "2025-12-31T23:59:59Z", 3, None),
    ],
)
def test_observation__deleted_by_somebody__is_no_success(
    code: int, finished: str, exit_code: int | None, signal: str | None
) -> None:
    ended = container(terminated={"exitCode": code, "finishedAt": finished})
    found = observation_of(pod({"phase": "Running", "containerStatuses": [ended]}, deleted=True))
    assert isinstance(found, TaskEnded)
    assert (found.ending.exit_code, found.ending.signal) == (exit_code, signal)
    assert ("told to end" in found.ending.reason) == (signal is not None)


def test_observation__on_a_node_and_stuck__has_the_words_of_the_newest_warning() -> None:
    events = [
        PodEvent("Warning", "FailedMount", "secret not found"),
        PodEvent("Warning", "FailedMount", "timed out"),
        PodEvent("Normal", "Scheduled", "assigned"),
    ]
    found = observation_of(pod({"phase": "Pending"}, node="n1"), events)
    assert found == TaskPreparing("The pod does not get on: timed out.")


def test_observation__words_of_the_cluster_are_many__are_bounded() -> None:
    found = observation_of(pod(unscheduled("0/9 " + "x" * 5000)))
    assert isinstance(found, TaskPreparing)
    assert len(found.words) < 1000


def test_ended_at__of_several_containers__is_the_last() -> None:
    status = {
        "phase": "Failed",
        "initContainerStatuses": [
            container("i", terminated={"exitCode": 0, "finishedAt": "2026-01-01T00:00:01Z"})
        ],
        "containerStatuses": [
            container(terminated={"exitCode": 1, "finishedAt": "2026-01-01T00:00:09Z"})
        ],
    }
    assert ended_at_s(pod(status)) == 1767225609.0
    assert ended_at_s(pod({"phase": "Pending"})) is None


NOW_S = datetime.fromisoformat(DELETED["deletionTimestamp"]).timestamp()


@pytest.mark.parametrize(
    ("status", "deleted", "after_s", "lost"),
    [
        ({"phase": "Running", "containerStatuses": [container(running={})]}, True, 61, True),
        ({"phase": "Running", "containerStatuses": [container(running={})]}, True, 59, False),
        ({"phase": "Running", "containerStatuses": [container(running={})]}, False, 9999, False),
        ({"phase": "Pending"}, True, 61, True),
        ({"phase": "Failed"}, True, 61, False),
        (
            {"phase": "Running", "containerStatuses": [container(terminated={"exitCode": 0})]},
            True,
            61,
            False,
        ),
    ],
)
def test_unanswered__pod_whose_node_says_nothing_of_its_end__is_lost(
    status: dict[str, Any], deleted: bool, after_s: float, lost: bool
) -> None:
    found = unanswered(pod(status, deleted=deleted, node="node1"), NOW_S + after_s)
    assert (found is not None) == lost
    if found is not None:
        assert "The node (node1) does not answer" in found.reason
