"""From a workload, what was resolved for it, and the policy: a pod. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from seafloor.domain.cluster_specs import ClusterSpec
from seafloor.domain.specs import ResourcesSpec
from seafloor.domain.volumes import volume_variable
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.code_volume import code_parts
from seafloor.launch.kubernetes.kernels import kernel_parts, stored_kernel_parts
from seafloor.launch.kubernetes.manifest import Manifest, command_of, variable, without_empty
from seafloor.launch.kubernetes.network import network_parts
from seafloor.launch.kubernetes.parts import Parts, join
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.resources import (
    SHARED_MEMORY_PATH,
    Resources,
    memory_quantity,
    resolve_resources,
)
from seafloor.launch.kubernetes.secrets import secret_parts
from seafloor.launch.kubernetes.security import container_security, pod_security, scratch
from seafloor.launch.kubernetes.server import server_variables

MAIN: Final = "main"
_HOME: Final = "/tmp"  # noqa: S108  # what every image has, for whatever user
_GRACE_S: Final = 30


class PodTask(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a workload, and what its pod has that others have not.

    Args:
        command: A shell line, or arguments.
        resources: What it asks for.
        environment: As the spec names it.
        field: Where in the spec it stands, ``tasks.worker.`` or empty.
        env: Variables that go before the spec's.
        extra: Further parts, before the others: where it starts goes before where the code is.
        container: Further fields of the main container: ports, probes.
        pod: Further fields of the pod.
    """

    command: str | list[str]
    resources: ResourcesSpec
    environment: str | None
    field: str = ""
    env: dict[str, str] = {}
    extra: Parts = Parts()
    container: Manifest = {}
    pod: Manifest = {}


def main_image(request: PodRequest, policy: Policy, task: PodTask) -> str:
    """The image that a task's command runs in.

    Raises:
        Forbidden: the policy refuses it, or there is none.
    """
    stored = rules.stored_kernel(policy, task.environment, request.kernels)
    return rules.image(
        policy,
        task.environment,
        request.images,
        field=f"{task.field}environment",
        has_kernel=stored is not None,
    )


def pod_spec(request: PodRequest, policy: Policy, task: PodTask) -> Manifest:
    """The spec of a Pod, or of the pods of a StatefulSet or Deployment.

    Raises:
        Forbidden: the policy refuses it; the message names the rule.
        InvalidValue: it cannot be.
    """
    spec = request.spec
    field = f"{task.field}resources"
    resources = resolve_resources(task.resources, policy, field=field)
    stored = rules.stored_kernel(policy, task.environment, request.kernels)
    image = main_image(request, policy, task)
    pool = rules.pool(policy, task.resources.pool, gpus=resources.gpu_count, field=f"{field}.pool")
    parts = join(
        (
            task.extra,
            code_parts(request.code, policy),
            kernel_parts(rules.kernel(policy, task.environment), policy),
            stored_kernel_parts(stored, policy),
            _volumes(request, policy),
            secret_parts(spec.secrets, policy),
            _shared_memory(resources),
            network_parts(policy),
            scratch(policy),
        )
    )
    main: Manifest = {
        "name": MAIN,
        "image": image,
        "imagePullPolicy": policy.images.pull_policy,
        "command": command_of(task.command),
        "workingDir": parts.working_dir,
        "env": _env(policy, task, spec, parts),
        "resources": resources.manifest(),
        "volumeMounts": [*parts.mounts, *parts.everywhere],
        **task.container,
        "securityContext": container_security(policy),
    }
    return without_empty(
        {
            "initContainers": [_completed(one, policy, parts) for one in parts.init_containers],
            "containers": [without_empty(main)],
            "volumes": list(parts.volumes),
            "imagePullSecrets": [{"name": name} for name in policy.images.pull_secrets],
            "serviceAccountName": policy.security.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": _GRACE_S,
            "nodeSelector": pool.node_selector,
            "tolerations": pool.tolerations,
            "affinity": pool.affinity,
            "priorityClassName": pool.priority_class,
            "securityContext": pod_security(policy),
            **task.pod,
        }
    )


def _completed(container: Manifest, policy: Policy, parts: Parts) -> Manifest:
    """An init container with what every container has."""
    made = dict(container)
    made["imagePullPolicy"] = policy.images.pull_policy
    made["env"] = [*container.get("env", ()), *parts.env_everywhere]
    made["volumeMounts"] = [*container.get("volumeMounts", ()), *parts.everywhere]
    return without_empty(made)


def _env(policy: Policy, task: PodTask, spec: ClusterSpec, parts: Parts) -> list[Manifest]:
    """Variables: ours, the task's, the spec's, secrets; the last of a name counts."""
    ours = (variable("HOME", _HOME), *server_variables(policy), *parts.env_everywhere)
    given = [variable(name, value) for name, value in {**task.env, **spec.env}.items()]
    return list({one["name"]: one for one in (*ours, *given, *parts.env)}.values())


def _volumes(request: PodRequest, policy: Policy) -> Parts:
    volumes: list[Manifest] = []
    mounts: list[Manifest] = []
    env: list[Manifest] = []
    claims: dict[str, str] = {}
    for number, one in enumerate(request.spec.volumes):
        rule = rules.volume(
            policy,
            one.volume,
            read_only=one.read_only,
            field=f"volumes[{number}]",
            ours=request.claims,
        )
        name = claims.setdefault(rule.claim, f"volume-{len(claims)}")
        if name not in {volume["name"] for volume in volumes}:
            volumes.append({"name": name, "persistentVolumeClaim": {"claimName": rule.claim}})
        mount: Manifest = {"name": name, "mountPath": one.path}
        mounts.append({**mount, "readOnly": True} if one.read_only else mount)
        env.append(variable(volume_variable(one.volume), one.path))
    return Parts(volumes=tuple(volumes), mounts=tuple(mounts), env=tuple(env))


def _shared_memory(resources: Resources) -> Parts:
    if resources.shared_memory_bytes is None:
        return Parts()
    size = memory_quantity(resources.shared_memory_bytes)
    return Parts(
        volumes=({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}},),
        mounts=({"name": "shm", "mountPath": SHARED_MEMORY_PATH},),
    )
