"""Pages of runs: of which some go meanwhile, and some hold more than there is room for."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec.structs import replace

from seafloor.app import run_pages
from seafloor.app.clock import SystemClock
from seafloor.app.run_pages import CHARS_MAX, KEYS_MAX, ROWS_AT_ONCE, RUNS_AT_ONCE, Wanted
from seafloor.app.runs import RunDetailsPage, Runs, RunStores
from seafloor.app.wakeup import Wakeup
from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.models import DatasetInput
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


async def pages_of(runs: Runs, query: WorkloadQuery, wanted: Wanted) -> list[RunDetailsPage]:
    made = [await runs.search(query, wanted)]
    while made[-1].next is not None:
        made.append(await runs.search(replace(query, cursor=made[-1].next), wanted))
    return made


def keys_in(page: RunDetailsPage) -> int:
    return sum(
        len(one.labels.params) + len(one.labels.tags) + len(one.metrics) + len(one.points)
        for one in page.items
    )


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(as_tracked=True)])
async def test_search__runs_of_many_keys__pages_hold_no_more_than_there_is_room_for(
    wanted: Wanted,
) -> None:
    """Few keys, then many, then few again; one run alone has more than a page may hold."""
    metadata, count = MemoryMetadataStore(), 40
    many = {f"k{at:05}": "v" for at in range(ROWS_AT_ONCE // 2 + 1)}
    too_many = {f"k{at:06}": "v" for at in range(KEYS_MAX + 1)}
    for number in range(1, count + 1):
        params = too_many if number == 25 else many if 10 <= number < 30 else {"a": "1"}
        await create(metadata, run(number), params=params)
    pages = await pages_of(runs_of(metadata), WorkloadQuery(limit=1000), wanted)
    found = [one.workload.id for page in pages for one in page.items]
    assert found == [run_id(number) for number in range(count, 0, -1)]
    assert all(keys_in(page) <= KEYS_MAX or len(page.items) == 1 for page in pages)
    assert len(pages) <= 6
    assert any(run_id(25) == page.items[0].workload.id for page in pages)


async def test_search__runs_of_long_texts__pages_hold_no_more_than_there_is_room_for() -> None:
    metadata = MemoryMetadataStore()
    for number in range(1, 5):
        await create(metadata, run(number), tags={"t": "x" * (CHARS_MAX // 4)})
        used = DatasetInput("train", "d", profile="p" * (CHARS_MAX // 2))
        await metadata.inputs_add(run_id(number), datasets=[used])
    query = WorkloadQuery(limit=1000)
    tracked = await pages_of(runs_of(metadata), query, Wanted(as_tracked=True))
    assert [len(page.items) for page in tracked] == [1, 1, 1, 1]
    native = await pages_of(runs_of(metadata), query, Wanted())
    assert [len(page.items) for page in native] == [4]


class Joined(MemoryMetadataStore):
    """A store to which a new run comes after the first search."""

    searches = 0

    async def workload_search(self, query: WorkloadQuery) -> WorkloadPage:
        found = await super().workload_search(query)
        self.searches += 1
        if self.searches == 1:
            await create(self, run(50), params={"new": "1"})
        return found


async def test_search__a_run_comes_while_a_page_is_shortened__it_is_shown_whole() -> None:
    metadata = Joined()
    many = {f"k{at:05}": "v" for at in range(KEYS_MAX // 2)}
    for number in (1, 2, 3):
        await create(metadata, run(number), params=many)
    first, *others = await pages_of(runs_of(metadata), WorkloadQuery(limit=1000), Wanted())
    assert first.items[0].workload.id == run_id(50)
    assert first.items[0].labels.params == {"new": "1"}
    found = [one.workload.id for page in (first, *others) for one in page.items]
    assert found == [run_id(50), run_id(3), run_id(2), run_id(1)]


async def test_search__more_runs_than_are_read_at_once__are_one_page_and_one_search() -> None:
    metadata, count = Joined(), 2 * RUNS_AT_ONCE + 10
    for number in range(100, 100 + count):
        await create(metadata, run(number))
    page = await runs_of(metadata).search(WorkloadQuery(limit=count - 1), Wanted())
    assert [one.workload.id for one in page.items] == [
        run_id(number) for number in range(99 + count, 100, -1)
    ]
    assert page.next is not None
    assert metadata.searches == 1
    whole = await runs_of(metadata).search(WorkloadQuery(limit=count + 1), Wanted())
    assert (len(whole.items), whole.next) == (count + 1, None)


async def test_search__more_runs_than_are_looked_for_at_once__are_one_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_pages, "SEARCHED_AT_ONCE", 10)
    metadata, count = MemoryMetadataStore(), 25
    for number in range(1, count + 1):
        await create(metadata, run(number))
    page = await runs_of(metadata).search(WorkloadQuery(limit=count - 1), Wanted())
    assert [one.workload.id for one in page.items] == [
        run_id(number) for number in range(count, 1, -1)
    ]
    assert page.next is not None
    whole = await runs_of(metadata).search(WorkloadQuery(limit=count), Wanted())
    assert (len(whole.items), whole.next) == (count, None)
