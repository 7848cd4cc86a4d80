"""Kernels: what an environment adds to its image, fetched as an archive and put before its PATH.

A kernel is one of two: an archive that the policy names, or the packages of an environment that the
server has, which it built once and keeps as an archive for whoever asks.
"""

from __future__ import annotations

from typing import Final

from seafloor.launch.kubernetes.localizer import localizer
from seafloor.launch.kubernetes.manifest import Manifest, variable
from seafloor.launch.kubernetes.parts import Parts
from seafloor.launch.kubernetes.policy import KernelRule, Policy
from seafloor.launch.kubernetes.resources import init_resources
from seafloor.launch.kubernetes.rules import refuse
from seafloor.launch.kubernetes.security import container_security
from seafloor.launch.kubernetes.server import server_variables

VOLUME: Final = "environment"
KERNEL_PATH: Final = "/seafloor/environment/kernel"
_MOUNT: Final[Manifest] = {"name": VOLUME, "mountPath": "/seafloor/environment"}
KERNEL_CONTAINER: Final = "kernel-fetch"
_TMP: Final = "/tmp"  # noqa: S108  # what every image has, for whatever user
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def kernel_parts(kernel: KernelRule | None, policy: Policy) -> Parts:
    """The volume, what fills it, and the variables that make it the Python of the command.

    Raises:
        Forbidden: the policy does not name the image that fetches it.
    """
    if kernel is None:
        return Parts()
    source = [kernel.url, "--name=kernel", f"--sha256={kernel.sha256}"]
    if kernel.strip_components:
        source.append(f"--strip-components={kernel.strip_components}")
    container = localizer(
        policy, KERNEL_CONTAINER, source, to=_MOUNT["mountPath"], mounts=[_MOUNT], env=[]
    )
    return _parts(container, KERNEL_PATH)


def stored_kernel_parts(digest: str | None, policy: Policy) -> Parts:
    """The same for packages that the server has.

    It is at ``/seafloor/environment/<digest>`` for what fetches it as for the command: what names
    its folder stays right. Its Python is the image's.

    Args:
        digest: Of the environment; None: it has no packages.

    Raises:
        Forbidden: the policy does not name the image that fetches it, or the server.
    """
    if digest is None:
        return Parts()
    if policy.images.seafloor is None:
        refuse(
            "images.seafloor",
            "The environment's packages are fetched by Seafloor's own image, which this policy "
            "does not name.",
            field="environment",
        )
    path: str = _MOUNT["mountPath"]
    container: Manifest = {
        "name": KERNEL_CONTAINER,
        "image": policy.images.seafloor,
        "command": ["python", "-m", "seafloor.boot", "fetch-environment"],
        "args": [f"--digest={digest}", f"--to={path}"],
        "env": [variable("HOME", _TMP), *server_variables(policy)],
        "resources": init_resources(policy),
        "volumeMounts": [_MOUNT],
        "securityContext": container_security(policy),
    }
    return _parts(container, f"{path}/{digest}")


def _parts(container: Manifest, path: str) -> Parts:
    return Parts(
        volumes=({"name": VOLUME, "emptyDir": {}},),
        init_containers=(container,),
        mounts=(_MOUNT,),
        env=(
            variable("PATH", f"{path}/bin:{_PATH}"),
            variable("VIRTUAL_ENV", path),
        ),
    )
