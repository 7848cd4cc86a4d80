"""An environment of pip packages, locked as the server locks it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seafloor.domain.environments import EnvironmentLock
from seafloor.environments.lock import Asked, lock_environment
from seafloor.environments.uv_command import PackageSource, Progress


async def lock_pip(
    *,
    python: str | None = None,
    pip: Sequence[str],
    cache_dir: Path,
    timeout_s: float,
    progress: Progress | None = None,
    packages: PackageSource | None = None,
) -> EnvironmentLock:
    """Lock without conda; ``cache_dir`` is uv's, ``<root>/uv``."""
    return await lock_environment(
        Asked(python=python, pip=pip),
        root=cache_dir.parent,
        timeout_s=timeout_s,
        progress=progress,
        packages=packages or PackageSource(),
    )
