"""Who may change what an owner keeps at one time, within this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class OwnerGates:
    """Changes of different files pass together; of one file, one by one; deletions, alone.

    Used from one event loop.
    """

    def __init__(self) -> None:
        self._files: dict[str, set[str]] = {}
        self._alone: set[str] = set()
        self._waiting: list[asyncio.Future[None]] = []

    async def enter(self, owner: str, path: str) -> None:
        """Wait until nobody else changes this file or deletes; keep both out until ``leave``."""
        await self._until(
            lambda: owner not in self._alone and path not in self._files.get(owner, ())
        )
        self._files.setdefault(owner, set()).add(path)

    def leave(self, owner: str, path: str) -> None:
        """Let the next one in."""
        files = self._files[owner]
        files.remove(path)
        if not files:
            del self._files[owner]
        self._wake()

    @asynccontextmanager
    async def file(self, owner: str, path: str) -> AsyncGenerator[None]:
        """Hold one file of an owner."""
        await self.enter(owner, path)
        try:
            yield
        finally:
            self.leave(owner, path)

    @asynccontextmanager
    async def alone(self, owner: str) -> AsyncGenerator[None]:
        """Hold all files of an owner. Whoever comes later waits, so that this one gets his turn."""
        await self._until(lambda: owner not in self._alone)
        self._alone.add(owner)
        try:
            await self._until(lambda: owner not in self._files)
            yield
        finally:
            self._alone.remove(owner)
            self._wake()

    async def _until(self, is_free: Callable[[], bool]) -> None:
        while not is_free():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def _wake(self) -> None:
        """Have everybody look again."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
