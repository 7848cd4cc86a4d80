"""Servings: a Deployment, its Service, and where asked for, an autoscaler."""

from __future__ import annotations

from collections.abc import Iterator

from seafloor.domain.cluster_specs import AutoscaleSpec, ServingSpec
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.identity import Identity
from seafloor.launch.kubernetes.manifest import Manifest, without_empty
from seafloor.launch.kubernetes.pod import PodTask, pod_spec
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.services import container_port, probes, service


def serving_manifests(
    request: PodRequest, policy: Policy, identity: Identity, spec: ServingSpec
) -> Iterator[Manifest]:
    """The objects of a serving.

    Raises:
        Forbidden, InvalidValue: see ``pod_spec``.
    """
    most = spec.replicas if spec.autoscale is None else spec.autoscale.max_replicas
    rules.count(
        policy.limits.replicas_maximum,
        most,
        rule="limits.replicas_maximum",
        what=("replicas", "replicas" if spec.autoscale is None else "autoscale.max_replicas"),
    )
    yield service(identity, policy)
    task = PodTask(
        command=spec.command,
        resources=spec.resources,
        environment=spec.environment,
        env={"PORT": str(spec.port)},
        container={"ports": [container_port(spec.port)], **probes(spec.health)},
    )
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": identity.metadata(policy),
        "spec": without_empty(
            {
                # With an autoscaler the number is its own: applying this again must not undo it.
                "replicas": spec.replicas if spec.autoscale is None else None,
                "selector": {"matchLabels": identity.selector()},
                # A new version is ready before an old one goes.
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {
                    "metadata": {
                        "labels": identity.labels(policy, task="main", role="main"),
                        "annotations": identity.annotations(policy),
                    },
                    "spec": pod_spec(request, policy, task),
                },
            }
        ),
    }
    if spec.autoscale is not None:
        yield _autoscaler(identity, policy, spec, spec.autoscale)


def _autoscaler(
    identity: Identity, policy: Policy, spec: ServingSpec, scale: AutoscaleSpec
) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": scale.cpu_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": identity.metadata(policy),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": identity.base,
            },
            "minReplicas": spec.replicas,
            "maxReplicas": scale.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }
