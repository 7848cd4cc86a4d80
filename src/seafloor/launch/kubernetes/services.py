"""How what listens in a pod is reached, and how Kubernetes knows that it does."""

from __future__ import annotations

from typing import Final

from seafloor.launch.kubernetes.identity import Identity
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.policy import Policy

PORT: Final = "http"
PROTOCOL: Final = "TCP"
"""Said, as it is part of a port's key when manifests are applied: older servers ask for it."""

_SERVICE_PORT: Final = 80
_PERIOD_S: Final = 10
_START_FAILURES_MAX: Final = 60
"""Ten minutes for a model to be loaded."""


def container_port(number: int) -> Manifest:
    """The port that the others mean."""
    return {"name": PORT, "containerPort": number, "protocol": PROTOCOL}


def probes(path: str | None) -> Manifest:
    """Fields of a container: when it is started, ready, and no longer well.

    Args:
        path: Asked by HTTP; None: the port is connected to.
    """
    action: Manifest = (
        {"tcpSocket": {"port": PORT}} if path is None else {"httpGet": {"path": path, "port": PORT}}
    )
    return {
        "startupProbe": {
            **action,
            "periodSeconds": _PERIOD_S,
            "failureThreshold": _START_FAILURES_MAX,
        },
        "readinessProbe": {**action, "periodSeconds": _PERIOD_S},
        "livenessProbe": {**action, "periodSeconds": 3 * _PERIOD_S},
    }


def service(identity: Identity, policy: Policy) -> Manifest:
    """The address within the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": identity.metadata(policy),
        "spec": {
            "selector": identity.selector(),
            "ports": [
                {"name": PORT, "port": _SERVICE_PORT, "targetPort": PORT, "protocol": PROTOCOL}
            ],
        },
    }
