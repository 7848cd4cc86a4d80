"""Shared log stores over a database and an object store, made when they are first used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from seafloor.domain.ids import WorkloadId
from seafloor.stores.logs.protocol import LogKey, LogPage, LogState
from seafloor.stores.logs.shared_store import SharedLogStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.streams.streams import SealLimits
from seafloor.testing.stream_worlds import SMALL, below_in


class SharedLogWorld:
    """A shared log store; its database is migrated at the first call.

    Args:
        make_below: Makes a database and an object store, both closed with this.
        limits: When a log that grows is sealed.
        quiet_s: How long a follower hears nothing.
        seals: Whether to seal after every append and finish what is due then.
    """

    def __init__(
        self,
        make_below: Callable[[], tuple[Database, ObjectStore]],
        *,
        limits: SealLimits = SMALL,
        quiet_s: float = 15.0,
        seals: bool = True,
    ) -> None:
        self._make_below = make_below
        self._limits = limits
        self._quiet_s = quiet_s
        self._seals = seals
        self._opened: SharedLogStore | None = None
        self._held = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def open(self) -> SharedLogStore:
        """The store, ready."""
        async with self._lock:
            if self._opened is None:
                database, objects = self._make_below()
                self._held.push_async_callback(database.close)
                self._held.push_async_callback(objects.close)
                await database.migrate()
                self._opened = SharedLogStore(
                    database, objects, limits=self._limits, quiet_s=self._quiet_s
                )
                self._held.push_async_callback(self._opened.close)
            return self._opened

    async def _after(self, work: Awaitable[int]) -> int:
        try:
            return await work
        finally:
            if self._seals and self._opened is not None:
                await self._opened.seal_due()

    async def append(self, key: LogKey, *, offset: int, data: bytes) -> int:
        """Append, and seal what is due."""
        store = await self.open()
        return await self._after(store.append(key, offset=offset, data=data))

    async def state(self, key: LogKey) -> LogState:
        """Describe a log."""
        return await (await self.open()).state(key)

    async def keys(self, workload_id: WorkloadId) -> tuple[LogKey, ...]:
        """The logs of a workload."""
        return await (await self.open()).keys(workload_id)

    async def page(
        self, key: LogKey, *, from_line: int, limit: int, stream: str | None = None
    ) -> LogPage:
        """Read lines."""
        store = await self.open()
        return await store.page(key, from_line=from_line, limit=limit, stream=stream)

    async def follow(self, key: LogKey, *, from_line: int) -> AsyncIterator[LogPage]:
        """Follow a log."""
        async for page in (await self.open()).follow(key, from_line=from_line):
            yield page

    async def raw(self, key: LogKey, *, stream: str | None = None) -> AsyncIterator[bytes]:
        """Stream what was printed."""
        async for chunk in (await self.open()).raw(key, stream=stream):
            yield chunk

    async def records(self, key: LogKey, *, start: int = 0) -> AsyncIterator[bytes]:
        """Stream the accepted bytes."""
        async for chunk in (await self.open()).records(key, start=start):
            yield chunk

    async def finish(self, key: LogKey) -> None:
        """Finish, and seal what is due."""
        store = await self.open()
        await store.finish(key)
        if self._seals:
            await store.seal_due()

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete the logs of a workload."""
        return await (await self.open()).delete(workload_id)

    async def close(self) -> None:
        """Close the store, then what is below it."""
        await self._held.aclose()


def shared_logs_in(folder: Path) -> SharedLogWorld:
    """The shared log store of a folder, as a process of its own makes it."""
    return SharedLogWorld(lambda: below_in(folder))
