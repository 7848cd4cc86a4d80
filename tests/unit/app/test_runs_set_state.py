"""A client's word on the state of its run, which goes on at the same moment."""

from __future__ import annotations

from typing import Any, cast

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.runs import RunChange, Runs, RunStores
from seafloor.app.wakeup import Wakeup
from seafloor.domain.errors import Conflict
from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import Workload, WorkloadState
from seafloor.stores.entries.memory import MemoryEntryStore
from seafloor.stores.entries.protocol import Entries
from seafloor.stores.events.memory import MemoryEventFileStore
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.stores.metadata.protocol import Transition
from seafloor.stores.metrics.memory import MemoryMetricStore
from seafloor.testing.metadata_records import create, entering, run

RUNNING, SUCCEEDED = WorkloadState.RUNNING, WorkloadState.SUCCEEDED
FAILED, STOPPED = WorkloadState.FAILED, WorkloadState.STOPPED


class Overtaken(MemoryMetadataStore):
    """A store in which a run goes on between the look at it and its change.

    Attributes:
        steps: Where it goes on to, one before each change.
    """

    def __init__(self, *steps: WorkloadState) -> None:
        super().__init__()
        self.steps = list(steps)

    async def overtake(self, workload_id: WorkloadId) -> None:
        if self.steps:
            found = await self.workload_get(workload_id)
            step = entering(self.steps.pop(0), found.state)
            await super().workload_transition(workload_id, step)

    async def workload_transition(
        self, workload_id: WorkloadId, transition: Transition
    ) -> Workload:
        await self.overtake(workload_id)
        return await super().workload_transition(workload_id, transition)


class OvertakenEntries(MemoryEntryStore):
    """The same where a change comes with other entries."""

    def __init__(self, metadata: Overtaken) -> None:
        super().__init__(metadata, MemoryMetricStore())
        self._overtaken = metadata

    async def write(self, workload_id: WorkloadId, entries: Entries, *, updated_ns: int) -> None:
        await self._overtaken.overtake(workload_id)
        await super().write(workload_id, entries, updated_ns=updated_ns)


def runs_of(metadata: Overtaken) -> Runs:
    nothing = cast("Any", None)
    stores = RunStores(
        metadata=metadata,
        metrics=nothing,
        logs=nothing,
        artifacts=nothing,
        event_files=MemoryEventFileStore(MemoryMetricStore()),
        media=nothing,
        entries=OvertakenEntries(metadata),
    )
    return Runs(stores, nothing, SystemClock(), Wakeup())


@pytest.mark.parametrize(
    ("steps", "asked", "state"),
    [
        ([SUCCEEDED], SUCCEEDED, SUCCEEDED),
        ([STOPPED], SUCCEEDED, STOPPED),
        ([WorkloadState.STOPPING], SUCCEEDED, SUCCEEDED),
    ],
    ids=["to the same end", "to another end", "on its way to an end"],
)
async def test_set_state__of_a_run_that_goes_on_meanwhile__is_answered(
    steps: list[WorkloadState], asked: WorkloadState, state: WorkloadState
) -> None:
    metadata = Overtaken(*steps)
    made = await create(metadata, run())

    told = await runs_of(metadata).set_state(made.id, asked, ended_ns=5)

    assert told.state is state
    assert await metadata.workload_get(made.id) == told
    assert metadata.steps == []


async def test_set_state__of_a_run_that_has_ended__leaves_it_as_it_ended() -> None:
    metadata = Overtaken()
    made = await create(metadata, run())
    ended = await runs_of(metadata).set_state(made.id, STOPPED, ended_ns=5)
    assert ended.ended_ns == 5
    for state in (SUCCEEDED, FAILED, STOPPED):
        assert await runs_of(metadata).set_state(made.id, state, ended_ns=9) == ended


async def test_set_state__refused_though_nothing_changed__is_told() -> None:
    metadata = Overtaken()
    made = await create(metadata, run())
    with pytest.raises(Conflict, match="cannot become preparing"):
        await runs_of(metadata).set_state(made.id, WorkloadState.PREPARING)


async def test_update__to_a_state_that_is_reached_meanwhile__writes_the_rest() -> None:
    metadata = Overtaken(SUCCEEDED)
    made = await create(metadata, run())
    change = RunChange(state=SUCCEEDED, name="new", params={"x": "1"})

    changed = await runs_of(metadata).update(made.id, change)

    assert (changed.state, changed.name) == (SUCCEEDED, "new")
    assert (await metadata.labels_get([made.id]))[made.id].params == {"x": "1"}


async def test_update__to_another_end_than_came_meanwhile__writes_nothing() -> None:
    metadata = Overtaken(STOPPED)
    made = await create(metadata, run())
    change = RunChange(state=SUCCEEDED, name="new", params={"x": "1"})

    with pytest.raises(Conflict, match="cannot become succeeded"):
        await runs_of(metadata).update(made.id, change)

    assert (await metadata.workload_get(made.id)).name == made.name
    assert (await metadata.labels_get([made.id]))[made.id].params == {}
