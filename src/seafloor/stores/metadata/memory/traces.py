"""Traces, their spans and what is said of them, in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.search import Identifier, Operator, Order, Subject
from seafloor.domain.traces import (
    ASSESSMENTS_MAX,
    PROMPTS_TAG,
    RUN_KEY,
    Assessment,
    Span,
    SpanBatch,
    SpanSums,
    Trace,
    TraceComparison,
    TraceOrder,
    TraceQuery,
    TraceSubject,
    prompt_texts,
    told,
    too_many_assessments,
    with_prompts,
    with_spans,
)
from seafloor.stores.metadata.cursors import Position, decode_cursor, encode_cursor
from seafloor.stores.metadata.memory.experiments import changed_tags
from seafloor.stores.metadata.memory.rows import Rows
from seafloor.stores.metadata.memory.search import number_matches, text_matches
from seafloor.stores.metadata.protocol import TracePage
from seafloor.stores.metadata.regular_expressions import RegularExpression
from seafloor.stores.metadata.sort_keys import MISSING, VALUE, SortKeys, compare_sort_keys
from seafloor.stores.metadata.span_contents import ContentTest, is_of_contents
from seafloor.stores.metadata.traces import (
    as_comparison,
    check_moves,
    check_trace_query,
    first_documents,
    is_number,
    json_forms,
    json_text,
    no_assessment,
    number_in,
)

_NEWEST = TraceOrder(TraceSubject.ATTRIBUTE, "time_ms", descending=True)
_ID = TraceOrder(TraceSubject.ATTRIBUTE, "id")


class MemoryTraces:
    """``TraceRecords`` and ``TraceEndRecords`` in memory."""

    _rows: Rows

    async def trace_tell(self, trace: Trace) -> Trace:
        """See ``TraceRecords``."""
        self._check_lives(trace.experiment_id)
        made = told(self._rows.traces.get(trace.id), trace)
        for assessment in trace.assessments:
            made = _with(made, assessment)
        if len(made.assessments) > ASSESSMENTS_MAX:
            raise too_many_assessments()
        self._rows.traces[trace.id] = made
        return made

    async def spans_add(self, batches: Sequence[SpanBatch]) -> None:
        """See ``TraceRecords``."""
        for batch in batches:
            if batch.trace_id not in self._rows.traces:
                self._check_lives(batch.experiment_id)
        for batch in batches:
            spans = self._rows.spans.setdefault(batch.trace_id, {})
            sums = [SpanSums(span.id, span.parent_id, span.sums) for span in spans.values()]
            spans.update({span.id: span for span in batch.spans})
            known = self._rows.traces.get(batch.trace_id)
            self._rows.traces[batch.trace_id] = with_spans(known, batch, sums)

    async def trace_list(self, ids: Sequence[str]) -> tuple[Trace, ...]:
        """See ``TraceRecords``."""
        return tuple(self._rows.traces[one] for one in ids if one in self._rows.traces)

    async def trace_put(self, trace: Trace, runs: Sequence[WorkloadId]) -> None:
        """See ``TraceRecords``."""
        self._check_lives(trace.experiment_id)
        check_moves(self._rows.traces.get(trace.id), trace)
        for run_id in runs:
            self._rows.of_workload(run_id)
        inserted = tuple(sorted(trace.assessments, key=lambda one: (one.created_ms, one.id)))
        self._rows.traces[trace.id] = replace(trace, assessments=inserted)
        kept = {link for link in self._rows.trace_runs if link[0] != trace.id}
        self._rows.trace_runs = kept | {(trace.id, run_id) for run_id in runs}

    async def trace_runs(self, ids: Sequence[str]) -> dict[str, tuple[WorkloadId, ...]]:
        """See ``TraceRecords``."""
        made: dict[str, tuple[WorkloadId, ...]] = {}
        for trace_id, run_id in sorted(self._rows.trace_runs):
            if trace_id in ids:
                made[trace_id] = (*made.get(trace_id, ()), WorkloadId(run_id))
        return made

    async def span_counts(self, ids: Sequence[str]) -> dict[str, int]:
        """See ``TraceRecords``."""
        return {one: len(spans) for one in ids if (spans := self._rows.spans.get(one))}

    async def trace_search(self, query: TraceQuery) -> TracePage:
        """See ``TraceRecords``."""
        check_trace_query(query)
        position = decode_cursor(query)
        orders = (*query.order, _NEWEST, _ID)
        found = [
            (tuple(_sort_key(trace, order) for order in orders), trace)
            for trace in self._rows.traces.values()
            if trace.experiment_id in query.experiment_ids and self._holds(trace, query)
        ]
        compare = functools.partial(compare_sort_keys, [_as_order(order) for order in orders])
        if position is not None:
            after: SortKeys = (*position.keys, (VALUE, position.begun), (VALUE, position.id))
            found = [one for one in found if compare(one[0], after) > 0]
        found.sort(key=functools.cmp_to_key(lambda one, other: compare(one[0], other[0])))
        page = found[: query.limit]
        following = None
        if len(found) > len(page):
            keys, last = page[-1]
            following = encode_cursor(query, Position(keys[:-2], last.time_ms, last.id))
        return TracePage(tuple(trace for _, trace in page), following)

    def _holds(self, trace: Trace, query: TraceQuery) -> bool:
        spans = [one for one in query.comparisons if one.subject is TraceSubject.SPAN]
        others = [one for one in query.comparisons if one.subject is not TraceSubject.SPAN]
        if spans and not any(
            all(_span_holds(one, span) for one in spans)
            for span in self._rows.spans.get(trace.id, {}).values()
        ):
            return False
        return all(self._is(trace, one) for one in others)

    def _is(self, trace: Trace, found: TraceComparison) -> bool:
        if found.subject in (TraceSubject.FEEDBACK, TraceSubject.EXPECTATION):
            return _assessed(trace, found)
        if found.subject is TraceSubject.ATTRIBUTE and found.key == "prompt":
            used = trace.tags.get(PROMPTS_TAG, "")
            return any(text in used for text in prompt_texts(str(found.value)))
        if found.subject is TraceSubject.ATTRIBUTE and found.key == "run_id":
            made_in = trace.metadata.get(RUN_KEY)
            if made_in is not None and _text_holds(found, made_in):
                return True
            if found.operator in (Operator.NE, Operator.NOT_IN):
                return False
            return any(
                _text_holds(found, run_id)
                for trace_id, run_id in self._rows.trace_runs
                if trace_id == trace.id
            )
        value = _value(trace, found.subject, found.key)
        if found.operator is Operator.IS_NULL:
            return value is None
        if value is None or found.operator is Operator.IS_NOT_NULL:
            return value is not None
        if is_number(found):
            return number_matches(as_comparison(found), int(value))
        return _text_holds(found, str(value))

    async def span_ids(self, trace_id: str) -> tuple[str, ...]:
        """See ``TraceRecords``."""
        spans = self._rows.spans.get(trace_id, {}).values()
        return tuple(span.id for span in sorted(spans, key=_rank))

    async def span_documents(self, trace_id: str, ids: Sequence[str]) -> dict[str, bytes]:
        """See ``TraceRecords``."""
        spans = self._rows.spans.get(trace_id, {})
        return dict(first_documents((one, spans[one].document) for one in ids if one in spans))

    async def trace_tags_change(
        self, trace_id: str, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """See ``TraceRecords``."""
        found = self._trace(trace_id)
        tags = changed_tags(found.tags, set_=set_, delete=delete)
        self._rows.traces[trace_id] = replace(found, tags=tags)

    async def traces_link(self, trace_ids: Sequence[str], run_id: WorkloadId) -> None:
        """See ``TraceRecords``."""
        self._rows.of_workload(run_id)
        self._rows.trace_runs |= {(one, run_id) for one in trace_ids if one in self._rows.traces}

    async def trace_prompts_link(self, trace_id: str, prompts: Sequence[str]) -> None:
        """See ``TraceRecords``."""
        found = self._trace(trace_id)
        told = with_prompts(found.tags.get(PROMPTS_TAG), prompts)
        self._rows.traces[trace_id] = replace(found, tags={**found.tags, PROMPTS_TAG: told})

    async def trace_oldest(
        self,
        experiment_id: int,
        *,
        limit: int,
        until_ms: int | None = None,
        ids: Sequence[str] | None = None,
    ) -> tuple[str, ...]:
        """See ``TraceEndRecords``."""
        found = [
            trace
            for trace in self._rows.traces.values()
            if trace.experiment_id == experiment_id
            and (until_ms is None or trace.time_ms <= until_ms)
            and (ids is None or trace.id in ids)
        ]
        found.sort(key=lambda trace: (trace.time_ms, trace.id))
        return tuple(trace.id for trace in found[:limit])

    async def traces_delete(self, ids: Sequence[str]) -> int:
        """See ``TraceEndRecords``."""
        gone = set(ids) & self._rows.traces.keys()
        for trace_id in gone:
            del self._rows.traces[trace_id]
            self._rows.spans.pop(trace_id, None)
        self._rows.trace_runs = {one for one in self._rows.trace_runs if one[0] not in gone}
        return len(gone)

    async def assessment_put(self, assessment: Assessment) -> None:
        """See ``TraceEndRecords``."""
        found = self._trace(assessment.trace_id)
        ids = {one.id for one in found.assessments}
        if assessment.id not in ids and len(ids) >= ASSESSMENTS_MAX:
            raise too_many_assessments()
        if assessment.overrides is not None and assessment.id not in ids:
            if assessment.overrides not in ids:
                raise NotFound(
                    f"Assessment with ID '{assessment.overrides}' not found for trace "
                    f"'{assessment.trace_id}'",
                    field="overrides",
                )
            found = _with_valid(found, assessment.overrides, valid=False)
        self._rows.traces[found.id] = _with(found, assessment)

    async def assessment_change(
        self, trace_id: str, assessment_id: str, change: Callable[[Assessment], Assessment]
    ) -> Assessment:
        """See ``TraceEndRecords``."""
        found = self._trace(trace_id)
        for one in found.assessments:
            if one.id == assessment_id:
                made = change(one)
                self._rows.traces[trace_id] = _with(found, made)
                return made
        raise no_assessment(trace_id, assessment_id)

    async def assessment_delete(self, trace_id: str, assessment_id: str) -> None:
        """See ``TraceEndRecords``."""
        found = self._rows.traces.get(trace_id)
        known = () if found is None else found.assessments
        gone = next((one for one in known if one.id == assessment_id), None)
        if found is None or gone is None:
            return
        if gone.overrides is not None:
            found = _with_valid(found, gone.overrides, valid=True)
        kept = tuple(one for one in found.assessments if one.id != assessment_id)
        self._rows.traces[trace_id] = replace(found, assessments=kept)

    def _trace(self, trace_id: str) -> Trace:
        found = self._rows.traces.get(trace_id)
        if found is None:
            raise NotFound(f"Trace with ID '{trace_id}' not found.", field="trace_id")
        return found

    def _check_lives(self, experiment_id: int) -> None:
        if self._rows.experiment(experiment_id).deleted_ns is not None:
            raise Conflict(
                f"The experiment {experiment_id} must be in the 'active' state.",
                field="experiment_id",
            )


def _with(trace: Trace, assessment: Assessment) -> Trace:
    others = [one for one in trace.assessments if one.id != assessment.id]
    every = sorted([*others, assessment], key=lambda one: (one.created_ms, one.id))
    return replace(trace, assessments=tuple(every))


def _with_valid(trace: Trace, assessment_id: str, *, valid: bool) -> Trace:
    made = [
        replace(one, valid=valid) if one.id == assessment_id else one for one in trace.assessments
    ]
    return replace(trace, assessments=tuple(made))


def _rank(span: Span) -> tuple[bool, int, str]:
    return (span.parent_id is not None, span.start_ns, span.id)


def _value(trace: Trace, subject: TraceSubject, key: str) -> str | int | None:
    if subject is TraceSubject.TAG:
        return trace.tags.get(key)
    if subject is TraceSubject.METADATA:
        return trace.metadata.get(key)
    if key == "end_ms":
        return trace.time_ms + (trace.duration_ms or 0)
    return getattr(trace, key)


def _sort_key(trace: Trace, order: TraceOrder) -> tuple[int, str | int | None]:
    value = _value(trace, order.subject, order.key)
    if value is None:
        return (MISSING, None)
    return (VALUE, str(value) if isinstance(value, str) else value)


def _as_order(order: TraceOrder) -> Order:
    """A trace's order as a run's, which is compared alike."""
    return Order(Identifier(Subject.TAG, order.key), descending=order.descending)


def _text_holds(found: TraceComparison, text: str) -> bool:
    if found.operator is Operator.RLIKE:
        return RegularExpression(str(found.value)).matches(text)
    return text_matches(as_comparison(found), text)


def _span_holds(found: TraceComparison, span: Span) -> bool:
    if is_of_contents(found):
        return ContentTest([found]).holds(span.document)
    text = getattr(span, found.key)
    return text != "" and _text_holds(found, text)


def _assessed(trace: Trace, found: TraceComparison) -> bool:
    there = [
        one
        for one in trace.assessments
        if one.valid and one.name == found.key and str(one.kind) == str(found.subject)
    ]
    if found.operator is Operator.IS_NULL:
        return not there
    if found.operator is Operator.IS_NOT_NULL:
        return bool(there)
    return any(_value_holds(found, one) for one in there)


def _value_holds(found: TraceComparison, assessment: Assessment) -> bool:
    text = json_text(assessment.value)
    if found.operator in (Operator.EQ, Operator.NE):
        return (text in json_forms(str(found.value))) is (found.operator is Operator.EQ)
    if isinstance(found.value, str):
        return _text_holds(found, text)
    number = number_in(assessment.value)
    return number is not None and number_matches(as_comparison(found), number)
