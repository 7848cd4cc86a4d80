"""Projects and experiments on the wire."""

from __future__ import annotations

from typing import Any

import msgspec

from seafloor.domain.bounds import TimeNs
from seafloor.domain.experiments import Experiment, Project


class ProjectCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/projects``."""

    name: str


class ProjectList(msgspec.Struct, frozen=True):
    """``GET /api/v1/projects``."""

    items: tuple[Project, ...]


class ExperimentCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/experiments``; ``spec`` is what stands under ``experiment:``, checked.

    Args:
        created_ns: Of one that is brought from elsewhere, UTC; None: now.
    """

    name: str
    project: str = "default"
    tags: dict[str, str] = {}
    spec: dict[str, Any] | None = None
    created_ns: TimeNs | None = None


class ExperimentUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``PATCH /api/v1/experiments/{id}``: fields that are absent stay as they are."""

    name: str | None = None
    tags: dict[str, str] = {}
    delete_tags: list[str] = []
    spec: dict[str, Any] | None = None


class ExperimentList(msgspec.Struct, frozen=True):
    """``GET /api/v1/experiments``."""

    items: tuple[Experiment, ...]
