"""The sealer: one of several servers works, and a failure is told and repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from seafloor.app.leases import LeaseHolder
from seafloor.app.sealer import LEASE, Sealer
from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.metadata.memory.store import MemoryMetadataStore


class Counted:
    """A store that counts its passes and fails some."""

    def __init__(self, *, failing: int = 0) -> None:
        self.passes = 0
        self.failing = failing

    async def seal_due(self) -> int:
        self.passes += 1
        if self.passes <= self.failing:
            raise StoreUnavailable("planted")
        return 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def stopped(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


async def test_run__several_servers__one_seals_and_the_next_takes_over() -> None:
    metadata = MemoryMetadataStore()
    stores = [Counted(), Counted()]
    sealers = [Sealer([store], LeaseHolder(metadata, LEASE), interval_s=0.005) for store in stores]
    first = asyncio.create_task(sealers[0].run())
    await until(lambda: stores[0].passes > 2)
    second = asyncio.create_task(sealers[1].run())
    before = stores[0].passes
    await until(lambda: stores[0].passes > before + 5)
    assert stores[1].passes == 0
    await stopped(first)  # gives its lease back
    await until(lambda: stores[1].passes > 2)
    await stopped(second)


async def test_run__a_store_fails__is_told_until_it_is_repeated() -> None:
    store = Counted(failing=2)
    sealer = Sealer([store], LeaseHolder(MemoryMetadataStore(), LEASE), interval_s=0.02)
    running = asyncio.create_task(sealer.run())
    await until(lambda: sealer.problem is not None)
    assert sealer.problem == "planted"
    await until(lambda: sealer.problem is None)
    assert store.passes >= 3
    await stopped(running)
