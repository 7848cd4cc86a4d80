"""How each database goes about the searches that are made all day: never through a whole table."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection

from seafloor.domain.search import Filter, WorkloadQuery
from seafloor.domain.search_grammar import parse_filter, parse_order
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.sql import search, tables, ways
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metadata.sql.ways import Scope, Way
from seafloor.testing.metadata_records import run_id
from seafloor.testing.metadata_worlds import SqlStoreUnderTest, open_sql_store
from searchable_runs import analyze, fill
from sql_statements import statements_of

pytestmark = pytest.mark.usefixtures("database_kind")

RUNS = 3_000
LARGE = ("workload", "param", "tag", "metric_summary", "workload_input")

USUAL = {
    "newest": WorkloadQuery(),
    "newest of an experiment": WorkloadQuery(experiment_ids=(0,)),
    "newest of a project": WorkloadQuery(project="default"),
    "MLflow's newest": WorkloadQuery(
        experiment_ids=(0,), order=(parse_order("started_ns desc"), parse_order("id"))
    ),
    "in a state": WorkloadQuery(states=(WorkloadState.FAILED,)),
    "in one of two states": WorkloadQuery(states=(WorkloadState.FAILED, WorkloadState.QUEUED)),
    "by metric and param, ordered by a metric": WorkloadQuery(
        experiment_ids=(0,),
        filter=parse_filter("metrics.m0 < 0.5 AND params.p0 = 'adam'"),
        order=(parse_order("metrics.m1 desc"),),
    ),
    "ordered by the metric it filters by": WorkloadQuery(
        filter=parse_filter("metrics.m0 BETWEEN 0.3 AND 0.6"), order=(parse_order("metrics.m0"),)
    ),
    "by a param of few": WorkloadQuery(filter=parse_filter("params.p9 = 'value 3'")),
    "by a tag": WorkloadQuery(filter=parse_filter("tags.t0 = '1'")),
    "by some tags": WorkloadQuery(filter=parse_filter("tags.t0 IN ('1', '2')")),
    "by the beginning of a tag": WorkloadQuery(filter=parse_filter("tags.t9 LIKE 'tag 7%'")),
    "by name": WorkloadQuery(filter=parse_filter("name = 'run-77'")),
    "by the beginning of a name": WorkloadQuery(filter=parse_filter("name LIKE 'run-77%'")),
    "ordered by name": WorkloadQuery(order=(parse_order("name"),)),
    "by id": WorkloadQuery(filter=parse_filter(f"id IN ('{5:032x}', '{6:032x}')")),
    "by a dataset": WorkloadQuery(filter=parse_filter("dataset.name = 'mnist'")),
    "by a number in a param": WorkloadQuery(filter=parse_filter("params.p1 < 0.3")),
    "by a document in a param": WorkloadQuery(
        filter=parse_filter("params.p2->'$.optimizer.lr' > 0.5")
    ),
    "what does not fail": WorkloadQuery(filter=parse_filter("NOT state = 'failed'")),
    "one or the other": WorkloadQuery(
        filter=parse_filter("metrics.m0 < 0.1 OR params.p0 = 'adam'")
    ),
}


@pytest.fixture
async def store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SqlStoreUnderTest]:
    """A store with many runs, of which few are fewer than elsewhere."""
    monkeypatch.setattr(ways, "FEW", 1_000)
    store = await open_sql_store(tmp_path)
    await store.database.write(lambda connection: fill(connection, range(1, RUNS + 1)))
    with store.database.engine.connect() as connection:
        analyze(connection)
    yield store
    await store.close()


async def test_search__usual_ones__no_table_is_read_whole_and_no_index_sorted(
    store: SqlStoreUnderTest, database_kind: str
) -> None:
    plans = {"sqlite": _sqlite, "postgresql": _postgresql, "mariadb": _mariadb}[database_kind]
    for title, query in USUAL.items():
        query = replace(query, limit=20)  # the same for all
        with statements_of(store.database) as said:
            page = await store.workload_search(query)
            if page.next is not None:
                await store.workload_search(replace(query, cursor=page.next))
        selects = [one for one in said if one[0].startswith("SELECT")]
        assert selects
        assert len(selects) <= 12, title
        for statement, parameters in selects:
            may_sort = "AS shown" in statement  # few runs, each looked at by itself
            with store.database.engine.connect() as connection:
                problems = list(plans(connection, statement, parameters, may_sort))
            assert not problems, (title, statement, problems)


def _sqlite(
    connection: Connection, statement: str, parameters: Any, may_sort: bool
) -> Iterator[str]:
    for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
        line: str = row.detail
        if line.startswith("SCAN") and not line.startswith(("SCAN CONSTANT", "SCAN anon_")):
            yield line
        if "TEMP B-TREE FOR ORDER BY" in line and not may_sort:
            yield line


def _postgresql(
    connection: Connection, statement: str, parameters: Any, may_sort: bool
) -> Iterator[str]:
    from seafloor.stores.metadata.sql.search import PLANNING

    connection.exec_driver_sql("BEGIN")
    connection.exec_driver_sql(PLANNING)
    explained = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
    found = explained.scalar()
    plan = json.loads(found) if isinstance(found, str) else found
    waiting = [plan[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if "Seq Scan" in node["Node Type"] and node.get("Relation Name") in LARGE:
            yield f"{node['Node Type']} of {node['Relation Name']}"
        if node["Node Type"] == "Sort" and not may_sort:
            yield f"Sort by {node['Sort Key']}"


def _mariadb(
    connection: Connection, statement: str, parameters: Any, may_sort: bool
) -> Iterator[str]:
    for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings():
        is_derived = row["table"] is None or row["table"].startswith("<")
        if row["type"] in ("ALL", "index") and not is_derived:
            yield str(dict(row))
        if "filesort" in (row["Extra"] or "") and not may_sort:
            yield str(dict(row))


@pytest.mark.parametrize("tag", ["tag 0", "longer than the head in the index: " + "x" * 64])
async def test_search__runs_with_a_text__are_found_side_by_side(
    store: SqlStoreUnderTest, database_kind: str, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "FEW", -1)
    query = WorkloadQuery(
        filter=parse_filter(f"metrics.m0 < 0.5 AND tags.t1 = '{tag}'"),
        order=(parse_order("metrics.m1"),),
        limit=20,
    )
    with statements_of(store.database) as said:
        await store.workload_search(query)
    looked_up = [one for one in said if "AS walked" in one[0] and "tag AS" in one[0]]
    assert looked_up
    for statement, parameters in looked_up:
        with store.database.engine.connect() as connection:
            plan = _plan(connection, statement, parameters)
        assert any(re.search(_SIDE_BY_SIDE[database_kind], line) for line in plan), plan


_SIDE_BY_SIDE = {
    "sqlite": (r"USING COVERING INDEX ix_tag_key_value \(key=\? AND value=\? AND workload_id=\?\)"),
    # All of a block at once; a subquery that is not hashed would be read through for each run.
    "postgresql": (
        r"hashed SubPlan .*Index Scan using ix_tag_key_value_head on tag .*"
        r"Index Cond: \([^\n]*key[^\n]*left[^\n]*workload_id[^\n]* = ANY "
    ),
    "mariadb": r"'ix_tag_key_value_run'.*'const,const,[^']*walked\.workload_id'",
}


def _plan(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """What a database says of how it goes about a statement; PostgreSQL in one text."""
    database = connection.dialect.name
    if database == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [row.detail for row in rows]
    if database == "mariadb":
        rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings()
        return [str([row["key"], row["ref"]]) for row in rows]
    connection.exec_driver_sql("BEGIN")
    connection.exec_driver_sql(search.PLANNING)
    rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
    return [" ".join(rows)]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)  # the same for every one
async def test_search__parts_that_are_rare_together__are_gathered_soon(
    store: SqlStoreUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = WorkloadQuery(
        filter=parse_filter("metrics.m0 < 0.1 AND metrics.m2 < 0.1"),
        order=(parse_order("metrics.m1"),),
        limit=1_000,
    )
    monkeypatch.setattr(ways, "FEW", 100)
    patient = await store.workload_search(query)
    monkeypatch.setattr(search, "FOLLOWED_MIN", 1_000)
    monkeypatch.setattr(search, "FOLLOWED_PER_RUN", 0)
    with statements_of(store.database) as said:
        page = await store.workload_search(query)
    assert page == patient
    assert 10 < len(page.items) < 100
    assert ["AS walked" in statement for statement, _ in said].count(True) == 2  # border and walk
    assert ["AS shown" in statement for statement, _ in said].count(True) == 1


COMMON = WorkloadQuery(
    filter=parse_filter("metrics.m0 < 0.5 AND params.p0 = 'adam'"),
    order=(parse_order("metrics.m1"),),
    limit=20,
)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Filter, ...]]:
    """The filters of the scopes of which the ways were counted, to find a few."""
    made: list[tuple[Filter, ...]] = []

    def narrowest(connection: Connection, scope: Scope, *, most: int) -> Way | None:
        if most == ways.FEW and not scope.nans:
            made.append(scope.filters)
        return ways.narrowest(connection, scope, most=most)

    monkeypatch.setattr(search, "narrowest", narrowest)
    return made


async def test_search__its_ways_are_wide__they_are_not_counted_for_the_next_page(
    store: SqlStoreUnderTest, counted: list[tuple[Filter, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "FEW", 100)
    page = await store.workload_search(COMMON)
    following = await store.workload_search(replace(COMMON, cursor=page.next))
    both = await store.workload_search(replace(COMMON, limit=40))
    assert counted.count(ways.flattened(COMMON.filter)) == 1
    assert page.items + following.items == both.items


async def test_search__a_way_is_narrow__is_counted_each_time(
    store: SqlStoreUnderTest, counted: list[tuple[Filter, ...]]
) -> None:
    rare = replace(COMMON, filter=parse_filter("params.p9 = 'value 3'"))
    for _ in range(2):
        await store.workload_search(rare)
    assert counted == [ways.flattened(rare.filter)] * 2


async def test_search__what_was_wide_became_narrow__finds_the_same(
    store: SqlStoreUnderTest, counted: list[tuple[Filter, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "FEW", 100)
    assert len((await store.workload_search(COMMON)).items) == 20
    is_gone = tables.param.c.workload_id > run_id(40)
    await store.database.write(
        lambda connection: connection.execute(tables.param.delete().where(is_gone))
    )
    page = await store.workload_search(COMMON)
    assert counted.count(ways.flattened(COMMON.filter)) == 1
    assert 0 < len(page.items) < 20
    assert page == await SqlMetadataStore(store.database).workload_search(COMMON)


async def test_search__a_way_is_to_a_few__the_others_are_not_counted_far(
    store: SqlStoreUnderTest,
) -> None:
    query = replace(COMMON, filter=parse_filter("metrics.m0 < 0.9 AND params.p9 = 'value 3'"))
    with statements_of(store.database) as said:
        page = await store.workload_search(query)
    assert page.items
    (counting,) = [str(parameters) for statement, parameters in said if "count(" in statement]
    assert str(ways.FEW_ENOUGH + 1) in counting
    assert str(ways.FEW + 1) not in counting
