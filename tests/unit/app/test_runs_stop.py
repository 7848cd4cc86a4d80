"""Stopping a run that goes on at the same moment."""

from __future__ import annotations

from typing import Any, cast

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.runs import Runs, RunStores
from seafloor.app.wakeup import Wakeup
from seafloor.domain.errors import Conflict
from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import Workload, WorkloadState
from seafloor.stores.logs.memory import MemoryLogStore
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.stores.metadata.protocol import Transition
from seafloor.testing.metadata_records import create, entering, launched

QUEUED, PREPARING = WorkloadState.QUEUED, WorkloadState.PREPARING
RUNNING, STOPPING = WorkloadState.RUNNING, WorkloadState.STOPPING
ENDED = WorkloadState.SUCCEEDED


class Overtaken(MemoryMetadataStore):
    """A store in which a run goes on between a stop's look and its change.

    Attributes:
        steps: Where it goes on to, one before each change.
    """

    def __init__(self, *steps: WorkloadState) -> None:
        super().__init__()
        self.steps = list(steps)

    async def workload_transition(
        self, workload_id: WorkloadId, transition: Transition
    ) -> Workload:
        if self.steps:
            found = await self.workload_get(workload_id)
            step = entering(self.steps.pop(0), found.state)
            await super().workload_transition(workload_id, step)
        return await super().workload_transition(workload_id, transition)


def runs_of(metadata: MemoryMetadataStore) -> Runs:
    nothing = cast("Any", None)
    stores = RunStores(metadata, nothing, MemoryLogStore(), nothing, nothing, nothing, nothing)
    return Runs(stores, nothing, SystemClock(), Wakeup())


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([], WorkloadState.STOPPED),
        ([PREPARING], STOPPING),
        ([PREPARING, RUNNING], STOPPING),
        ([PREPARING, RUNNING, ENDED], ENDED),
    ],
)
async def test_stop__of_a_run_that_goes_on_meanwhile__stops_it_or_finds_it_ended(
    steps: list[WorkloadState], state: WorkloadState
) -> None:
    metadata = Overtaken(*steps)
    made = await create(metadata, launched())

    stopped = await runs_of(metadata).stop(made.id)

    assert stopped.state is state
    assert (await metadata.workload_get(made.id)).state is state
    assert metadata.steps == []


async def test_stop__refused_though_nothing_changed__is_told() -> None:
    class Refusing(MemoryMetadataStore):
        async def workload_transition(
            self, workload_id: WorkloadId, transition: Transition
        ) -> Workload:
            raise Conflict("no")

    metadata = Refusing()
    made = await create(metadata, launched())
    with pytest.raises(Conflict, match="no"):
        await runs_of(metadata).stop(made.id)
