"""Logs on the wire."""

from __future__ import annotations

import msgspec

from seafloor.domain.logs import LogLine


class LogView(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/logs`` and each ``data:`` of ``…/logs/follow`` (SSE).

    Args:
        attempt, task: Which log.
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
