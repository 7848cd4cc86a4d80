"""How SQLite goes about searches for traces: by an index, never through a whole table of labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection

from seafloor.domain.span_documents import pair
from seafloor.domain.traces import TraceQuery, TraceState
from seafloor.http.mlflow.trace_words import parse_trace_filter, parse_trace_order
from seafloor.stores.metadata.span_contents import ContentTest
from seafloor.stores.metadata.sql import trace_contents, trace_search
from seafloor.testing.metadata_records import assessment, span, spans, trace
from seafloor.testing.metadata_worlds import SqlStoreUnderTest, open_sql_store
from sql_statements import every_statement_of, statements_of

TRACES = 120


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStoreUnderTest]:
    """A store with some hundred traces."""
    store = await open_sql_store(tmp_path)
    told = [
        trace(
            number,
            state=TraceState.ERROR if number % 3 else TraceState.OK,
            tags={"many": "x", "few": str(number % 50)},
            metadata={"mlflow.sourceRun": f"{number:032x}"},
        )
        for number in range(1, TRACES + 1)
    ]
    await store.spans_add([spans(number, span(1), span(2)) for number in range(1, TRACES + 1)])
    await asyncio.gather(*(store.trace_tell(one) for one in told))
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("", "", "ix_trace_experiment_id_time_ms_id"),
        ("status = 'OK'", "timestamp_ms ASC", "ix_trace_experiment_id_time_ms_id"),
        ("tags.few = '7'", "", "ix_trace_label_key_value"),
        ("tags.few = '7' AND tags.many = 'x'", "", "ix_trace_label_key_value"),
        (f"run_id = '{7:032x}'", "", "ix_trace_label_key_value"),
        ("tags.many = 'x' AND span.name = 'span 2'", "", "ix_trace_experiment_id_time_ms_id"),
        ("text LIKE '%span 2%'", "", "ix_trace_experiment_id_time_ms_id"),
        ("text LIKE '%span 2%' AND tags.few = '7'", "", "ix_trace_label_key_value"),
    ],
)
async def test_trace_search__usual_ones__follow_an_index(
    store: SqlStoreUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    order: str,
    expected: str,
) -> None:
    monkeypatch.setattr(trace_search, "FEW", 20)
    query = TraceQuery(
        experiment_ids=(0,),
        comparisons=parse_trace_filter(text),
        order=(parse_trace_order(order),) if order else (),
        limit=10,
    )
    with statements_of(store.database) as said:
        page = await store.trace_search(query)
    assert page.items
    plans = [await _plan(store, *one) for one in said if one[0].startswith("SELECT")]
    assert any(expected in plan for plan in plans), plans
    assert not [plan for plan in plans if "SCAN" in plan and "CONSTANT ROW" not in plan], plans


async def _plan(store: SqlStoreUnderTest, statement: str, parameters: object) -> str:
    def explain(connection: Connection) -> str:
        cursor = connection.connection.cursor()
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "; ".join(str(row[-1]) for row in cursor.fetchall())

    return await store.database.read(explain)


async def test_trace_search__of_few_and_of_many__says_as_much(store: SqlStoreUnderTest) -> None:
    counts = set[int]()
    for limit in (1, 200):
        with every_statement_of(store.database) as said:
            await store.trace_search(TraceQuery(experiment_ids=(0,), limit=limit))
        counts.add(len(said))
    # BEGIN, the ids, the size of what is said of them, the traces, their labels and assessments.
    assert counts == {6}


async def test_trace_search__the_few_and_the_many__find_the_same(
    store: SqlStoreUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("tags.few = '7'", "tags.few LIKE '7%'", "tags.few = 'x'"):
        query = TraceQuery(experiment_ids=(0, 404), comparisons=parse_trace_filter(text))
        found = set[tuple[str, ...]]()
        for few in (0, 3, 10_000):
            monkeypatch.setattr(trace_search, "FEW", few)
            page = await store.trace_search(query)
            found.add(tuple(one.id for one in page.items))
        assert len(found) == 1


async def test_trace_search__for_contents_with_many_spans__goes_on_from_page_to_page(
    store: SqlStoreUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "span.attributes.x LIKE '%rare%' AND span.name = 'span 2'"
    rare = {"span_id": "BBBB", "name": "span 2", "attributes": [pair("x", "rare")]}
    document = msgspec.json.encode(rare)
    await store.spans_add([spans(n, span(2, document=document)) for n in (3, 4, 90)])
    wanted = [trace(n).id for n in (90, 4, 3)]
    for spans_max, candidates in ((1, 1), (7, 3), (20, 200), (10_000, 200)):
        monkeypatch.setattr(trace_contents, "LOOKS_MAX", spans_max)
        monkeypatch.setattr(trace_search, "CANDIDATES", candidates)
        query = TraceQuery(experiment_ids=(0,), comparisons=parse_trace_filter(text), limit=2)
        found: list[str] = []
        pages = 0
        while True:
            page = await store.trace_search(query)
            found += [one.id for one in page.items]
            pages += 1
            if page.next is None:
                break
            query = replace(query, cursor=page.next)
        assert found == wanted
        # Of each trace one span may be one by its name.
        assert pages > 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tags.odd RLIKE 'f.o'", [90, 4, 3]),
        ("tags.odd RLIKE 'f.o' AND span.attributes.x RLIKE '^ra|z'", [90, 3]),
        ("span.name RLIKE '^span 2$' AND text LIKE '%rare%'", [90, 3]),
        ("metadata.none RLIKE ''", []),
    ],
)
@pytest.mark.parametrize(
    ("looks_max", "work_max", "candidates"),
    [
        (1, 1 << 40, 1),
        (7, 1 << 40, 3),
        (10_000, 1, 200),
        (10_000, 100_000, 7),
        (20_000, 1 << 31, 200),
    ],
)
async def test_trace_search__by_regular_expressions__goes_on_from_page_to_page(
    store: SqlStoreUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    wanted: list[int],
    looks_max: int,
    work_max: int,
    candidates: int,
) -> None:
    rare = {"span_id": "BBBB", "name": "span 2", "attributes": [pair("x", "rare")]}
    document = msgspec.json.encode(rare)
    await store.spans_add([spans(n, span(2, document=document)) for n in (3, 90)])
    for n in range(1, 100):
        word = "foo" if n in (3, 4, 90) else "bar"
        await store.trace_tags_change(trace(n).id, set_={"odd": word})
    monkeypatch.setattr(trace_contents, "LOOKS_MAX", looks_max)
    monkeypatch.setattr(trace_contents, "WORK_MAX", work_max)
    monkeypatch.setattr(trace_search, "CANDIDATES", candidates)
    query = TraceQuery(experiment_ids=(0,), comparisons=parse_trace_filter(text), limit=2)
    found: list[str] = []
    while True:
        page = await store.trace_search(query)
        found += [one.id for one in page.items]
        if page.next is None:
            break
        query = replace(query, cursor=page.next)
    assert found == [trace(n).id for n in wanted]


async def test_trace_search__for_contents_of_a_large_trace__reads_it_in_parts(
    store: SqlStoreUnderTest,
) -> None:
    many = [span(n, name="of many") for n in range(1, 300)]
    await store.spans_add([spans(500, *many)])
    query = TraceQuery(
        experiment_ids=(0,),
        comparisons=parse_trace_filter("text LIKE '%span 299%' AND span.name = 'of many'"),
    )
    with statements_of(store.database) as said:
        page = await store.trace_search(query)
    assert [one.id for one in page.items] == [trace(500).id]
    assert sum("trace_span.id, trace_span.document" in one[0] for one in said) == 5


@pytest.mark.parametrize("bounds", [{"LOOKS_MAX": 7}, {"WORK_MAX": 30_000}, {"_AT_ONCE_BYTES": 1}])
async def test_trace_search__for_contents_of_a_large_trace__goes_on_within_it(
    store: SqlStoreUnderTest, monkeypatch: pytest.MonkeyPatch, bounds: dict[str, int]
) -> None:
    """One page read all of a trace: with a million spans nobody else was answered for minutes."""
    for name, value in bounds.items():
        monkeypatch.setattr(trace_contents, name, value)
    many = [span(n, name="of many") for n in range(1, 300)]
    await store.spans_add([spans(500, *many), spans(501, *many[:150]), spans(502, *many)])
    query = TraceQuery(
        experiment_ids=(0,),
        comparisons=parse_trace_filter("text LIKE '%span 299%' AND span.name = 'of many'"),
    )
    found: list[str] = []
    looked: list[int] = []
    holds = ContentTest.holds

    def look(test: ContentTest, document: bytes) -> bool:
        looked[-1] += 1
        return holds(test, document)

    monkeypatch.setattr(ContentTest, "holds", look)
    while True:
        looked.append(0)
        page = await store.trace_search(query)
        found += [one.id for one in page.items]
        if page.next is None:
            break
        query = replace(query, cursor=page.next)
    assert found == [trace(500).id, trace(502).id]
    assert sum(looked) == 299 + 150 + 299  # each once
    if "_AT_ONCE_BYTES" not in bounds:
        assert max(looked) < 150


async def test_trace_search__of_traces_with_much_said_of_them__has_pages_of_a_bounded_size(
    store: SqlStoreUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of 500 traces may have half a million assessments, of 64 KB each."""
    monkeypatch.setattr(trace_search, "SAID_BYTES_MAX", 10_000)
    for number, said in ((1, 3), (2, 1), (3, 0), (4, 9), (5, 0), (6, 1)):
        for at in range(said):
            said_of = trace(number).id
            one = assessment(id=f"a-{at}", trace_id=said_of, value="x" * 3_000)
            await store.assessment_put(one)
    for text in ("", "span.name RLIKE '.'"):
        pages: list[list[str]] = []
        query = TraceQuery(experiment_ids=(0,), comparisons=parse_trace_filter(text), limit=500)
        while True:
            page = await store.trace_search(query)
            pages.append([one.id for one in page.items])
            if page.next is None:
                break
            query = replace(query, cursor=page.next)
        every = [trace(n).id for n in range(TRACES, 0, -1)]
        assert [one for some in pages for one in some] == every
        assert [some[0] for some in pages[1:]] == [trace(4).id, trace(3).id, trace(1).id]


