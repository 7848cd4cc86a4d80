"""Parts of a pod, and how they are joined."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from seafloor.launch.kubernetes.manifest import Manifest


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What one concern adds to a pod.

    Args:
        volumes: Of the pod.
        init_containers: In the order in which they run.
        mounts: Of the main container.
        everywhere: Mounts of every container.
        env: Variables of the main container.
        env_everywhere: Of every container.
        working_dir: Where the command starts; None: this concern does not say.
    """

    volumes: tuple[Manifest, ...] = ()
    init_containers: tuple[Manifest, ...] = ()
    mounts: tuple[Manifest, ...] = ()
    everywhere: tuple[Manifest, ...] = ()
    env: tuple[Manifest, ...] = ()
    env_everywhere: tuple[Manifest, ...] = ()
    working_dir: str | None = None


def join(parts: Iterable[Parts]) -> Parts:
    """All of them, in order."""
    found = tuple(parts)
    return Parts(
        volumes=tuple(one for part in found for one in part.volumes),
        init_containers=tuple(one for part in found for one in part.init_containers),
        mounts=tuple(one for part in found for one in part.mounts),
        everywhere=tuple(one for part in found for one in part.everywhere),
        env=tuple(one for part in found for one in part.env),
        env_everywhere=tuple(one for part in found for one in part.env_everywhere),
        working_dir=next((part.working_dir for part in found if part.working_dir), None),
    )
