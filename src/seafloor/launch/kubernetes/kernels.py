"""Kernels: what an environment adds to its image, fetched as an archive and put before its PATH."""

from __future__ import annotations

from typing import Final

from seafloor.launch.kubernetes.localizer import localizer
from seafloor.launch.kubernetes.manifest import Manifest, variable
from seafloor.launch.kubernetes.parts import Parts
from seafloor.launch.kubernetes.policy import KernelRule, Policy

VOLUME: Final = "environment"
KERNEL_PATH: Final = "/seafloor/environment/kernel"
_MOUNT: Final[Manifest] = {"name": VOLUME, "mountPath": "/seafloor/environment"}
KERNEL_CONTAINER: Final = "kernel-fetch"
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
    return Parts(
        volumes=({"name": VOLUME, "emptyDir": {}},),
        init_containers=(container,),
        mounts=(_MOUNT,),
        env=(
            variable("PATH", f"{KERNEL_PATH}/bin:{_PATH}"),
            variable("VIRTUAL_ENV", KERNEL_PATH),
        ),
    )
