"""Appends known points with two writers and prints each acknowledged batch.

``python -m seafloor.testing.metric_store_child <module:factory> <folder>``; made to be killed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from seafloor.domain.metrics import Point
from seafloor.testing.factory import store_from
from seafloor.testing.metric_worlds import MetricWorld, workload_id


async def write(world: MetricWorld, key: str) -> None:
    """Append batches of ten points; say the last step of each."""
    for at in range(0, 20_000, 10):
        points = [Point(key, step / 3, step, step) for step in range(at, at + 10)]
        await world.store.append(workload_id(1), points)
        print(key, at + 9, flush=True)


async def main(factory: str, folder: str) -> None:
    """Append until somebody kills us, or all is there."""
    world = cast("MetricWorld", store_from(factory, folder))
    await world.open()
    await asyncio.gather(write(world, "a"), write(world, "b"))
    await world.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
