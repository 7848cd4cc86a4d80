"""Traces: what a call of a model or an agent did, as spans that arrive in pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.search import Operator

NAME_TAG = "mlflow.traceName"
SPANS_TAG = "mlflow.trace.spansLocation"
SPANS_ARE_HERE = "TRACKING_STORE"
"""The value of ``SPANS_TAG`` of a trace whose spans the store has; clients keep others as files."""
ARTIFACTS_TAG = "mlflow.artifactLocation"
PROMPTS_TAG = "mlflow.linkedPrompts"
"""Which versions of prompts a trace used: a JSON list of objects with a name and a version."""
RUN_KEY = "mlflow.sourceRun"
TOLD_KEY = "mlflow.trace.infoFinalized"
"""In the metadata of a trace that a client has told of as a whole: spans change it no more."""
SESSION_KEY = "mlflow.trace.session"
USER_KEY = "mlflow.trace.user"
TOKENS_KEY = "mlflow.trace.tokenUsage"
COST_KEY = "mlflow.trace.cost"

SUMS: dict[str, tuple[str, ...]] = {
    TOKENS_KEY: ("input_tokens", "output_tokens", "total_tokens"),
    COST_KEY: ("input_cost", "output_cost", "total_cost"),
}
"""What is added up over a trace, by the metadata key of the sum, with what each sum has."""

LABEL_KEY_CHARS_MAX = 250
LABEL_CHARS_MAX = 8_000
PREVIEW_CHARS_MAX = 10_000
ID_CHARS_MAX = 50
ASSESSMENTS_MAX = 1_000
ASSESSMENT_CHARS_MAX = 65_535
TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999, which is the last that protobuf's times have."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,49}\Z")


class TraceState(StrEnum):
    """How a trace ended."""

    UNSPECIFIED = "STATE_UNSPECIFIED"
    IN_PROGRESS = "IN_PROGRESS"
    OK = "OK"
    ERROR = "ERROR"


class AssessmentKind(StrEnum):
    """What an assessment says: how good an output was, what was expected, or which issue it has."""

    FEEDBACK = "feedback"
    EXPECTATION = "expectation"
    ISSUE = "issue"


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody, or something, says of a trace.

    Args:
        id: Unique within the trace.
        value: Plain data, as JSON has it.
        error: Why there is no value: code, message and stack; None when there is one.
        source_type: ``HUMAN``, ``LLM_JUDGE`` or ``CODE``.
        span_id: Of the span it speaks of; None: of the whole trace.
        overrides: Of another assessment, which is no longer valid.
        created_ms, updated_ms: Since 1970, UTC.
    """

    id: str
    trace_id: str
    name: str
    kind: AssessmentKind
    value: Any
    error: dict[str, str] | None = None
    source_type: str
    source_id: str = ""
    span_id: str | None = None
    rationale: str | None = None
    metadata: dict[str, str] = {}
    overrides: str | None = None
    valid: bool = True
    created_ms: int
    updated_ms: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace without its spans.

    Args:
        id: ``tr-`` and 32 hex digits of OpenTelemetry's; others are taken too (``check_id``).
        experiment_id: Where it belongs.
        time_ms: When it began, since 1970, UTC.
        duration_ms: None while it goes on.
        client_request_id: What the client calls it.
        request_preview, response_preview: The beginnings of what went in and came out.
        tags: Change at will. ``NAME_TAG`` is its name.
        metadata: Stay as they are.
        assessments: In order of their creation.
    """

    id: str
    experiment_id: int
    time_ms: int
    duration_ms: int | None = None
    state: TraceState = TraceState.UNSPECIFIED
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}
    assessments: tuple[Assessment, ...] = ()


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span.

    Args:
        id: 16 hex digits, unique within the trace.
        parent_id: None for the root.
        type: MLflow's, such as ``LLM``; empty when none is told, which no comparison matches.
        status: ``UNSET``, ``OK`` or ``ERROR``.
        end_ns: None while it goes on.
        document: The whole span, a JSON object as clients read it.
        sums: What of it is added up over the trace; see ``SUMS``.
    """

    id: str
    parent_id: str | None
    name: str
    type: str
    status: str
    start_ns: int
    end_ns: int | None
    document: bytes
    sums: dict[str, dict[str, float]] = {}


class SpanBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Spans of one trace that came together.

    Args:
        experiment_id: Where the trace belongs if it is not known yet.
        spans: At least one; each id once.
        tags: Of the trace.
        metadata: Of the trace, where it has none of the key.
        request_preview, response_preview: As the root span tells them.
    """

    trace_id: str
    experiment_id: int
    spans: tuple[Span, ...]
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}
    request_preview: str | None = None
    response_preview: str | None = None


class SpanSums(msgspec.Struct, frozen=True):
    """What of a span is added up, and below which it stands."""

    id: str
    parent_id: str | None
    sums: Mapping[str, Mapping[str, float]]


class TraceSubject(StrEnum):
    """What a comparison of a search speaks of."""

    ATTRIBUTE = "attribute"
    TAG = "tag"
    METADATA = "request_metadata"
    SPAN = "span"
    FEEDBACK = "feedback"
    EXPECTATION = "expectation"


TRACE_ATTRIBUTES = {
    "id": "text",
    "client_request_id": "text",
    "state": "text",
    "run_id": "text",
    "prompt": "text",
    "time_ms": "number",
    "duration_ms": "number",
    "end_ms": "number",
    "experiment_id": "number",
}
"""What of a trace can be compared and ordered by, with its type.

``run_id`` can only be compared: it is the run in whose course the trace was made, or any that it
was linked to. So can ``prompt``, and only for equality: ``<name>/<version>`` is one of those that
``PROMPTS_TAG`` tells (``prompt_texts``). ``end_ms`` of a trace that goes on is when it began.
"""
CONTENT_KEY = "content"
"""All of a span, as ``span_documents.searched_text`` shows it."""
SPAN_ATTRIBUTES = ("name", "type", "status", CONTENT_KEY)


class TraceComparison(msgspec.Struct, frozen=True):
    """One clause. What is missing never matches, not even ``!=``; only IS NULL does.

    Args:
        key: One of ``TRACE_ATTRIBUTES`` or ``SPAN_ATTRIBUTES``, a tag's or metadata's key, or an
            assessment's name.
        operator: RLIKE looks for a regular expression, in RE2's syntax.
        value: A number for numeric attributes; a number or text for assessments; a text
            otherwise. Several texts for IN and NOT IN.
    """

    subject: TraceSubject
    key: str
    operator: Operator
    value: float | int | str | tuple[str, ...] | None = None


def prompt_texts(prompt: str) -> tuple[str, str]:
    """What stands in ``PROMPTS_TAG`` of a trace that used ``<name>/<version>``.

    With blanks as Python's clients write JSON, and without as others do.

    >>> prompt_texts("greet/2")[1]
    '{"name":"greet","version":"2"}'
    """
    name, _, version = prompt.rpartition("/")
    used = {"name": name, "version": version}
    return json.dumps(used), json.dumps(used, separators=(",", ":"), ensure_ascii=False)


def with_prompts(known: str | None, prompts: Sequence[str]) -> str:
    """What ``PROMPTS_TAG`` says when versions of prompts are added, each once.

    Args:
        known: What it says; None when it is not there.
        prompts: Each ``<name>/<version>``.

    Raises:
        InvalidValue: what it says is no list.
        LimitExceeded: it would be longer than a tag may be.

    >>> with_prompts('[{"name": "greet", "version": "1"}]', ["greet/1"])
    '[{"name": "greet", "version": "1"}]'
    """
    try:
        listed: Any = [] if known is None else json.loads(known)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        raise InvalidValue(f"The tag {PROMPTS_TAG} of the trace is not a list.", field="trace_id")
    every = cast(list[Any], listed)
    for prompt in prompts:
        name, _, version = prompt.rpartition("/")
        used = {"name": name, "version": version}
        if used not in every:
            every.append(used)
    made = json.dumps(every)
    if len(made) > LABEL_CHARS_MAX:
        raise LimitExceeded(
            f"The tag {PROMPTS_TAG} would be longer than {LABEL_CHARS_MAX} characters.",
            field="prompt_versions",
        )
    return made


class TraceOrder(msgspec.Struct, frozen=True):
    """One key to order by: an attribute, a tag or metadata; what is missing comes last."""

    subject: TraceSubject
    key: str
    descending: bool = False


class TraceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of traces.

    Args:
        experiment_ids: Only of these.
        comparisons: All hold; those of spans all of one span.
        order: Ties are broken by ``time_ms`` descending, then id ascending.
        limit: 1..500.
        cursor: ``next`` of the page before; only valid with the same query.
    """

    experiment_ids: tuple[int, ...]
    comparisons: tuple[TraceComparison, ...] = ()
    order: tuple[TraceOrder, ...] = ()
    limit: int = 100
    cursor: str | None = None


