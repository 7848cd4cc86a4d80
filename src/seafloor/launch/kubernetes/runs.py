"""Runs: a Pod for each task, and where there are several, what makes them find each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec

from seafloor.domain.members import Member, members_of, resources_of
from seafloor.domain.specs import ExperimentSpec
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.agent_volume import agent_command, agent_parts
from seafloor.launch.kubernetes.identity import Identity, Start
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.names import task_object_name
from seafloor.launch.kubernetes.pod import MAIN, PodTask, main_image, pod_spec
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.services import PROTOCOL
from seafloor.launch.rendezvous import Rendezvous, variables_of, world_of

TORCH_PORT: Final = 29500
TENSORFLOW_PORT: Final = 2222
_LAST_LINES: Final = "FallbackToLogsOnError"
_BEYOND_TIMEOUT_S: Final = 1800


def run_manifests(
    request: PodRequest, policy: Policy, identity: Identity, spec: ExperimentSpec
) -> Iterator[Manifest]:
    """The Pods of a run, and the Service by which they find each other.

    Raises:
        Forbidden, InvalidValue: see ``pod_spec``.
    """
    timeout_s = rules.timeout_s(policy, spec.timeout_s)
    common: Manifest = {"restartPolicy": "Never"}
    if timeout_s is not None:
        common["activeDeadlineSeconds"] = max(1, math.ceil(timeout_s))
    if not spec.tasks:
        assert spec.command is not None  # noqa: S101  # a run without tasks has one
        task = PodTask(
            command=spec.command,
            resources=spec.resources,
            environment=spec.environment,
            pod=common,
        )
        made = _pod_spec(request, policy, task, MAIN, timeout_s)
        yield _pod(identity, policy, identity.base, MAIN, made)
        return
    members = members_of(spec.tasks)
    rules.count(
        policy.limits.tasks_maximum,
        len(members),
        rule="limits.tasks_maximum",
        what=("tasks", "tasks"),
    )
    yield _service(identity, policy)
    rendezvous = _rendezvous(identity, members)
    for member in members:
        network: Manifest = {"hostname": member.name, "subdomain": identity.base}
        task = PodTask(
            command=member.task.command or "",
            resources=resources_of(spec, member),
            environment=member.task.environment or spec.environment,
            field=f"tasks.{member.role}.",
            env=variables_of(members, member, rendezvous),
            pod={**common, **network},
        )
        name = task_object_name(identity.base, member.name)
        made = _pod_spec(request, policy, task, member.name, timeout_s)
        yield _pod(identity, policy, name, member.name, made, member.role)


def _pod_spec(
    request: PodRequest, policy: Policy, task: PodTask, name: str, timeout_s: float | None
) -> Manifest:
    """The spec of a task's Pod.

    Args:
        name: Of the task.
    """
    if request.start is None:
        return pod_spec(request, policy, task)
    if rules.no_agent_because(policy, main_image(request, policy, task)) is None:
        task = _with_agent(task, request.start, policy, name=name, timeout_s=timeout_s)
    task = msgspec.structs.replace(
        task,
        env={**task.env, **request.start.env},
        container={"terminationMessagePolicy": _LAST_LINES},
    )
    made = pod_spec(request, policy, task)
    # Why a preparation failed is in what it printed last.
    for container in made.get("initContainers", ()):
        container["terminationMessagePolicy"] = _LAST_LINES
    return made


def _with_agent(
    task: PodTask, start: Start, policy: Policy, *, name: str, timeout_s: float | None
) -> PodTask:
    """A task that our agent starts."""
    pod = dict(task.pod)
    if timeout_s is not None:
        # The agent ends the command and delivers; this is for a pod that has no living agent.
        pod["activeDeadlineSeconds"] += _BEYOND_TIMEOUT_S
    return msgspec.structs.replace(
        task,
        command=agent_command(task.command, start, task=name, timeout_s=timeout_s),
        extra=agent_parts(policy, task=name),
        pod=pod,
    )


def _pod(
    identity: Identity,
    policy: Policy,
    name: str,
    task: str,
    spec: Manifest,
    role: str = MAIN,
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": identity.metadata(policy, name=name, task=task, role=role),
        "spec": spec,
    }


def _host(identity: Identity, member: Member) -> str:
    return f"{member.name}.{identity.base}.{identity.namespace}.svc"


def _rendezvous(identity: Identity, members: tuple[Member, ...]) -> Rendezvous:
    world = world_of(members)
    addresses = {one.name: f"{_host(identity, one)}:{TENSORFLOW_PORT}" for one in members}
    return Rendezvous(_host(identity, (world or members)[0]), TORCH_PORT, addresses)


def _service(identity: Identity, policy: Policy) -> Manifest:
    """Gives each Pod a name; at once, since tasks wait for each other before any is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": identity.metadata(policy),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": identity.selector(),
            "ports": [
                {"name": "torch", "port": TORCH_PORT, "protocol": PROTOCOL},
                {"name": "tensorflow", "port": TENSORFLOW_PORT, "protocol": PROTOCOL},
            ],
        },
    }
