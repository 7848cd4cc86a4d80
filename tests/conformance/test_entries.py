"""Entry stores through their suite, and that what is written at once is one commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from seafloor.testing.entry_store_suite import EVERYTHING, T0_NS, EntryStoreSuite
from seafloor.testing.entry_worlds import ONE, EntryWorld, MemoryEntryWorld, SqlEntryWorld


class TestMemoryEntryStore(EntryStoreSuite):
    def make_world(self, folder: Path) -> EntryWorld:
        return MemoryEntryWorld(folder)


@pytest.mark.usefixtures("database_kind")
class TestSqlEntryStore(EntryStoreSuite):
    def make_world(self, folder: Path) -> EntryWorld:
        return SqlEntryWorld(folder)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[SqlEntryWorld]:
    world = SqlEntryWorld(tmp_path)
    await world.open()
    yield world
    await world.close()


async def test_write__everything_at_once__is_one_commit(world: SqlEntryWorld) -> None:
    before = world.database.commits
    await world.store.write(ONE, EVERYTHING, updated_ns=T0_NS)
    assert world.database.commits == before + 1
