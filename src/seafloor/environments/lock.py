"""Locking: from requirements to exact versions of everything they need."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.environments.disk import disk_error, settled
from seafloor.environments.interpreters import (
    Interpreter,
    check_request,
    find_interpreter,
    own_interpreter,
    platform_tag,
)
from seafloor.environments.requirements import parse_requirements
from seafloor.environments.uv_command import PackageSource, Progress, UvCommand, find_uv
from seafloor.environments.uv_errors import error_of

_DEFAULT_SOURCE = PackageSource()


async def lock_pip(
    *,
    python: str | None,
    pip: Sequence[str],
    cache_dir: Path,
    timeout_s: float,
    progress: Progress | None = None,
    packages: PackageSource = _DEFAULT_SOURCE,
) -> EnvironmentLock:
    """Choose the exact version of every package, for this machine.

    Nothing is installed. The same requirements in another order give the same lock, as long as
    the index offers the same versions.

    Args:
        python: ``3.11`` or exact; None: the server's own version.
        pip: Requirements (PEP 508), absolute paths of wheels or source archives on this server.
        cache_dir: Packages stay here. Share it with ``EnvironmentCache.uv_cache_dir``, so that what
            locking fetches is there for building.
        timeout_s: Given up after this.
        progress: Told what is being done.
        packages: Where they come from.

    Raises:
        InvalidValue: python or a requirement is not acceptable; the message names it.
        SourceError: there is no such Python here, a package does not exist, the requirements
            contradict each other, or the index is out of reach (then with ``retry_after_s``).
        StoreFull: no space left in ``cache_dir``.
        NotSupported: there is no uv.
    """
    if python is not None:
        check_request(python)
    lines = await asyncio.to_thread(parse_requirements, pip)
    uv = find_uv(cache_dir, packages)
    folder = uv.cache_dir.parent / f"lock-{uuid.uuid4().hex}"
    try:
        try:
            interpreter = await _interpreter(uv, python, folder=folder)
            if progress is not None:
                progress(f"choosing versions for Python {interpreter.version}")
            ended = await uv.run(
                *_arguments(interpreter, await settled(_write, folder, lines)),
                folder=folder,
                timeout_s=timeout_s,
                progress=progress,
            )
        finally:
            await settled(shutil.rmtree, folder, ignore_errors=True)
    except OSError as error:
        raise disk_error(error) from error
    if ended.returncode != 0:
        raise error_of(ended, doing="The requirements cannot be met")
    lock = "".join(f"{line}\n" for line in sorted(ended.stdout.split("\n")) if line)
    version, tag = interpreter.version, platform_tag()
    digest = environment_digest(python=version, platform=tag, lock=lock)
    return EnvironmentLock(python=version, platform=tag, lock=lock, digest=digest)


def _write(folder: Path, lines: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "requirements.in"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


async def _interpreter(uv: UvCommand, python: str | None, *, folder: Path) -> Interpreter:
    if python is None:
        return own_interpreter()
    return await find_interpreter(uv, python, folder=folder)


def _arguments(interpreter: Interpreter, requirements: Path) -> tuple[str, ...]:
    return (
        "pip",
        "compile",
        "--no-header",
        "--no-annotate",
        "--python",
        str(interpreter.path),
        str(requirements),
    )