async def test_trace_search__of_traces_with_much_said_of_them__measures_each_a_few_times(
    store: SqlStoreUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To know how much is said of a trace takes reading it: not of all again for each page."""
    monkeypatch.setattr(trace_search, "SAID_BYTES_MAX", 10)
    for number in range(1, TRACES + 1):
        await store.assessment_put(assessment(id="a", trace_id=trace(number).id, value="x" * 20))
    query, pages = TraceQuery(experiment_ids=(0,), limit=500), 0
    with statements_of(store.database) as said:
        while True:
            page = await store.trace_search(query)
            pages += 1
            if page.next is None:
                break
            query = replace(query, cursor=page.next)
    measured = sum(len(given) for text, given in said if "sum(length(" in text)
    assert pages == TRACES
    assert measured <= 4 * TRACES


async def test_trace_list__of_traces_with_much_said_of_them__gives_a_bounded_part(
    store: SqlStoreUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand ids may have a million assessments; whoever wants them all asks again."""
    monkeypatch.setattr(trace_search, "SAID_BYTES_MAX", 10_000)
    for number, said in ((1, 3), (2, 1), (3, 0), (4, 9), (5, 9), (6, 1)):
        for at in range(said):
            said_of = trace(number).id
            one = assessment(id=f"a-{at}", trace_id=said_of, value="x" * 3_000)
            await store.assessment_put(one)
    ids = [trace(number).id for number in (900, 4, 901, 5, 6, 2, 902, 1, 3, 903)]
    parts: list[list[str]] = []
    left = ids
    while found := await store.trace_list(left):
        parts.append([one.id for one in found])
        left = left[left.index(found[-1].id) + 1 :]
    wanted = ([4], [5], [6, 2], [1, 3])
    assert parts == [[trace(number).id for number in some] for some in wanted]
