"""How far the delivery of the output folder is, said in the run's log."""

from __future__ import annotations

import time
from typing import Callable

FIRST_S = 3.0
"""What takes less is over before anybody asks."""
INTERVAL_S_MAX = 60.0


class Progress:
    """Says how many files are through: after a few seconds first, then ever more seldom.

    Nothing is said twice, so a server that is away for days does not fill the log.

    Args:
        say: Takes each sentence.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._started_s = time.monotonic()
        self._interval_s = FIRST_S
        self._due_s = self._started_s + FIRST_S
        self._said = -1

    def look(self, done: int, total: int) -> None:
        """Be told how far it is; it is said when that is due."""
        now_s = time.monotonic()
        if now_s < self._due_s or done == self._said:
            return
        self._said = done
        self._interval_s = min(INTERVAL_S_MAX, self._interval_s * 2)
        self._due_s = now_s + self._interval_s
        self._say(
            "The command has ended; its output files are being delivered: {:,} of {:,}.".format(
                done, total
            )
        )

    def end(self, kept: int, total: int) -> None:
        """Be told that it is over; it is said if anything was said before."""
        if self._said < 0:
            return
        self._say(
            "{:,} of {:,} output files were delivered, in {:,.0f} s.".format(
                kept, total, time.monotonic() - self._started_s
            )
        )
