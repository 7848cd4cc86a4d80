"""Whether what a database is asked is answered at all.

A database that refuses, or is gone, says so at once. One that hangs (its machine is paused, its
disk stands still, a proxy before it holds the connection) says nothing. What is under way then
waits until its connection is given up; whoever comes after that is not to wait behind it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from seafloor.domain.errors import StoreUnavailable

STALLED_S = 15.0
"""Longer than a writer waits for its turn among several servers."""


class Flow:
    """Counts what goes in and what comes out; refuses more when nothing comes out any more.

    Args:
        at_once: So many are worked on at the same time; further ones wait.
        clock_s: Rises steadily.
    """

    def __init__(self, *, at_once: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._inside = 0
        self._moved_s = 0.0  # when one was last begun at once, or came out

    def enter(self) -> None:
        """Let one in; from any thread.

        Raises:
            StoreUnavailable: it would wait, and none has come out for ``STALLED_S``.
        """
        with self._lock:
            now_s = self._clock_s()
            if self._inside < self._at_once:
                self._moved_s = now_s
            elif now_s - self._moved_s > STALLED_S:
                raise _unavailable()
            self._inside += 1

    def leave(self, count: int = 1) -> None:
        """So many came out, be it with an error."""
        with self._lock:
            self._inside -= count
            self._moved_s = self._clock_s()

    def check_turn(self, entered_s: float) -> None:
        """Refuse what waited behind others for so long that nobody counts on it any more.

        Args:
            entered_s: When it came in, by ``now_s``.

        Raises:
            StoreUnavailable: it is so; many that wait are told at once when the first come out.
        """
        if self.now_s() - entered_s > STALLED_S:
            raise _unavailable()

    def now_s(self) -> float:
        """The time of its clock."""
        return self._clock_s()


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable(
        f"The database has not answered for {STALLED_S:.0f} seconds: repeat the request.",
        retry_after_s=5.0,
    )
