"""The sealer: one of several servers works, and a failure is told and repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from seafloor.app.leases import LeaseHolder, LeaseTerms
from seafloor.app.sealer import LEASE, Sealer
from seafloor.domain.errors import StoreCorrupt, StoreUnavailable
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


class Broken:
    """A store whose passes fail in a way that can be changed."""

    def __init__(self) -> None:
        self.passes = 0
        self.message: str | None = "one row is damaged"

    async def seal_due(self) -> int:
        self.passes += 1
        if self.message is not None:
            raise StoreCorrupt(self.message)
        return 0


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


async def test_run__a_failure_lasts__is_told_all_the_time_and_logged_once() -> None:
    """A pass is made every second: a damaged row took 86,400 tracebacks of the log a day."""
    store = Broken()
    sealer = Sealer([Counted(), store], None, interval_s=0.0)
    with structlog.testing.capture_logs() as logged:
        running = asyncio.create_task(sealer.run())
        await until(lambda: store.passes > 5)
        assert sealer.problem == "one row is damaged"
        store.message = "two rows are damaged"
        seen = store.passes
        await until(lambda: store.passes > seen + 5)
        assert sealer.problem == "two rows are damaged"
        store.message = None
        await until(lambda: sealer.problem is None)
        store.message = "two rows are damaged"
        await until(lambda: sealer.problem is not None)
        await stopped(running)
    assert [one["event"] for one in logged] == ["sealing failed and will be repeated"] * 3


async def test_run__the_lease_is_lost__tells_no_more_what_another_server_may_have_mended() -> None:
    store = Broken()
    now_s = 0.0
    holder = LeaseHolder(
        MemoryMetadataStore(), LEASE, LeaseTerms(ttl_s=100, renew_s=90), now_s=lambda: now_s
    )
    sealer = Sealer([store], holder, interval_s=0.005)
    running = asyncio.create_task(sealer.run())
    await until(lambda: sealer.problem is not None)
    now_s = 100.0
    await until(lambda: sealer.problem is None)
    await stopped(running)
