"""Searches at random: SQL and the model in memory find the same runs in the same order."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.databases import database_in

from conftest import real_service
from seafloor.domain.metrics import MetricSummary
from seafloor.domain.models import DatasetInput
from seafloor.domain.search import (
    Comparison,
    Identifier,
    Operator,
    Order,
    Subject,
    WorkloadQuery,
)
from seafloor.domain.search_grammar import parse_filter
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.memory import MemoryMetadataStore
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql import search, ways
from seafloor.testing.metadata_queries import (
    DOCUMENTS,
    FILTERS,
    KEYS,
    QUERIES,
    TEXTS,
    VALUES,
    text_of,
)
from seafloor.testing.metadata_records import create, experiment, run, summary
from seafloor.testing.metadata_worlds import open_sql_store, put_sql_metric

RUNS = 24
_EXAMPLES = {"sqlite": 300, "postgresql": 100, "mariadb": 100}


@dataclass
class World:
    """The same runs in a database and in the model."""

    runner: asyncio.Runner
    stores: tuple[MetadataStore, MetadataStore]

    def pages(self, query: WorkloadQuery) -> list[list[list[int]]]:
        """Every page of a query, of both."""
        return [self.runner.run(_pages(store, query)) for store in self.stores]


async def _pages(store: MetadataStore, query: WorkloadQuery) -> list[list[int]]:
    made: list[list[int]] = []
    while True:
        page = await store.workload_search(query)
        made.append([int(item.id, 16) for item in page.items])
        if page.next is None:
            return made
        query = replace(query, cursor=page.next)


async def _fill(stores: tuple[MetadataStore, MetadataStore]) -> dict[tuple[str, str], list[float]]:
    """Make the runs; return the series that they shall have."""
    metrics: dict[tuple[str, str], list[float]] = {}
    texts = [*TEXTS, *DOCUMENTS]
    for store in stores:
        chance = random.Random(4)
        await store.experiment_create(experiment())
        for number in range(1, RUNS + 1):
            made = run(
                number,
                created_ns=run().created_ns + number // 4,
                started_ns=None if number % 5 == 0 else run().created_ns + number % 3,
                name=chance.choice(texts),
                experiment_id=number % 2,
                environment=chance.choice([None, "a@1", "ä@2"]),
                state=chance.choice([WorkloadState.RUNNING, WorkloadState.QUEUED]),
            )
            params, tags = (
                {key: chance.choice(texts) for key in KEYS if chance.random() < 0.8} for _ in "pt"
            )
            await create(store, made, params=params, tags=tags)
            for key in KEYS:
                values = chance.choices(VALUES, k=chance.randrange(3))
                if values:
                    metrics[made.id, key] = values
            if number % 3 == 0:
                names = chance.sample(["a", "ab", "ä", "d"], 2)
                await store.inputs_add(made.id, datasets=[DatasetInput(n, n * 2) for n in names])
            if number % 7 == 0:
                await store.workload_set_deleted(made.id, deleted_ns=made.created_ns)
    return metrics


@pytest.fixture(scope="module", params=_EXAMPLES)
def world(request: pytest.FixtureRequest) -> Iterator[tuple[str, World]]:
    kind = request.param
    if kind != "sqlite":
        real_service(kind)  # skips here, where it is known to be a skip
    metrics: dict[tuple[str, str], MetricSummary] = {}
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        held.enter_context(database_in(folder, kind=kind, service=real_service))
        runner = held.enter_context(asyncio.Runner())
        store = runner.run(open_sql_store(folder))
        model = MemoryMetadataStore(lambda owner, key: metrics.get((owner, key)))
        for (owner, key), values in runner.run(_fill((store, model))).items():
            metrics[owner, key] = summary(key, *values)
            runner.run(put_sql_metric(store, owner, key, *values))
        yield kind, World(runner, (store, model))
        runner.run(store.close())


@pytest.mark.parametrize(
    ("few", "many", "followed"),
    [(ways.FEW, ways.MANY, 10_000), (3, 9, 2), (-1, -1, 1), (-1, RUNS, 2), (-1, -1, 10_000)],
)
def test_search__any_query__finds_what_the_model_finds(
    world: tuple[str, World], few: int, many: int, followed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be few runs asked for, of which each is looked at, or so many that indexes are followed.

    Or those that an index gives at first are too few: then it is followed further, or not.
    """
    kind, both = world
    monkeypatch.setattr(ways, "FEW", few)
    monkeypatch.setattr(ways, "MANY", many)
    monkeypatch.setattr(search, "FOLLOWED_MIN", followed)
    monkeypatch.setattr(search, "FOLLOWED_PER_RUN", 1 if followed < RUNS else 20)

    @settings(
        max_examples=_EXAMPLES[kind] // 3,
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.function_scoped_fixture,
        ],
    )
    @given(QUERIES)
    @example(WorkloadQuery(limit=5))
    def check(query: WorkloadQuery) -> None:
        found, expected = both.pages(query)
        assert found == expected

    check()


@pytest.mark.parametrize("followed", [1, 9, 10_000])
@pytest.mark.parametrize("block", [1, 2, 7])
def test_search__a_text_in_the_order_of_a_metric__is_the_same_by_blocks_of_any_size(
    world: tuple[str, World], followed: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many runs have the same value, so blocks end beside it, and some hold no other."""
    _, both = world
    monkeypatch.setattr(ways, "FEW", -1)
    monkeypatch.setattr(ways, "MANY", -1)
    monkeypatch.setattr(search, "FOLLOWED_MIN", followed)
    monkeypatch.setattr(search, "FOLLOWED_PER_RUN", 1)
    monkeypatch.setattr(search, "BLOCK_MIN", block)
    monkeypatch.setattr(search, "BLOCK_PER_RUN", 0)
    monkeypatch.setattr(search, "BLOCK_MAX", 2 * block)
    found_any = 0
    for text, down in product((*TEXTS, *DOCUMENTS), (False, True)):
        text_is = Comparison(Identifier(Subject.PARAM, KEYS[0]), Operator.EQ, text)
        query = WorkloadQuery(
            filter=text_is,
            order=(Order(Identifier(Subject.METRIC, KEYS[0]), descending=down),),
            limit=2,
        )
        found, expected = both.pages(query)
        assert found == expected, query
        found_any += sum(map(len, found))
    assert found_any > 10


@settings(max_examples=300, deadline=None)
@given(FILTERS, st.booleans())
def test_parse_filter__of_any_tree_as_text__reads_the_same(tree: object, spaced: bool) -> None:
    text = text_of(tree)  # type: ignore[arg-type]
    if text is None:
        return
    found = parse_filter(text.replace(" ", " \n ") if spaced and "'" not in text else text)
    assert found is not None
    assert parse_filter(text_of(found) or "") == found


def test_world__every_run_and_metric__is_there(world: tuple[str, World]) -> None:
    _, both = world
    found, expected = both.pages(WorkloadQuery(limit=100))
    assert found == expected
    assert len(found[0]) == RUNS - len([n for n in range(1, RUNS + 1) if n % 7 == 0])
