"""Cases of workloads, attempts, events and labels; part of ``metadata_store_suite``."""

from __future__ import annotations

import asyncio

import pytest

from seafloor.domain.code import GitCode, Receipt, SnapshotCode
from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    LimitExceeded,
    NotFound,
)
from seafloor.domain.ids import GitCommit, Sha256
from seafloor.domain.models import DatasetInput, ModelMetric, ModelOutput
from seafloor.domain.search import WorkloadQuery
from seafloor.domain.workloads import LIVING_STATES, Attempt, Event, Task, WorkloadKind
from seafloor.stores.metadata.protocol import Labels, MetadataStore
from seafloor.testing.metadata_cases import (
    FAILED,
    PREPARING,
    QUEUED,
    RUNNING,
    STOPPED,
    SUCCEEDED,
    UNICODE,
    MetadataStoreCases,
)
from seafloor.testing.metadata_records import (
    T0_NS,
    create,
    entering,
    file,
    labels,
    launched,
    model,
    note,
    run,
    run_id,
)


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

    async def test_workload_create__many_at_once__each_has_all_of_its_own(
        self, store: MetadataStore
    ) -> None:
        """Also beside one whose id is taken, and one whose project is not there."""
        await store.project_create("vision", created_ns=T0_NS)
        numbers = range(1, 25)
        made = await asyncio.gather(
            *(
                create(
                    store,
                    run(number, project="vision", experiment_id=None)
                    if number % 5 == 0
                    else run(number),
                    params={"a": str(number), "b": "1"},
                    tags={} if number % 3 else {"t": str(number)},
                )
                for number in numbers
            ),
            create(store, run(1, name="again")),
            create(store, run(90, project="nowhere", experiment_id=None)),
            return_exceptions=True,
        )
        assert [type(one) for one in made[-2:]] == [AlreadyExists, NotFound]
        labels = await store.labels_get([run_id(number) for number in numbers])
        for number, one in zip(numbers, made, strict=False):
            assert one == await store.workload_get(run_id(number))
            tags = {} if number % 3 else {"t": str(number)}
            assert labels[run_id(number)] == Labels({"a": str(number), "b": "1"}, tags)
            assert [each.sequence for each in await store.event_list(run_id(number))] == [1]

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

    async def test_runs_living__of_some_that_ended_or_were_deleted__counts_the_others(
        self, store: MetadataStore
    ) -> None:
        assert await store.runs_living() == dict.fromkeys(LIVING_STATES, 0)
        for number in range(1, 5):
            await create(store, launched(number))
        await store.workload_set_deleted(run_id(4), deleted_ns=T0_NS)
        await store.workload_transition(run_id(1), entering(PREPARING, QUEUED))
        await store.workload_transition(run_id(2), entering(FAILED, QUEUED))
        expected = dict.fromkeys(LIVING_STATES, 0)
        assert await store.runs_living() == {**expected, QUEUED: 1, PREPARING: 1}

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

    async def test_labels_get__more_than_may_be_read__is_refused(
        self, store: MetadataStore
    ) -> None:
        keys = {f"k{at}": UNICODE for at in range(3)}
        await create(store, run(1), params=keys, tags={"a": "1"})
        await create(store, run(2), params=keys, tags={"a": "1"})
        ids = [run_id(1), run_id(2)]
        whole = await store.labels_get(ids)
        assert await store.labels_get(ids, most=6) == whole
        for most in (0, 5):
            with pytest.raises(LimitExceeded):
                await store.labels_get(ids, most=most)
        found = await store.labels_get(ids, params=["k1"], most=2)
        assert found[run_id(2)].params == {"k1": UNICODE}
        with pytest.raises(LimitExceeded):
            await store.labels_get(ids, params=["k1"], tags=[], most=1)
        found = await store.labels_get(ids, params=[], tags=[], most=0)
        assert found == dict.fromkeys(ids, labels())


async def fill_run(store: MetadataStore, number: int) -> None:
    """Make a run that has a row of every kind."""
    key = f"key {number}"
    await create(store, launched(number), params={"p": "1"}, tags={"t": "1"}, idempotency_key=key)
    await store.attempt_record(
        run_id(number), 1, receipts={"a": Receipt("git", "u", 1, 2, 0.1, cached=False)}
    )
    await store.tasks_record(run_id(number), [Task(attempt=1, name="worker-0")])
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
        await store.task_list(ids, newest=False),
        await store.event_list(run_id(number)),
        await store.manifest_list(run_id(number), "", limit=100),
        await store.inputs_get(ids),
        await store.model_get(model(number).id),
        await store.model_metrics_get(model(number).id),
    ]
