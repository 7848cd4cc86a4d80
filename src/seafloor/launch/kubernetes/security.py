"""Who the processes of a pod are and what they may: restricted pod security, always."""

from __future__ import annotations

from seafloor.launch.kubernetes.manifest import Manifest, without_empty
from seafloor.launch.kubernetes.parts import Parts
from seafloor.launch.kubernetes.policy import Policy

_TMP = "/tmp"  # noqa: S108  # a mount, no file


def pod_security(policy: Policy) -> Manifest:
    """Of the pod. The user may be any: nothing of ours needs a certain one."""
    rules = policy.security
    return without_empty(
        {
            "runAsNonRoot": True,
            "runAsUser": rules.run_as_user,
            "fsGroup": rules.fs_group,
            "fsGroupChangePolicy": None if rules.fs_group is None else "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    )


def container_security(policy: Policy, *, writes_root: bool = False) -> Manifest:
    """Of each container.

    Args:
        writes_root: Whether it cannot do without writing to the image's own files.
    """
    made: Manifest = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if policy.security.read_only_root and not writes_root:
        made["readOnlyRootFilesystem"] = True
    return made


def scratch(policy: Policy) -> Parts:
    """A writable ``/tmp`` where the rest is not."""
    if not policy.security.read_only_root:
        return Parts()
    return Parts(
        volumes=({"name": "tmp", "emptyDir": {}},),
        everywhere=({"name": "tmp", "mountPath": _TMP},),
    )
