"""Runs on the wire."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from seafloor.domain.bounds import TimeNs
from seafloor.domain.code import CodeSource
from seafloor.domain.workloads import Attempt, Ending, Event, Task, WorkloadState
from seafloor.wire.numbers import WireNumber


class RunCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /api/v1/runs``.

    A *launched* run has a ``spec`` (what stands under ``experiment:``) and, if the spec has code,
    the resolved ``code``. A *tracked* run is executed by the client and has neither; it names its
    ``experiment``.

    Args:
        id: Chosen by the client (UUIDv7, hex), so that it can log before the server knows the
            run. Creating the same id again returns the run that is there.
        idempotency_key: For launched runs: the same key returns the same run.
        user: Who, as the client knows.
        started_ns: Of a tracked run, UTC; None: now.
        created_ns: Of a tracked run that is brought from elsewhere, UTC; None: now.
    """

    spec: dict[str, Any] | None = None
    code: CodeSource | None = None
    id: str | None = None
    idempotency_key: str | None = None
    project: str = "default"
    experiment: str | None = None
    name: str | None = None
    user: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    started_ns: TimeNs | None = None
    created_ns: TimeNs | None = None


class RunUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``PATCH /api/v1/runs/{id}``: fields that are absent stay as they are.

    Args:
        state: Of a tracked run only: ``running``, ``succeeded``, ``failed`` or ``stopped``.
        reason: One sentence for the event, with ``state``.
        params: Added; a param never changes its value.
        tags: Set.
        delete_tags: Removed.
    """

    name: str | None = None
    state: Literal["running", "succeeded", "failed", "stopped"] | None = None
    reason: str = ""
    ended_ns: TimeNs | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    delete_tags: list[str] = []


class MetricView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a series at once; see ``domain.metrics.MetricSummary``."""

    points: int
    nans: int
    last: WireNumber
    last_step: int
    last_time_ms: int
    min: WireNumber | None
    max: WireNumber | None
    min_step: int | None
    max_step: int | None


class ExperimentRef(msgspec.Struct, frozen=True):
    """Which experiment."""

    id: int
    name: str


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run, in lists and alone.

    Args:
        url: Address of its page.
        ending: How the newest attempt ended, None while it has not.
        spec: Only alone (``GET /api/v1/runs/{id}``); ``{}`` in lists.
        attempt: Number of the newest attempt, 0 for a tracked run.
        duration_s: Between start and end, or now; None before the start.
    """

    id: str
    kind: str
    project: str
    experiment: ExperimentRef
    name: str
    user: str
    state: WorkloadState
    origin: str
    created_ns: int
    updated_ns: int
    started_ns: int | None
    ended_ns: int | None
    deleted_ns: int | None
    duration_s: float | None
    attempt: int
    url: str
    code: CodeSource | None
    environment: str | None
    ending: Ending | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, MetricView] = {}
    spec: dict[str, Any] = {}


class RunCreated(RunView, frozen=True, kw_only=True):
    """The answer to ``POST /api/v1/runs``.

    Args:
        warnings: What whoever submitted it should know; its first event says so, too.
    """

    warnings: tuple[str, ...] = ()


class RunPage(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs``; ``next`` is the cursor of the next page, None at the end."""

    items: tuple[RunView, ...]
    next: str | None = None


class AttemptPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """``GET /api/v1/runs/{id}/attempts``.

    Args:
        tasks: Of a distributed run, those of all attempts; not there for another.
    """

    items: tuple[Attempt, ...]
    tasks: tuple[Task, ...] = ()


class EventPage(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/events``.

    Args:
        next: The ``after`` of the next page; None: what is told here is all so far.
    """

    items: tuple[Event, ...]
    next: int | None = None


class ComparedValue(msgspec.Struct, frozen=True):
    """One row of a comparison: one key, one value a run (None where it has none)."""

    key: str
    values: tuple[str | float | None, ...]
    differs: bool


class Comparison(msgspec.Struct, frozen=True):
    """``GET /api/v1/comparisons?run=…&run=…``: rows over the same runs, in the order asked."""

    runs: tuple[RunView, ...]
    attributes: tuple[ComparedValue, ...]
    params: tuple[ComparedValue, ...]
    metrics: tuple[ComparedValue, ...]


class RunDeleted(msgspec.Struct, frozen=True):
    """``DELETE /api/v1/runs/{id}?purge=true``: what was removed."""

    id: str
    purged: bool
    freed_bytes: int
