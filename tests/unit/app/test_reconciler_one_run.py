"""What is wrong with one run is no reason for the others to wait."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.reconciler import Reconciler
from seafloor.app.wakeup import Wakeup
from seafloor.domain.errors import (
    ClusterUnavailable,
    Conflict,
    SeafloorError,
    StoreUnavailable,
)
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim, lease_of_place
from seafloor.domain.workloads import Workload, WorkloadState
from seafloor.launch.protocol import TaskAlive, TaskKey
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.testing.metadata_records import create, entering, launched, run_id

WORDS = "Looking at a task: its folder cannot be used (Permission denied)."


class Launcher:
    """Some of its tasks cannot be looked at."""

    def __init__(self, *broken: WorkloadId) -> None:
        self.broken = broken
        self.looked: list[WorkloadId] = []
        self.listed = 0

    async def observe(self, key: TaskKey) -> TaskAlive:
        self.looked.append(key.workload_id)
        if key.workload_id in self.broken:
            raise StoreUnavailable(WORDS)
        return TaskAlive()

    async def tasks(self) -> tuple[TaskKey, ...]:
        self.listed += 1
        return ()


async def running(metadata: MemoryMetadataStore, number: int, claim: Claim) -> WorkloadId:
    made = await create(metadata, launched(number))
    before = WorkloadState.QUEUED
    for entered in (WorkloadState.PREPARING, WorkloadState.RUNNING):
        await metadata.workload_transition(made.id, entering(entered, before, claim=claim))
        before = entered
    return made.id


async def world(launcher: Launcher) -> tuple[Reconciler, list[WorkloadId]]:
    metadata = MemoryMetadataStore()
    lease = await metadata.lease_take(lease_of_place("p"), holder="h", ttl_ns=60 * 10**9)
    claim = Claim("p", lease.fence)
    runs = [await running(metadata, number, claim) for number in (1, 2, 3)]

    async def look(_others: object) -> None:
        return None

    place = SimpleNamespace(
        holder=SimpleNamespace(newest=lease), claim=claim, has=lambda _attempt: True, problem=None
    )
    nothing = cast("Any", SimpleNamespace())
    made = Reconciler(
        metadata,
        nothing,
        nothing,
        cast("Any", launcher),
        Wakeup(),
        SystemClock(),
        place=cast("Any", place),
        lost_places=cast("Any", SimpleNamespace(look=look)),
    )
    return made, runs


async def test_pass__one_run_cannot_be_looked_at__the_others_have_their_step_and_it_is_told() -> (
    None
):
    launcher = Launcher(run_id(1))
    reconciler, runs = await world(launcher)
    await reconciler._guarded_pass()
    assert sorted(launcher.looked) == sorted(runs)
    assert launcher.listed == 1
    assert reconciler.problem == WORDS
    launcher.broken = ()
    await reconciler._guarded_pass()
    assert reconciler.problem is None


async def test_pass__one_run_is_slow_to_look_at_and_fails__the_others_have_their_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where its folder is on a network's disk that is away: that says nothing of the others."""
    launcher = Launcher(run_id(1))
    reconciler, runs = await world(launcher)
    monkeypatch.setattr(
        time, "clock_gettime", lambda _: time.monotonic() + 15 * len(launcher.looked)
    )
    await reconciler._guarded_pass()
    assert sorted(launcher.looked) == sorted(runs)
    assert reconciler.problem == WORDS


@pytest.mark.parametrize("error", [ClusterUnavailable(WORDS), StoreUnavailable(WORDS)])
async def test_pass__the_cluster_or_the_database_is_away__the_pass_ends(
    error: SeafloorError,
) -> None:
    """However soon it says so: the next of a thousand runs may have to wait for it."""
    launcher = Launcher()
    reconciler, _ = await world(launcher)
    told: list[WorkloadId] = []

    async def watch(workload: Workload, *_: object) -> None:
        told.append(workload.id)
        raise error

    reconciler._watch = cast("Any", watch)
    await reconciler._guarded_pass()
    assert len(told) == 1
    assert launcher.listed == 0
    assert reconciler.problem == WORDS


async def test_pass__a_run_that_is_refused_something__the_others_have_their_step() -> None:
    launcher = Launcher()
    reconciler, runs = await world(launcher)
    told: list[WorkloadId] = []

    async def watch(workload: Workload, *_: object) -> None:
        told.append(workload.id)
        raise Conflict(WORDS)

    reconciler._watch = cast("Any", watch)
    await reconciler._guarded_pass()
    assert sorted(told) == sorted(runs)
    assert reconciler.problem == WORDS


async def test_pass__a_run_that_is_being_started_is_in_no_record_any_more__it_is_given_up() -> None:
    """Records of before it were brought back: the pass failed until the preparation was over."""
    launcher = Launcher()
    reconciler, _ = await world(launcher)
    await reconciler._guarded_pass()
    start = reconciler._starting[run_id(9)] = cast(
        "Any", asyncio.create_task(asyncio.Event().wait())
    )
    await reconciler._guarded_pass()
    assert launcher.listed == 2
    with pytest.raises(asyncio.CancelledError):
        await start
    assert reconciler.problem is None
