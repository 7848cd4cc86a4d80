"""The pod security standard "restricted", as Kubernetes publishes it (with "baseline" in it)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SECCOMP = {"RuntimeDefault", "Localhost"}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
}


def violations(pod: dict[str, Any]) -> list[str]:
    """What the standard says against the spec of a pod."""
    return [
        *_of_pod(pod),
        *(f"{c['name']}: {text}" for c in _containers(pod) for text in _of(c, pod)),
    ]


def _containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(field, ())


def _of_pod(pod: dict[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", ()):
        kinds = set(volume) - {"name"}
        if not kinds <= _VOLUMES:
            yield f"volume {volume['name']} is {kinds}"
    context = pod.get("securityContext", {})
    if {one["name"] for one in context.get("sysctls", ())} - _SYSCTLS:
        yield "sysctls"
    if context.get("seLinuxOptions") or context.get("windowsOptions"):
        yield "seLinuxOptions or windowsOptions"


def _of(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = {**pod.get("securityContext", {}), **own}
    capabilities = own.get("capabilities", {})
    rules = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities.drop": "ALL" in capabilities.get("drop", ()),
        "capabilities.add": set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot": both.get("runAsNonRoot") is True,
        "runAsUser": both.get("runAsUser") != 0,
        "seccompProfile": both.get("seccompProfile", {}).get("type") in _SECCOMP,
        "procMount": own.get("procMount", "Default") == "Default",
        "seLinuxOptions": not own.get("seLinuxOptions"),
        "appArmorProfile": both.get("appArmorProfile", {}).get("type") != "Unconfined",
        "hostPort": not any(port.get("hostPort") for port in container.get("ports", ())),
    }
    yield from (rule for rule, held in rules.items() if not held)
    for handler in ("startupProbe", "readinessProbe", "livenessProbe"):
        if "host" in container.get(handler, {}).get("httpGet", {}):
            yield f"{handler}.httpGet.host"
