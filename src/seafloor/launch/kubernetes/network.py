"""Proxies and certificates: what every container needs to reach others."""

from __future__ import annotations

from typing import Final

from seafloor.launch.kubernetes.manifest import Manifest, variable
from seafloor.launch.kubernetes.parts import Parts
from seafloor.launch.kubernetes.policy import Policy

CA_PATH: Final = "/seafloor/ca"
_CA_FILE: Final = "ca.crt"
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")


def network_parts(policy: Policy) -> Parts:
    """Variables and the bundle of certificates."""
    rules = policy.network
    env: list[Manifest] = []
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        value = getattr(rules, name)
        if value is not None:
            # Some programs read one, some the other.
            env += [variable(name.upper(), value), variable(name, value)]
    bundle = rules.ca_bundle
    if bundle is None:
        return Parts(env_everywhere=tuple(env))
    env += [variable(name, f"{CA_PATH}/{_CA_FILE}") for name in _CA_VARIABLES]
    items = [{"key": bundle.key, "path": _CA_FILE}]
    return Parts(
        volumes=({"name": "ca-bundle", "configMap": {"name": bundle.config_map, "items": items}},),
        everywhere=({"name": "ca-bundle", "mountPath": CA_PATH, "readOnly": True},),
        env_everywhere=tuple(env),
    )
