"""The log's line for each request. Every call waits for it, so it is put together directly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec


class _Line(msgspec.Struct, frozen=True):
    method: str
    path: str
    status: int
    duration_ms: float
    request_id: str
    timestamp: str
    event: Literal["request"] = "request"
    level: Literal["info"] = "info"


class AccessLog:
    """Writes a JSON line for each answered request, like the other lines of the log.

    Args:
        write: Takes a line and must not fail.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._encode = msgspec.json.Encoder().encode

    def note(
        self, *, method: str, path: str, status: int, duration_s: float, request_id: str
    ) -> None:
        """Write that a request was answered."""
        now = datetime.now(UTC).replace(tzinfo=None).isoformat() + "Z"
        line = _Line(method, path, status, round(duration_s * 1000, 2), request_id, now)
        self._write(self._encode(line).decode() + "\n")
