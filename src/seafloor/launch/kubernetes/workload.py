"""The complete manifests of a workload."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from seafloor.domain.cluster_specs import ClusterSpec, NotebookSpec
from seafloor.domain.specs import ExperimentSpec
from seafloor.launch.kubernetes.identity import Identity
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.notebooks import notebook_manifests
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.request import PodRequest, identify
from seafloor.launch.kubernetes.runs import run_manifests
from seafloor.launch.kubernetes.secrets import check_apart, suspicions
from seafloor.launch.kubernetes.servings import serving_manifests


class Rendered(msgspec.Struct, frozen=True):
    """What a workload is in a cluster.

    Args:
        manifests: In the order to apply them, the anchor first.
        warnings: For whoever wrote the spec.
    """

    manifests: tuple[Manifest, ...]
    warnings: tuple[str, ...] = ()


def render(request: PodRequest, policy: Policy) -> Rendered:
    """Make the manifests of a workload. The same request and policy give the same, always.

    Raises:
        Forbidden: the policy refuses it; the message names the rule.
        InvalidValue: fields that do not go together.
        NotSupported: what this version cannot put into a pod.
    """
    spec = request.spec
    check_apart(spec.secrets, spec.env)
    identity = identify(request, policy)
    manifests = (identity.anchor(policy), *_manifests(request, policy, identity))
    return Rendered(manifests, (*suspicions(spec.env, _commands(spec)), *_left_out(request)))


def _manifests(request: PodRequest, policy: Policy, identity: Identity) -> Iterator[Manifest]:
    spec = request.spec
    if isinstance(spec, ExperimentSpec):
        return run_manifests(request, policy, identity, spec)
    if isinstance(spec, NotebookSpec):
        return notebook_manifests(request, policy, identity, spec)
    return serving_manifests(request, policy, identity, spec)


def _left_out(request: PodRequest) -> tuple[str, ...]:
    """Say which fields a Pod has no place for; a server that starts it sees to them itself."""
    spec = request.spec
    if request.start is not None:
        return ()
    fields = ("retries", "params", "tags", "tensorboard")
    return tuple(
        f"`{field}` is for runs that a server starts: the manifests have nothing of it."
        for field in fields
        if isinstance(spec, ExperimentSpec) and getattr(spec, field)
    )


def _commands(spec: ClusterSpec) -> dict[str, str | list[str] | None]:
    if not isinstance(spec, ExperimentSpec):
        return {"command": spec.command}
    roles = {f"tasks.{role}.command": task.command for role, task in spec.tasks.items()}
    return {"command": spec.command, **roles}
