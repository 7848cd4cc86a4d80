"""The bell of who does work: it wakes, its time runs out, and who is to end is not kept by it."""

from __future__ import annotations

import asyncio

import pytest

from seafloor.app.wakeup import Wakeup


async def test_wait__rung_before__is_over_at_once_and_only_once() -> None:
    wakeup = Wakeup()
    wakeup.ring()
    wakeup.ring()
    async with asyncio.timeout(10):
        await wakeup.wait(timeout_s=60)
    again = asyncio.create_task(wakeup.wait(timeout_s=60))
    await asyncio.sleep(0)
    assert not again.done()
    wakeup.ring()
    async with asyncio.timeout(10):
        await again


async def test_wait__nobody_rings__ends_with_its_time() -> None:
    async with asyncio.timeout(10):
        await Wakeup().wait(timeout_s=0.001)


@pytest.mark.parametrize("turns", range(4))
async def test_wait__told_to_end_as_it_rings__ends(turns: int) -> None:
    """``asyncio.wait_for`` forgot that it was cancelled: a server went on after SIGTERM."""
    wakeup = Wakeup()

    async def work() -> None:
        while True:
            await wakeup.wait(timeout_s=60)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    wakeup.ring()
    for _ in range(turns):
        await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait([working], timeout=1)
    assert working.cancelled()
