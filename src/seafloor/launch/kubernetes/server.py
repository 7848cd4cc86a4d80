"""Where Seafloor's server is, for what runs in a pod."""

from __future__ import annotations

from seafloor.domain.cluster_specs import parse_secret
from seafloor.launch.kubernetes.manifest import Manifest, variable
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.secrets import secret_variable


def server_variables(policy: Policy) -> tuple[Manifest, ...]:
    """What makes our own tools and mlflow's client find it; its token by reference."""
    server = policy.server
    if server.url is None:
        return ()
    found = [
        variable("SEAFLOOR_URL", server.url),
        variable("MLFLOW_TRACKING_URI", server.url),
    ]
    if server.token is not None:
        names = ("SEAFLOOR_TOKEN", "MLFLOW_TRACKING_TOKEN")
        found += [secret_variable(name, parse_secret(name, server.token)) for name in names]
    return tuple(found)
