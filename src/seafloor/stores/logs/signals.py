"""Waking those who follow a log, and reading once what they all want."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from seafloor.stores.logs.page import PageQuery
from seafloor.stores.logs.protocol import LogKey

FOLLOW_QUIET_S = 15.0
"""A follower hears something at least so often."""

T = TypeVar("T")


@dataclass(eq=False)
class _Followed(Generic[T]):
    """A log that somebody follows.

    Args:
        query, read: The read that was begun last, if any was since the log changed.
    """

    followers: set[Follower[T]] = field(default_factory=set["Follower[T]"])
    query: PageQuery | None = None
    read: asyncio.Task[T] | None = None


@dataclass(eq=False)
class Follower(Generic[T]):
    """One who follows a log.

    Args:
        changed: Is set whenever the log changes; clear it before you look.
    """

    _log: _Followed[T]
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, query: PageQuery, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the work, or get what it gave another follower who stands at the same place.

        A line wakes all followers, and nearly all of them want it and nothing else. What was read
        before the last change is not given; of each log one read is kept, which bounds the memory.
        """
        log = self._log
        if log.read is None or log.query != query or _failed(log.read):
            log.query, log.read = query, asyncio.ensure_future(work())
        return await asyncio.shield(log.read)  # one who leaves does not take it from the others


def _failed(read: asyncio.Task[Any]) -> bool:
    return read.done() and (read.cancelled() or read.exception() is not None)


class Signals(Generic[T]):
    """Followers by log. Belongs to one event loop. ``T`` is what they read."""

    def __init__(self) -> None:
        self._followed: dict[LogKey, _Followed[T]] = {}

    def __len__(self) -> int:
        return len(self._followed)

    @contextlib.contextmanager
    def listen(self, key: LogKey) -> Generator[Follower[T]]:
        """Follow a log as long as the context is open."""
        log = self._followed.setdefault(key, _Followed())
        follower = Follower(log)
        log.followers.add(follower)
        try:
            yield follower
        finally:
            log.followers.discard(follower)
            if not log.followers:
                del self._followed[key]
                if log.read is not None:
                    log.read.cancel()

    def ring(self, key: LogKey) -> None:
        """Say that a log changed."""
        log = self._followed.get(key)
        if log is None:
            return
        log.read = None
        for follower in log.followers:
            follower.changed.set()

    def ring_all(self) -> None:
        """Wake everybody: the store closes."""
        for key in list(self._followed):
            self.ring(key)


async def quiet(event: asyncio.Event, quiet_s: float) -> bool:
    """Wait for the event; say whether it did not come within so many seconds."""
    try:
        async with asyncio.timeout(quiet_s):
            await event.wait()
    except TimeoutError:
        return True
    return False
