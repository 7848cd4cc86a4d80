"""What happens when a server dies while it seals: a program that kills itself at a named call.

``python -m seafloor.testing.stream_crash_cases <logs|events|metrics> <folder> <call>`` seals what
is due over a folder and dies with -9 just before its n-th call to the database or object store that
changes something, or between the effect of such a call and the next. It prints ``done`` when it
came to its end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from seafloor.stores.events.shared_store import SharedEventFileStore
from seafloor.stores.logs.shared_store import SharedLogStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.protocol import ObjectInfo, ObjectStore
from seafloor.testing.databases import database_url
from seafloor.testing.metric_worlds import SEALED_AT_ONCE
from seafloor.testing.stream_worlds import SMALL, objects_in


class _Fuse:
    """Counts calls, and kills the process at one of them."""

    def __init__(self, number: int) -> None:
        self._left = number

    def burn(self) -> None:
        """One call comes."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class _MortalDatabase(Database):
    def __init__(self, url: str, fuse: _Fuse) -> None:
        super().__init__(url)
        self._fuse = fuse

    async def write(self, do: Callable[[Connection], Any]) -> Any:
        """Write, unless it is time to die."""
        self._fuse.burn()
        done = await super().write(do)
        self._fuse.burn()
        return done


class _MortalObjects:
    """An object store whose user dies before or after a change."""

    def __init__(self, inner: ObjectStore, fuse: _Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Put, unless it is time to die."""
        self._fuse.burn()
        info = await self._inner.put(key, data, if_absent=if_absent)
        self._fuse.burn()
        return info

    async def delete(self, key: str) -> bool:
        """Delete, unless it is time to die."""
        self._fuse.burn()
        return await self._inner.delete(key)

    async def delete_folder(self, folder: str) -> int:
        """Delete, unless it is time to die."""
        self._fuse.burn()
        return await self._inner.delete_folder(folder)


async def main(what: str, folder: str, call: str) -> None:
    """Seal until the call comes."""
    fuse = _Fuse(int(call))
    database = _MortalDatabase(database_url(Path(folder)), fuse)
    below = objects_in(Path(folder))
    objects: Any = _MortalObjects(below, fuse)
    store: SharedLogStore | SharedEventFileStore | SqlMetricStore
    if what == "metrics":
        store = SqlMetricStore(database, objects, limits=SEALED_AT_ONCE)
    elif what == "logs":
        store = SharedLogStore(database, objects, limits=SMALL)
    else:
        store = SharedEventFileStore(
            database, objects, SqlMetricStore(database, below), limits=SMALL
        )
    await store.seal_due()
    await store.close()
    await below.close()
    await database.close()
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