def check_id(text: str, *, field: str = "trace_id") -> str:
    """Check the id of a trace.

    Raises:
        InvalidValue: it has no or over 50 characters, or others than letters, digits, - and _.
    """
    if not _ID.match(text):
        raise InvalidValue(
            f"Invalid trace id {text[:60]!r}: it has 1 to 50 letters, digits, dashes and "
            "underscores.",
            field=field,
        )
    return text


def check_trace(trace: Trace) -> None:
    """Refuse what cannot be kept as it is.

    Raises:
        InvalidValue, LimitExceeded: an id is none, a time is out of bounds, a text is too long or
            has a character that no database keeps.
    """
    check_id(trace.id, field="trace.id")
    _check_times(trace.time_ms, trace.duration_ms or 0)
    _check_texts(ID_CHARS_MAX, client_request_id=trace.client_request_id)
    _check_texts(
        PREVIEW_CHARS_MAX,
        request_preview=trace.request_preview,
        response_preview=trace.response_preview,
    )
    _check_labels(trace.tags, "tags")
    _check_labels(trace.metadata, "metadata")
    if len(trace.assessments) > ASSESSMENTS_MAX:
        raise too_many_assessments()
    if len({one.id for one in trace.assessments}) < len(trace.assessments):
        raise InvalidValue("Two assessments have the same id.", field="assessments.id")
    for one in trace.assessments:
        _check_assessment(one, trace.id)


def too_many_assessments() -> LimitExceeded:
    """That a trace would have more than ``ASSESSMENTS_MAX``."""
    return LimitExceeded(f"A trace has at most {ASSESSMENTS_MAX} assessments.", field="assessments")


def _check_assessment(found: Assessment, trace_id: str) -> None:
    check_id(found.id, field="assessments.id")
    if found.trace_id != trace_id:
        raise InvalidValue("An assessment is of another trace.", field="assessments.trace_id")
    _check_times(found.created_ms, found.updated_ms)
    _check_texts(LABEL_KEY_CHARS_MAX, name=found.name, source_id=found.source_id)
    _check_texts(
        ID_CHARS_MAX,
        source_type=found.source_type,
        span_id=found.span_id,
        overrides=found.overrides,
    )
    _check_texts(
        ASSESSMENT_CHARS_MAX,
        rationale=found.rationale,
        value=msgspec.json.encode(found.value).decode(),
        error=msgspec.json.encode(found.error).decode(),
    )
    _check_labels(found.metadata, "assessments.metadata")


def _check_times(*times_ms: int) -> None:
    if not all(0 <= time_ms <= TIME_MS_MAX for time_ms in times_ms):
        raise InvalidValue("A trace's times are milliseconds, from 1970 to the year 9999.")


def _check_labels(labels: Mapping[str, str], name: str) -> None:
    for key, value in labels.items():
        if not key:
            raise InvalidValue(f"A key of {name} is empty.", field=name)
        _check_texts(LABEL_KEY_CHARS_MAX, **{f"{name} key": key})
        _check_texts(LABEL_CHARS_MAX, **{f"{name}.{key[:40]}": value})


def _check_texts(chars_max: int, **texts: str | None) -> None:
    for name, text in texts.items():
        if text is not None and len(text) > chars_max:
            raise LimitExceeded(f"{name} has at most {chars_max} characters.", field=name)
        if text is not None and "\0" in text:
            raise InvalidValue(f"{name} has a character that cannot be kept (NUL).", field=name)


def told(known: Trace | None, news: Trace) -> Trace:
    """A trace after a client told of it as a whole, be it again.

    What it says wins; tags, metadata and previews that it does not mention stay.
    """
    metadata = {**news.metadata, TOLD_KEY: "true"}
    if known is None:
        return replace(news, metadata=metadata, assessments=())
    return replace(
        news,
        request_preview=_first(news.request_preview, known.request_preview),
        response_preview=_first(news.response_preview, known.response_preview),
        tags={**known.tags, **news.tags},
        metadata={**known.metadata, **metadata},
        assessments=known.assessments,
    )


