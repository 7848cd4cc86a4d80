"""What searches of every metadata store must find. Subclass it as ``MetadataStoreSuite``."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.models import DatasetInput
from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Lifecycle,
    Not,
    Operator,
    Order,
    Part,
    Subject,
    WorkloadQuery,
)
from seafloor.domain.search_grammar import parse_filter, parse_order
from seafloor.domain.workloads import Workload, WorkloadKind, WorkloadState
from seafloor.stores.metadata.comparisons import COMPARISONS_MAX, ORDERS_MAX, PATTERN_BYTES_MAX
from seafloor.stores.metadata.protocol import Labels, MetadataStore
from seafloor.testing.metadata_cases import MetadataStoreCases
from seafloor.testing.metadata_records import (
    T0_NS,
    create,
    entering,
    environment,
    experiment,
    run,
    run_id,
)

RUNNING, FAILED = WorkloadState.RUNNING, WorkloadState.FAILED
LOSSES = {1: 0.5, 2: 0.25, 3: math.nan, 4: math.inf, 5: -math.inf, 6: 0.5}
"""Of runs 1 to 6; run 7 has none."""


def numbers_of(items: Sequence[Workload]) -> list[int]:
    """Which runs these are."""
    return [int(item.id, 16) for item in items]


async def find(store: MetadataStore, asked: str | Filter | None = None, **more: object) -> set[int]:
    """Which runs a filter finds, by its text or as a tree."""
    tree = parse_filter(asked) if isinstance(asked, str) else asked
    query = replace(WorkloadQuery(filter=tree), **more)
    return set(numbers_of((await store.workload_search(query)).items))


async def order(store: MetadataStore, *by: str, **more: object) -> list[int]:
    """The runs in an order, by its text."""
    query = replace(WorkloadQuery(order=tuple(map(parse_order, by))), **more)
    return numbers_of((await store.workload_search(query)).items)


async def pages(store: MetadataStore, query: WorkloadQuery) -> list[list[int]]:
    """Every page of a query."""
    made: list[list[int]] = []
    while True:
        page = await store.workload_search(query)
        made.append(numbers_of(page.items))
        if page.next is None:
            return made
        query = replace(query, cursor=page.next)


class MetadataSearchSuite(MetadataStoreCases):
    """Filters, orders and cursors."""

    @pytest.fixture
    async def found_in(self, tmp_path: Path) -> AsyncIterator[MetadataStore]:
        """A store with seven runs."""
        store = await self.make_store(tmp_path)
        names = {1: "Alpha", 2: "alpha", 3: "beta_1", 4: "beta%", 5: "ÄRGER", 6: "ärger", 7: "日本"}
        for number, name in names.items():
            await create(
                store,
                run(number, name=name, user="ada" if number % 2 else "bob"),
                params={"lr": f"0.{number}"} if number < 6 else {},
                tags={"a`b \"c' d": name, "same": "x"},
            )
        for number, value in LOSSES.items():
            await self.put_metric(store, run_id(number), "val/loss", value)
        await self.put_metric(store, run_id(7), "loss", 1.0)
        yield store
        await store.close()

    async def test_search__nothing_asked__newest_first(self, found_in: MetadataStore) -> None:
        page = await found_in.workload_search(WorkloadQuery())
        assert numbers_of(page.items) == [7, 6, 5, 4, 3, 2, 1]
        assert page.next is None
        assert page.items[0] == await found_in.workload_get(run_id(7))

    async def test_search__kind_project_experiment_state_lifecycle__narrow(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        other = await store.experiment_create(experiment())
        vision = await store.experiment_create(experiment(project="vision"))
        await create(store, run(1))
        await create(store, run(2, experiment_id=other.id))
        await create(store, run(3, experiment_id=vision.id, project="vision"))
        await create(store, run(4, kind=WorkloadKind.NOTEBOOK, experiment_id=None))
        await create(store, run(5))
        await store.workload_transition(run_id(5), entering(FAILED, RUNNING))
        await create(store, run(6))
        await store.workload_set_deleted(run_id(6), deleted_ns=T0_NS)

        assert await find(store) == {1, 2, 3, 5}
        assert await find(store, kind=WorkloadKind.NOTEBOOK) == {4}
        assert await find(store, kind=WorkloadKind.SERVING) == set()
        assert await find(store, project="vision") == {3}
        assert await find(store, project="Vision") == set()
        assert await find(store, experiment_ids=(0,)) == {1, 5}
        assert await find(store, experiment_ids=(other.id, vision.id, 404)) == {2, 3}
        assert await find(store, experiment_ids=(1 << 70, -1)) == set()
        assert await find(store, experiment_ids=()) == set()
        assert await find(store, states=(FAILED,)) == {5}
        assert await find(store, states=(FAILED, RUNNING)) == {1, 2, 3, 5}
        assert await find(store, states=()) == set()
        assert await find(store, lifecycle=Lifecycle.DELETED) == {6}
        assert await find(store, lifecycle=Lifecycle.ALL) == {1, 2, 3, 5, 6}
        assert await find(store, f"experiment_id = {other.id}") == {2}

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("metrics.`val/loss` = 0.5", {1, 6}),
            ("metrics.`val/loss` != 0.5", {2, 3, 4, 5}),
            ("metrics.`val/loss` < 0.5", {2, 5}),
            ("metrics.`val/loss` <= 0.5", {1, 2, 5, 6}),
            ("metrics.`val/loss` > 0.5", {4}),
            ("metrics.`val/loss` >= 0.25", {1, 2, 4, 6}),
            ("metrics.`val/loss` > 1e300", {4}),
            (f"metrics.`val/loss` < {10**400}", {1, 2, 5, 6}),
            ("metrics.`val/loss` >= 1e999", {4}),
            ("metrics.`Val/Loss` != 0", set[int]()),
            ("metrics.loss = 1", {7}),
        ],
    )
    async def test_search__metric__nan_differs_and_missing_never_matches(
        self, found_in: MetadataStore, asked: str, expected: set[int]
    ) -> None:
        assert await find(found_in, asked) == expected

    async def test_search__metric_is_null__is_missing(self, found_in: MetadataStore) -> None:
        for operator, expected in (
            (Operator.IS_NULL, {7}),
            (Operator.IS_NOT_NULL, {1, 2, 3, 4, 5, 6}),
        ):
            by = Identifier(Subject.METRIC, "val/loss")
            assert await find(found_in, Comparison(by, operator)) == expected

    async def test_search__compared_with_nan__only_differs(self, found_in: MetadataStore) -> None:
        by = Identifier(Subject.METRIC, "val/loss")
        created = Identifier(Subject.ATTRIBUTE, "created_ns")
        ended = Identifier(Subject.ATTRIBUTE, "ended_ns")
        nan = math.nan
        assert await find(found_in, Comparison(by, Operator.EQ, nan)) == set()
        assert await find(found_in, Comparison(by, Operator.LE, nan)) == set()
        assert await find(found_in, Comparison(by, Operator.NE, nan)) == {1, 2, 3, 4, 5, 6}
        assert len(await find(found_in, Comparison(created, Operator.NE, nan))) == 7
        assert await find(found_in, Comparison(ended, Operator.NE, nan)) == set()

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("params.lr = '0.1'", {1}),
            ("params.lr != '0.1'", {2, 3, 4, 5}),
            ("params.LR = '0.1'", set[int]()),
            ("params.lr IN ('0.1', '0.5', '0.7')", {1, 5}),
            ("params.lr NOT IN ('0.1', '0.5')", {2, 3, 4}),
            ("params.lr IS NULL", {6, 7}),
            ("params.lr IS NOT NULL", {1, 2, 3, 4, 5}),
            ("tags.same = 'x'", {1, 2, 3, 4, 5, 6, 7}),
            ("tags.same = 'X'", set[int]()),
            ("tags.same = 'x '", set[int]()),
            ("tags.`missing` IS NULL", {1, 2, 3, 4, 5, 6, 7}),
            ("name = 'alpha'", {2}),
            ("name != 'alpha'", {1, 3, 4, 5, 6, 7}),
            ("name LIKE 'alp%'", {2}),
            ("name LIKE '%a'", {1, 2}),
            ("name LIKE 'beta_'", {4}),
            ("name LIKE 'beta__'", {3}),
            ("name LIKE '_____'", {1, 2, 4, 5, 6}),
            ("name LIKE '日_'", {7}),
            ("name LIKE ''", set[int]()),
            ("name LIKE '%'", {1, 2, 3, 4, 5, 6, 7}),
            ("name ILIKE 'ALP%'", {1, 2}),
            ("name ILIKE 'ärg%'", {5, 6}),
            ("name ILIKE 'ÄRG%'", {5, 6}),
            ("name LIKE 'ÄRG%'", {5}),
            ("state = 'running'", {1, 2, 3, 4, 5, 6, 7}),
            ("state IN ('failed', 'stopped')", set[int]()),
            ("environment IS NULL", {1, 2, 3, 4, 5, 6, 7}),
            ("environment != 'x'", set[int]()),
            ("environment NOT IN ('x')", set[int]()),
            (f"id = '{run_id(3)}'", {3}),
            (f"created_ns > {T0_NS + 5}", {6, 7}),
            (f"created_ns <= {T0_NS + 1}", {1}),
            ("created_ns < 1e300", {1, 2, 3, 4, 5, 6, 7}),
            (f"created_ns > {1 << 80}", set[int]()),
            ("ended_ns != 0", set[int]()),
            ("user = 'ada' AND params.lr != '0.1'", {3, 5}),
            ("params.lr = '0.1' OR name = '日本'", {1, 7}),
            ("NOT params.lr = '0.1'", {2, 3, 4, 5, 6, 7}),
            ("NOT (params.lr = '0.1' OR user = 'bob')", {3, 5, 7}),
            ("NOT NOT user = 'bob'", {2, 4, 6}),
            ("NOT environment = 'x'", {1, 2, 3, 4, 5, 6, 7}),
            ("NOT environment IS NULL", set[int]()),
            ("params.lr NOT LIKE '0.1'", {2, 3, 4, 5}),
            ("name NOT ILIKE 'ÄRG%'", {1, 2, 3, 4, 7}),
            ("params.lr > 0.3", {4, 5}),
            ("params.lr = 0.30", {3}),
            ("params.lr IN (0.1, 0.5, 7)", {1, 5}),
            ("params.lr NOT IN (0.1)", {2, 3, 4, 5}),
            ("params.lr BETWEEN 0.2 AND 0.4", {2, 3, 4}),
            ("params.lr NOT BETWEEN 0.2 AND 0.4", {1, 5}),
            ("params.lr >= '0.4'", {4, 5}),
            ("tags.same > 1", set[int]()),
            ("name BETWEEN 'alpha' AND 'beta%'", {2, 4}),
            ("name < 'alpha'", {1}),
            ("experiment_id IN (0, 5)", {1, 2, 3, 4, 5, 6, 7}),
            ("experiment_id NOT IN (0)", set[int]()),
            ("created >= '2023-11-14'", {1, 2, 3, 4, 5, 6, 7}),
            ("created < '2023-11-14T22:13:20+00:00'", set[int]()),
            ("metrics.`val/loss` IN (0.5, 0.25)", {1, 2, 6}),
            ("metrics.`val/loss` NOT IN (0.5)", {2, 3, 4, 5}),
            ("metrics.`val/loss` IS NULL", {7}),
            ("NOT metrics.`val/loss` < 1", {3, 4, 7}),
            ("metrics.`val/loss` BETWEEN 0 AND 0.4", {2}),
            ("user = 'bob' AND (params.lr = '0.2' OR metrics.`val/loss` > 1)", {2, 4}),
        ],
    )
    async def test_search__texts_and_attributes__found(
        self, found_in: MetadataStore, asked: str, expected: set[int]
    ) -> None:
        assert await find(found_in, asked) == expected

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("metrics.acc.min = -2", {1, 5}),
            ("metrics.acc.min < -1.5", {1, 5}),
            ("metrics.acc.max > 0", {1, 3}),
            ("metrics.acc.max = 0", {2}),
            ("metrics.acc.max IN (0, 3)", {1, 2}),
            ("metrics.acc.min BETWEEN -1 AND 0", {2, 3}),
            ("metrics.acc.max != 0", {1, 3, 5}),
            ("metrics.acc.last = 1", {1}),
            ("metrics.acc.step = 2", {1, 3}),
            ("metrics.acc.step >= 1", {1, 3, 4}),
            ("metrics.acc.min IS NULL", {4, 6}),
            ("metrics.acc IS NULL", {6}),
            ("metrics.`acc.min` IS NULL", {1, 2, 3, 4, 5, 6}),
            ("metrics.acc.max > 1e308", {3}),
            ("metrics.acc.min <= -1e999", {5}),
        ],
    )
    async def test_search__parts_of_a_series__least_greatest_and_step(
        self, store: MetadataStore, asked: str, expected: set[int]
    ) -> None:
        series = {
            1: [-2.0, 3.0, 1.0],
            2: [-0.0],
            3: [math.inf, -1.0, math.nan],
            4: [math.nan, math.nan],
            5: [-2.0] if "999" not in asked else [-math.inf],
            6: [],
        }
        for number, values in series.items():
            await create(store, run(number))
            if values:
                await self.put_metric(store, run_id(number), "acc", *values)
        assert await find(store, asked) == expected

    async def test_search__ordered_by_parts__missing_last(self, store: MetadataStore) -> None:
        series = {1: [5.0, -1.0], 2: [-2.0, 0.0], 3: [math.nan], 4: [1.0, 2.0, 3.0]}
        for number in range(1, 6):
            await create(store, run(number))
            if number in series:
                await self.put_metric(store, run_id(number), "acc", *series[number])
        assert await order(store, "metrics.acc.min") == [2, 1, 4, 5, 3]
        assert await order(store, "metrics.acc.max desc") == [1, 4, 2, 5, 3]
        assert await order(store, "metrics.acc.step desc") == [4, 2, 1, 3, 5]
        query = WorkloadQuery(order=(parse_order("metrics.acc.min"),), limit=1)
        assert await pages(store, query) == [[2], [1], [4], [5], [3]]

    async def test_search__texts_as_numbers__only_what_reads_as_one(
        self, store: MetadataStore
    ) -> None:
        for number, text in enumerate(("10", "9", "x", "1e1", "", "-0.5", "9 "), start=1):
            await create(store, run(number), params={"n": text})
        assert await find(store, "params.n = 10") == {1, 4}
        assert await find(store, "params.n < 10") == {2, 6}
        assert await find(store, "params.n != 10") == {2, 6}
        assert await find(store, "NOT params.n = 10") == {2, 3, 5, 6, 7}
        assert await order(store, "params.n as number") == [6, 2, 4, 1, 7, 5, 3]
        assert await order(store, "params.n AS NUMBER desc") == [4, 1, 2, 6, 7, 5, 3]
        query = WorkloadQuery(order=(parse_order("params.n as number"),), limit=3)
        assert await pages(store, query) == [[6, 2, 4], [1, 7, 5], [3]]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("params.c->'$.opt.lr' > 0.05", {1}),
            ("params.c->>'$.opt.lr' <= 0.05", {2}),
            ("params.c->'$.opt.lr' = '0.1'", {1}),
            ("params.c->'$.opt.name' LIKE 'ad%'", {1}),
            ("params.c->'$.layers[1].units' = 8", {2}),
            ("params.c->'$.layers[9].units' = 8", set[int]()),
            ("params.c->'$[0]' = 'a'", {3}),
            ("params.c->'$.opt[0]' IS NULL", {1, 2, 3, 4, 5, 6}),
            ("params.c->'$.flag' = 'true'", {1}),
            ("params.c->'$.none' IS NULL", {1, 2, 3, 4, 5, 6}),
            ("params.c->'$.opt' IS NOT NULL", set[int]()),
            ("params.c->'$.opt.lr' IS NULL", {3, 4, 5, 6}),
            ("NOT params.c->'$.opt.lr' > 0.05", {2, 3, 4, 5, 6}),
            ("tags.c->'$.ä b' = 'ü'", {1}),
            ("tags.c->'$.\"ä b\"' = 'ü'", {1}),
        ],
    )
    async def test_search__documents__by_path(
        self, store: MetadataStore, asked: str, expected: set[int]
    ) -> None:
        documents = {
            1: '{"opt": {"lr": 0.1, "name": "adam"}, "flag": true, "none": null}',
            2: '{"opt": {"lr": 1e-2}, "layers": [{"units": 4}, {"units": 8}]}',
            3: '["a", {"lr": 1}]',
            4: "no document",
            5: '{"opt": {"lr": 0.1',
        }
        for number in range(1, 7):
            params = {"c": documents[number]} if number in documents else {}
            tags = {"c": '{"ä b": "\\u00fc"}'} if number == 1 else {}
            await create(store, run(number), params=params, tags=tags)
        assert await find(store, asked) == expected

    async def test_search__key_with_quotes__found(self, found_in: MetadataStore) -> None:
        by = Identifier(Subject.TAG, "a`b \"c' d")
        assert await find(found_in, Comparison(by, Operator.LIKE, "%eta%")) == {3, 4}

    async def test_labels_get__some_keys__only_those(self, found_in: MetadataStore) -> None:
        ids = [run_id(1), run_id(7), run_id(404)]
        found = await found_in.labels_get(ids, params=["lr", "x"], tags=[])
        assert found == {run_id(1): Labels({"lr": "0.1"}, {}), run_id(7): Labels({}, {})}
        found = await found_in.labels_get(ids, params=[], tags=["same"])
        assert found == {one: Labels({}, {"same": "x"}) for one in ids[:2]}

    async def test_search__empty_trees__hold_and_do_not(self, found_in: MetadataStore) -> None:
        assert len(await find(found_in, AllOf(()))) == 7
        assert await find(found_in, AnyOf(())) == set()

    async def test_search__datasets__any_of_them(self, found_in: MetadataStore) -> None:
        context = {"mlflow.data.context": "train"}
        train = DatasetInput("mnist", "d1", tags=context)
        await found_in.inputs_add(run_id(1), datasets=[train, DatasetInput("cifar", "d2")])
        await found_in.inputs_add(run_id(2), datasets=[DatasetInput("MNIST", "d1")], models=["m"])
        await found_in.inputs_add(run_id(3), models=["mnist"])
        assert await find(found_in, "dataset.name = 'mnist'") == {1}
        assert await find(found_in, "dataset.name != 'mnist'") == {1, 2}
        assert await find(found_in, "dataset.name ILIKE 'mn%'") == {1, 2}
        assert await find(found_in, "datasets.digest IN ('d1')") == {1, 2}
        assert await find(found_in, "dataset.context = 'train'") == {1}
        assert await find(found_in, "dataset.context IS NULL") == {2, 3, 4, 5, 6, 7}
        assert await find(found_in, "dataset.name IS NOT NULL") == {1, 2}

    @pytest.mark.parametrize(
        ("by", "expected"),
        [
            (["metrics.`val/loss`"], [5, 2, 6, 1, 4, 3, 7]),
            (["metrics.`val/loss` DESC"], [4, 6, 1, 2, 5, 3, 7]),
            (["params.lr"], [1, 2, 3, 4, 5, 7, 6]),
            (["params.lr DESC"], [5, 4, 3, 2, 1, 7, 6]),
            (["name"], [1, 2, 4, 3, 5, 6, 7]),
            (["name DESC"], [7, 6, 5, 3, 4, 2, 1]),
            (["user DESC", "metrics.`val/loss`"], [2, 6, 4, 5, 1, 3, 7]),
            (["user", "params.lr DESC"], [5, 3, 1, 7, 4, 2, 6]),
            (["created_ns"], [1, 2, 3, 4, 5, 6, 7]),
            (["ended_ns", "id"], [1, 2, 3, 4, 5, 6, 7]),
            (["ended_ns DESC"], [7, 6, 5, 4, 3, 2, 1]),
            (["tags.missing"], [7, 6, 5, 4, 3, 2, 1]),
        ],
    )
    async def test_search__ordered__values_then_nan_then_missing(
        self, found_in: MetadataStore, by: list[str], expected: list[int]
    ) -> None:
        assert await order(found_in, *by) == expected
        query = WorkloadQuery(order=tuple(map(parse_order, by)), limit=2)
        assert [one for page in await pages(found_in, query) for one in page] == expected

    async def test_search__equal_times__by_id(self, store: MetadataStore) -> None:
        for number in (3, 1, 2):
            await create(store, run(number, created_ns=T0_NS))
        assert await order(store) == [1, 2, 3]
        query = WorkloadQuery(limit=1)
        assert await pages(store, query) == [[1], [2], [3]]

    async def test_search__exact_pages__no_empty_one_at_the_end(
        self, found_in: MetadataStore
    ) -> None:
        assert await pages(found_in, WorkloadQuery(limit=7)) == [[7, 6, 5, 4, 3, 2, 1]]
        assert await pages(found_in, WorkloadQuery(limit=5)) == [[7, 6, 5, 4, 3], [2, 1]]

    async def test_search__paged_while_runs_come_and_go__others_neither_shift_nor_repeat(
        self, found_in: MetadataStore
    ) -> None:
        for by in ("created_ns DESC", "metrics.`val/loss`"):
            query = WorkloadQuery(order=(parse_order(by),), limit=2)
            expected = await order(found_in, by)
            first = await found_in.workload_search(query)
            await create(found_in, run(100))
            await self.put_metric(found_in, run_id(100), "val/loss", -5.0)
            await found_in.workload_set_deleted(first.items[-1].id, deleted_ns=T0_NS)
            rest = await pages(found_in, replace(query, cursor=first.next))
            assert numbers_of(first.items) + [one for page in rest for one in page] == expected
            await found_in.workload_set_deleted(first.items[-1].id, deleted_ns=None)
            await found_in.workload_set_deleted(run_id(100), deleted_ns=T0_NS)
            await found_in.workload_purge(run_id(100))

    async def test_search__page_size_changes_on_the_way__goes_on(
        self, found_in: MetadataStore
    ) -> None:
        first = await found_in.workload_search(WorkloadQuery(limit=2))
        rest = await found_in.workload_search(WorkloadQuery(limit=100, cursor=first.next))
        assert numbers_of(first.items + rest.items) == [7, 6, 5, 4, 3, 2, 1]

    async def test_search__foreign_cursor__invalid(self, found_in: MetadataStore) -> None:
        query = WorkloadQuery(order=(parse_order("name"),), limit=2)
        cursor = (await found_in.workload_search(query)).next
        assert cursor is not None
        others = [
            WorkloadQuery(cursor=cursor),
            replace(query, cursor=cursor, filter=parse_filter("name = 'x'")),
            replace(query, cursor=cursor, order=(parse_order("name DESC"),)),
            replace(query, cursor=cursor, project="default"),
        ]
        broken = ["", "x", "!", cursor[:-4], cursor + "AAAA", "ÄÖ", cursor[::-1], "\0", "gA"]
        for other in [*others, *(replace(query, cursor=text) for text in broken)]:
            with pytest.raises(InvalidValue):
                await found_in.workload_search(other)

    @pytest.mark.parametrize(
        "query",
        [
            WorkloadQuery(limit=0),
            WorkloadQuery(limit=50_001),
            WorkloadQuery(filter=Comparison(Identifier(Subject.ATTRIBUTE, "x"), Operator.EQ, "")),
            WorkloadQuery(filter=Comparison(Identifier(Subject.DATASET, "x"), Operator.EQ, "")),
            WorkloadQuery(filter=Comparison(Identifier(Subject.METRIC, "x"), Operator.LIKE, "")),
            WorkloadQuery(filter=Comparison(Identifier(Subject.METRIC, "x"), Operator.EQ, "1")),
            WorkloadQuery(filter=Comparison(Identifier(Subject.ATTRIBUTE, "name"), Operator.EQ, 1)),
            WorkloadQuery(filter=Comparison(Identifier(Subject.PARAM, "x"), Operator.LIKE, 1)),
            WorkloadQuery(filter=Comparison(Identifier(Subject.PARAM, "x"), Operator.IN, (1, "a"))),
            WorkloadQuery(filter=Comparison(Identifier(Subject.DATASET, "name"), Operator.GT, "")),
            WorkloadQuery(
                filter=Comparison(Identifier(Subject.METRIC, "x", path=("a",)), Operator.EQ, 1)
            ),
            WorkloadQuery(
                filter=Comparison(Identifier(Subject.PARAM, "x", Part.MIN), Operator.EQ, 1)
            ),
            WorkloadQuery(filter=Comparison(Identifier(Subject.PARAM, "x"), Operator.IN, "a")),
            WorkloadQuery(filter=AllOf((Comparison(Identifier(Subject.TAG, "x"), Operator.GT),))),
            WorkloadQuery(
                filter=Not(Comparison(Identifier(Subject.METRIC, "x"), Operator.LIKE, "a"))
            ),
            WorkloadQuery(order=(Order(Identifier(Subject.DATASET, "name")),)),
            WorkloadQuery(order=(Order(Identifier(Subject.ATTRIBUTE, "spec")),)),
        ],
    )
    async def test_search__means_nothing__invalid(
        self, store: MetadataStore, query: WorkloadQuery
    ) -> None:
        with pytest.raises(InvalidValue):
            await store.workload_search(query)

    async def test_search__too_much__limit_exceeded_and_the_most_works(
        self, found_in: MetadataStore
    ) -> None:
        one = Comparison(Identifier(Subject.PARAM, "lr"), Operator.NE, "none")
        ordered = Order(Identifier(Subject.METRIC, "val/loss"))
        like = Comparison(Identifier(Subject.PARAM, "lr"), Operator.LIKE, "%" * PATTERN_BYTES_MAX)
        many = tuple(f"0.{number}" for number in range(20_000))
        ids = tuple(run_id(number) for number in range(20_000))
        most = [
            WorkloadQuery(filter=AnyOf((one,) * COMPARISONS_MAX)),
            WorkloadQuery(filter=AllOf((one,) * COMPARISONS_MAX)),
            WorkloadQuery(filter=like, order=(ordered,) * ORDERS_MAX, limit=2),
            WorkloadQuery(filter=replace(one, operator=Operator.IN, value=many)),
            WorkloadQuery(
                filter=replace(one, operator=Operator.NOT_IN, value=tuple(range(1, 20_001)))
            ),
            WorkloadQuery(experiment_ids=tuple(range(20_000))),
            WorkloadQuery(filter=Comparison(Identifier(Subject.ATTRIBUTE, "id"), Operator.IN, ids)),
        ]
        for query in most:
            assert len((await found_in.workload_search(query)).items) >= 2
        assert len(await pages(found_in, most[2])) == 3
        too_much = [
            WorkloadQuery(filter=AnyOf((one,) * (COMPARISONS_MAX + 1))),
            WorkloadQuery(order=(ordered,) * (ORDERS_MAX + 1)),
            WorkloadQuery(filter=replace(like, value="%" * (PATTERN_BYTES_MAX + 1))),
            WorkloadQuery(
                filter=replace(one, operator=Operator.IN, value=many), experiment_ids=(0,)
            ),
        ]
        for query in too_much:
            with pytest.raises(LimitExceeded):
                await found_in.workload_search(query)

    async def test_search__environment__found_by_reference(self, store: MetadataStore) -> None:
        made = await store.environment_create(environment())
        await create(store, run(1, environment=f"{made.name}@{made.version}"))
        assert await find(store, "environment LIKE 'torch@%'") == {1}
