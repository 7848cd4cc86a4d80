"""Waking those who follow a log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

from seafloor.stores.logs.protocol import LogKey

FOLLOW_QUIET_S = 15.0
"""A follower hears something at least so often."""


class Signals:
    """Followers by log. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[LogKey, set[asyncio.Event]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @contextlib.contextmanager
    def listen(self, key: LogKey) -> Generator[asyncio.Event]:
        """Hold an event that is set whenever the log changes; clear it before you look."""
        event = asyncio.Event()
        self._waiting.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting[key]
            waiting.discard(event)
            if not waiting:
                del self._waiting[key]

    def ring(self, key: LogKey) -> None:
        """Say that a log changed."""
        for event in self._waiting.get(key, ()):
            event.set()

    def ring_all(self) -> None:
        """Wake everybody: the store closes."""
        for key in list(self._waiting):
            self.ring(key)


async def quiet(event: asyncio.Event, quiet_s: float) -> bool:
    """Wait for the event; say whether it did not come within so many seconds."""
    try:
        async with asyncio.timeout(quiet_s):
            await event.wait()
    except TimeoutError:
        return True
    return False
