"""Followers of a log that stand at the same place read once."""

from __future__ import annotations

import asyncio

import pytest

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.logs.page import PageQuery, follow_query
from seafloor.stores.logs.signals import Follower, Signals
from seafloor.testing.log_spools import log_key

KEY = log_key()


class Reads:
    """Counts reads; each waits until it may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.may_end = asyncio.Event()

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number

    def asked(self, follower: Follower[int], query: PageQuery) -> asyncio.Task[int]:
        return asyncio.create_task(follower.read(query, self.read))


async def turn() -> None:
    """Let every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_read__by_many_at_one_place__is_done_once() -> None:
    signals, reads, query = Signals[int](), Reads(), follow_query(5)
    with signals.listen(KEY) as one, signals.listen(KEY) as other, signals.listen(KEY) as late:
        asked = [reads.asked(one, query), reads.asked(other, query)]
        await turn()
        reads.may_end.set()
        assert await asyncio.gather(*asked) == [1, 1]
        assert await reads.asked(late, query) == 1
        assert await reads.asked(late, follow_query(6)) == 2
    assert len(signals) == 0


async def test_read__after_a_change__is_done_anew() -> None:
    """What was begun before a change may not know it."""
    signals, reads, query = Signals[int](), Reads(), follow_query(5)
    with signals.listen(KEY) as one, signals.listen(KEY) as other:
        before = reads.asked(one, query)
        await turn()
        signals.ring(KEY)
        after = reads.asked(other, query)
        await turn()
        reads.may_end.set()
        assert (await before, await after) == (1, 2)


async def test_read__that_failed__is_tried_again() -> None:
    signals, reads, query = Signals[int](), Reads(), follow_query(5)

    async def fail() -> int:
        raise StoreUnavailable("It is away.")

    reads.may_end.set()
    with signals.listen(KEY) as one, signals.listen(KEY) as other:
        with pytest.raises(StoreUnavailable):
            await one.read(query, fail)
        assert await reads.asked(other, query) == 1


async def test_read__when_one_leaves__goes_on_for_the_others() -> None:
    signals, reads, query = Signals[int](), Reads(), follow_query(5)
    with signals.listen(KEY) as one, signals.listen(KEY) as other:
        leaving, staying = reads.asked(one, query), reads.asked(other, query)
        await turn()
        leaving.cancel()
        await turn()
        reads.may_end.set()
        assert await staying == 1


async def test_read__when_all_left__is_ended() -> None:
    signals, reads = Signals[int](), Reads()
    with signals.listen(KEY) as one:
        leaving = reads.asked(one, follow_query(5))
        await turn()
        leaving.cancel()
        await turn()
        assert reads.cancelled == 0
    await turn()
    assert (reads.begun, reads.cancelled) == (1, 1)
