"""Tasks that live though their run has ended: which are stopped, and which may finish."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest import mock

import pytest
import structlog

from seafloor.app.clock import SystemClock
from seafloor.app.reconciler import Reconciler
from seafloor.app.wakeup import Wakeup
from seafloor.domain.errors import ClusterUnavailable
from seafloor.domain.members import MAIN
from seafloor.domain.workloads import WorkloadState
from seafloor.launch.protocol import TaskAbsent, TaskAlive, TaskKey, TaskPreparing
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.testing.metadata_records import T0_NS, create, entering, launched

Observed = TaskAlive | TaskPreparing
QUEUED, PREPARING = WorkloadState.QUEUED, WorkloadState.PREPARING
RUNNING, STOPPING, STOPPED = WorkloadState.RUNNING, WorkloadState.STOPPING, WorkloadState.STOPPED


class OneTask:
    """A launcher that sees one task, and notes which are stopped."""

    def __init__(self, key: TaskKey, observed: Observed) -> None:
        self._key, self._observed = key, observed
        self.stopped: list[TaskKey] = []
        self.released: list[TaskKey] = []

    async def tasks(self) -> tuple[TaskKey, ...]:
        return (self._key,)

    async def observe(self, key: TaskKey) -> Observed:
        assert key == self._key
        return self._observed

    async def stop(self, key: TaskKey) -> None:
        self.stopped.append(key)

    async def release(self, key: TaskKey) -> None:
        self.released.append(key)


class GoneAtOnce:
    """A launcher whose task waits for a node until it is stopped, and then is there no more."""

    def __init__(self) -> None:
        self._is_there = True

    async def observe(self, _key: TaskKey) -> TaskPreparing | TaskAbsent:
        return TaskPreparing("Waiting.") if self._is_there else TaskAbsent("Somebody deleted it.")

    async def stop(self, _key: TaskKey) -> None:
        self._is_there = False


def reconciler_of(
    metadata: MemoryMetadataStore, launcher: object, *, tasks: object = None
) -> Reconciler:
    nothing = cast("Any", None)
    return Reconciler(
        metadata,
        cast("Any", tasks),
        nothing,
        cast("Any", launcher),
        Wakeup(),
        SystemClock(),
        place=nothing,
        lost_places=nothing,
    )


@pytest.mark.parametrize(
    ("way", "observed", "stopped"),
    [
        # It was stopped while its pod was being made, and the pod runs all the same.
        ([PREPARING, STOPPING, STOPPED], TaskAlive(), True),
        ([PREPARING, STOPPING, STOPPED], TaskPreparing("The node has no GPU."), True),
        # It ran and was stopped: what it printed last is still on its way.
        ([PREPARING, RUNNING, STOPPING, STOPPED], TaskAlive(), False),
        ([PREPARING, RUNNING, WorkloadState.SUCCEEDED], TaskAlive(), False),
        ([PREPARING, RUNNING, WorkloadState.LOST], TaskAlive(), True),
        ([PREPARING, RUNNING], TaskAlive(), False),
    ],
)
async def test_task__that_lives_after_its_run__is_stopped_if_nobody_waits_for_it(
    way: list[WorkloadState], observed: Observed, stopped: bool
) -> None:
    metadata = MemoryMetadataStore()
    made = await create(metadata, launched())
    before = QUEUED
    for state in way:
        more = {"started_ns": T0_NS + 5} if state is RUNNING else {}
        await metadata.workload_transition(made.id, entering(state, before, **more))
        before = state
    key = TaskKey(made.id, 1, MAIN)
    launcher = OneTask(key, observed)
    await reconciler_of(metadata, launcher)._release(key)
    assert launcher.stopped == ([key] if stopped else [])
    assert launcher.released == []


async def test_stop__of_a_task_that_goes_at_once__ends_the_run_as_stopped() -> None:
    """It was taken for one that somebody else had deleted, and so lost, if it was quick enough."""
    metadata, tasks = MemoryMetadataStore(), mock.AsyncMock()
    made = await create(metadata, launched())
    for before, state in ((QUEUED, PREPARING), (PREPARING, STOPPING)):
        await metadata.workload_transition(made.id, entering(state, before))
    reconciler = reconciler_of(metadata, GoneAtOnce(), tasks=tasks)
    key, claim = TaskKey(made.id, 1, MAIN), cast("Any", None)
    for _ in range(2):
        await reconciler._see_to_stop(await metadata.workload_get(made.id), key, claim)
        await asyncio.gather(*reconciler._finishing.values())
    tasks.lost.assert_not_called()
    assert (await metadata.workload_get(made.id)).state is STOPPED


async def test_pass__a_failure_lasts__is_told_all_the_time_and_logged_once() -> None:
    """A pass is made every second or two, and a cluster is away for hours."""
    reconciler = reconciler_of(MemoryMetadataStore(), None)
    with (
        mock.patch.object(reconciler, "reconcile") as reconcile,
        structlog.testing.capture_logs() as logged,
    ):
        for message in ("away", "away", "refused", None, "refused"):
            reconcile.side_effect = None if message is None else ClusterUnavailable(message)
            await reconciler._guarded_pass()
            assert reconciler.problem == message
    assert [one["log_level"] for one in logged] == ["warning"] * 3
