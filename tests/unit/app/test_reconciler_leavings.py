"""What a task left and nobody could deliver: its folder stays, and its user is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.gangs import SALVAGES_MAX
from seafloor.app.reconciler import Reconciler
from seafloor.app.wakeup import Wakeup
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim, lease_of_place
from seafloor.domain.members import MAIN
from seafloor.domain.workloads import Ending, WorkloadState
from seafloor.launch.protocol import TaskEnded, TaskKey, TaskLost
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.testing.metadata_records import T0_NS, create, entering, launched, run_id

ENDING = Ending(exit_code=0)
LEFT = TaskEnded(ENDING, delivered=False, left=True)
REFUSED = TaskEnded(ENDING, delivered=False)
DELIVERED = TaskEnded(ENDING, delivered=True)
LOST = TaskLost("The agent is gone.", 3, 0)
LOST_LEFT = TaskLost("The agent is gone.", 3, 0, left=True)
WORDS = "What it left could not be delivered (The disk is full); it is kept in /there."

Look = TaskEnded | TaskLost


class Folder:
    """A launcher with one task, which after some tries looks otherwise."""

    def __init__(self, look: Look, then: Look) -> None:
        self.look, self.then = look, then
        self.salvaged = 0
        self.forgotten = False
        self.on_salvage: Callable[[], Awaitable[None]] | None = None
        self.kept: list[TaskKey] = []
        self.released: list[TaskKey] = []

    async def observe(self, _key: TaskKey) -> Look:
        return self.look

    async def salvage(self, _key: TaskKey) -> None:
        self.salvaged += 1
        if self.on_salvage is not None:
            await self.on_salvage()
        self.look = self.then

    async def is_forgotten(self, _key: TaskKey) -> bool:
        return self.forgotten

    async def keep(self, key: TaskKey) -> str:
        self.kept.append(key)
        return " (The disk is full); it is kept in /there"

    async def release(self, key: TaskKey) -> None:
        self.released.append(key)


class Ends:
    """Takes the endings of attempts."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def ended(self, *_: object, **__: object) -> None:
        self.said.append("ended")

    async def lost(self, *_: object, **__: object) -> None:
        self.said.append("lost")


def reconciler_of(metadata: MemoryMetadataStore, launcher: Folder, ends: Ends) -> Reconciler:
    nothing = cast("Any", SimpleNamespace())
    return Reconciler(
        metadata,
        cast("Any", ends),
        nothing,
        cast("Any", launcher),
        Wakeup(),
        SystemClock(),
        place=nothing,
        lost_places=nothing,
    )


async def warnings_of(metadata: MemoryMetadataStore, run: WorkloadId) -> list[str]:
    events = await metadata.event_list(run)
    return [event.message for event in events if event.kind == "warning"]


@pytest.mark.parametrize(("look", "end"), [(LEFT, "ended"), (LOST_LEFT, "lost")])
async def test_finish__never_delivered__kept_and_told_before_the_end(look: Look, end: str) -> None:
    metadata, launcher, ends = MemoryMetadataStore(), Folder(look, look), Ends()
    made = await create(metadata, launched())
    lease = await metadata.lease_take(lease_of_place("p"), holder="h", ttl_ns=60 * 10**9)
    claim = Claim("p", lease.fence)
    await metadata.workload_transition(
        made.id, entering(WorkloadState.PREPARING, WorkloadState.QUEUED, claim=claim)
    )
    reconciler, key = reconciler_of(metadata, launcher, ends), TaskKey(made.id, 1, MAIN)
    for _ in range(SALVAGES_MAX):
        assert ends.said == []
        await reconciler._finish(key, look, claim)
    assert (ends.said, launcher.kept, launcher.salvaged) == ([end], [key], SALVAGES_MAX)
    assert await warnings_of(metadata, made.id) == [WORDS]


async def ended_run(metadata: MemoryMetadataStore, state: WorkloadState) -> WorkloadId:
    made = await create(metadata, launched())
    before = WorkloadState.QUEUED
    for entered in (WorkloadState.PREPARING, WorkloadState.RUNNING, state):
        more = {"started_ns": T0_NS + 5} if entered is WorkloadState.RUNNING else {}
        await metadata.workload_transition(made.id, entering(entered, before, **more))
        before = entered
    return made.id


@pytest.mark.parametrize(
    ("state", "look", "then", "passes", "kept"),
    [
        (WorkloadState.SUCCEEDED, DELIVERED, DELIVERED, 1, False),
        (WorkloadState.SUCCEEDED, LEFT, DELIVERED, 1, False),
        (WorkloadState.SUCCEEDED, LEFT, LEFT, SALVAGES_MAX, True),
        # Its agent told of the end, and what came then was refused.
        (WorkloadState.SUCCEEDED, LEFT, REFUSED, 1, True),
        # Given up while it lived: that something may be missing was said then.
        (WorkloadState.LOST, REFUSED, REFUSED, 1, False),
        (WorkloadState.LOST, LOST_LEFT, LOST, 1, False),
        (WorkloadState.LOST, LOST_LEFT, LOST_LEFT, SALVAGES_MAX, True),
    ],
)
async def test_release__task_that_is_over__only_what_was_delivered_is_removed(
    state: WorkloadState, look: Look, then: Look, passes: int, kept: bool
) -> None:
    metadata, launcher = MemoryMetadataStore(), Folder(look, then)
    run = await ended_run(metadata, state)
    reconciler, key = reconciler_of(metadata, launcher, Ends()), TaskKey(run, 1, MAIN)
    for _ in range(passes):
        assert (launcher.kept, launcher.released) == ([], [])
        await reconciler._release(key)
    assert launcher.kept == ([key] if kept else [])
    assert launcher.released == ([] if kept else [key])
    assert await warnings_of(metadata, run) == ([WORDS] if kept else [])


async def test_release__run_that_was_purged__removed_though_not_delivered() -> None:
    metadata, launcher = MemoryMetadataStore(), Folder(LEFT, REFUSED)
    launcher.forgotten = True
    key = TaskKey(run_id(7), 1, MAIN)
    await reconciler_of(metadata, launcher, Ends())._release(key)
    assert (launcher.kept, launcher.released) == ([], [key])


async def test_release__records_are_brought_back_while_it_is_delivered__stays() -> None:
    """It was refused then, since nobody knew the run: what it left is nowhere else."""
    metadata, launcher = MemoryMetadataStore(), Folder(LEFT, REFUSED)
    run = await ended_run(metadata, WorkloadState.SUCCEEDED)

    async def records_go() -> None:
        await metadata.workload_set_deleted(run, deleted_ns=T0_NS)
        await metadata.workload_purge(run)

    launcher.on_salvage = records_go
    key = TaskKey(run, 1, MAIN)
    await reconciler_of(metadata, launcher, Ends())._release(key)
    assert (launcher.salvaged, launcher.kept, launcher.released) == (1, [], [])
