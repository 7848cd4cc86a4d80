"""Notices that a server has said nothing for a while, so that whoever waits can be told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

_LOOKS: float = 5
"""How often one looks within the time that is waited."""


class Quiet:
    """Has somebody told, from a thread, whenever nothing is heard for some time.

    Of several who wait at once none is quiet as long as one hears something, and it is told once.

    Args:
        tell: Called once for each time that it is quiet; None: nobody is told.
        after_s: How long it is quiet until then.
    """

    def __init__(self, tell: Callable[[], None] | None, *, after_s: float) -> None:
        self._tell = tell
        self._after_s = after_s
        self._lock = threading.Lock()
        self._waiting = 0
        self._watch: _Watch | None = None

    @contextmanager
    def told(self) -> Generator[Callable[[], None]]:
        """Wait for something.

        Yields:
            To be called whenever something is heard.
        """
        if self._tell is None:
            yield _not_listening
            return
        watch = self._enter(self._tell)
        try:
            yield watch.heard
        finally:
            self._leave(watch)

    def _enter(self, tell: Callable[[], None]) -> _Watch:
        with self._lock:
            self._waiting += 1
            if self._watch is None:
                self._watch = _Watch(tell, self._after_s)
                self._watch.start()
            return self._watch

    def _leave(self, watch: _Watch) -> None:
        with self._lock:
            self._waiting -= 1
            if not self._waiting:
                watch.ended.set()
                self._watch = None


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
