"""Cases of the tasks of distributed runs; part of ``metadata_store_suite``."""

from __future__ import annotations

import asyncio

import pytest

from seafloor.domain.code import Receipt
from seafloor.domain.errors import NotFound, StaleLease
from seafloor.domain.leases import Claim, lease_of_place
from seafloor.domain.workloads import Ending, Task
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_cases import (
    FAILED,
    PREPARING,
    QUEUED,
    RUNNING,
    STOPPED,
    MetadataStoreCases,
)
from seafloor.testing.metadata_records import T0_NS, create, entering, launched, note, run_id

_MINUTE_NS = 60 * 10**9


def _of_two() -> tuple[Task, Task]:
    return Task(attempt=1, name="worker-0"), Task(attempt=1, name="worker-1")


class TaskCases(MetadataStoreCases):
    """Tasks."""

    async def test_tasks_record__through_a_life__the_first_start_and_end_stay(
        self, store: MetadataStore
    ) -> None:
        await create(store, launched(1))
        assert await store.tasks_record(run_id(1), _of_two()) == _of_two()
        receipt = Receipt("git", "u", 1, 2, 0.5, cached=False)
        started = Task(
            attempt=1, name="worker-1", state=RUNNING, started_ns=5, receipts={"a": receipt}
        )
        assert await store.tasks_record(run_id(1), [started]) == (started,)
        later = Task(attempt=1, name="worker-1", state=RUNNING, started_ns=6)
        assert await store.tasks_record(run_id(1), [later]) == (started,)
        # Whoever tells of all of them again takes nothing back.
        assert (await store.tasks_record(run_id(1), _of_two()))[1] == started
        ended = Task(attempt=1, name="worker-1", state=FAILED, ended_ns=9, ending=Ending("e", 3))
        (found,) = await store.tasks_record(run_id(1), [ended])
        assert (found.started_ns, found.ending, found.receipts) == (
            5,
            Ending("e", 3),
            {"a": receipt},
        )
        other = Task(attempt=1, name="worker-1", state=STOPPED, ended_ns=10, ending=Ending("o"))
        assert await store.tasks_record(run_id(1), [other]) == (found,)
        listed = await store.task_list([run_id(1), run_id(2)], newest=True)
        assert listed == {run_id(1): (_of_two()[0], found)}

    async def test_tasks_record__the_runs_own_end__leaves_its_tasks(
        self, store: MetadataStore
    ) -> None:
        await create(store, launched(1))
        await store.tasks_record(run_id(1), _of_two())
        await store.workload_transition(run_id(1), entering(FAILED, QUEUED))
        await store.attempt_create(run_id(1), created_ns=T0_NS, event=note())
        assert await store.task_list([run_id(1)], newest=True) == {}
        again = Task(attempt=2, name="worker-0")
        assert await store.tasks_record(run_id(1), [again]) == (again,)
        assert await store.task_list([run_id(1)], newest=True) == {run_id(1): (again,)}
        assert await store.task_list([run_id(1)], newest=False) == {run_id(1): (*_of_two(), again)}

    async def test_tasks_record__many_at_once__all_are_there(self, store: MetadataStore) -> None:
        await create(store, launched(1))
        names = [f"worker-{number}" for number in range(20)]
        await asyncio.gather(
            *(store.tasks_record(run_id(1), [Task(attempt=1, name=name)]) for name in names)
        )
        found = await store.task_list([run_id(1)], newest=True)
        assert [task.name for task in found[run_id(1)]] == sorted(names)
        one = await store.task_list([run_id(1)], newest=True, name="worker-1")
        assert [task.name for task in one[run_id(1)]] == ["worker-1"]
        assert await store.task_list([run_id(1)], newest=True, name="worker") == {}

    async def test_tasks_record__missing_or_stale__writes_nothing(
        self, store: MetadataStore
    ) -> None:
        await create(store, launched(1))
        for missing in (Task(attempt=2, name="worker-0"), Task(attempt=0, name="worker-0")):
            with pytest.raises(NotFound):
                await store.tasks_record(run_id(1), [missing])
        with pytest.raises(NotFound):
            await store.tasks_record(run_id(2), _of_two())
        name = lease_of_place("p")
        lease = await store.lease_take(name, holder="h", ttl_ns=_MINUTE_NS)
        claim = Claim("p", lease.fence)
        await store.workload_transition(run_id(1), entering(PREPARING, QUEUED, claim=claim))
        with pytest.raises(StaleLease):
            await store.tasks_record(run_id(1), _of_two(), claim=Claim("p", lease.fence + 1))
        assert await store.task_list([run_id(1)], newest=False) == {}
        assert await store.tasks_record(run_id(1), _of_two(), claim=claim) == _of_two()
        assert await store.tasks_record(run_id(1), ()) == ()
        assert await store.task_list([], newest=False) == {}
