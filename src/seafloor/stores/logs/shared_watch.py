"""Waking those who follow a log that any server may append to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Generator

from seafloor.domain.errors import StoreError
from seafloor.stores.logs.protocol import LogKey, LogPage, log_key_of
from seafloor.stores.logs.signals import Follower, Signals
from seafloor.stores.streams.streams import SharedStreams

POLL_S = 0.5
_log = logging.getLogger(__name__)


class Watch:
    """Followers by log. Belongs to one event loop.

    This server's own appends wake them at once. For those of others the followed logs are looked
    at together, in one query, as long as there are any.

    Args:
        poll_s: Between two looks.
    """

    def __init__(self, streams: SharedStreams, *, poll_s: float = POLL_S) -> None:
        self._streams = streams
        self._poll_s = poll_s
        self._signals = Signals[LogPage]()
        self._followers: dict[LogKey, int] = {}
        self._seen: dict[LogKey, tuple[int, int]] = {}
        self._polling: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listen(self, key: LogKey) -> Generator[Follower[LogPage]]:
        """Follow a log as long as the context is open."""
        self._followers[key] = self._followers.get(key, 0) + 1
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll(), name="followed logs")
        try:
            with self._signals.listen(key) as follower:
                yield follower
        finally:
            self._followers[key] -= 1
            if self._followers[key] == 0:
                del self._followers[key]
                self._seen.pop(key, None)
            if not self._followers:
                self._stop()

    def ring(self, key: LogKey) -> None:
        """Say that a log changed."""
        self._signals.ring(key)

    async def close(self) -> None:
        """Wake everybody and look no more."""
        self._signals.ring_all()
        polling = self._stop()
        if polling is not None:
            await asyncio.gather(polling, return_exceptions=True)

    def _stop(self) -> asyncio.Task[None] | None:
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
        return polling

    async def _poll(self) -> None:
        """Look until nobody follows. A database that is away is looked for again."""
        told = False
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self._look()
                told = False
            except StoreError as error:
                if not told:
                    _log.warning("followed logs cannot be looked at: %s", error)
                told = True

    async def _look(self) -> None:
        """Wake the followers of every log that is not as it was at the last look."""
        workload_ids = {key.workload_id for key in self._followers}
        for stream in await self._streams.list(*workload_ids):
            key = log_key_of(stream.key.workload_id, stream.key.attempt, stream.key.name)
            if key not in self._followers:
                continue
            now = (stream.id, stream.version)
            if self._seen.get(key) != now:
                self._seen[key] = now
                self._signals.ring(key)
