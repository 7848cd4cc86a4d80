"""What metadata stores that outlive their process must survive. Subclass it too."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

from seafloor.domain.search import WorkloadQuery
from seafloor.testing.killed_child import run_until_killed
from seafloor.testing.metadata_cases import MetadataStoreCases
from seafloor.testing.metadata_records import create, run, run_id
from seafloor.testing.metadata_run_cases import everything_of, fill_run
from seafloor.testing.metadata_store_child import EVENTS, check_run, number_of
from seafloor.testing.process_facts import open_files_below

_CHILD = "seafloor.testing.metadata_store_child"
_RUNS_PER_PROCESS = 25


class DurableMetadataStoreSuite(MetadataStoreCases):
    """Restarts, kills, several processes.

    ``factory`` names ``make_store`` for other processes, as ``module:function``.
    """

    factory: ClassVar[str]

    async def test_restart__everything__is_there(self, tmp_path: Path) -> None:
        store = await self.make_store(tmp_path)
        await fill_run(store, 1)
        before = await everything_of(store, 1)
        await store.close()
        store = await self.make_store(tmp_path)
        assert await everything_of(store, 1) == before
        await store.close()

    async def test_kill__many_writes_under_way__nothing_acknowledged_is_lost(
        self, tmp_path: Path
    ) -> None:
        await (await self.make_store(tmp_path)).close()
        said = await asyncio.to_thread(
            run_until_killed, _CHILD, [self.factory, str(tmp_path), "1", "100000"], after_lines=300
        )
        store = await self.make_store(tmp_path)
        for line in said:
            await check_run(store, line)
        # What was not acknowledged is there whole or not at all.
        page = await store.workload_search(WorkloadQuery(limit=50_000))
        labels = await store.labels_get([found.id for found in page.items])
        for found in page.items:
            events = await store.event_list(found.id)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert len(labels[found.id].params) in {1, 3}
        await create(store, run(1))  # and it goes on
        await store.close()

    async def test_processes__two_writing_and_one_reading__all_is_there_once(
        self, tmp_path: Path
    ) -> None:
        store = await self.make_store(tmp_path)
        children = [self._start_child(tmp_path, name) for name in (1, 2)]
        seen = 0
        while any(child.poll() is None for child in children):
            page = await store.workload_search(WorkloadQuery(limit=50_000))
            assert len(page.items) >= seen  # what was seen stays
            seen = len(page.items)
        for child in children:
            out, err = child.communicate()
            assert child.returncode == 0, err.decode()
            for line in out.decode().splitlines():
                await check_run(store, line)
        page = await store.workload_search(WorkloadQuery(limit=50_000))
        assert {found.id for found in page.items} == {
            run_id(number_of(name, count))
            for name in (1, 2)
            for count in range(1, _RUNS_PER_PROCESS + 1)
        }
        for found in page.items:
            events = await store.event_list(found.id)
            assert [event.sequence for event in events] == list(range(1, EVENTS + 2))
        await store.close()

    async def test_close__nothing_is_left_open(self, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        store = await self.make_store(tmp_path)
        await asyncio.gather(*(create(store, run(number)) for number in range(1, 9)))
        await asyncio.gather(*(store.workload_get(run_id(number)) for number in range(1, 9)))
        assert self.held_open(tmp_path)
        await store.close()
        assert self.held_open(tmp_path) == []
        left = {thread.name for thread in set(threading.enumerate()) - before}
        assert {name for name in left if not name.startswith("asyncio")} == set()
        again = await self.make_store(tmp_path)  # nobody holds a lock on it either
        await create(again, run(9))
        await again.close()

    async def test_close__writes_wait__all_are_finished_first(self, tmp_path: Path) -> None:
        store = await self.make_store(tmp_path)
        waiting = [asyncio.ensure_future(create(store, run(number))) for number in range(1, 30)]
        await asyncio.sleep(0)  # all of them have begun
        await store.close()
        made = await asyncio.gather(*waiting)
        store = await self.make_store(tmp_path)
        for one in made:
            assert await store.workload_get(one.id) == one
        await store.close()

    def held_open(self, folder: Path) -> list[str]:
        """What this process holds open of the store's: files, or connections."""
        return [str(path) for path in open_files_below(folder)]

    def _start_child(self, folder: Path, name: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                _CHILD,
                self.factory,
                str(folder),
                str(name),
                str(_RUNS_PER_PROCESS),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
