"""A large installation, written through the stores: by requests it would take an hour."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from seafloor.domain.metrics import Point
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.events.protocol import EventFileKey
from seafloor.stores.events.store import SpoolEventFileStore
from seafloor.stores.logs.protocol import LogKey
from seafloor.stores.logs.spool import SpoolLogStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing.event_records import scalar_file
from seafloor.testing.log_spools import numbered
from seafloor.testing.metadata_records import create, entering, run

T0_MS = 1_700_000_000_000
AT_ONCE = 64


class _Stores:
    """Those of a data folder whose server is stopped."""

    def __init__(self, data: Path) -> None:
        self.database = Database(f"sqlite:///{data}/seafloor.db")
        self.metadata = SqlMetadataStore(self.database)
        self.objects = LocalObjectStore(data / "objects")
        self.metrics = SqlMetricStore(self.database, self.objects)
        self.artifacts = ObjectArtifactStore(self.objects, self.metadata)
        self.logs = SpoolLogStore(data / "spool" / "logs")
        self.event_files = SpoolEventFileStore(
            data / "spool" / "events", self.objects, self.metrics, self.database
        )

    async def close(self) -> None:
        for store in (self.event_files, self.logs, self.objects, self.metrics, self.database):
            await store.close()


def fill(data: Path, *, runs: int, seed: int) -> None:
    """Add ended runs with points, logs, event files and files to a server's data folder."""
    asyncio.run(_fill(data, runs, seed))


async def _fill(data: Path, runs: int, seed: int) -> None:
    stores = _Stores(data)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            await _run(stores, number, random.Random(seed + number))

    async with AsyncExitStack() as stack:
        stack.push_async_callback(stores.close)
        await asyncio.gather(*(one(number) for number in range(1, runs + 1)))


async def _run(stores: _Stores, number: int, chance: random.Random) -> None:
    made = await create(
        stores.metadata,
        run(number, name=f"run {number}"),
        params={"lr": f"{chance.random():.3g}", "größe": str(number)},
        tags={"seed": str(chance.randrange(10))},
    )
    odd = [math.nan, math.inf, -math.inf, -0.0, 5e-324]
    for begin in (0, 50):
        points = [
            Point(key, chance.choice([chance.random(), *odd]), begin + step, T0_MS + begin + step)
            for step in range(50)
            for key in ("loss", "accuracy")
        ]
        await stores.metrics.append(made.id, points)
    for place in ("model.bin", "plots/größe 1.png", "empty"):
        size = 0 if place == "empty" else chance.choice([100, 4_000, 60_000])
        await stores.artifacts.put(made.id, place, _stream(chance.randbytes(size)))
    key = LogKey(made.id, 0)
    await stores.logs.append(key, offset=0, data=numbered(chance.randrange(5, 400)))
    if number % 4 == 0:
        file = EventFileKey(made.id, 0, "train/events.out")
        await stores.event_files.append(file, offset=0, data=scalar_file(20, tag="tb"))
    if number % 10:  # the others go on
        await stores.logs.finish(key)
        await stores.event_files.finish(made.id, 0)
        await stores.artifacts.seal(made.id)
        end = entering(WorkloadState.SUCCEEDED, WorkloadState.RUNNING)
        await stores.metadata.workload_transition(made.id, end)


async def _stream(content: bytes) -> AsyncIterator[bytes]:
    yield content
