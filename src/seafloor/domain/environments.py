"""Environments: named, versioned, locked dependency sets."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from seafloor.domain.ids import Sha256

DIGEST_FORMAT = "seafloor environment 1"
"""First line of what a digest is computed over; changes when that form does."""


class EnvironmentState(StrEnum):
    """Where an environment version stands."""

    LOCKING = "locking"
    LOCKED = "locked"
    FAILED = "failed"


class EnvironmentLock(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that determines a built environment.

    Args:
        python: Exact version, ``3.11.2``.
        platform: What the packages were chosen for, ``linux-x86_64-glibc``.
        lock: Exact requirements, one a line, sorted, each line ended; empty for no packages.
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
        conda_channels, conda_packages, image: Kept as written; not built by this version.
        lock: The locked requirements, text of a ``requirements.txt`` with exact versions, sorted.
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
