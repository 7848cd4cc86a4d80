"""A state machine that drives any metadata store beside the model and compares all they say."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from seafloor.domain.code import Receipt
from seafloor.domain.errors import SeafloorError
from seafloor.domain.metrics import MetricSummary
from seafloor.domain.models import DatasetInput, LoggedModelState, ModelMetric, ModelOutput
from seafloor.domain.search import Lifecycle, WorkloadQuery
from seafloor.domain.workloads import Task, WorkloadState
from seafloor.stores.metadata.memory import MemoryMetadataStore
from seafloor.stores.metadata.protocol import MetadataStore, Transition, WorkloadPage
from seafloor.testing.metadata_queries import KEYS, QUERIES, TEXTS, VALUES
from seafloor.testing.metadata_records import (
    T0_NS,
    create,
    entering,
    environment,
    experiment,
    file,
    launched,
    model,
    note,
    run,
    run_id,
    summary,
)

RUNS = (1, 2, 3, 4)
PATHS = ("a", "a/b", "ab", "a/b/c", "a-b/c", "A/b")

_Texts = dict[str, str]
_runs = st.sampled_from(RUNS)
_keys = st.sampled_from(KEYS)
_texts = st.sampled_from(TEXTS)
_labels = st.dictionaries(_keys, _texts, max_size=3)
_values = st.lists(st.sampled_from(VALUES), min_size=1, max_size=3)
_metrics = st.dictionaries(_keys, _values, max_size=2)
_states = st.sampled_from(list(WorkloadState))
# Those that most others can follow and be followed by, more often.
_moves = _states | st.sampled_from([WorkloadState.RUNNING, WorkloadState.FAILED])
_times = st.integers(T0_NS, T0_NS + 5)
# Mostly the one that is there: what happens to nothing tells little.
_experiments = st.sampled_from([0, 0, 0, 1, 2])
_models = st.integers(1, 3)
_paths = st.sampled_from(PATHS)


class MetadataStoreMachine(RuleBasedStateMachine):
    """Clients that track and launch, users who rename, search, delete and purge.

    Subclass it and set ``make_store``, ``put_metric`` and ``durable``.
    """

    make_store: ClassVar[Callable[[Path], Awaitable[MetadataStore]]]
    put_metric: ClassVar[Callable[..., Awaitable[None]]]
    """``MetadataStoreCases.put_metric``."""
    durable: ClassVar[bool] = True
    prepared: ClassVar[Callable[[Path], AbstractContextManager[object]]] = nullcontext
    """What a folder needs before a store is opened over it, for the time of one example."""

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()
        self._folder = Path(self._held.enter_context(tempfile.TemporaryDirectory()))
        self._held.enter_context(type(self).prepared(self._folder))
        self._runner = self._held.enter_context(asyncio.Runner())
        self._metrics: dict[tuple[str, str], MetricSummary] = {}
        self._model = MemoryMetadataStore(lambda owner, key: self._metrics.get((owner, key)))
        self._store = self._open()

    def _open(self) -> MetadataStore:
        async def work() -> MetadataStore:
            return await type(self).make_store(self._folder)

        return self._runner.run(work())

    def teardown(self) -> None:
        self._runner.run(self._store.close())
        self._held.close()

    def _answer(
        self, store: MetadataStore, ask: Callable[[MetadataStore], Awaitable[object]]
    ) -> object:
        async def work() -> object:
            return await ask(store)

        try:
            return self._runner.run(work())
        except SeafloorError as error:
            return type(error)

    def _compare(self, ask: Callable[[MetadataStore], Awaitable[object]]) -> None:
        expected, found = self._answer(self._model, ask), self._answer(self._store, ask)
        # By their text: NaN is not equal to itself.
        assert repr(found) == repr(expected), f"the store says {found}, the model {expected}"

    @initialize(
        runs=st.lists(
            st.tuples(st.booleans(), _labels, _labels, _metrics, _times),
            min_size=1,
            max_size=len(RUNS),
        )
    )
    def begin(self, runs: list[tuple[bool, _Texts, _Texts, dict[str, list[float]], int]]) -> None:
        """Some runs are there, some launched, some tracked."""
        self._compare(lambda store: store.project_list())
        for number, (is_launched, params, tags, metrics, created_ns) in enumerate(runs, start=1):
            self.workload_create(number, is_launched, 0, params, tags, None, created_ns)
            for key, values in metrics.items():
                self.metric(number, key, values)

    @rule(name=st.sampled_from(["vision", "default", "audio"]))
    def project_create(self, name: str) -> None:
        """A project."""
        self._compare(lambda store: store.project_create(name, created_ns=T0_NS))

    @rule(name=_texts, project=st.sampled_from(["default", "vision"]), tags=_labels, at=_times)
    def experiment_create(self, name: str, project: str, tags: dict[str, str], at: int) -> None:
        """An experiment."""
        made = experiment(name, project=project, tags=dict(sorted(tags.items())), created_ns=at)
        self._compare(lambda store: store.experiment_create(made))

    @rule(of=_experiments, name=st.none() | _texts, at=_times)
    def experiment_update(self, of: int, name: str | None, at: int) -> None:
        """It is renamed."""
        self._compare(
            lambda store: _tags_sorted(store.experiment_update(of, updated_ns=at, name=name))
        )

    @rule(of=_experiments, set_=_labels, delete=st.lists(_keys, max_size=2, unique=True))
    def experiment_tags(self, of: int, set_: dict[str, str], delete: list[str]) -> None:
        """Its tags change."""
        self._compare(lambda store: store.experiment_tags_change(of, set_=set_, delete=delete))

    @rule(steps=st.lists(st.tuples(st.none() | _runs, st.none() | _times), max_size=6))
    def deletions(self, steps: list[tuple[int | None, int | None]]) -> None:
        """Runs, or the experiment with its runs, go or return."""
        for number, at in steps:
            if number is None:
                self._compare(
                    lambda store, when=at: store.experiment_set_deleted(0, deleted_ns=when)
                )
            else:
                self._compare(
                    lambda store, of=number, when=at: store.workload_set_deleted(
                        run_id(of), deleted_ns=when
                    )
                )
        self._compare(lambda store: _all_pages(store, WorkloadQuery(lifecycle=Lifecycle.ALL)))

    @rule(
        number=_runs,
        is_launched=st.booleans(),
        of=_experiments,
        params=_labels,
        tags=_labels,
        key=st.none() | _keys,
        at=_times,
    )
    def workload_create(
        self,
        number: int,
        is_launched: bool,
        of: int,
        params: dict[str, str],
        tags: dict[str, str],
        key: str | None,
        at: int,
    ) -> None:
        """A run begins."""
        made = (launched if is_launched else run)(number, experiment_id=of, created_ns=at)
        self._compare(
            lambda store: create(store, made, params=params, tags=tags, idempotency_key=key)
        )

    @rule(number=_runs, name=st.none() | _texts, at=_times)
    def workload_update(self, number: int, name: str | None, at: int) -> None:
        """A run is renamed."""
        self._compare(
            lambda store: store.workload_update(
                run_id(number), updated_ns=at, name=name, environment=name
            )
        )

    @rule(number=_runs, steps=st.lists(st.tuples(_moves, st.none() | _times), max_size=4))
    def workload_goes_on(self, number: int, steps: list[tuple[WorkloadState, int | None]]) -> None:
        """A run enters states, from wherever it is."""
        for state, started_ns in steps:
            move = entering(state, *WorkloadState, started_ns=started_ns)
            self._compare(lambda store, one=move: store.workload_transition(run_id(number), one))

    @rule(number=_runs, state=_states, expected=st.lists(_states, max_size=3))
    def workload_transition(
        self, number: int, state: WorkloadState, expected: list[WorkloadState]
    ) -> None:
        """A run is thought to be in some state."""
        move: Transition = entering(state, *expected)
        self._compare(lambda store: store.workload_transition(run_id(number), move))

    @rule(number=_runs)
    def workload_purge(self, number: int) -> None:
        """A run is gone for good, its metrics too."""
        self._compare(lambda store: store.workload_purge(run_id(number)))
        if self._answer(self._model, lambda store: store.labels_get([run_id(number)])) == {}:
            for key in KEYS:
                self._metrics.pop((run_id(number), key), None)

    @rule(number=_runs)
    def attempt_create(self, number: int) -> None:
        """A run is started again."""
        self._compare(
            lambda store: store.attempt_create(run_id(number), created_ns=T0_NS + 7, event=note())
        )

    @rule(number=_runs, attempt=st.integers(0, 3), name=_texts)
    def attempt_record(self, number: int, attempt: int, name: str) -> None:
        """Something was prepared."""
        receipt = Receipt("git", name, 1, 2, 0.5, cached=False)
        self._compare(
            lambda store: store.attempt_record(
                run_id(number), attempt, receipts={name: receipt}, environment=name
            )
        )

    @rule(
        number=_runs,
        attempt=st.integers(1, 2),
        names=st.lists(st.sampled_from(["worker-0", "worker-1", "ps-0"]), min_size=1, unique=True),
        state=_states,
        at=st.none() | _times,
    )
    def tasks_record(
        self, number: int, attempt: int, names: list[str], state: WorkloadState, at: int | None
    ) -> None:
        """Something became known of tasks."""
        told = [
            Task(attempt=attempt, name=name, state=state, started_ns=at, ended_ns=at)
            for name in names
        ]
        self._compare(lambda store: store.tasks_record(run_id(number), told))
        for newest in (True, False):
            self._compare(lambda store, of=newest: store.task_list([run_id(number)], newest=of))

    @rule(number=_runs)
    def event_append(self, number: int) -> None:
        """Something happened."""
        self._compare(lambda store: store.event_append(run_id(number), note()))

    @rule(number=_runs, params=_labels)
    def params_log(self, number: int, params: dict[str, str]) -> None:
        """Params are logged, new ones and known ones."""
        self._compare(lambda store: store.params_log(run_id(number), params))

    @rule(number=_runs, set_=_labels, delete=st.lists(_keys, max_size=2, unique=True))
    def tags_change(self, number: int, set_: dict[str, str], delete: list[str]) -> None:
        """Tags change."""
        self._compare(lambda store: store.tags_change(run_id(number), set_=set_, delete=delete))

    @rule(number=_runs, key=_keys, values=_values)
    def metric(self, number: int, key: str, values: list[float]) -> None:
        """A run logs a series."""
        if self._answer(self._model, lambda store: store.labels_get([run_id(number)])) != {}:
            self._metrics[run_id(number), key] = summary(key, *values)
            self._answer(
                self._store,
                lambda store: type(self).put_metric(store, run_id(number), key, *values),
            )

    @rule(
        steps=st.lists(
            st.tuples(
                st.sampled_from(["create", "create", "delete"]),
                st.sampled_from(["e", "e", "f"]),
                st.integers(0, 3),
            ),
            max_size=6,
        )
    )
    def environments(self, steps: list[tuple[str, str, int]]) -> None:
        """Environments are made, locked anew, deleted in one version or all."""
        for action, name, number in steps:
            version = number or None
            if action == "create":
                made = environment(name, digest=str(number) * 64)
                self._compare(lambda store, one=made: store.environment_create(one))
            else:
                self._compare(
                    lambda store, of=name, one=version: store.environment_delete(
                        "default", of, version=one, deleted_ns=T0_NS
                    )
                )
            self._compare(
                lambda store, of=name, one=version: store.environment_get(
                    "default", of, version=one
                )
            )

    @rule(number=_models, of=_experiments, source=st.none() | _runs, at=_times)
    def model_create(self, number: int, of: int, source: int | None, at: int) -> None:
        """A model is logged."""
        source_id = None if source is None else run_id(source)
        made = model(number, experiment_id=of, source_run_id=source_id, created_ns=at)
        self._compare(lambda store: store.model_create(made))

    @rule(number=_models, tags=_labels, delete=st.lists(_keys, max_size=1), at=st.none() | _times)
    def model_update(
        self, number: int, tags: dict[str, str], delete: list[str], at: int | None
    ) -> None:
        """A model changes."""
        self._compare(
            lambda store: store.model_update(
                model(number).id,
                updated_ns=T0_NS,
                state=LoggedModelState.READY if at is None else None,
                params=tags,
                tags=tags,
                delete_tags=delete,
                deleted_ns=at,
            )
        )

    @rule(number=_models, source=_runs, value=st.sampled_from(VALUES))
    def model_metrics(self, number: int, source: int, value: float) -> None:
        """A run logs a value for a model."""
        made = [ModelMetric("acc", value, 0, 1, run_id(source))]
        self._compare(lambda store: store.model_metrics_add(model(number).id, made))
        self._compare(lambda store: store.model_metrics_get(model(number).id))

    @rule(number=_runs, name=_texts, other=_texts)
    def inputs(self, number: int, name: str, other: str) -> None:
        """A run says what it used."""
        self._compare(
            lambda store: store.inputs_add(
                run_id(number),
                datasets=[DatasetInput(name, other)],
                models=[name],
                outputs=[ModelOutput(name, len(other))],
            )
        )

    @rule(number=_runs, path=_paths, size=st.integers(0, 9))
    def manifest_put(self, number: int, path: str, size: int) -> None:
        """A file is kept."""
        self._compare(lambda store: store.manifest_put(run_id(number), file(path, size_bytes=size)))

    @rule(number=_runs, path=_paths)
    def manifest_delete(self, number: int, path: str) -> None:
        """A file or folder is deleted."""
        self._compare(lambda store: store.manifest_delete(run_id(number), path))

    @rule(queries=st.lists(QUERIES, min_size=1, max_size=6))
    def search(self, queries: list[WorkloadQuery]) -> None:
        """Somebody searches and reads every page."""
        for query in queries:
            self._compare(lambda store, one=query: _all_pages(store, one))

    @rule(number=_runs)
    def look(self, number: int) -> None:
        """Somebody opens a run."""
        ids = [run_id(number)]
        for other in RUNS:
            self._compare(lambda store, of=other: store.workload_get(run_id(of)))
        self._compare(lambda store: store.attempt_list(run_id(number)))
        self._compare(lambda store: store.event_list(run_id(number)))
        self._compare(lambda store: _labels_sorted(store, number))
        self._compare(lambda store: store.inputs_get(ids))
        self._compare(lambda store: store.manifest_list(run_id(number), "", limit=100))
        for folder in ("", "a", "a/b"):
            for after in (None, "a", "a/", "a/b"):
                self._compare(
                    lambda store, at=folder, past=after: store.manifest_children(
                        run_id(number), at, limit=2, after=past
                    )
                )
            self._compare(lambda store, at=folder: store.manifest_sums(run_id(number), at))
            self._compare(lambda store, at=folder: store.manifest_list(run_id(number), at, limit=2))

    @rule(lifecycle=st.sampled_from(list(Lifecycle)))
    def lists(self, lifecycle: Lifecycle) -> None:
        """Somebody lists all there is."""
        self._compare(lambda store: store.workload_find("0"))
        self._compare(lambda store: store.runs_living())
        self._compare(lambda store: _experiments_sorted(store, lifecycle))
        self._compare(lambda store: store.environment_list(project=None))
        self._compare(lambda store: store.model_list([0, 1, 2], lifecycle=lifecycle))
        self._compare(lambda store: store.model_page(0, lifecycle=lifecycle, limit=2))

    @precondition(lambda self: self.durable)
    @rule()
    def restart(self) -> None:
        """The server stops and starts."""
        self._runner.run(self._store.close())
        self._store = self._open()


async def _all_pages(store: MetadataStore, query: WorkloadQuery) -> list[tuple[object, ...]]:
    made: list[tuple[object, ...]] = []
    while True:
        page: WorkloadPage = await store.workload_search(query)
        made.append(page.items)
        if page.next is None:
            return made
        query = replace(query, cursor=page.next)


async def _labels_sorted(store: MetadataStore, number: int) -> list[object]:
    found = (await store.labels_get([run_id(number)])).values()
    return [(sorted(one.params.items()), sorted(one.tags.items())) for one in found]


async def _tags_sorted(asked: Awaitable[object]) -> object:
    found = await asked
    return replace(found, tags=dict(sorted(found.tags.items())))  # pyright: ignore


async def _experiments_sorted(store: MetadataStore, lifecycle: Lifecycle) -> list[object]:
    found = await store.experiment_list(project=None, lifecycle=lifecycle)
    return [replace(one, tags=dict(sorted(one.tags.items()))) for one in found]
