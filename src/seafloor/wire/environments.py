"""Environments on the wire."""

from __future__ import annotations

from typing import Any

import msgspec

from seafloor.domain.environments import Environment


class EnvironmentCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/environments``: what stands under ``environment:``; locked at once."""

    spec: dict[str, Any]


class EnvironmentView(msgspec.Struct, frozen=True, kw_only=True):
    """An environment version and whether it is built here.

    Args:
        reference: ``<name>@<version>``.
        built: Whether this machine has it in its cache.
        size_bytes: Of the built folder; None when it is not built.
    """

    reference: str
    environment: Environment
    built: bool
    size_bytes: int | None = None


class EnvironmentList(msgspec.Struct, frozen=True):
    """``GET /api/v1/environments``: every living version."""

    items: tuple[EnvironmentView, ...]


class EnvironmentDeleted(msgspec.Struct, frozen=True):
    """``DELETE /api/v1/environments/{name}[@version]``: versions removed, bytes freed."""

    versions: int
    freed_bytes: int
