"""What every metadata store must do. Subclass ``MetadataStoreSuite`` and give ``make_store``.

Searches are in ``metadata_search_suite``; stores that outlive their process subclass
``DurableMetadataStoreSuite`` too.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from seafloor.domain.artifacts import ArtifactEntry
from seafloor.domain.code import GitCode, Receipt, SnapshotCode
from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    NotFound,
    StoreUnavailable,
)
from seafloor.domain.experiments import Project
from seafloor.domain.ids import GitCommit, Sha256
from seafloor.domain.models import DatasetInput, LoggedModelState, ModelMetric, ModelOutput
from seafloor.domain.search import Lifecycle, WorkloadQuery
from seafloor.domain.workloads import Attempt, Event, WorkloadKind, WorkloadState
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_records import (
    T0_NS,
    create,
    entering,
    environment,
    experiment,
    file,
    labels,
    launched,
    model,
    note,
    run,
    run_id,
)

UNICODE = "ключ 日本 🏝️ ñ " + chr(0x10FFFF)
QUEUED, PREPARING, RUNNING = WorkloadState.QUEUED, WorkloadState.PREPARING, WorkloadState.RUNNING
FAILED, SUCCEEDED, STOPPED = WorkloadState.FAILED, WorkloadState.SUCCEEDED, WorkloadState.STOPPED


class MetadataStoreCases(ABC):
    """What the suites of metadata stores share."""

    @abstractmethod
    async def make_store(self, folder: Path) -> MetadataStore:
        """Open a store over a folder; a second one over it sees the same if it is durable."""

    @abstractmethod
    async def put_metric(
        self, store: MetadataStore, workload_id: str, key: str, value: float
    ) -> None:
        """Write the last value of a metric where searches find it, past the store."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[MetadataStore]:
        store = await self.make_store(tmp_path)
        yield store
        await store.close()


class ProjectCases(MetadataStoreCases):
    """Projects."""

    async def test_project_list__new_store__has_default(self, store: MetadataStore) -> None:
        assert [found.name for found in await store.project_list()] == ["default"]

    async def test_project_create__two__are_listed_by_name(self, store: MetadataStore) -> None:
        made = await store.project_create("vision", created_ns=T0_NS)
        await store.project_create("audio", created_ns=T0_NS)
        assert made == Project("vision", T0_NS) == await store.project_get("vision")
        names = [found.name for found in await store.project_list()]
        assert names == ["audio", "default", "vision"]

    async def test_project_create__name_taken__already_exists(self, store: MetadataStore) -> None:
        with pytest.raises(AlreadyExists, match="default"):
            await store.project_create("default", created_ns=T0_NS)

    async def test_project_get__typo__names_the_nearest(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound, match='Did you mean "default"'):
            await store.project_get("defualt")


