"""Environments: named, versioned, locked dependency sets."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class EnvironmentState(StrEnum):
    """Where an environment version stands."""

    LOCKING = "locking"
    LOCKED = "locked"
    FAILED = "failed"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an environment.

    Args:
        project: Name of its project.
        name: A slug; ``<name>@<version>`` names it exactly, ``<name>`` its newest version.
        version: 1, 2, … A version never changes.
        python: ``3.11``-like, or an exact version, as asked for.
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
