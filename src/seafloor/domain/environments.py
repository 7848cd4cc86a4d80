"""Environments: named, versioned, locked dependency sets."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

import msgspec

from seafloor.domain.ids import Sha256

_EXACT_ADDRESS = re.compile(r"#(.*&)?sha256=[0-9a-f]{64}|^git\+.*@[0-9a-f]{40}(#|$)")
_HASH = " --hash=sha256:"
DIGEST_FORMAT = "seafloor environment 1"
"""First line of what a digest is computed over; changes when that form does."""


class EnvironmentLock(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that determines a built environment.

    Args:
        python: Exact version, ``3.11.2``.
        platform: What the packages were chosen for, ``linux-x86_64-glibc``.
        lock: Exact packages, one a line, sorted, each line ended; empty for no packages. See
            ``parse_lock``.
        digest: ``environment_digest`` of the three above.
    """

    python: str
    platform: str
    lock: str
    digest: Sha256


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an environment.

    Args:
        project: Name of its project.
        name: A slug; ``<name>@<version>`` names it exactly, ``<name>`` its newest version.
        version: 1, 2, … A version never changes.
        python: The exact version it is locked for, ``3.11.2``.
        pip: Requirements as the user wrote them, one each (PEP 508).
        conda_channels, conda_packages: As the user wrote them.
        image: With the digest that its tag had at creation; not run by this version.
        description: What it is for, in the user's words.
        lock: The locked packages, see ``parse_lock``.
        digest: sha256 over what determines the built folder (python, platform, lock).
        created_ns: UTC.
        deleted_ns: When it was removed; versions that runs used stay readable.
    """

    project: str
    name: str
    version: int
    python: str
    pip: tuple[str, ...]
    lock: str
    digest: str
    created_ns: int
    deleted_ns: int | None = None
    conda_channels: tuple[str, ...] = ()
    conda_packages: tuple[str, ...] = ()
    image: str | None = None
    description: str | None = None

    @property
    def reference(self) -> str:
        """``<name>@<version>``."""
        return f"{self.name}@{self.version}"

    @property
    def is_image_only(self) -> bool:
        """Whether all it has is in its image, so that it cannot be built anywhere."""
        return self.image is not None and not self.pip and not self.conda_packages


class LockedPackage(msgspec.Struct, frozen=True, kw_only=True):
    """One package of a lock.

    Args:
        kind: ``pip`` or ``conda``.
        name: Of the package.
        version: Exact; of a pip package from an address, that address.
        build: Of a conda package; empty for pip.
        url, sha256: Of a conda package's file; empty for pip.
        hashes: Of a package of an index, the sha256 that its file may have, in order; empty in a
            lock that an earlier version made.
    """

    kind: Literal["pip", "conda"]
    name: str
    version: str
    build: str = ""
    url: str = ""
    sha256: str = ""
    hashes: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether it can only ever be these bytes, or this version of an index or commit of git."""
        if self.kind == "conda" or "://" not in self.version:
            return True
        return _EXACT_ADDRESS.search(self.version) is not None

    @property
    def line(self) -> str:
        """Its line in a lock."""
        if self.kind == "conda":
            return f"conda {self.name} {self.version} {self.build} {self.url}#sha256={self.sha256}"
        at = " @ " if "://" in self.version else "=="
        return f"{self.name}{at}{self.version}" + "".join(
            f"{_HASH}{digest}" for digest in self.hashes
        )


def parse_lock(lock: str) -> tuple[LockedPackage, ...]:
    """Read the lines of a lock, in their order.

    A line is a requirement of pip with an exact version or address, and of a version with
    ``--hash=sha256:<64 digits>`` for each file that it may be; or
    ``conda <name> <version> <build> <url>#sha256=<64 digits>``.

    >>> [(one.kind, one.name, one.version) for one in parse_lock("six==1.17.0\\n")]
    [('pip', 'six', '1.17.0')]
    """
    return tuple(_locked(line.strip()) for line in lock.splitlines() if line.strip())


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that two environments do not have alike.

    Args:
        kind: ``python``, ``image``, ``pip`` or ``conda``.
        name: Of the package; empty for Python and image.
        before, after: Version, with the build of conda, or with the beginning of the sha256 when
            the version alone is the same; None: it is not there.
    """

    kind: Literal["python", "image", "pip", "conda"]
    name: str
    before: str | None
    after: str | None


def compare_environments(before: Environment, after: Environment) -> tuple[Difference, ...]:
    """Say what differs between two environments, by kind and name; empty: the same packages."""
    found: list[Difference] = []
    if before.python != after.python:
        found.append(Difference(kind="python", name="", before=before.python, after=after.python))
    if before.image != after.image:
        found.append(Difference(kind="image", name="", before=before.image, after=after.image))
    ours, theirs = _packages(before.lock), _packages(after.lock)
    for key in sorted(ours.keys() | theirs.keys()):
        kind, name = key
        one, other = _versions(ours.get(key), theirs.get(key))
        if one != other:
            found.append(Difference(kind=kind, name=name, before=one, after=other))
    return tuple(found)


def _packages(lock: str) -> dict[tuple[Literal["pip", "conda"], str], LockedPackage]:
    return {(one.kind, one.name): one for one in parse_lock(lock)}


def _versions(
    before: LockedPackage | None, after: LockedPackage | None
) -> tuple[str | None, str | None]:
    """How each is shown; alike when it is the same package, as far as both locks tell."""
    one, other = [
        f"{package.version} {package.build}".strip() if package else None
        for package in (before, after)
    ]
    ours, theirs = (before.hashes if before else ()), (after.hashes if after else ())
    if one == other and ours and theirs and ours != theirs:
        return f"{one} ({ours[0][:12]})", f"{other} ({theirs[0][:12]})"
    return one, other


def _locked(line: str) -> LockedPackage:
    words = line.split(" ")
    if words[0] == "conda" and len(words) == 5:
        url, _, sha256 = words[4].rpartition("#sha256=")
        return LockedPackage(
            kind="conda", name=words[1], version=words[2], build=words[3], url=url, sha256=sha256
        )
    line, *hashes = line.split(_HASH)
    name, at, version = line.partition(" @ ")
    if not at:
        name, _, version = line.partition("==")
    return LockedPackage(
        kind="pip", name=name.strip(), version=version.strip(), hashes=tuple(hashes)
    )


def environment_digest(*, python: str, platform: str, lock: str) -> Sha256:
    """Compute the name that equal environments share.

    The order of the lock's lines does not matter, nor do blank lines.

    >>> first = environment_digest(python="3.11.2", platform="p", lock="six==1.17.0\\na==1\\n")
    >>> first == environment_digest(python="3.11.2", platform="p", lock="a==1\\nsix==1.17.0")
    True
    """
    lines = sorted({line.strip() for line in lock.splitlines()} - {""})
    text = "\n".join((DIGEST_FORMAT, f"python {python}", f"platform {platform}", *lines, ""))
    return Sha256(hashlib.sha256(text.encode()).hexdigest())
