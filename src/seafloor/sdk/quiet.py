"""Notices that a server has said nothing for a while, so that whoever waits can be told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

_LOOKS: float = 5
"""How often one looks within the time that is waited."""


@contextmanager
def quiet_told(tell: Callable[[], None] | None, *, after_s: float) -> Generator[Callable[[], None]]:
    """Have somebody told, from a thread, whenever nothing is heard for some time.

    Args:
        tell: Called once for each time that it is quiet; None: nobody is told.
        after_s: How long it is quiet until then.

    Yields:
        To be called whenever something is heard.
    """
    if tell is None:
        yield _not_listening
        return
    watch = _Watch(tell, after_s)
    watch.start()
    try:
        yield watch.heard
    finally:
        watch.ended.set()


def _not_listening() -> None:
    pass


class _Watch(threading.Thread):
    def __init__(self, tell: Callable[[], None], after_s: float) -> None:
        super().__init__(daemon=True, name="seafloor-quiet")
        self.ended = threading.Event()
        self._tell = tell
        self._after_s = after_s
        self._heard_s = time.monotonic()

    def heard(self) -> None:
        self._heard_s = time.monotonic()

    def run(self) -> None:
        told_s: float | None = None
        while not self.ended.wait(self._after_s / _LOOKS):
            heard_s = self._heard_s
            if heard_s != told_s and time.monotonic() - heard_s >= self._after_s:
                told_s = heard_s
                self._tell()
