"""What a server says of itself, and what it would do."""

from __future__ import annotations

from typing import Any

import msgspec

from seafloor.domain.code import CodeSource


class Health(msgspec.Struct, frozen=True):
    """``GET /health``: 503 when metadata or objects do not answer, else 200.

    Args:
        status: ``ok``, or ``degraded`` when any part is not well.
        version: Of the server.
        parts: ``metadata``, ``objects``, ``reconciler``, ``sealer`` → ``ok`` or one sentence.
    """

    status: str
    version: str
    parts: dict[str, str]


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /api/v1/server``.

    Args:
        url: As the server knows its own address.
        started_ns: UTC.
        data_dir: The data folder, for a server on this machine.
        python: What runs without an environment get.
        web: Whether the page was built into this installation.
        authentication: ``none`` or ``token``.
        settings: As in effect, secrets left out, each with its origin.
    """

    version: str
    url: str
    started_ns: int
    data_dir: str
    python: str
    web: bool
    authentication: str
    settings: dict[str, Any]


class PlanCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/plans``: what ``POST /api/v1/runs`` would do; creates nothing."""

    spec: dict[str, Any]
    code: CodeSource | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen.

    Args:
        experiment: Its name, and whether it would be created.
        environment: ``<name>@<version>`` and digest, or the Python it would be given.
        environment_cached: Whether it is built here.
        code: What would be localised, and where.
        code_path: The folder under ``/code``.
        command: As it would be executed.
        variables: Names and values that the task would see, tokens left out.
        limits: cpu, memory, timeout, retries, as understood.
        steps: What would be done, one sentence each.
        warnings: What whoever submits it should know.
    """

    experiment: str
    experiment_exists: bool
    environment: str
    environment_cached: bool | None
    code: CodeSource | None
    code_path: str | None
    command: str | list[str]
    variables: dict[str, str]
    limits: dict[str, str]
    steps: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class WorkloadPageLater(msgspec.Struct, frozen=True):
    """``GET /api/v1/notebooks`` and ``/api/v1/servings``: this version has none."""

    items: tuple[dict[str, Any], ...] = ()
    next: str | None = None
