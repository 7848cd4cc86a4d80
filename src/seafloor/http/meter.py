"""Counts what a server answers, for Prometheus: how often, how it ended, and how long it took.

Labels are few by construction: nothing that a caller writes, no path and no name, becomes one.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_APIS: Final = (
    ("/api/v1/", "native"),
    ("/api/2.0/", "mlflow"),
    ("/api/3.0/", "mlflow"),
    ("/v1/", "traces"),
    ("/health", "probe"),
    ("/version", "probe"),
    ("/metrics", "probe"),
    ("/api/", "native"),
)


class Durations:
    """How long answers took: a count for each bound, the last without one."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_S, duration_s)] += 1
        self.sum_s += duration_s


class RequestMeter:
    """The requests of this server since it started."""

    def __init__(self) -> None:
        self.running = 0
        self.answered: dict[tuple[str, str, int], int] = {}
        self.durations: dict[str, Durations] = {}

    def note(self, path: str, method: str, status: int, duration_s: float) -> None:
        """Count an answered request."""
        api = next((name for start, name in _APIS if path.startswith(start)), "page")
        key = (api, method if method in _METHODS else "other", status)
        self.answered[key] = self.answered.get(key, 0) + 1
        if api not in self.durations:
            self.durations[api] = Durations()
        self.durations[api].add(duration_s)
