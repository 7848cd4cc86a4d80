"""Tasks that the records do not know: they were brought back from a backup that is older."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from seafloor.app import strangers as module
from seafloor.app.clock import SystemClock
from seafloor.app.reconciler import Reconciler
from seafloor.app.wakeup import Wakeup
from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import Ending, WorkloadState
from seafloor.launch.protocol import (
    TaskAbsent,
    TaskAlive,
    TaskEnded,
    TaskKey,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.testing.metadata_records import create, entering, launched, run_id

REFUSED = TaskEnded(Ending(exit_code=0), delivered=False)
ENDED = TaskEnded(Ending(exit_code=0), delivered=False, left=True)
LOST = TaskLost("The agent is gone.", 3, 0)


class Launcher:
    """A launcher with one task; notes what is done to it."""

    def __init__(self, look: TaskObservation) -> None:
        self.look = look
        self.forgotten: set[TaskKey] = set()
        self.looked = 0
        self.done: list[str] = []

    async def observe(self, _key: TaskKey) -> TaskObservation:
        self.looked += 1
        return self.look

    async def is_forgotten(self, key: TaskKey) -> bool:
        return key in self.forgotten

    def whereabouts(self, _key: TaskKey) -> str:
        return "/work/there"

    async def stop(self, _key: TaskKey) -> None:
        self.done.append("stop")

    async def salvage(self, _key: TaskKey) -> None:
        self.done.append("salvage")

    async def release(self, _key: TaskKey) -> None:
        self.done.append("release")


def reconciler_of(metadata: MemoryMetadataStore, launcher: Launcher) -> Reconciler:
    nothing = cast("Any", SimpleNamespace())
    return Reconciler(
        metadata,
        nothing,
        nothing,
        cast("Any", launcher),
        Wakeup(),
        SystemClock(),
        place=nothing,
        lost_places=nothing,
    )


async def ended(metadata: MemoryMetadataStore) -> WorkloadId:
    """A run that failed, with one attempt."""
    made = await create(metadata, launched())
    before = WorkloadState.QUEUED
    for state in (WorkloadState.PREPARING, WorkloadState.RUNNING, WorkloadState.FAILED):
        await metadata.workload_transition(made.id, entering(state, before))
        before = state
    return made.id


@pytest.mark.parametrize("look", [TaskAlive(), TaskPreparing("It waits."), ENDED, LOST])
@pytest.mark.parametrize("of_run", [True, False])
async def test_release__no_records_of_it__nothing_is_done_to_it_and_it_is_said_once(
    look: TaskObservation, *, of_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata, launcher = MemoryMetadataStore(), Launcher(look)
    key = TaskKey(await ended(metadata), 2) if of_run else TaskKey(run_id(7), 1)
    reconciler = reconciler_of(metadata, launcher)
    with structlog.testing.capture_logs() as logged:
        for seconds in (1000.0, 1001.0, 1002.0, 1020.0):
            monkeypatch.setattr(module, "boot_time_s", lambda now_s=seconds: now_s)
            await reconciler._release(key)
    assert launcher.done == []
    assert launcher.looked == 2  # a lost one's whole spool is read for it
    (said,) = logged
    assert (said["run_id"], said["where"]) == (key.workload_id, "/work/there")


@pytest.mark.parametrize(
    ("look", "done"), [(TaskAlive(), ["stop"]), (REFUSED, ["salvage", "release"])]
)
async def test_release__its_run_was_purged_and_the_server_killed__it_goes(
    look: TaskObservation, done: list[str]
) -> None:
    launcher, key = Launcher(look), TaskKey(run_id(7), 1)
    launcher.forgotten.add(key)
    await reconciler_of(MemoryMetadataStore(), launcher)._release(key)
    assert launcher.done == done


@pytest.mark.parametrize("look", [TaskAbsent(), TaskEnded(Ending(exit_code=0), delivered=True)])
async def test_release__no_records_and_nothing_that_is_nowhere_else__it_goes(
    look: TaskObservation,
) -> None:
    """As of a run that was purged at another server just when it had ended."""
    launcher = Launcher(look)
    await reconciler_of(MemoryMetadataStore(), launcher)._release(TaskKey(run_id(7), 1))
    assert launcher.done == ["release"]


async def test_release__its_records_are_back__it_has_its_step() -> None:
    metadata, launcher = MemoryMetadataStore(), Launcher(ENDED)
    key = TaskKey(run_id(1), 1)
    reconciler = reconciler_of(metadata, launcher)
    assert await reconciler._strangers.has(key)
    await create(metadata, launched(1))
    reconciler._strangers.keep(())
    assert not await reconciler._strangers.has(key)


async def test_release__no_records_of_several_tasks__one_that_ended_waits_for_the_others() -> None:
    launcher = Launcher(TaskEnded(Ending(exit_code=0), delivered=True))
    key = TaskKey(run_id(7), 1, "worker-0")
    await reconciler_of(MemoryMetadataStore(), launcher)._release(key)
    assert launcher.done == []
