"""Our own image as what prepares a pod: ``seafloor localize`` into a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from seafloor.launch.kubernetes.manifest import Manifest, literal, variable
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.resources import init_resources
from seafloor.launch.kubernetes.rules import refuse
from seafloor.launch.kubernetes.security import container_security

_TMP: Final = "/tmp"  # noqa: S108  # what every image has, for whatever user
_CACHE: Final = ".cache"


def localizer(
    policy: Policy,
    name: str,
    source: Sequence[str],
    *,
    to: str,
    mounts: Sequence[Manifest],
    env: Sequence[Manifest],
) -> Manifest:
    """A container that puts something into a folder, whole and checked, or fails.

    Args:
        source: Arguments that say what.
        to: The folder, below one of the mounts. Its cache is in there too, so that nothing is
            copied from one disk to another.
        env: What it needs to get there.

    Raises:
        Forbidden: the policy does not name the image.
    """
    if policy.images.seafloor is None:
        refuse(
            "images.seafloor",
            "This code is fetched by Seafloor's own image, which this policy does not name.",
            field="code",
        )
    secret = policy.archives.secret
    made: Manifest = {
        "name": name,
        "image": policy.images.seafloor,
        "command": ["seafloor", "localize"],
        "args": [literal(word) for word in (*source, f"--to={to}", f"--cache={to}/{_CACHE}")],
        "env": [variable("HOME", _TMP), *env],
    }
    if secret is not None:
        made["envFrom"] = [{"secretRef": {"name": secret}}]
    made["resources"] = init_resources(policy)
    made["volumeMounts"] = list(mounts)
    made["securityContext"] = container_security(policy)
    return made
