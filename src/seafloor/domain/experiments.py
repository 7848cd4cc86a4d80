"""Projects and experiments."""

from __future__ import annotations

from typing import Any

import msgspec

DEFAULT_PROJECT = "default"
DEFAULT_EXPERIMENT_ID = 0
DEFAULT_EXPERIMENT_NAME = "Default"


class Project(msgspec.Struct, frozen=True):
    """A namespace with its own names and access rights; ``default`` always exists.

    Args:
        description: What is said about it; None: nothing was ever.
    """

    name: str
    created_ns: int
    description: str | None = None


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """A named group of runs.

    Args:
        id: An integer, because MLflow clients expect one; 0 is ``Default`` and always exists.
        project: Name of its project.
        name: Unique within the project, deleted experiments included.
        spec: A saved spec (plain data), or None.
        artifact_location: Base URI that MLflow clients are told, or None for Seafloor's own.
        tags: Key to value.
        created_ns, updated_ns, deleted_ns: UTC; deleted_ns None while it lives.
    """

    id: int
    project: str
    name: str
    created_ns: int
    updated_ns: int
    spec: dict[str, Any] | None = None
    artifact_location: str | None = None
    tags: dict[str, str] = {}
    deleted_ns: int | None = None
