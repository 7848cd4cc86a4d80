"""Who is let in to a database that has stopped answering, and who waits."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.metadata.sql import flow
from seafloor.stores.metadata.sql.database import READERS, Database
from seafloor.stores.metadata.sql.flow import STALLED_S, Flow


class Clock:
    """Goes on when told to."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_enter__nothing_comes_out__refused_until_something_does() -> None:
    clock = Clock()
    two = Flow(at_once=2, clock_s=clock)
    for _ in range(2):
        two.enter()
    clock.now_s += STALLED_S
    two.enter()  # waits
    clock.now_s += 0.1
    with pytest.raises(StoreUnavailable) as told:
        two.enter()
    assert told.value.retry_after_s
    two.leave()
    two.enter()


def test_enter__after_a_long_rest__counts_from_then() -> None:
    clock = Clock()
    two = Flow(at_once=2, clock_s=clock)
    for _ in range(3):
        clock.now_s += 1_000
        for _ in range(4):
            two.enter()
        two.leave(4)


def test_enter__one_of_two_takes_long__the_other_place_is_free() -> None:
    clock = Clock()
    two = Flow(at_once=2, clock_s=clock)
    two.enter()
    clock.now_s += 10 * STALLED_S
    for _ in range(3):
        two.enter()
        two.leave()


def test_check_turn__after_waiting_too_long__refused() -> None:
    clock = Clock()
    one = Flow(at_once=1, clock_s=clock)
    entered_s = one.now_s()
    clock.now_s += STALLED_S
    one.check_turn(entered_s)
    clock.now_s += 0.1
    with pytest.raises(StoreUnavailable):
        one.check_turn(entered_s)


async def test_database__hangs__who_comes_is_told_and_it_goes_on_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers and the writer stand still; others are told, those that left are counted out."""
    database = Database(f"sqlite:///{tmp_path}/seafloor.db")
    go_on = threading.Event()
    standing = threading.Semaphore(0)

    def stand(connection: Connection) -> str:
        standing.release()
        assert go_on.wait(60)
        return "done"

    reads = [asyncio.create_task(database.read(stand)) for _ in range(READERS)]
    write = asyncio.create_task(database.write(stand))
    for _ in range(READERS + 1):
        assert await asyncio.to_thread(standing.acquire, timeout=60)
    waiting = asyncio.create_task(database.read(lambda _: "late"))
    left = asyncio.create_task(database.read(lambda _: "nobody waits"))
    await asyncio.sleep(0)  # both have come in
    left.cancel()
    monkeypatch.setattr(flow, "STALLED_S", -1.0)
    for call in (database.read, database.write):
        with pytest.raises(StoreUnavailable):
            await call(lambda _: "new")
    go_on.set()
    assert [await one for one in (*reads, write)] == ["done"] * (READERS + 1)
    with pytest.raises(StoreUnavailable):
        await waiting
    monkeypatch.undo()
    assert await database.read(lambda _: "again") == "again"
    assert await database.write(lambda _: "again") == "again"
    await database.close()
