"""Logs on the wire."""

from __future__ import annotations

import msgspec

from seafloor.domain.logs import LogLine


class LogView(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/logs`` and each ``data:`` of ``…/logs/follow`` (SSE).

    Args:
        attempt, task: Which log.
        setup: Of what prepared the task; None: the log is the task's own.
        lines: In order.
        next_line: Number to ask for to go on.
        total_lines: How many there are now.
        lines_missing: Numbers lost on the way.
        finished: Whether no line follows these, ever.
    """

    attempt: int
    task: str
    lines: tuple[LogLine, ...]
    next_line: int
    total_lines: int
    lines_missing: int
    finished: bool
    setup: str | None = None


class SetupLog(msgspec.Struct, frozen=True):
    """The log of something that prepared a task.

    Args:
        setup: Its name, as ``git-localize``.
        lines: How many there are now.
        first_time_ns: When it began to print.
        finished: Whether no line follows these, ever.
    """

    setup: str
    lines: int
    first_time_ns: int
    finished: bool


class SetupLogs(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/logs/setups``: in the order in which they began.

    Args:
        attempt, task: Whose.
    """

    attempt: int
    task: str
    items: tuple[SetupLog, ...]
