"""Cases of traces, their spans and assessments; part of ``metadata_store_suite``."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from seafloor.domain.errors import Conflict, InvalidValue, LimitExceeded, NotFound
from seafloor.domain.search import Operator
from seafloor.domain.traces import (
    ASSESSMENTS_MAX,
    COST_KEY,
    SPANS_ARE_HERE,
    SPANS_TAG,
    TOKENS_KEY,
    TOLD_KEY,
    Assessment,
    AssessmentKind,
    TraceComparison,
    TraceOrder,
    TraceQuery,
    TraceState,
    TraceSubject,
)
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_cases import UNICODE, MetadataStoreCases
from seafloor.testing.metadata_records import (
    T0_NS,
    assessment,
    create,
    experiment,
    run,
    run_id,
    span,
    spans,
    trace,
)

T0_MS = T0_NS // 1_000_000
ATTRIBUTE, TAG, METADATA = TraceSubject.ATTRIBUTE, TraceSubject.TAG, TraceSubject.METADATA
FEEDBACK, EXPECTATION = TraceSubject.FEEDBACK, TraceSubject.EXPECTATION


def usage(tokens: int) -> dict[str, dict[str, float]]:
    """What a span has to add up."""
    return {TOKENS_KEY: {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1}}


async def found(store: MetadataStore, *comparisons: TraceComparison) -> list[int]:
    """The numbers of the traces for which comparisons hold, newest first."""
    page = await store.trace_search(TraceQuery(experiment_ids=(0,), comparisons=comparisons))
    return [int(one.id.removeprefix("tr-"), 16) for one in page.items]


def matches(subject: TraceSubject, key: str, pattern: str) -> TraceComparison:
    """That a regular expression is found somewhere."""
    return TraceComparison(subject, key, Operator.RLIKE, pattern)


class TraceCases(MetadataStoreCases):
    """Traces as they are told and as their spans come."""

    async def test_trace_tell__all_fields__come_back(self, store: MetadataStore) -> None:
        told = trace(
            state=TraceState.ERROR,
            client_request_id="mine",
            request_preview=UNICODE,
            response_preview="",
            tags={"a": UNICODE, "b": ""},
            metadata={"m": "x" * 8_000},
            assessments=(assessment(1), assessment(2, name="other", value={"a": [1, None]})),
        )
        made = await store.trace_tell(told)
        assert made == replace(told, metadata={**told.metadata, TOLD_KEY: "true"})
        assert await store.trace_list([told.id]) == (made,)
        assert await store.span_ids(told.id) == ()

    async def test_trace_put__again_and_again__is_exactly_what_is_said(
        self, store: MetadataStore
    ) -> None:
        for number in (1, 2):
            await create(store, run(number))
        await store.spans_add([spans(1, span(1), span(2), tags={"a": "1"})])
        first = trace(tags={"a": UNICODE}, metadata={"m": ""}, assessments=(assessment(1),))
        await store.trace_put(first, [run_id(2), run_id(1), run_id(2)])
        assert await store.trace_list([first.id]) == (first,)
        assert await store.trace_runs([first.id, "tr-none"]) == {first.id: (run_id(1), run_id(2))}
        assert await store.span_counts([first.id, "tr-none"]) == {first.id: 2}
        assert (await found(store)) == [1]
        second = trace(state=TraceState.ERROR, duration_ms=None, assessments=(assessment(2),))
        for _ in range(2):
            await store.trace_put(second, [])
            assert await store.trace_list([first.id]) == (second,)
            assert await store.trace_runs([first.id]) == {}
        assert await store.span_ids(first.id) == (span(1).id, span(2).id)

    async def test_trace_put__where_it_cannot_be__writes_nothing(
        self, store: MetadataStore
    ) -> None:
        other = await store.experiment_create(experiment())
        await store.trace_put(trace(), [])
        with pytest.raises(Conflict, match="is in experiment 0"):
            await store.trace_put(trace(experiment_id=other.id), [])
        with pytest.raises(NotFound):
            await store.trace_put(trace(tags={"a": "b"}), [run_id(9)])
        with pytest.raises(NotFound):
            await store.trace_put(trace(2, experiment_id=404), [])
        await store.experiment_set_deleted(other.id, deleted_ns=T0_NS)
        with pytest.raises(Conflict):
            await store.trace_put(trace(3, experiment_id=other.id), [])
        assert await store.trace_list([trace(n).id for n in (1, 2, 3)]) == (trace(),)

    async def test_trace_tell__again__says_the_last_and_keeps_what_is_not_said(
        self, store: MetadataStore
    ) -> None:
        first = trace(request_preview="in", tags={"a": "1", "b": "1"}, assessments=(assessment(1),))
        await store.trace_tell(first)
        second = trace(
            time_ms=T0_MS, state=TraceState.ERROR, tags={"b": "2"}, assessments=(assessment(2),)
        )
        made = await store.trace_tell(second)
        assert (made.time_ms, made.state, made.request_preview) == (T0_MS, TraceState.ERROR, "in")
        assert made.tags == {"a": "1", "b": "2"}
        assert [one.id for one in made.assessments] == ["a-1", "a-2"]
        assert await store.trace_tell(second) == made

    async def test_traces__of_an_experiment_that_is_none_or_deleted__are_refused(
        self, store: MetadataStore
    ) -> None:
        gone = await store.experiment_create(experiment())
        known = spans(9, experiment_id=gone.id)
        await store.spans_add([known])
        await store.experiment_set_deleted(gone.id, deleted_ns=T0_NS)
        for id_, error in ((404, NotFound), (gone.id, Conflict)):
            with pytest.raises(error):
                await store.trace_tell(trace(experiment_id=id_))
            with pytest.raises(error):
                await store.spans_add([spans(1), spans(2, experiment_id=id_)])
        assert await store.trace_list([trace(1).id, trace(2).id]) == ()
        assert await store.span_ids(trace(1).id) == ()
        # What goes on there comes to its end.
        await store.spans_add([known])

    async def test_spans_add__of_new_traces__tell_of_them(self, store: MetadataStore) -> None:
        await store.spans_add(
            [
                spans(1, span(2), span(1), tags={"service.name": "s"}, request_preview="in"),
                spans(2, span(3, end_ns=None), metadata={"m": "1"}),
                spans(3, span(1, status="ERROR")),
            ]
        )
        whole, part, bad = await store.trace_list([trace(n).id for n in (1, 2, 3)])
        assert (whole.time_ms, whole.duration_ms, whole.state) == (T0_MS + 1, 19, TraceState.OK)
        assert whole.tags == {"service.name": "s", SPANS_TAG: SPANS_ARE_HERE}
        assert (whole.request_preview, whole.response_preview) == ("in", None)
        assert (part.duration_ms, part.state) == (None, TraceState.IN_PROGRESS)
        assert part.metadata == {"m": "1"}
        assert bad.state is TraceState.ERROR
        assert await store.span_ids(whole.id) == (span(1).id, span(2).id)

    async def test_spans_add__in_pieces_and_again__are_kept_once(
        self, store: MetadataStore
    ) -> None:
        pieces = [spans(1, span(3)), spans(1, span(2), span(1)), spans(1, span(3))]
        for piece in [*pieces, *pieces[::-1]]:
            await store.spans_add([piece])
        (made,) = await store.trace_list([trace().id])
        assert (made.time_ms, made.duration_ms, made.state) == (T0_MS + 1, 29, TraceState.OK)
        ids = await store.span_ids(made.id)
        assert ids == tuple(span(n).id for n in (1, 2, 3))
        wanted = [ids[2], "f" * 16, ids[0]]
        found = await store.span_documents(made.id, wanted)
        assert list(found.items()) == [(ids[2], span(3).document), (ids[0], span(1).document)]
        assert await store.span_documents(trace(2).id, ids) == {}
        await store.spans_add([spans(1, span(3, name="new", document=b"{}"))])
        assert await store.span_documents(made.id, [ids[2]]) == {ids[2]: b"{}"}

    async def test_spans_add__of_one_trace_twice_in_a_request__is_as_one_after_the_other(
        self, store: MetadataStore
    ) -> None:
        await store.spans_add([spans(1, span(2)), spans(1, span(1), span(2, document=b"{}"))])
        assert await store.span_ids(trace().id) == (span(1).id, span(2).id)
        assert await store.span_documents(trace().id, [span(2).id]) == {span(2).id: b"{}"}

    @pytest.mark.parametrize("packs", [True, False])
    async def test_span_documents__of_large_spans__come_as_many_as_fit_in_memory(
        self, store: MetadataStore, packs: bool
    ) -> None:
        text = (
            b"x" * 5_000_000 if packs else base64.b64encode(random.Random(1).randbytes(3_750_000))
        )
        for n in range(1, 8):
            await store.spans_add([spans(1, span(n, document=b'"' + text + b'"'))])
        ids = [span(n).id for n in range(1, 8)]
        first = await store.span_documents(trace().id, ids)
        assert list(first) == ids[:3]
        again = await store.span_documents(trace().id, ids[3:])
        assert list(again) == ids[3:6]
        huge = b'"' + b"y" * 17_000_000 + b'"'
        await store.spans_add([spans(1, span(1, document=huge))])
        assert await store.span_documents(trace().id, ids) == {ids[0]: huge}

    async def test_spans_add__many_and_large__come_back(self, store: MetadataStore) -> None:
        large = json.dumps("ö" * 300_000).encode()
        several = [span(n, document=large if n == 7 else b'"%d"' % n) for n in range(1, 2_101)]
        await store.spans_add([spans(1, *several)])
        ids = await store.span_ids(trace().id)
        assert ids == tuple(one.id for one in several)
        some = await store.span_documents(trace().id, ids[5:8])
        assert list(some.values()) == [b'"6"', large, b'"8"']

    async def test_told_and_spans__in_either_order__what_is_told_wins(
        self, store: MetadataStore
    ) -> None:
        for number, spans_first in ((1, True), (2, False)):
            told = trace(
                number, time_ms=5, duration_ms=7, tags={"a": "told"}, request_preview="told"
            )
            batch = spans(
                number,
                span(1, status="ERROR"),
                tags={"b": "span"},
                metadata={"m": "span"},
                request_preview="span",
                response_preview="span",
            )
            if spans_first:
                await store.spans_add([batch])
            await store.trace_tell(told)
            if not spans_first:
                await store.spans_add([batch])
            (made,) = await store.trace_list([told.id])
            assert (made.time_ms, made.duration_ms, made.state) == (5, 7, TraceState.OK)
            assert (made.request_preview, made.response_preview) == ("told", "span")
            assert made.tags == {"a": "told", "b": "span", SPANS_TAG: SPANS_ARE_HERE}
            assert made.metadata == {"m": "span", TOLD_KEY: "true"}

    async def test_sums__over_spans_in_any_order__a_figure_stands_for_all_below_it(
        self, store: MetadataStore
    ) -> None:
        tree = [
            span(1),
            span(2, sums=usage(10)),
            span(3, parent_id=span(2).id),
            span(4, parent_id=span(3).id, sums=usage(100)),
            span(5, sums=usage(1_000) | {COST_KEY: {"total_cost": 0.5}}),
        ]
        for number, order in ((1, tree), (2, tree[::-1])):
            for one in order:
                await store.spans_add([spans(number, one)])
            (made,) = await store.trace_list([trace(number).id])
            assert json.loads(made.metadata[TOKENS_KEY]) == {
                "input_tokens": 1_010,
                "output_tokens": 2,
                "total_tokens": 1_012,
            }
            assert json.loads(made.metadata[COST_KEY])["total_cost"] == 0.5
        told = trace(3, metadata={TOKENS_KEY: "{}"})
        await store.trace_tell(told)
        await store.spans_add([spans(3, *tree)])
        (made,) = await store.trace_list([told.id])
        assert made.metadata[TOKENS_KEY] == "{}"
        assert json.loads(made.metadata[COST_KEY])["total_cost"] == 0.5

    async def test_sums__told_without_them__are_of_all_spans_however_they_come(
        self, store: MetadataStore
    ) -> None:
        for number, told_after in ((1, 0), (2, 1), (3, 3)):
            for at in range(3):
                if at == told_after:
                    await store.trace_tell(trace(number))
                await store.spans_add([spans(number, span(2 + at, sums=usage(3)))])
            if told_after == 3:
                await store.trace_tell(trace(number))
            # A span that comes again counts as it is now.
            await store.spans_add([spans(number, span(2, sums=usage(5)))])
            (made,) = await store.trace_list([trace(number).id])
            assert json.loads(made.metadata[TOKENS_KEY]) == {
                "input_tokens": 11,
                "output_tokens": 3,
                "total_tokens": 14,
            }

    async def test_sums__of_spans_in_a_circle__are_passed_over(self, store: MetadataStore) -> None:
        circle = [
            span(1, parent_id=span(2).id, sums=usage(1)),
            span(2, parent_id=span(3).id),
            span(3, parent_id=span(1).id),
        ]
        await store.spans_add([spans(1, *circle)])
        (made,) = await store.trace_list([trace().id])
        assert TOKENS_KEY not in made.metadata

    async def test_trace_tags_change__set_and_delete(self, store: MetadataStore) -> None:
        await store.trace_tell(trace(tags={"a": "1", "b": "2"}))
        await store.trace_tags_change(trace().id, set_={"a": UNICODE, "c": "3"}, delete=["b"])
        (made,) = await store.trace_list([trace().id])
        assert made.tags == {"a": UNICODE, "c": "3"}
        with pytest.raises(NotFound):
            await store.trace_tags_change(trace().id, set_={"d": "4"}, delete=["b"])
        with pytest.raises(NotFound):
            await store.trace_tags_change(trace(2).id, set_={"d": "4"})
        assert await store.trace_list([trace().id]) == (made,)

    async def test_trace_list__ids__in_their_order(self, store: MetadataStore) -> None:
        for number in (1, 2, 3):
            await store.trace_tell(trace(number))
        wanted = [trace(n).id for n in (3, 9, 1)]
        assert [one.id for one in await store.trace_list(wanted)] == [wanted[0], wanted[2]]
        assert await store.trace_list([]) == ()


class TraceEndCases(MetadataStoreCases):
    """The end of traces, and what is said of them."""

    async def test_traces_delete__they_go_with_all_that_is_theirs(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        for number in (1, 2):
            await store.trace_tell(trace(number, tags={"a": "1"}))
            await store.spans_add([spans(number)])
            await store.assessment_put(assessment(trace_id=trace(number).id))
        await store.traces_link([trace(n).id for n in (1, 2, 3)], run_id(1))
        ids = [trace(n).id for n in (1, 3)]
        assert await store.traces_delete(ids) == 1
        assert await store.traces_delete(ids) == 0
        assert await store.trace_list(ids) == ()
        assert await store.span_ids(ids[0]) == ()
        assert await store.span_documents(ids[0], [span().id]) == {}
        of_run = TraceComparison(ATTRIBUTE, "run_id", Operator.EQ, run_id(1))
        assert await found(store, of_run) == [2]
        # The id is free again, and nothing of the old is left.
        assert await store.trace_tell(trace(1)) == trace(1, metadata={TOLD_KEY: "true"})
        assert await found(store, of_run) == [2]

    async def test_trace_oldest__bounds__in_order(self, store: MetadataStore) -> None:
        other = await store.experiment_create(experiment())
        for number in (3, 1, 2):
            await store.trace_tell(trace(number))
        await store.trace_tell(trace(4, experiment_id=other.id))
        ids = {n: trace(n).id for n in range(1, 5)}
        oldest = store.trace_oldest
        assert await oldest(0, limit=10) == (ids[1], ids[2], ids[3])
        assert await oldest(0, limit=2) == (ids[1], ids[2])
        assert await oldest(0, limit=9, until_ms=trace(2).time_ms) == (ids[1], ids[2])
        assert await oldest(0, limit=9, until_ms=trace(1).time_ms - 1) == ()
        assert await oldest(0, limit=9, ids=[ids[3], ids[4], "tr-9"]) == (ids[3],)
        assert await oldest(0, limit=9, ids=[]) == ()
        assert await oldest(404, limit=9) == ()

    async def test_run__purged__its_links_go_and_the_traces_stay(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        await store.trace_tell(trace(1))
        await store.traces_link([trace(1).id], run_id(1))
        await store.traces_link([trace(1).id], run_id(1))
        with pytest.raises(NotFound):
            await store.traces_link([trace(1).id], run_id(2))
        of_run = TraceComparison(ATTRIBUTE, "run_id", Operator.EQ, run_id(1))
        assert await found(store, of_run) == [1]
        await store.workload_set_deleted(run_id(1), deleted_ns=T0_NS)
        await store.workload_purge(run_id(1))
        assert await found(store, of_run) == []
        assert await found(store) == [1]

    async def test_assessment_put__again__replaces(self, store: MetadataStore) -> None:
        await store.trace_tell(trace())
        whole = assessment(
            kind=AssessmentKind.EXPECTATION,
            value={"a": [1, 2.5, None, UNICODE]},
            source_type="LLM_JUDGE",
            source_id="judge",
            span_id=span().id,
            rationale=UNICODE,
            metadata={"k": "v"},
        )
        await store.assessment_put(assessment(2))
        await store.assessment_put(assessment(1))
        await store.assessment_put(whole)
        (made,) = await store.trace_list([trace().id])
        assert made.assessments == (whole, assessment(2))
        with pytest.raises(NotFound):
            await store.assessment_put(assessment(trace_id=trace(2).id))

    async def test_assessments__more_than_a_trace_has__are_refused(
        self, store: MetadataStore
    ) -> None:
        most = tuple(assessment(n) for n in range(ASSESSMENTS_MAX))
        await store.trace_put(trace(assessments=most), [])
        with pytest.raises(LimitExceeded):
            await store.assessment_put(assessment(ASSESSMENTS_MAX))
        with pytest.raises(LimitExceeded):
            await store.trace_tell(trace(assessments=(assessment(ASSESSMENTS_MAX),)))
        await store.assessment_put(assessment(1, rationale="replaced"))
        (made,) = await store.trace_list([trace().id])
        assert len(made.assessments) == ASSESSMENTS_MAX
        assert made.assessments[1].rationale == "replaced"
        await store.assessment_delete(trace().id, "a-5")
        await store.assessment_put(assessment(ASSESSMENTS_MAX))

    async def test_assessment_change__at_the_same_time__each_is_kept(
        self, store: MetadataStore
    ) -> None:
        await store.trace_tell(trace(assessments=(assessment(1), assessment(2))))

        def adding(number: int) -> Callable[[Assessment], Assessment]:
            return lambda found: replace(found, metadata={**found.metadata, str(number): "x"})

        changes = (
            store.assessment_change(trace().id, "a-1", adding(number)) for number in range(8)
        )
        await asyncio.gather(*changes)
        (made,) = await store.trace_list([trace().id])
        keys = {str(number): "x" for number in range(8)}
        assert made.assessments == (assessment(1, metadata=keys), assessment(2))

    async def test_assessment_change__refused_or_of_none__writes_nothing(
        self, store: MetadataStore
    ) -> None:
        def refuse(_: Assessment) -> Assessment:
            raise InvalidValue("no")

        told = await store.trace_tell(trace(assessments=(assessment(1),)))
        with pytest.raises(InvalidValue):
            await store.assessment_change(trace().id, "a-1", refuse)
        for trace_id, assessment_id in ((trace().id, "a-2"), (trace(2).id, "a-1")):
            with pytest.raises(NotFound):
                await store.assessment_change(trace_id, assessment_id, lambda found: found)
        assert await store.trace_list([trace().id]) == (told,)

    async def test_assessment__overriding_another__which_is_valid_again_after(
        self, store: MetadataStore
    ) -> None:
        await store.trace_tell(trace())
        await store.assessment_put(assessment(1))
        with pytest.raises(NotFound):
            await store.assessment_put(assessment(2, overrides="a-9"))
        await store.assessment_put(assessment(2, overrides="a-1"))
        (made,) = await store.trace_list([trace().id])
        assert [one.valid for one in made.assessments] == [False, True]
        # Changing the one does not settle the other anew.
        await store.assessment_put(assessment(1))
        await store.assessment_put(assessment(2, overrides="a-1", value=False))
        (made,) = await store.trace_list([trace().id])
        assert [one.valid for one in made.assessments] == [True, True]
        await store.assessment_delete(trace().id, "a-2")
        await store.assessment_delete(trace().id, "a-2")
        (made,) = await store.trace_list([trace().id])
        assert made.assessments == (assessment(1),)
        await store.assessment_delete(trace(2).id, "a-1")


class TraceSearchCases(MetadataStoreCases):
    """Searching traces."""

    async def test_trace_search__attributes_and_labels__find(self, store: MetadataStore) -> None:
        await self._fill(store)
        for subject, key, operator, value, expected in (
            (ATTRIBUTE, "state", Operator.EQ, "ERROR", [3]),
            (ATTRIBUTE, "state", Operator.NE, "ERROR", [4, 2, 1]),
            (ATTRIBUTE, "state", Operator.IN, ("ERROR", "x"), [3]),
            (ATTRIBUTE, "state", Operator.NOT_IN, ("OK",), [4, 3]),
            (ATTRIBUTE, "state", Operator.LIKE, "%K", [2, 1]),
            (ATTRIBUTE, "time_ms", Operator.GT, trace(2).time_ms, [4, 3]),
            (ATTRIBUTE, "time_ms", Operator.LE, trace(2).time_ms + 0.5, [2, 1]),
            (ATTRIBUTE, "duration_ms", Operator.GE, 200, [2]),
            (ATTRIBUTE, "duration_ms", Operator.NE, 100, [2]),
            (ATTRIBUTE, "end_ms", Operator.EQ, trace(4).time_ms, [4]),
            (ATTRIBUTE, "end_ms", Operator.LT, trace(2).time_ms, [1]),
            (ATTRIBUTE, "id", Operator.EQ, trace(2).id, [2]),
            (ATTRIBUTE, "client_request_id", Operator.LIKE, "r%", [2]),
            (ATTRIBUTE, "client_request_id", Operator.NE, "x", [2]),
            (ATTRIBUTE, "run_id", Operator.EQ, run_id(1), [3, 1]),
            (ATTRIBUTE, "run_id", Operator.IN, (run_id(1), run_id(2)), [3, 1]),
            (ATTRIBUTE, "run_id", Operator.NE, run_id(2), [3]),
            (ATTRIBUTE, "experiment_id", Operator.EQ, 0, [4, 3, 2, 1]),
            (TAG, "a", Operator.EQ, "x", [1]),
            (TAG, "a", Operator.NE, "x", [2]),
            (TAG, "a", Operator.LIKE, "%", [2, 1]),
            (TAG, "a", Operator.ILIKE, "X", [2, 1]),
            (TAG, "a", Operator.IS_NULL, None, [4, 3]),
            (TAG, "a", Operator.IS_NOT_NULL, None, [2, 1]),
            (TAG, "m", Operator.IS_NOT_NULL, None, []),
            (METADATA, "m", Operator.EQ, UNICODE, [2]),
            (METADATA, "m", Operator.IS_NULL, None, [4, 3, 1]),
            (METADATA, "a", Operator.EQ, "x", []),
        ):
            one = TraceComparison(subject, key, operator, value)
            assert await found(store, one) == expected, one

    async def test_trace_search__several__all_hold(self, store: MetadataStore) -> None:
        await self._fill(store)
        ok = TraceComparison(ATTRIBUTE, "state", Operator.EQ, "OK")
        tagged = TraceComparison(TAG, "a", Operator.EQ, "x")
        other = TraceComparison(METADATA, "m", Operator.IS_NULL)
        assert await found(store, ok, tagged, other) == [1]
        assert await found(store, ok, tagged, TraceComparison(TAG, "a", Operator.EQ, "X")) == []

    async def test_trace_search__spans__one_and_the_same_fits(self, store: MetadataStore) -> None:
        await store.spans_add(
            [
                spans(1, span(1), span(2, name="ask", type="LLM")),
                spans(2, span(1, name="ask", type=""), span(2, type="LLM", status="ERROR")),
            ]
        )

        def of(key: str, operator: Operator, value: str | tuple[str, ...]) -> TraceComparison:
            return TraceComparison(TraceSubject.SPAN, key, operator, value)

        ask, llm = of("name", Operator.EQ, "ask"), of("type", Operator.EQ, "LLM")
        assert await found(store, ask) == [1, 2]
        assert await found(store, ask, llm) == [1]
        assert await found(store, of("status", Operator.IN, ("ERROR",))) == [2]
        assert await found(store, of("name", Operator.ILIKE, "%SK")) == [1, 2]
        assert await found(store, of("name", Operator.EQ, "none")) == []
        assert await found(store, ask, of("type", Operator.NE, "CHAIN")) == [1]

    async def test_trace_search__assessments__valid_ones_count(self, store: MetadataStore) -> None:
        values = {1: True, 2: "true", 3: 0.75, 4: None, 5: "ja, nein"}
        for number, value in values.items():
            await store.trace_tell(trace(number))
            await store.assessment_put(assessment(trace_id=trace(number).id, value=value))
        kind = AssessmentKind.EXPECTATION
        await store.assessment_put(assessment(9, trace_id=trace(1).id, kind=kind, value="e"))
        await store.trace_tell(trace(6))
        await store.assessment_put(assessment(trace_id=trace(6).id, valid=False))
        for subject, operator, value, expected in (
            (FEEDBACK, Operator.EQ, "true", [2, 1]),
            (FEEDBACK, Operator.NE, "true", [5, 4, 3]),
            (FEEDBACK, Operator.EQ, "0.75", [3]),
            (FEEDBACK, Operator.GT, 0.5, [3, 1]),
            (FEEDBACK, Operator.LE, 0.75, [3]),
            (FEEDBACK, Operator.LIKE, "%nein%", [5]),
            (FEEDBACK, Operator.IS_NULL, None, [6]),
            (FEEDBACK, Operator.IS_NOT_NULL, None, [5, 4, 3, 2, 1]),
            (EXPECTATION, Operator.EQ, "e", [1]),
            (EXPECTATION, Operator.EQ, "true", []),
        ):
            one = TraceComparison(subject, "good", operator, value)
            assert await found(store, one) == expected, one
        assert await found(store, TraceComparison(FEEDBACK, "bad", Operator.EQ, "true")) == []

    async def test_trace_search__orders__missing_last_and_pages_go_on(
        self, store: MetadataStore
    ) -> None:
        await self._fill(store)
        by_time = TraceOrder(ATTRIBUTE, "time_ms")
        for orders, expected in (
            ((), [4, 3, 2, 1]),
            ((by_time,), [1, 2, 3, 4]),
            ((replace(by_time, descending=True),), [4, 3, 2, 1]),
            ((TraceOrder(ATTRIBUTE, "duration_ms"),), [3, 1, 2, 4]),
            ((TraceOrder(ATTRIBUTE, "duration_ms", descending=True),), [2, 3, 1, 4]),
            ((TraceOrder(ATTRIBUTE, "state"), by_time), [3, 4, 1, 2]),
            ((TraceOrder(TAG, "a"),), [2, 1, 4, 3]),
            ((TraceOrder(TAG, "a", descending=True),), [1, 2, 4, 3]),
            ((TraceOrder(METADATA, "m"), TraceOrder(ATTRIBUTE, "id")), [2, 1, 3, 4]),
            ((TraceOrder(ATTRIBUTE, "end_ms", descending=True),), [4, 3, 2, 1]),
        ):
            query = TraceQuery(experiment_ids=(0,), order=orders, limit=1)
            numbers: list[int] = []
            while True:
                page = await store.trace_search(query)
                numbers += [int(one.id.removeprefix("tr-"), 16) for one in page.items]
                if page.next is None:
                    break
                query = replace(query, cursor=page.next)
            assert numbers == expected, orders

    async def test_trace_search__of_one_time__pages_neither_repeat_nor_skip(
        self, store: MetadataStore
    ) -> None:
        for number in range(1, 8):
            await store.trace_tell(trace(number, time_ms=T0_MS))
        query = TraceQuery(experiment_ids=(0,), limit=3)
        seen: list[str] = []
        while True:
            page = await store.trace_search(query)
            seen += [one.id for one in page.items]
            if page.next is None:
                break
            # What comes and goes meanwhile neither shifts nor repeats the others.
            await store.trace_tell(trace(100 + len(seen)))
            await store.traces_delete([trace(1).id])
            query = replace(query, cursor=page.next)
        assert seen == [trace(number).id for number in range(1, 8)]

    async def test_trace_search__experiments__only_those_asked_for(
        self, store: MetadataStore
    ) -> None:
        other = await store.experiment_create(experiment())
        await store.trace_tell(trace(1))
        await store.trace_tell(trace(2, experiment_id=other.id))
        for ids, expected in (
            ((0,), [1]),
            ((other.id, 0), [2, 1]),
            ((other.id, 404, 1 << 70, -1), [2]),
            ((404,), []),
            ((), []),
        ):
            page = await store.trace_search(TraceQuery(experiment_ids=ids))
            numbers = [int(one.id.removeprefix("tr-"), 16) for one in page.items]
            assert numbers == expected, ids

    async def test_trace_search__what_means_nothing__is_refused(self, store: MetadataStore) -> None:
        good = TraceQuery(experiment_ids=(0,), limit=1)
        await store.trace_tell(trace(1))
        await store.trace_tell(trace(2))
        cursor = (await store.trace_search(good)).next
        one = TraceComparison(ATTRIBUTE, "state", Operator.EQ, "OK")
        for query, error in (
            (replace(good, limit=0), InvalidValue),
            (replace(good, limit=501), InvalidValue),
            (replace(good, cursor="x"), InvalidValue),
            (replace(good, cursor=cursor, comparisons=(one,)), InvalidValue),
            (replace(good, comparisons=(one,) * 201), LimitExceeded),
            (replace(good, experiment_ids=(0,) * 20_001), LimitExceeded),
            (replace(good, order=(TraceOrder(TAG, "a"),) * 17), LimitExceeded),
            (replace(good, order=(TraceOrder(FEEDBACK, "a"),)), InvalidValue),
            (replace(good, order=(TraceOrder(ATTRIBUTE, "run_id"),)), InvalidValue),
            (replace(good, order=(TraceOrder(ATTRIBUTE, "prompt"),)), InvalidValue),
            (replace(good, comparisons=(matches(TAG, "a", "x"),) * 11), LimitExceeded),
            (replace(good, comparisons=(matches(TAG, "a", "x" * 1_001),)), LimitExceeded),
            (replace(good, comparisons=(matches(TAG, "a", "[^x]{100}"),)), LimitExceeded),
            (replace(good, order=(TraceOrder(ATTRIBUTE, "x"),)), InvalidValue),
            *(
                (replace(good, comparisons=(odd,)), InvalidValue)
                for odd in (
                    replace(one, key="x"),
                    replace(one, value=1),
                    replace(one, operator=Operator.LT),
                    replace(one, operator=Operator.IN),
                    replace(one, operator=Operator.IS_NULL),
                    TraceComparison(ATTRIBUTE, "time_ms", Operator.EQ, "x"),
                    TraceComparison(ATTRIBUTE, "time_ms", Operator.LIKE, "x"),
                    TraceComparison(TraceSubject.SPAN, "document", Operator.EQ, "x"),
                    TraceComparison(FEEDBACK, "a", Operator.LT, "x"),
                    TraceComparison(TAG, "a", Operator.IN, ("x",)),
                    TraceComparison(ATTRIBUTE, "prompt", Operator.LIKE, "x/%"),
                    matches(TAG, "a", "("),
                    matches(TAG, "a", "(?=a)"),
                    matches(ATTRIBUTE, "time_ms", "1"),
                    matches(ATTRIBUTE, "run_id", "1"),
                )
            ),
        ):
            with pytest.raises(error):
                await store.trace_search(query)

    async def _fill(self, store: MetadataStore) -> None:
        await create(store, run(1))
        await create(store, run(2))
        await store.trace_tell(trace(1, tags={"a": "x"}))
        await store.trace_tell(
            trace(
                2, duration_ms=200, client_request_id="r", tags={"a": "X"}, metadata={"m": UNICODE}
            )
        )
        made_in = {"mlflow.sourceRun": run_id(1)}
        await store.trace_tell(trace(3, state=TraceState.ERROR, metadata=made_in))
        await store.trace_tell(trace(4, duration_ms=None, state=TraceState.IN_PROGRESS))
        await store.traces_link([trace(1).id], run_id(1))
