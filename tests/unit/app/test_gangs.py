"""Distributed runs as the reconciler sees them: what tasks left is delivered before they end."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.gangs import SALVAGES_MAX, Gangs
from seafloor.domain.errors import StoreUnavailable
from seafloor.domain.leases import Claim, lease_of_place
from seafloor.domain.workloads import Ending, Task, WorkloadState
from seafloor.launch.protocol import Launcher, TaskEnded, TaskKey, TaskLost, TaskObservation
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.testing.metadata_records import create, entering, launched, run_id

TASKS = {"worker": {"replicas": 1, "command": "x"}}
ENDED = TaskEnded(Ending(exit_code=0), delivered=True)
UNDELIVERED = TaskEnded(Ending(exit_code=0), delivered=False)
LEFT = TaskLost("The agent is gone.", 3, 10)
NOTHING_LEFT = TaskLost("The agent is gone.", 3, 0)


class Leaving:
    """A launcher of a task that ended, and that not every try delivers the rest of."""

    def __init__(self, look: TaskObservation, *, tries_needed: int | None, then: object) -> None:
        self.look, self.then = look, then
        self.tries_needed = tries_needed
        self.tries = 0

    async def observe(self, key: TaskKey) -> TaskObservation:
        done = self.tries_needed is not None and self.tries >= self.tries_needed
        return cast("TaskObservation", self.then) if done else self.look

    async def salvage(self, key: TaskKey) -> None:
        self.tries += 1
        if self.tries != self.tries_needed:
            raise StoreUnavailable("The disk is full.")

    async def keep(self, key: TaskKey) -> str:
        return " (The disk is full); it is kept in /there"


@pytest.mark.parametrize(
    ("launcher", "tries", "state"),
    [
        (Leaving(UNDELIVERED, tries_needed=3, then=ENDED), 3, WorkloadState.SUCCEEDED),
        (Leaving(UNDELIVERED, tries_needed=None, then=None), SALVAGES_MAX, WorkloadState.SUCCEEDED),
        (Leaving(LEFT, tries_needed=3, then=NOTHING_LEFT), 3, WorkloadState.LOST),
        (Leaving(NOTHING_LEFT, tries_needed=1, then=NOTHING_LEFT), 1, WorkloadState.LOST),
    ],
)
async def test_observe__what_a_task_left_is_not_delivered_at_once__it_is_tried_again(
    launcher: Leaving, tries: int, state: WorkloadState
) -> None:
    metadata = MemoryMetadataStore()
    await create(metadata, launched(1, spec={"name": "several", "tasks": TASKS}))
    lease = await metadata.lease_take(lease_of_place("p"), holder="h", ttl_ns=60 * 10**9)
    claim = Claim("p", lease.fence)
    preparing = entering(WorkloadState.PREPARING, WorkloadState.QUEUED, claim=claim)
    workload = await metadata.workload_transition(run_id(1), preparing)
    gangs = Gangs(metadata, cast("Launcher", launcher), SystemClock())
    await gangs.let_in(workload, claim)

    async def row() -> Task:
        (found,) = (await metadata.task_list([run_id(1)], newest=True))[run_id(1)]
        return found

    async with asyncio.timeout(30):
        while not (await row()).state.is_final:
            await gangs.observe(workload, claim)
            await asyncio.sleep(0)
    assert (launcher.tries, (await row()).state) == (tries, state)
    await gangs.close()
    events = await metadata.event_list(run_id(1))
    said = [event.message for event in events if event.kind == "warning"]
    words = (
        "worker-0: What it left could not be delivered (The disk is full); it is kept in /there."
    )
    assert said == ([words] if launcher.tries_needed is None else [])