def _first(one: str | None, other: str | None) -> str | None:
    return other if one is None else one


def with_spans(known: Trace | None, batch: SpanBatch, spans: Iterable[SpanSums]) -> Trace:
    """A trace after some of its spans came, be it again.

    What a client told of the trace as a whole stays; what it did not is inferred.

    Args:
        spans: All that were known before, as they were; asked for only when there is something
            to add up.
    """
    start_ms = min(span.start_ns for span in batch.spans) // 1_000_000
    ends = [span.end_ns // 1_000_000 for span in batch.spans if span.end_ns is not None]
    trace = known or Trace(
        id=batch.trace_id,
        experiment_id=batch.experiment_id,
        time_ms=start_ms,
        state=TraceState.IN_PROGRESS,
    )
    is_told = TOLD_KEY in trace.metadata
    if not is_told:
        if trace.duration_ms is not None:
            ends.append(trace.time_ms + trace.duration_ms)
        start_ms = min(start_ms, trace.time_ms)
        duration_ms = max(0, max(ends) - start_ms) if ends else None
        trace = replace(trace, time_ms=start_ms, duration_ms=duration_ms)
    added = {span_key for span in batch.spans for span_key in span.sums}
    before = {span.id: span for span in spans} if added else {}
    due = [key for key in SUMS if key in added and not (is_told and _is_told(trace, key, before))]
    after = {**before, **{one.id: SpanSums(one.id, one.parent_id, one.sums) for one in batch.spans}}
    return replace(
        trace,
        state=_state(trace.state, batch),
        request_preview=_first(trace.request_preview, batch.request_preview),
        response_preview=_first(trace.response_preview, batch.response_preview),
        tags={**trace.tags, **batch.tags, SPANS_TAG: SPANS_ARE_HERE},
        metadata={**batch.metadata, **trace.metadata, **_sums(list(after.values()), due)},
    )


def _is_told(trace: Trace, key: str, before: Mapping[str, SpanSums]) -> bool:
    """Whether the sum is what a client told, not what was added up of the spans so far."""
    text = trace.metadata.get(key)
    if text is None:
        return False
    try:
        return json.loads(text) != added_up(before.values(), key)
    except (ValueError, RecursionError):
        return True


def _state(known: TraceState, batch: SpanBatch) -> TraceState:
    root = next((span for span in batch.spans if span.parent_id is None), None)
    if root is None or known not in (TraceState.IN_PROGRESS, TraceState.UNSPECIFIED):
        return known
    return TraceState.ERROR if root.status == "ERROR" else TraceState.OK


def _sums(spans: list[SpanSums], keys: list[str]) -> dict[str, str]:
    return {key: json.dumps(found) for key in keys if (found := added_up(spans, key)) is not None}


def added_up(spans: Iterable[SpanSums], key: str) -> dict[str, float] | None:
    """Add up what spans say; a span's own figure stands for all that is below it.

    Libraries that tell of a whole call often tell of its parts too.

    Returns:
        None when no span says anything.
    """
    every = {span.id: span for span in spans}
    totals: dict[str, float] = dict.fromkeys(SUMS[key], 0)
    found = False
    covered: dict[str, bool] = {}
    for span in every.values():
        mine = span.sums.get(key)
        if mine is None or _is_covered(span, every, key, covered):
            continue
        found = True
        for name, value in mine.items():
            totals[name] = totals.get(name, 0) + value
    return totals if found else None


def _is_covered(
    span: SpanSums, every: Mapping[str, SpanSums], key: str, known: dict[str, bool]
) -> bool:
    """Whether a span above has a figure of its own.

    Args:
        known: What is known of others, by id; what is found out is added.
    """
    path: list[str] = []
    seen: set[str] = set()
    at: SpanSums | None = span
    answer = False
    while at is not None and at.id not in seen:
        if at.id in known:
            answer = known[at.id]
            break
        seen.add(at.id)
        path.append(at.id)
        above = None if at.parent_id is None else every.get(at.parent_id)
        if above is not None and key in above.sums:
            answer = True
            break
        at = above
    for one in path:
        known[one] = answer
    return answer
