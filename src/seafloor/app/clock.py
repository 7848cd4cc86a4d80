"""The clock and the dice of the app, in one place so that tests can set them."""

from __future__ import annotations

import secrets
import time
from typing import Protocol

from seafloor.domain.ids import WorkloadId, workload_id_from_parts


class Clock(Protocol):
    """Tells the time."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()


def new_workload_id(clock: Clock) -> WorkloadId:
    """Make an id that sorts by time."""
    return workload_id_from_parts(
        time_ms=clock.now_ns() // 1_000_000, random_bits=secrets.randbits(74)
    )
