"""Tasks of one run at a launcher that has yet to deliver what an ended one left."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.gangs import Gangs
from seafloor.domain.workloads import Ending, Task, WorkloadState
from seafloor.launch.protocol import (
    TaskEnded,
    TaskKey,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.testing.metadata_records import create, launched

SPEC = {"tasks": {"worker": {"replicas": 2, "command": "x"}}}
REASON = "Fetching the code failed (git-localize, exit code 128)."
NEVER = TaskEnded(Ending(REASON), delivered=False, started=False)


class Delivering:
    """A launcher whose first task is over, and whose deliveries take until they are let."""

    def __init__(self, first: TaskObservation) -> None:
        self.first = first
        self.let = asyncio.Event()

    async def observe(self, key: TaskKey) -> TaskObservation:
        return self.first if key.task == "worker-0" else TaskPreparing("Waiting for a node.")

    async def salvage(self, _key: TaskKey) -> None:
        await self.let.wait()

    async def keep(self, _key: TaskKey) -> str:
        return ""

    async def stop(self, _key: TaskKey) -> None:
        """Take it."""


@pytest.mark.parametrize(
    ("first", "state"),
    [(NEVER, WorkloadState.FAILED), (TaskLost("It was evicted.", 0, 0), WorkloadState.LOST)],
    ids=["failed", "lost"],
)
async def test_observe__over_before_it_began_and_not_delivered__has_not_begun(
    first: TaskObservation, state: WorkloadState
) -> None:
    metadata, launcher, nobody = MemoryMetadataStore(), Delivering(first), cast("Any", None)
    gangs = Gangs(metadata, cast("Any", launcher), SystemClock())
    run = await create(metadata, launched(spec=SPEC))
    await gangs.let_in(run, nobody)

    async def row() -> Task:
        found = await metadata.task_list([run.id], newest=True)
        return next(one for one in found[run.id] if one.name == "worker-0")

    folded = await gangs.observe(run, nobody)
    assert isinstance(folded.observation, TaskPreparing)
    assert (await row()).started_ns is None
    launcher.let.set()

    async def is_over() -> bool:
        await asyncio.sleep(0)  # the delivery's turn
        folded = await gangs.observe(run, nobody)
        assert isinstance(folded.observation, TaskPreparing)  # the other one lives, to be stopped
        return (await row()).state is state

    async with asyncio.timeout(60):
        while not await is_over():
            pass
    assert (await row()).started_ns is None
    await gangs.close()
