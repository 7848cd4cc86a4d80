"""Locking: from what a user asks for to exact versions of everything that needs.

With conda packages among it, conda chooses first, a Python too. Pip's packages are then chosen for
that Python; where conda has one already, pip takes that version and installs no second one.
"""

from __future__ import annotations

import asyncio
import shutil
import tomllib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from seafloor.domain.environments import EnvironmentLock, environment_digest, parse_lock
from seafloor.environments.disk import disk_error, settled
from seafloor.environments.interpreters import (
    check_request,
    find_interpreter,
    own_interpreter,
    platform_tag,
)
from seafloor.environments.package_access import check_addresses
from seafloor.environments.requirements import parse_requirements
from seafloor.environments.uv_command import PackageSource, Progress, UvCommand, find_uv
from seafloor.environments.uv_errors import error_of

if TYPE_CHECKING:
    from seafloor.environments.conda import Solved

_DEFAULT_SOURCE: Final = PackageSource()
_INPUT: Final = "requirements.in"
_COMPILE: Final = ("pip", "compile", "--no-header", "--no-annotate")
# Of what is chosen already, the files that this machine could take; an index that tells no sum of
# a file has it downloaded.
_HASHES: Final = ("pip", "compile", "--no-deps", "--generate-hashes", "--format=pylock.toml")


@dataclass(frozen=True)
class Asked:
    """What a user asks for.

    Args:
        python: ``3.11`` or exact; None: the server's own version.
        pip: Requirements (PEP 508), absolute paths of wheels or source archives on this server.
        conda_channels, conda_packages: Channels and specs of conda; without packages none is used.
    """

    python: str | None = None
    pip: Sequence[str] = ()
    conda_channels: Sequence[str] = ()
    conda_packages: Sequence[str] = ()


async def lock_environment(
    asked: Asked,
    *,
    root: Path,
    timeout_s: float,
    progress: Progress | None = None,
    packages: PackageSource = _DEFAULT_SOURCE,
) -> EnvironmentLock:
    """Choose the exact version of every package, for this machine.

    Nothing is installed. The same requirements in another order give the same lock, as long as
    index and channels offer the same versions.

    Args:
        root: That of the ``EnvironmentCache``: what locking fetches is there for building.
        timeout_s: Each of the two choices is given up after this.
        progress: Told what is being done.
        packages: Where pip's packages come from, and what is there for private channels.

    Raises:
        InvalidValue: something asked for is not acceptable; the message names it.
        SourceError: there is no such Python here, a package does not exist, the requirements
            contradict each other, or index or channel is out of reach (then with
            ``retry_after_s``).
        StoreFull: no space left below ``root``.
        NotSupported: there is no uv.
    """
    if asked.python is not None:
        check_request(asked.python)
    lines = await asyncio.to_thread(parse_requirements, asked.pip)
    addresses = (*lines, *asked.conda_channels, *packages.addresses())
    await asyncio.to_thread(check_addresses, packages.secrets, addresses)
    solved = None
    if asked.conda_packages:
        if progress is not None:
            progress("choosing conda packages")
        # It needs rattler, a large binary: only a server with conda packages loads it.
        from seafloor.environments.conda import solve_conda

        solved = await solve_conda(
            channels=asked.conda_channels,
            packages=asked.conda_packages,
            python=asked.python or own_interpreter().version.rpartition(".")[0],
            folder=root / "conda",
            timeout_s=timeout_s,
            source=packages,
        )
    uv = find_uv(root / "uv", packages)
    folder = uv.cache_dir.parent / f"lock-{uuid.uuid4().hex}"
    try:
        try:
            version, arguments = await _arguments(uv, asked.python, solved, folder=folder)
            if progress is not None:
                progress(f"choosing versions for Python {version}")
            found: list[str] = []
            if lines:
                compiling = _Compiling(uv, arguments, folder, timeout_s, progress)
                found = await _with_hashes(
                    compiling, (await compiling.run(_COMPILE, lines)).split("\n")
                )
        finally:
            await settled(shutil.rmtree, folder, ignore_errors=True)
    except OSError as error:
        raise disk_error(error) from error
    found += [one.line for one in solved.packages] if solved is not None else []
    lock = "".join(f"{line}\n" for line in sorted(found))
    tag = platform_tag()
    digest = environment_digest(python=version, platform=tag, lock=lock)
    return EnvironmentLock(python=version, platform=tag, lock=lock, digest=digest)


@dataclass(frozen=True)
class _Compiling:
    """Asking uv for versions."""

    uv: UvCommand
    arguments: Sequence[str]
    folder: Path
    timeout_s: float
    progress: Progress | None

    async def run(self, command: Sequence[str], lines: Sequence[str]) -> str:
        requirements = str(await settled(_write, self.folder, _INPUT, lines))
        ended = await self.uv.run(
            *command,
            *self.arguments,
            requirements,
            folder=self.folder,
            timeout_s=self.timeout_s,
            progress=self.progress,
        )
        if ended.returncode != 0:
            raise error_of(ended, doing="The requirements cannot be met")
        return ended.stdout


async def _with_hashes(compiling: _Compiling, chosen: Sequence[str]) -> list[str]:
    """The lines of a lock: what comes from an index has the sums of its files."""
    lines = [line for line in chosen if line]
    versions = [line for line in lines if " @ " not in line]
    if not versions:
        return lines
    text = await compiling.run(_HASHES, versions)
    hashes: dict[str, tuple[str, ...]] = {}
    for package in tomllib.loads(text).get("packages", []):
        files = [package.get("sdist"), *package.get("wheels", [])]
        sums = {file["hashes"]["sha256"] for file in files if file and "sha256" in file["hashes"]}
        hashes[package["name"]] = tuple(sorted(sums))
    return [
        msgspec.structs.replace(one, hashes=hashes.get(_bare(one.name), ())).line
        if one.line in versions
        else one.line
        for one in parse_lock("\n".join(lines))
    ]


def _bare(name: str) -> str:
    """A package's name without extras, as indexes write it."""
    return canonicalize_name(name.partition("[")[0])


async def _arguments(
    uv: UvCommand, python: str | None, solved: Solved | None, *, folder: Path
) -> tuple[str, tuple[str, ...]]:
    """The version of Python, and what tells uv of it and of what is there already."""
    if solved is None:
        interpreter = own_interpreter()
        if python is not None:
            interpreter = await find_interpreter(uv, python, folder=folder)
        return interpreter.version, ("--python", str(interpreter.path))
    there = {
        canonicalize_name(one.name): one.version
        for one in solved.packages
        if one.name in solved.python_packages and _is_pep440(one.version)
    }
    lines = [f"{name}=={version}" for name, version in there.items()]
    constraints = await settled(_write, folder, "constraints.txt", lines)
    not_again = [argument for name in there for argument in ("--no-emit-package", name)]
    own = ("--python", str(own_interpreter().path), "--python-version", solved.python)
    return solved.python, (*own, "--constraint", str(constraints), *not_again)


def _is_pep440(version: str) -> bool:
    """Whether pip could name a version so."""
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


def _write(folder: Path, name: str, lines: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