class ExperimentCases(MetadataStoreCases):
    """Experiments."""

    async def test_experiment_get__new_store__default_is_zero(self, store: MetadataStore) -> None:
        found = await store.experiment_get(0)
        assert (found.project, found.name, found.tags) == ("default", "Default", {})

    async def test_experiment_create__all_fields__come_back(self, store: MetadataStore) -> None:
        made = await store.experiment_create(
            experiment(
                UNICODE,
                spec={"z": [1, 2.5, None, True], "a": {"nested": UNICODE}},
                artifact_location="s3://bucket/x",
                tags={"b": "2", "a": UNICODE, "empty": ""},
            )
        )
        assert made.id > 0
        assert made == await store.experiment_get(made.id)
        assert made == await store.experiment_get_by_name("default", UNICODE)
        assert made.spec == {"z": [1, 2.5, None, True], "a": {"nested": UNICODE}}
        assert list(made.spec or ()) == ["z", "a"]
        assert made.tags == {"b": "2", "a": UNICODE, "empty": ""}

    async def test_experiment_create__name_taken__already_exists(
        self, store: MetadataStore
    ) -> None:
        made = await store.experiment_create(experiment())
        with pytest.raises(AlreadyExists, match="digits"):
            await store.experiment_create(experiment())
        await store.experiment_set_deleted(made.id, deleted_ns=T0_NS)
        with pytest.raises(AlreadyExists, match="deleted"):
            await store.experiment_create(experiment())

    async def test_experiment_create__names_that_differ_a_little__are_two(
        self, store: MetadataStore
    ) -> None:
        for name in ("digits", "Digits", "digits2", "dígits"):
            await store.experiment_create(experiment(name))
        assert (await store.experiment_get_by_name("default", "Digits")).name == "Digits"

    async def test_experiment_create__same_name_in_another_project__is_another(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        one = await store.experiment_create(experiment())
        other = await store.experiment_create(experiment(project="vision"))
        assert one.id != other.id
        assert (await store.experiment_get_by_name("vision", "digits")).id == other.id
        found = await store.experiment_list(project="vision", lifecycle=Lifecycle.ACTIVE)
        assert [one.id for one in found] == [other.id]

    async def test_experiment_create__no_such_project__not_found(
        self, store: MetadataStore
    ) -> None:
        with pytest.raises(NotFound):
            await store.experiment_create(experiment(project="nowhere"))

    async def test_experiment_create__many_at_once_of_one_name__one_wins(
        self, store: MetadataStore
    ) -> None:
        made = await asyncio.gather(
            *(store.experiment_create(experiment()) for _ in range(8)), return_exceptions=True
        )
        assert sum(not isinstance(one, BaseException) for one in made) == 1
        assert sum(isinstance(one, AlreadyExists) for one in made) == 7

    async def test_experiment_get__missing__not_found(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound):
            await store.experiment_get(404)
        with pytest.raises(NotFound):
            await store.experiment_get(1 << 70)
        with pytest.raises(NotFound, match='Did you mean "Default"'):
            await store.experiment_get_by_name("default", "default")

    async def test_experiment_list__lifecycles__newest_first(self, store: MetadataStore) -> None:
        old = await store.experiment_create(experiment("old", created_ns=T0_NS))
        new = await store.experiment_create(experiment("new", created_ns=T0_NS + 1))
        gone = await store.experiment_create(experiment("gone", created_ns=T0_NS + 2))
        await store.experiment_set_deleted(gone.id, deleted_ns=T0_NS + 3)
        expected = {
            Lifecycle.ACTIVE: [new.id, old.id, 0],
            Lifecycle.DELETED: [gone.id],
            Lifecycle.ALL: [gone.id, new.id, old.id, 0],
        }
        for lifecycle, ids in expected.items():
            found = await store.experiment_list(project=None, lifecycle=lifecycle)
            assert [one.id for one in found] == ids

    async def test_experiment_update__given_fields__others_stay(self, store: MetadataStore) -> None:
        made = await store.experiment_create(experiment(spec={"a": 1}))
        renamed = await store.experiment_update(made.id, updated_ns=T0_NS + 5, name="new")
        assert (renamed.name, renamed.spec, renamed.updated_ns) == ("new", {"a": 1}, T0_NS + 5)
        changed = await store.experiment_update(made.id, updated_ns=T0_NS + 6, spec={"b": 2})
        assert changed == await store.experiment_get(made.id)
        assert (changed.name, changed.spec) == ("new", {"b": 2})
        await store.experiment_update(made.id, updated_ns=T0_NS + 7, name="new")

    async def test_experiment_update__name_taken_or_missing__nothing_changes(
        self, store: MetadataStore
    ) -> None:
        made = await store.experiment_create(experiment())
        with pytest.raises(AlreadyExists):
            await store.experiment_update(made.id, updated_ns=T0_NS + 5, name="Default", spec={})
        assert await store.experiment_get(made.id) == made
        with pytest.raises(NotFound):
            await store.experiment_update(404, updated_ns=T0_NS)

    async def test_experiment_tags_change__set_and_delete__all_or_none(
        self, store: MetadataStore
    ) -> None:
        await store.experiment_tags_change(0, set_={"a": "1", "b": "2"})
        await store.experiment_tags_change(0, set_={"b": "3", "c": "4"}, delete=["a"])
        assert (await store.experiment_get(0)).tags == {"b": "3", "c": "4"}
        with pytest.raises(NotFound):
            await store.experiment_tags_change(0, set_={"d": "5"}, delete=["b", "missing"])
        assert (await store.experiment_get(0)).tags == {"b": "3", "c": "4"}
        await store.experiment_tags_change(0, set_={"b": "again"}, delete=["b"])
        assert (await store.experiment_get(0)).tags == {"b": "again", "c": "4"}
        with pytest.raises(NotFound):
            await store.experiment_tags_change(404, set_={})

    async def test_experiment_set_deleted__with_runs__they_go_and_return_together(
        self, store: MetadataStore
    ) -> None:
        made = await store.experiment_create(experiment())
        await create(store, run(1, experiment_id=made.id))
        await create(store, run(2, experiment_id=made.id))
        await create(store, run(3))
        await store.workload_set_deleted(run_id(2), deleted_ns=T0_NS + 1)
        await store.experiment_set_deleted(made.id, deleted_ns=T0_NS + 7)
        await store.experiment_set_deleted(made.id, deleted_ns=T0_NS + 8)
        assert (await store.experiment_get(made.id)).deleted_ns == T0_NS + 7
        deleted = [(await store.workload_get(run_id(number))).deleted_ns for number in (1, 2, 3)]
        assert deleted == [T0_NS + 7, T0_NS + 1, None]

        await store.experiment_set_deleted(made.id, deleted_ns=None)
        await store.experiment_set_deleted(made.id, deleted_ns=None)
        assert (await store.experiment_get(made.id)).deleted_ns is None
        deleted = [(await store.workload_get(run_id(number))).deleted_ns for number in (1, 2, 3)]
        assert deleted == [None, T0_NS + 1, None]

    async def test_experiment_set_deleted__missing__not_found(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound):
            await store.experiment_set_deleted(404, deleted_ns=T0_NS)


class WorkloadCases(MetadataStoreCases):
    """Workloads."""

    async def test_workload_create__all_fields__come_back(self, store: MetadataStore) -> None:
        code = GitCode(
            url="https://git.example.com/a.git",
            commit=GitCommit("c" * 40),
            folder="a",
            ref="main",
        )
        made = await create(
            store,
            launched(1, name=UNICODE, spec={"z": 1, "a": [None]}, code=code, environment="e@1"),
            params={"lr": "0.1"},
            tags={UNICODE: UNICODE},
        )
        found = await store.workload_get(run_id(1))
        assert made == found
        assert (found.code, found.spec, found.name) == (code, {"z": 1, "a": [None]}, UNICODE)
        assert found.attempt == 1
        assert (await store.labels_get([run_id(1)])) == {
            run_id(1): labels({"lr": "0.1"}, {UNICODE: UNICODE})
        }
        assert await store.attempt_list(run_id(1)) == (Attempt(1, QUEUED, T0_NS + 1),)
        assert await store.event_list(run_id(1)) == (
            Event(1, T0_NS, "state", "user", "it began", attempt=1, state=QUEUED),
        )

    async def test_workload_create__tracked__has_no_attempt(self, store: MetadataStore) -> None:
        made = await create(store, run(1))
        assert made.attempt == 0
        assert await store.attempt_list(run_id(1)) == ()
        (event,) = await store.event_list(run_id(1))
        assert (event.attempt, event.state) == (None, RUNNING)

    @pytest.mark.parametrize("kind", [WorkloadKind.NOTEBOOK, WorkloadKind.SERVING])
    async def test_workload_create__other_kinds__need_no_experiment(
        self, store: MetadataStore, kind: WorkloadKind
    ) -> None:
        code = SnapshotCode(sha256=Sha256("b" * 64), size_bytes=5, folder="work", git_dirty=True)
        made = await create(store, launched(1, kind=kind, experiment_id=None, code=code))
        assert (made.kind, made.experiment_id, made.code) == (kind, None, code)
        assert await store.workload_get(made.id) == made

    async def test_workload_create__same_idempotency_key__first_one_returns(
        self, store: MetadataStore
    ) -> None:
        first = await create(store, run(1), params={"a": "1"}, idempotency_key="k")
        again = await create(store, run(2), params={"a": "2"}, idempotency_key="k")
        assert again == first
        with pytest.raises(NotFound):
            await store.workload_get(run_id(2))
        assert len(await store.event_list(run_id(1))) == 1

    async def test_workload_create__many_at_once_of_one_key__are_one(
        self, store: MetadataStore
    ) -> None:
        made = await asyncio.gather(
            *(create(store, run(number), idempotency_key="k") for number in range(1, 9))
        )
        assert len({one.id for one in made}) == 1
        page = await store.workload_search(WorkloadQuery())
        assert len(page.items) == 1

    async def test_workload_create__key_in_another_project__is_another(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        await create(store, run(1), idempotency_key="k")
        other = await create(
            store, run(2, project="vision", experiment_id=None), idempotency_key="k"
        )
        assert other.id == run_id(2)

    async def test_workload_create__id_taken__already_exists(self, store: MetadataStore) -> None:
        await create(store, run(1), params={"a": "1"})
        with pytest.raises(AlreadyExists):
            await create(store, run(1, name="other"), params={"b": "1"}, idempotency_key="k")
        assert (await store.labels_get([run_id(1)]))[run_id(1)] == labels({"a": "1"})

    async def test_workload_create__what_it_needs_is_missing__nothing_is_there(
        self, store: MetadataStore
    ) -> None:
        with pytest.raises(NotFound):
            await create(store, run(1, project="nowhere"))
        with pytest.raises(NotFound):
            await create(store, run(1, experiment_id=404))
        await store.experiment_set_deleted(0, deleted_ns=T0_NS)
        with pytest.raises(Conflict):
            await create(store, run(1))
        with pytest.raises(NotFound):
            await store.workload_get(run_id(1))

    async def test_workload_get__missing__not_found(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound):
            await store.workload_get(run_id(1))

    async def test_workload_find__beginnings_and_ends__newest_first_at_most_ten(
        self, store: MetadataStore
    ) -> None:
        for number in range(1, 13):
            await create(store, run(number))
        assert await store.workload_find(run_id(5)) == (run_id(5),)
        assert await store.workload_find("000c") == (run_id(12),)
        assert await store.workload_find("0000000") == tuple(
            run_id(number) for number in range(12, 2, -1)
        )
        assert await store.workload_find("ffff") == ()
        assert await store.workload_find("%") == ()
        assert await store.workload_find("_") == ()

    async def test_workload_update__given_fields__others_stay(self, store: MetadataStore) -> None:
        made = await create(store, run(1))
        named = await store.workload_update(run_id(1), updated_ns=T0_NS + 50, name="new")
        assert (named.name, named.environment) == ("new", None)
        assert named.updated_ns == T0_NS + 50
        changed = await store.workload_update(
            run_id(1), updated_ns=T0_NS + 51, environment="torch@2"
        )
        assert changed == await store.workload_get(run_id(1))
        assert (changed.name, changed.environment) == ("new", "torch@2")
        assert changed.created_ns == made.created_ns
        with pytest.raises(NotFound):
            await store.workload_update(run_id(2), updated_ns=T0_NS, name="x")

    async def test_workload_transition__through_a_life__attempt_and_events_follow(
        self, store: MetadataStore
    ) -> None:
        await create(store, launched(1))
        await store.workload_transition(run_id(1), entering(PREPARING, QUEUED))
        started = await store.workload_transition(
            run_id(1), entering(RUNNING, PREPARING, started_ns=T0_NS + 5)
        )
        assert (started.state, started.started_ns, started.ended_ns) == (RUNNING, T0_NS + 5, None)
        ended = await store.workload_transition(run_id(1), entering(FAILED, RUNNING, QUEUED))
        assert (ended.state, ended.ended_ns, ended.updated_ns) == (FAILED, T0_NS + 9, T0_NS + 8)
        assert ended == await store.workload_get(run_id(1))
        (attempt,) = await store.attempt_list(run_id(1))
        assert attempt.ending is not None
        assert attempt.ending.reason == "it ended"
        assert (attempt.state, attempt.started_ns, attempt.ended_ns) == (
            FAILED,
            T0_NS + 5,
            T0_NS + 9,
        )
        events = await store.event_list(run_id(1))
        assert [(event.sequence, event.kind, event.state) for event in events] == [
            (1, "state", QUEUED),
            (2, "state", PREPARING),
            (3, "state", RUNNING),
            (4, "state", FAILED),
        ]
        assert {event.attempt for event in events} == {1}

    async def test_workload_transition__unexpected_state__nothing_is_written(
        self, store: MetadataStore
    ) -> None:
        made = await create(store, launched(1))
        with pytest.raises(Conflict, match="queued"):
            await store.workload_transition(run_id(1), entering(RUNNING, PREPARING))
        with pytest.raises(Conflict, match="succeeded"):  # no such arrow
            await store.workload_transition(run_id(1), entering(SUCCEEDED, QUEUED))
        assert await store.workload_get(run_id(1)) == made
        assert len(await store.event_list(run_id(1))) == 1
        with pytest.raises(NotFound):
            await store.workload_transition(run_id(2), entering(PREPARING, QUEUED))

    async def test_workload_transition__many_at_once__one_wins(self, store: MetadataStore) -> None:
        await create(store, launched(1))
        told = await asyncio.gather(
            *(
                store.workload_transition(run_id(1), entering(state, QUEUED))
                for state in (PREPARING, STOPPED, FAILED, PREPARING, STOPPED)
            ),
            return_exceptions=True,
        )
        assert sum(not isinstance(one, BaseException) for one in told) == 1
        assert sum(isinstance(one, Conflict) for one in told) == 4
        assert len(await store.event_list(run_id(1))) == 2

    async def test_workload_transition__resumed_by_its_client__has_no_end(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        await store.workload_transition(run_id(1), entering(SUCCEEDED, RUNNING))
        resumed = await store.workload_transition(run_id(1), entering(RUNNING, SUCCEEDED))
        assert (resumed.state, resumed.ended_ns) == (RUNNING, None)
        assert resumed.started_ns == T0_NS + 1

    async def test_workload_set_deleted__twice__first_time_stays(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        await store.workload_set_deleted(run_id(1), deleted_ns=T0_NS + 1)
        await store.workload_set_deleted(run_id(1), deleted_ns=T0_NS + 2)
        assert (await store.workload_get(run_id(1))).deleted_ns == T0_NS + 1
        await store.workload_set_deleted(run_id(1), deleted_ns=None)
        await store.workload_set_deleted(run_id(1), deleted_ns=None)
        assert (await store.workload_get(run_id(1))).deleted_ns is None
        with pytest.raises(NotFound):
            await store.workload_set_deleted(run_id(2), deleted_ns=None)

    async def test_workload_purge__living__conflict(self, store: MetadataStore) -> None:
        await create(store, run(1))
        with pytest.raises(Conflict):
            await store.workload_purge(run_id(1))
        with pytest.raises(NotFound):
            await store.workload_purge(run_id(2))
        assert (await store.workload_get(run_id(1))).id == run_id(1)

    async def test_workload_purge__deleted__nothing_is_left(self, store: MetadataStore) -> None:
        await fill_run(store, 1)
        await fill_run(store, 2)
        neighbour = await everything_of(store, 2)
        await store.workload_set_deleted(run_id(1), deleted_ns=T0_NS)
        await store.workload_purge(run_id(1))
        with pytest.raises(NotFound):
            await store.workload_get(run_id(1))
        assert await store.labels_get([run_id(1)]) == {}
        assert await store.inputs_get([run_id(1)]) == {}
        assert await store.attempt_list(run_id(1)) == await store.event_list(run_id(1)) == ()
        assert await store.manifest_list(run_id(1), "", limit=10) == ()
        assert await store.model_metrics_get(model(1).id) == ()
        assert (await store.model_get(model(1).id)).source_run_id is None
        assert await everything_of(store, 2) == neighbour
        # Its id and key are free again.
        await create(store, run(1), idempotency_key="key 1")
        assert await store.labels_get([run_id(1)]) == {run_id(1): labels()}


class AttemptCases(MetadataStoreCases):
    """Attempts and events."""

    async def test_attempt_create__after_the_end__is_queued(self, store: MetadataStore) -> None:
        await create(store, launched(1))
        with pytest.raises(Conflict, match="queued"):
            await store.attempt_create(run_id(1), created_ns=T0_NS, event=note())
        await store.workload_transition(run_id(1), entering(FAILED, QUEUED))
        second = await store.attempt_create(run_id(1), created_ns=T0_NS + 20, event=note("again"))
        assert second == Attempt(2, QUEUED, T0_NS + 20)
        found = await store.workload_get(run_id(1))
        assert (found.attempt, found.state) == (2, QUEUED)
        assert (found.started_ns, found.ended_ns, found.updated_ns) == (None, None, T0_NS + 20)
        first, again = await store.attempt_list(run_id(1))
        assert (first.state, first.ended_ns, again) == (FAILED, T0_NS + 9, second)
        last = (await store.event_list(run_id(1)))[-1]
        assert (last.message, last.attempt, last.state) == ("again", 2, QUEUED)
        with pytest.raises(NotFound):
            await store.attempt_create(run_id(2), created_ns=T0_NS, event=note())

    async def test_attempt_record__pieces__join(self, store: MetadataStore) -> None:
        await create(store, launched(1))
        one = Receipt(
            kind="git", url="u", files=1, size_bytes=2, duration_s=0.1, cached=False,
            commit=GitCommit("c" * 40), submodules={"lib": "d" * 40},
        )  # fmt: skip
        other = Receipt("snapshot", "k", 1, 2, 0.5, cached=True)
        await store.attempt_record(run_id(1), 1, receipts={"a": other, "b": other})
        await store.attempt_record(run_id(1), 1, receipts={"a": one}, environment="e@1")
        await store.attempt_record(run_id(1), 1, environment_digest="1" * 64)
        await store.attempt_record(run_id(1), 1)
        (found,) = await store.attempt_list(run_id(1))
        assert found.receipts == {"a": one, "b": other}
        assert (found.environment, found.environment_digest) == ("e@1", "1" * 64)

    async def test_attempt_record__missing__not_found(self, store: MetadataStore) -> None:
        await create(store, launched(1))
        with pytest.raises(NotFound):
            await store.attempt_record(run_id(1), 2, environment="e@1")
        with pytest.raises(NotFound):
            await store.attempt_record(run_id(2), 1, environment="e@1")

    async def test_event_append__many_at_once__numbered_without_gap(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        await create(store, run(2))
        made = await asyncio.gather(
            *(store.event_append(run_id(1 + number % 2), note(str(number))) for number in range(60))
        )
        assert sorted(event.sequence for event in made[::2]) == list(range(2, 32))
        for number in (1, 2):
            events = await store.event_list(run_id(number))
            assert [event.sequence for event in events] == list(range(1, 32))
        assert {event.message for event in made} == {str(number) for number in range(60)}

    async def test_event_list__paged__goes_on_after(self, store: MetadataStore) -> None:
        await create(store, run(1))
        for number in range(4):
            await store.event_append(run_id(1), note(f"{number}"))
        page = await store.event_list(run_id(1), after=2, limit=2)
        assert [(event.sequence, event.kind) for event in page] == [(3, "note"), (4, "note")]
        assert await store.event_list(run_id(1), after=5) == ()
        with pytest.raises(NotFound):
            await store.event_append(run_id(2), note())


class LabelCases(MetadataStoreCases):
    """Params and tags."""

    async def test_params_log__repeat_and_more__are_kept(self, store: MetadataStore) -> None:
        await create(store, run(1), params={"lr": "0.1"})
        await store.params_log(run_id(1), {"lr": "0.1", UNICODE: UNICODE, "empty": ""})
        await store.params_log(run_id(1), {"lr": "0.1", "LR": "0.2", "long": "x" * 6000})
        await store.params_log(run_id(1), {})
        assert (await store.labels_get([run_id(1)]))[run_id(1)].params == {
            "lr": "0.1",
            UNICODE: UNICODE,
            "empty": "",
            "LR": "0.2",
            "long": "x" * 6000,
        }

    async def test_params_log__another_value__conflict_and_none_written(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1), params={"lr": "0.1"})
        with pytest.raises(Conflict) as refused:
            await store.params_log(run_id(1), {"new": "1", "lr": "0.2"})
        assert all(text in refused.value.message for text in ("lr", "0.1", "0.2"))
        assert (await store.labels_get([run_id(1)]))[run_id(1)].params == {"lr": "0.1"}

    async def test_params_log__many_writers_of_different_values__exactly_one_wins(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        told = await asyncio.gather(
            *(
                store.params_log(run_id(1), {"lr": str(number), f"own {number}": "1"})
                for number in range(20)
            ),
            return_exceptions=True,
        )
        winners = [number for number, one in enumerate(told) if one is None]
        assert len(winners) == 1
        assert sum(isinstance(one, Conflict) for one in told) == 19
        assert (await store.labels_get([run_id(1)]))[run_id(1)].params == {
            "lr": str(winners[0]),
            f"own {winners[0]}": "1",
        }

    async def test_params_log__no_such_run__not_found(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound):
            await store.params_log(run_id(1), {"a": "1"})
        with pytest.raises(NotFound):
            await store.params_log(run_id(1), {})

    async def test_tags_change__last_write_wins__and_deletes_are_all_or_none(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1), tags={"a": "1", "b": "2"})
        await store.tags_change(run_id(1), set_={"a": "3", "c": UNICODE}, delete=["b"])
        assert (await store.labels_get([run_id(1)]))[run_id(1)].tags == {"a": "3", "c": UNICODE}
        with pytest.raises(NotFound, match="d"):
            await store.tags_change(run_id(1), set_={"a": "4"}, delete=["c", "d"])
        assert (await store.labels_get([run_id(1)]))[run_id(1)].tags == {"a": "3", "c": UNICODE}
        await store.tags_change(run_id(1), set_={"a": "5"}, delete=["a"])
        assert (await store.labels_get([run_id(1)]))[run_id(1)].tags == {"a": "5", "c": UNICODE}
        with pytest.raises(NotFound):
            await store.tags_change(run_id(2), set_={"a": "1"})

    async def test_labels_get__many__only_unknown_are_absent(self, store: MetadataStore) -> None:
        await create(store, run(1), params={"a": "1"})
        await create(store, run(2))
        ids = [run_id(number) for number in (3, 2, 1)]
        assert await store.labels_get(ids) == {
            run_id(1): labels({"a": "1"}),
            run_id(2): labels(),
        }
        assert await store.labels_get([]) == {}


class EnvironmentCases(MetadataStoreCases):
    """Environments."""

    async def test_environment_create__same_again__is_one_version(
        self, store: MetadataStore
    ) -> None:
        first = await store.environment_create(
            environment(conda_channels=("c",), conda_packages=("p=1",), image="i")
        )
        assert first.version == 1
        again = await store.environment_create(
            environment(
                conda_channels=("c",), conda_packages=("p=1",), image="i", created_ns=T0_NS + 5
            )
        )
        assert again == first == await store.environment_get("default", "torch")

    async def test_environment_create__changed__is_the_next_version(
        self, store: MetadataStore
    ) -> None:
        await store.environment_create(environment())
        locked = await store.environment_create(environment(digest="2" * 64))
        asked = await store.environment_create(environment(digest="2" * 64, pip=("six",)))
        back = await store.environment_create(environment())
        assert [locked.version, asked.version, back.version] == [2, 3, 4]
        assert (await store.environment_get("default", "torch")).version == 4
        assert (await store.environment_get("default", "torch", version=2)).digest == "2" * 64

    async def test_environment_create__many_at_once__numbered_without_gap(
        self, store: MetadataStore
    ) -> None:
        made = await asyncio.gather(
            *(store.environment_create(environment(digest=f"{n:064x}")) for n in range(10))
        )
        assert sorted(one.version for one in made) == list(range(1, 11))

    async def test_environment_create__no_such_project__not_found(
        self, store: MetadataStore
    ) -> None:
        with pytest.raises(NotFound):
            await store.environment_create(environment(project="nowhere"))

    async def test_environment_get__missing__names_the_nearest(self, store: MetadataStore) -> None:
        await store.environment_create(environment())
        with pytest.raises(NotFound, match='Did you mean "torch"'):
            await store.environment_get("default", "troch")
        with pytest.raises(NotFound):
            await store.environment_get("default", "torch", version=2)
        with pytest.raises(NotFound):
            await store.environment_get("default", "Torch")

    async def test_environment_delete__one_or_all__exact_versions_stay_readable(
        self, store: MetadataStore
    ) -> None:
        for number in range(3):
            await store.environment_create(environment(digest=f"{number:064x}"))
        await store.environment_create(environment("other"))
        count = await store.environment_delete("default", "torch", version=3, deleted_ns=T0_NS + 1)
        assert count == 1
        assert (await store.environment_get("default", "torch")).version == 2
        gone = await store.environment_get("default", "torch", version=3)
        assert gone.deleted_ns == T0_NS + 1
        count = await store.environment_delete(
            "default", "torch", version=None, deleted_ns=T0_NS + 2
        )
        assert count == 2
        with pytest.raises(NotFound):
            await store.environment_get("default", "torch")
        with pytest.raises(NotFound):
            await store.environment_delete("default", "torch", version=None, deleted_ns=T0_NS)
        names = [found.name for found in await store.environment_list(project=None)]
        assert names == ["other"]
        # A number is never given twice, and what is deleted is not taken for the newest.
        assert (await store.environment_create(environment(digest=f"{2:064x}"))).version == 4

    async def test_environment_list__of_a_project__by_name_and_version(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        await store.environment_create(environment("b", project="vision"))
        for digest in ("1" * 64, "2" * 64):
            await store.environment_create(environment("b", digest=digest))
        await store.environment_create(environment("a"))
        found = await store.environment_list(project="default")
        assert [(one.name, one.version) for one in found] == [("a", 1), ("b", 1), ("b", 2)]
        assert len(await store.environment_list(project=None)) == 4


class ModelCases(MetadataStoreCases):
    """Logged models, and what runs used and produced."""

    async def test_model_create__all_fields__come_back(self, store: MetadataStore) -> None:
        await create(store, run(1))
        made = await store.model_create(
            model(
                source_run_id=run_id(1), model_type="agent", params={"a": "1"}, tags={"b": UNICODE}
            )
        )
        assert made == await store.model_get(made.id)
        assert (made.params, made.tags, made.source_run_id) == (
            {"a": "1"},
            {"b": UNICODE},
            run_id(1),
        )
        with pytest.raises(AlreadyExists):
            await store.model_create(model())

    async def test_model_create__what_it_needs_is_missing__not_found(
        self, store: MetadataStore
    ) -> None:
        with pytest.raises(NotFound):
            await store.model_create(model(experiment_id=404))
        with pytest.raises(NotFound):
            await store.model_create(model(source_run_id=run_id(1)))
        with pytest.raises(NotFound):
            await store.model_get(model().id)

    async def test_model_list__lifecycles__newest_first(self, store: MetadataStore) -> None:
        other = await store.experiment_create(experiment())
        for number in (1, 2, 3):
            await store.model_create(model(number))
        await store.model_create(model(4, experiment_id=other.id))
        await store.model_update(model(2).id, updated_ns=T0_NS, deleted_ns=T0_NS + 1)
        found = await store.model_list([0, other.id])
        assert [one.id for one in found] == [model(n).id for n in (4, 3, 1)]
        found = await store.model_list([0], lifecycle=Lifecycle.DELETED)
        assert [one.id for one in found] == [model(2).id]
        found = await store.model_list([0, 404], lifecycle=Lifecycle.ALL)
        assert [one.id for one in found] == [model(n).id for n in (3, 2, 1)]
        assert await store.model_list([]) == ()

    async def test_model_update__fields__join(self, store: MetadataStore) -> None:
        await store.model_create(model(params={"a": "1"}, tags={"x": "1", "y": "2"}))
        made = await store.model_update(
            model().id,
            updated_ns=T0_NS + 5,
            state=LoggedModelState.READY,
            params={"b": "2"},
            tags={"x": "3"},
            delete_tags=["y"],
        )
        assert (made.state, made.params) == (LoggedModelState.READY, {"a": "1", "b": "2"})
        assert (made.tags, made.updated_ns) == ({"x": "3"}, T0_NS + 5)
        assert made == await store.model_get(model().id)
        with pytest.raises(NotFound):
            await store.model_update(
                model().id, updated_ns=T0_NS + 6, params={"c": "3"}, delete_tags=["y"]
            )
        assert made == await store.model_get(model().id)
        with pytest.raises(NotFound):
            await store.model_update(model(2).id, updated_ns=T0_NS)

    async def test_model_metrics_add__repeats_and_odd_floats__kept_once_bit_for_bit(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        await store.model_create(model())
        values = [
            ModelMetric("acc", value, step, T0_NS // 1_000_000, run_id(1), name, name)
            for value in (0.1, math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324)
            for step, name in ((0, None), (1, "d"))
        ]
        await store.model_metrics_add(model().id, values)
        await store.model_metrics_add(model().id, values[::-1])
        found = await store.model_metrics_get(model().id)
        assert [repr(one) for one in found] == [repr(one) for one in values]

    async def test_model_metrics_add__model_or_run_missing__nothing_noted(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        value = ModelMetric("acc", 0.1, 0, 1, run_id(1))
        with pytest.raises(NotFound):
            await store.model_metrics_add(model().id, [value])
        await store.model_create(model())
        with pytest.raises(NotFound):
            await store.model_metrics_add(
                model().id, [value, ModelMetric("acc", 0.1, 0, 1, run_id(2))]
            )
        assert await store.model_metrics_get(model().id) == ()

    async def test_inputs_add__repeats__are_one_in_order(self, store: MetadataStore) -> None:
        await create(store, run(1))
        await create(store, run(2))
        one = DatasetInput("train", "d1", "local", "/x", "s", "p", {"b": "1", "a": UNICODE})
        same = DatasetInput("train", "d1", "local", "/x", "s", "p", {"a": UNICODE, "b": "1"})
        other = DatasetInput("train", "d2")
        outputs = (ModelOutput("m-2", 3), ModelOutput("m-2", 4))
        await store.inputs_add(run_id(1), datasets=[one, other], models=["m-1"], outputs=outputs)
        await store.inputs_add(run_id(1), datasets=[same], models=["m-1", "m-0"])
        found = await store.inputs_get([run_id(1), run_id(2), run_id(3)])
        assert list(found) == [run_id(1)]
        assert found[run_id(1)].datasets == (one, other)
        assert (found[run_id(1)].models, found[run_id(1)].outputs) == (("m-1", "m-0"), outputs)
        with pytest.raises(NotFound):
            await store.inputs_add(run_id(3), models=["m-1"])


class ManifestCases(MetadataStoreCases):
    """Manifest rows of artifacts."""

    async def test_manifest_put__again__replaces(self, store: MetadataStore) -> None:
        await store.manifest_put("o", file(UNICODE))
        newer = file(UNICODE, size_bytes=1 << 60, sha256="b" * 64)
        await store.manifest_put("o", newer)
        assert await store.manifest_get("o", UNICODE) == newer
        assert await store.manifest_list("o", "", limit=10) == (newer,)

    async def test_manifest_get__missing_or_a_folder_or_anothers__not_found(
        self, store: MetadataStore
    ) -> None:
        await store.manifest_put("o", file("a/b"))
        for owner, path in (("o", "a"), ("o", "a/b/c"), ("o", "A/b"), ("p", "a/b")):
            with pytest.raises(NotFound):
                await store.manifest_get(owner, path)

    async def test_manifest_put__file_below_a_file_or_over_a_folder__conflict(
        self, store: MetadataStore
    ) -> None:
        await store.manifest_put("o", file("a/b"))
        for path in ("a", "a/b/c", "a/b/c/d"):
            with pytest.raises(Conflict):
                await store.manifest_put("o", file(path))
        await store.manifest_put("o", file("ab"))
        await store.manifest_put("o", file("a/bc"))
        await store.manifest_put("other", file("a"))
        found = await store.manifest_list("o", "", limit=10)
        assert [row.path for row in found] == ["a/b", "a/bc", "ab"]

    async def test_manifest_list__prefix_siblings__are_apart(self, store: MetadataStore) -> None:
        for path in ("a/b/c", "a/b!", "a/b0", "ab", "a-b/c", "a%/c", "a_/c", "A/b/c"):
            await store.manifest_put("o", file(path))

        async def below(folder: str) -> list[str]:
            return [row.path for row in await store.manifest_list("o", folder, limit=100)]

        assert await below("a/b") == ["a/b/c"]
        assert await below("a") == ["a/b!", "a/b/c", "a/b0"]
        assert await below("a%") == ["a%/c"]
        assert await below("a_") == ["a_/c"]
        assert await below("missing") == await below("a/b/c") == []
        assert await below("") == sorted(await below(""))
        assert len(await below("")) == 8

    async def test_manifest_list__paged__in_order_of_code_points(
        self, store: MetadataStore
    ) -> None:
        paths = sorted(["Z", "a", "z", "ä", "日", "🏝", "\ufffd", "a/b".replace("a", "c")])
        for path in reversed(paths):
            await store.manifest_put("o", file(path))
        seen: list[str] = []
        after: str | None = None
        while page := await store.manifest_list("o", "", limit=3, after=after):
            seen += [row.path for row in page]
            after = seen[-1]
        assert seen == paths

    async def test_manifest_children__files_and_folders__with_sums(
        self, store: MetadataStore
    ) -> None:
        await store.manifest_put("o", file("m/a", size_bytes=1))
        await store.manifest_put("o", file("m/d/b", size_bytes=2))
        await store.manifest_put("o", file("m/d/e/c", size_bytes=4))
        await store.manifest_put("o", file("m-2/x", size_bytes=8))
        await store.manifest_put("o", file("empty", size_bytes=0))
        assert await store.manifest_children("o", "") == (
            ArtifactEntry("empty", is_folder=False, size_bytes=0, files=1, sha256=file("").sha256),
            ArtifactEntry("m", is_folder=True, size_bytes=7, files=3),
            ArtifactEntry("m-2", is_folder=True, size_bytes=8, files=1),
        )
        assert await store.manifest_children("o", "m") == (
            ArtifactEntry("m/a", is_folder=False, size_bytes=1, files=1, sha256=file("").sha256),
            ArtifactEntry("m/d", is_folder=True, size_bytes=6, files=2),
        )
        assert await store.manifest_children("o", "m/a") == ()
        assert await store.manifest_children("o", "missing") == ()

    async def test_manifest_delete__file_or_folder__siblings_stay(
        self, store: MetadataStore
    ) -> None:
        for path in ("a/b", "a/c/d", "a-b", "ab", "c"):
            await store.manifest_put("o", file(path))
        await store.manifest_put("p", file("a/b"))
        assert await store.manifest_delete("o", "a") == 2
        assert await store.manifest_delete("o", "c") == 1
        assert await store.manifest_delete("o", "c") == 0
        found = await store.manifest_list("o", "", limit=10)
        assert [row.path for row in found] == ["a-b", "ab"]
        assert len(await store.manifest_list("p", "", limit=10)) == 1
        await store.manifest_put("o", file("a"))  # a file may stand where a folder was


class MetadataStoreSuite(
    ProjectCases,
    ExperimentCases,
    WorkloadCases,
    AttemptCases,
    LabelCases,
    EnvironmentCases,
    ModelCases,
    ManifestCases,
):
    """True of every metadata store."""

    async def test_check__open__answers(self, store: MetadataStore) -> None:
        await store.check()

    async def test_close__twice__then_nothing_is_answered(self, store: MetadataStore) -> None:
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.check()


async def fill_run(store: MetadataStore, number: int) -> None:
    """Make a run that has a row of every kind."""
    key = f"key {number}"
    await create(store, launched(number), params={"p": "1"}, tags={"t": "1"}, idempotency_key=key)
    await store.attempt_record(
        run_id(number), 1, receipts={"a": Receipt("git", "u", 1, 2, 0.1, cached=False)}
    )
    await store.workload_transition(run_id(number), entering(FAILED, QUEUED))
    await store.attempt_create(run_id(number), created_ns=T0_NS, event=note())
    await store.event_append(run_id(number), note())
    await store.manifest_put(run_id(number), file("a/b"))
    await store.manifest_put(run_id(number), file("c"))
    await store.model_create(model(number, source_run_id=run_id(number)))
    value = ModelMetric("acc", 0.1, 0, 1, run_id(number))
    await store.model_metrics_add(model(number).id, [value])
    await store.inputs_add(
        run_id(number),
        datasets=[DatasetInput("d", "1")],
        outputs=[ModelOutput(model(number).id)],
        models=["m-0"],
    )


async def everything_of(store: MetadataStore, number: int) -> list[object]:
    """All that can be read of a run."""
    ids = [run_id(number)]
    return [
        await store.workload_get(run_id(number)),
        await store.labels_get(ids),
        await store.attempt_list(run_id(number)),
        await store.event_list(run_id(number)),
        await store.manifest_list(run_id(number), "", limit=100),
        await store.inputs_get(ids),
        await store.model_get(model(number).id),
        await store.model_metrics_get(model(number).id),
    ]
