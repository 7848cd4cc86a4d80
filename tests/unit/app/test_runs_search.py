"""A page of runs, of which some go while it is put together."""

from __future__ import annotations

from typing import Any, cast

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.runs import Runs, RunStores
from seafloor.app.wakeup import Wakeup
from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.search import WorkloadQuery
from seafloor.domain.workloads import Workload
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.stores.metadata.protocol import WorkloadPage
from seafloor.stores.metrics.memory import MemoryMetricStore
from seafloor.testing.metadata_records import T0_NS, create, experiment, run, run_id


class Removed(MemoryMetadataStore):
    """A store whose project ``p`` is deleted, with its run 2, right after that was found."""

    async def make(self, *, alone: bool) -> None:
        await self.project_create("p", created_ns=T0_NS)
        made = await self.experiment_create(experiment(project="p"))
        await create(self, run(2, project="p", experiment_id=made.id))
        if not alone:
            await create(self, run(1))

    async def _remove(self) -> None:
        await self.workload_set_deleted(run_id(2), deleted_ns=T0_NS)
        await self.workload_purge(run_id(2))
        await self.project_delete("p", with_experiments=True)

    async def workload_search(self, query: WorkloadQuery) -> WorkloadPage:
        found = await super().workload_search(query)
        await self._remove()
        return found

    async def workload_get(self, workload_id: WorkloadId) -> Workload:
        found = await super().workload_get(workload_id)
        if workload_id == run_id(2) and any(one.name == "p" for one in await self.project_list()):
            await self._remove()
        return found


def runs_of(metadata: MemoryMetadataStore) -> Runs:
    nothing = cast("Any", None)
    stores = RunStores(
        metadata=metadata,
        metrics=MemoryMetricStore(),
        logs=nothing,
        artifacts=nothing,
        event_files=nothing,
        media=nothing,
        entries=nothing,
    )
    return Runs(stores, nothing, SystemClock(), Wakeup())


@pytest.mark.parametrize("alone", [True, False])
async def test_search__a_project_goes_meanwhile__its_runs_are_left_out(*, alone: bool) -> None:
    metadata = Removed()
    await metadata.make(alone=alone)
    page = await runs_of(metadata).search(WorkloadQuery())
    assert [one.workload.id for one in page.items] == ([] if alone else [run_id(1)])


async def test_details__its_project_goes_meanwhile__not_found() -> None:
    metadata = Removed()
    await metadata.make(alone=True)
    with pytest.raises(NotFound):
        await runs_of(metadata).details(run_id(2))
