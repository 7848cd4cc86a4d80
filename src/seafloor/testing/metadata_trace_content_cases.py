"""Cases of searches for what stands in spans and for patterns; part of ``metadata_store_suite``."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from seafloor.domain.errors import InvalidValue, LimitExceeded, NotFound
from seafloor.domain.search import Operator
from seafloor.domain.span_documents import pair
from seafloor.domain.traces import (
    CONTENT_KEY,
    PROMPTS_TAG,
    Span,
    TraceComparison,
    TraceQuery,
    TraceState,
    TraceSubject,
)
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_cases import UNICODE, MetadataStoreCases
from seafloor.testing.metadata_records import (
    assessment,
    span,
    spans,
    trace,
)
from seafloor.testing.metadata_trace_cases import ATTRIBUTE, FEEDBACK, METADATA, TAG, found, matches


def worded(number: int, text: str, **changes: Any) -> Span:
    """A span with an attribute."""
    document = {
        "trace_id": "AAAA",
        "span_id": "BBBB",
        "name": f"span {number}",
        "attributes": [pair("words", text), pair("n", number)],
    }
    return span(number, document=msgspec.json.encode(document), **changes)


def content(pattern: str, operator: Operator = Operator.LIKE) -> TraceComparison:
    """A comparison with all of a span."""
    return TraceComparison(TraceSubject.SPAN, CONTENT_KEY, operator, pattern)


class TraceContentCases(MetadataStoreCases):
    """Searches for what stands in spans."""

    async def test_trace_search__for_contents__looks_at_each_span(
        self, store: MetadataStore
    ) -> None:
        await store.spans_add(
            [
                spans(1, worded(1, "alpha beta"), worded(2, "gamma")),
                spans(2, worded(1, UNICODE), worded(2, "Alpha", name="other")),
                spans(3, worded(1, "a%b_c 'quoted' \"x\"")),
            ]
        )
        await store.trace_tell(trace(4))  # without spans
        assert await found(store, content("%alpha%")) == [1]
        assert await found(store, content("%ALPHA%", Operator.ILIKE)) == [1, 2]
        assert await found(store, content("%alpha%gamma%")) == []
        assert await found(store, content("%alpha%"), content("%beta%")) == [1]
        assert await found(store, content("%alpha%"), content("%gamma%")) == []
        assert await found(store, content(f"%{UNICODE}%")) == [2]
        assert await found(store, content("%lpha%"), name_is("other")) == [2]
        assert await found(store, content("%alpha%"), name_is("other")) == []
        assert await found(store, content('%"words"%a_b_c%')) == [3]
        assert await found(store, content("%links%")) == [1, 2, 3]
        assert await found(store, content("alpha")) == []
        assert await found(store, content("x", Operator.EQ)) == []
        assert await found(store, content("x", Operator.NE)) == [1, 2, 3]

    async def test_trace_search__for_contents_page_by_page__finds_each_once(
        self, store: MetadataStore
    ) -> None:
        words = ("red", "blue", "green")
        await store.spans_add(
            [spans(n, worded(1, "none"), worded(2, words[n % 3])) for n in range(1, 30)]
        )
        query = TraceQuery(experiment_ids=(0,), comparisons=(content("%blue%"),), limit=4)
        ids: list[int] = []
        while True:
            page = await store.trace_search(query)
            ids += [int(one.id.removeprefix("tr-"), 16) for one in page.items]
            if page.next is None:
                break
            query = replace(query, cursor=page.next)
        assert ids == [n for n in range(1, 30) if n % 3 == 1]

    async def test_trace_search__by_regular_expressions__looks_at_each_value(
        self, store: MetadataStore
    ) -> None:
        await store.trace_tell(trace(3, tags={"a": "abc\ndef"}, metadata={"m": UNICODE}))
        await store.trace_tell(trace(2, tags={"a": ""}, state=TraceState.ERROR))
        await store.trace_tell(trace(1, client_request_id="mine-1"))
        assert await found(store, matches(TAG, "a", "")) == [3, 2]
        assert await found(store, matches(TAG, "a", "b.?c")) == [3]
        assert await found(store, matches(TAG, "a", "c.d")) == []
        assert await found(store, matches(TAG, "a", "(?s)^a.*f$")) == [3]
        assert await found(store, matches(TAG, "a", "B")) == []
        assert await found(store, matches(TAG, "a", "(?i)B")) == [3]
        assert await found(store, matches(TAG, "none", "")) == []
        assert await found(store, matches(METADATA, "m", f"^{re.escape(UNICODE)}$")) == [3]
        assert await found(store, matches(ATTRIBUTE, "state", "^ERR|K$")) == [3, 2, 1]
        assert await found(store, matches(ATTRIBUTE, "client_request_id", "[0-9]$")) == [1]
        assert await found(store, matches(ATTRIBUTE, "id", "0{31}[12]$")) == [2, 1]
        both = (matches(TAG, "a", "^$"), matches(ATTRIBUTE, "state", "ERROR"))
        assert await found(store, *both) == [2]
        assert await found(store, both[0], matches(ATTRIBUTE, "state", "OK")) == []

    async def test_trace_search__by_regular_expressions__of_spans_and_what_is_said(
        self, store: MetadataStore
    ) -> None:
        await store.spans_add(
            [
                spans(1, worded(1, "alpha", type="LLM"), worded(2, "beta", type="")),
                spans(2, worded(1, "alpha", type="TOOL"), worded(3, "gamma", status="ERROR")),
            ]
        )
        said = assessment(1, value="very good"), assessment(2, value=0.5, valid=False)
        for one in said:
            await store.assessment_put(one)
        span_ = TraceSubject.SPAN
        assert await found(store, matches(span_, "type", "^(LLM|TOOL)$")) == [1, 2]
        assert await found(store, matches(span_, "type", "^$")) == []
        assert await found(store, matches(span_, "name", "[23]"), name_is("span 3")) == [2]
        assert await found(store, matches(span_, "name", "3"), content("%gamma%")) == [2]
        assert await found(store, matches(span_, "name", "1"), content("%gamma%")) == []
        assert await found(store, matches(span_, "type", "L"), matches(span_, "name", "1")) == [
            1,
            2,
        ]
        assert await found(store, matches(span_, CONTENT_KEY, "al.ha.*: *.n")) == []
        assert await found(store, matches(span_, CONTENT_KEY, "(?i)BETA")) == [1]
        assert await found(store, matches(FEEDBACK, "good", "very [a-z]+")) == [1]
        assert await found(store, matches(FEEDBACK, "good", "0")) == []
        assert await found(store, matches(FEEDBACK, "good", "v"), name_is("span 3")) == []

    async def test_trace_search__for_a_prompt__finds_those_that_tell_of_it(
        self, store: MetadataStore
    ) -> None:
        def used(prompt: str) -> TraceComparison:
            return TraceComparison(ATTRIBUTE, "prompt", Operator.EQ, prompt)

        for number in (1, 2, 3):
            await store.trace_tell(trace(number, tags={"kept": "x"}))
        await asyncio.gather(
            *(store.trace_prompts_link(trace(1).id, [f"p{n}/{n}", "gr%e_t/1"]) for n in range(5))
        )
        await store.trace_prompts_link(trace(2).id, [f"{UNICODE}/10"])
        compact = '[{"name":"p1","version":"1"}]'
        await store.trace_tags_change(trace(3).id, set_={PROMPTS_TAG: compact})
        for prompt, numbers in (
            ("p0/0", [1]),
            ("p1/1", [3, 1]),
            ("p1/2", []),
            ("gr%e_t/1", [1]),
            ("grape t/1", []),
            (f"{UNICODE}/10", [2]),
            (f"{UNICODE}/1", []),
        ):
            assert await found(store, used(prompt)) == numbers, prompt
        (one,) = await store.trace_list([trace(1).id])
        assert one.tags["kept"] == "x"
        assert len(json.loads(one.tags[PROMPTS_TAG])) == 6
        with pytest.raises(NotFound):
            await store.trace_prompts_link(trace(9).id, ["p/1"])
        with pytest.raises(LimitExceeded):
            await store.trace_prompts_link(trace(1).id, ["p" * 8_000 + "/1"])
        await store.trace_tags_change(trace(2).id, set_={PROMPTS_TAG: '{"no": "list"}'})
        with pytest.raises(InvalidValue):
            await store.trace_prompts_link(trace(2).id, ["p/1"])


def name_is(text: str) -> TraceComparison:
    """That a span has a name."""
    return TraceComparison(TraceSubject.SPAN, "name", Operator.EQ, text)
