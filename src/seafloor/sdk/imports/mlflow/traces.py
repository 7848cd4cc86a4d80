"""MLflow's traces, in the shapes of its API, files and databases, as ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.domain.span_documents import pair
from seafloor.domain.traces import (
    ARTIFACTS_TAG,
    Assessment,
    AssessmentKind,
    Trace,
    TraceState,
)
from seafloor.sdk.imports.report import Report

Json = dict[str, Any]

SPANS_FILE: Final = "traces.json"
ASSESSMENT_RUN: Final = "run that an assessment of a trace names: left out"
ARCHIVED: Final = "trace whose spans are in an archive: without its spans"
_ARCHIVE_TAG: Final = "mlflow.trace.archiveLocation"
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_STATUSES = {"STATUS_CODE_OK", "STATUS_CODE_ERROR"}
_OLD_STATUSES = {"OK": "STATUS_CODE_OK", "ERROR": "STATUS_CODE_ERROR"}
_KINDS = ("feedback", "expectation", "issue")


class _Source(msgspec.Struct):
    source_type: str = ""
    source_id: str = ""


class ToldAssessment(msgspec.Struct):
    """An ``Assessment`` of MLflow's API."""

    assessment_id: str
    assessment_name: str = ""
    span_id: str | None = None
    source: _Source = msgspec.field(default_factory=_Source)
    create_time: str = ""
    last_update_time: str = ""
    feedback: Json | None = None
    expectation: Json | None = None
    issue: Json | None = None
    rationale: str | None = None
    metadata: dict[str, str] = {}
    overrides: str | None = None
    valid: bool = True


class ToldTrace(msgspec.Struct):
    """A ``TraceInfoV3``, or what a file of MLflow's says of a trace."""

    trace_id: str = ""
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    request_time: str = ""
    execution_duration: str | None = None
    execution_duration_ms: int | None = None
    state: str = str(TraceState.UNSPECIFIED)
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[ToldAssessment] = []
    # Of MLflow 2:
    request_id: str = ""
    timestamp_ms: int = 0
    execution_time_ms: int | None = None
    status: str = ""


def trace_of(found: ToldTrace) -> Trace:
    """A trace as it is told.

    Raises:
        SourceError, ValueError: something of it cannot be read.
    """
    trace_id = found.trace_id or found.request_id
    if found.request_id and not found.trace_id:
        time_ms, duration_ms, state = found.timestamp_ms, found.execution_time_ms, found.status
    else:
        time_ms, duration_ms, state = _time_ms(found.request_time), _duration_ms(found), found.state
    return Trace(
        id=trace_id,
        experiment_id=0,
        time_ms=time_ms,
        duration_ms=duration_ms,
        state=state_of(state),
        client_request_id=found.client_request_id,
        request_preview=found.request_preview,
        response_preview=found.response_preview,
        tags=without_place(found.tags),
        metadata=found.trace_metadata,
        assessments=tuple(assessment_of(one, trace_id) for one in found.assessments),
    )


def without_place(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags without the one that says where the source keeps files."""
    return {key: value for key, value in tags.items() if key != ARTIFACTS_TAG}


def state_of(text: str) -> TraceState:
    """The state that MLflow calls so; one that is unknown is unspecified."""
    return TraceState(text) if text in list(TraceState) else TraceState.UNSPECIFIED


def note_archived(tags: Mapping[str, str], trace_id: str, report: Report) -> None:
    """Tell of a trace whose spans were moved away."""
    if tags.get(_ARCHIVE_TAG):
        report.leave_out(ARCHIVED, trace_id)


def assessment_of(found: ToldAssessment, trace_id: str) -> Assessment:
    """An assessment as the API tells it."""
    kind = next((one for one in _KINDS if getattr(found, one) is not None), "feedback")
    told: Json = getattr(found, kind) or {}
    value, error = told.get("value"), told.get("error")
    if kind == "issue":
        value = told
    elif (serialized := told.get("serialized_value")) is not None:
        value = json.loads(serialized.get("value", "null"))
    return Assessment(
        id=found.assessment_id,
        trace_id=trace_id,
        name=found.assessment_name,
        kind=AssessmentKind(kind),
        value=value,
        error=error_of(error),
        source_type=found.source.source_type,
        source_id=found.source.source_id,
        span_id=found.span_id or None,
        rationale=found.rationale or None,
        metadata=found.metadata,
        overrides=found.overrides or None,
        valid=found.valid,
        created_ms=_time_ms(found.create_time),
        updated_ms=_time_ms(found.last_update_time),
    )


def error_of(found: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Why there is no value, without what is not said."""
    return None if found is None else {key: str(one) for key, one in found.items() if one}


class _Status(msgspec.Struct):
    code: str = ""
    message: str | None = None


class _Event(msgspec.Struct):
    name: str = ""
    time_unix_nano: int = 0
    attributes: Json | None = None


class _Link(msgspec.Struct):
    trace_id: str
    span_id: str
    attributes: Json | None = None


class _Span(msgspec.Struct):
    trace_id: str
    span_id: str
    start_time_unix_nano: int
    name: str = ""
    parent_span_id: str | None = None
    end_time_unix_nano: int | None = None
    attributes: Json | None = None
    events: list[_Event] | None = None
    links: list[_Link] | None = None
    status: _Status = msgspec.field(default_factory=_Status)


def document_of(content: str) -> bytes:
    """The document of a span that a database or file of MLflow holds.

    Raises:
        InvalidValue: it is none.
    """
    try:
        found = msgspec.json.decode(content, type=_Span, strict=False)
        return msgspec.json.encode(_document(found))
    except (msgspec.DecodeError, UnicodeError, ValueError, RecursionError) as error:
        raise InvalidValue(f"A span of MLflow's cannot be read: {error!r}") from error


def _document(found: _Span) -> Json:
    attributes = {key: _loaded(value) for key, value in (found.attributes or {}).items()}
    code = _OLD_STATUSES.get(found.status.code, found.status.code)
    status = {"code": code if code in _STATUSES else "", "message": found.status.message or ""}
    made = _filled(
        {
            "trace_id": _id(found.trace_id, 16),
            "span_id": _id(found.span_id, 8),
            "parent_span_id": _id(found.parent_span_id or "", 8),
            "name": found.name,
            "start_time_unix_nano": found.start_time_unix_nano,
            "end_time_unix_nano": found.end_time_unix_nano or 0,
            "attributes": _pairs(attributes),
            "events": [_event(one) for one in found.events or ()],
            "links": [_link(one) for one in found.links or ()],
        }
    )
    return {**made, "status": _filled(status)}


def _event(found: _Event) -> Json:
    time_ns, pairs = found.time_unix_nano, _pairs(found.attributes or {})
    return _filled({"time_unix_nano": time_ns, "name": found.name, "attributes": pairs})


def _link(found: _Link) -> Json:
    return _filled(
        {
            "trace_id": _id(found.trace_id.rpartition("/")[2], 16),
            "span_id": _id(found.span_id, 8),
            "attributes": _pairs(found.attributes or {}),
        }
    )


def _pairs(attributes: Json) -> list[Json]:
    return [pair(key, value) for key, value in attributes.items()]


def _filled(made: Json) -> Json:
    return {key: value for key, value in made.items() if value not in ("", 0, [], {})}


def _loaded(value: Any) -> Any:
    """What an attribute says: MLflow keeps each as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _id(text: str, size_bytes: int) -> str:
    """An id in base64; some versions wrote hex digits."""
    plain = text.removeprefix("tr-")
    if len(plain) == 2 * size_bytes:
        return base64.b64encode(bytes.fromhex(plain)).decode()
    return text


def _time_ms(text: str) -> int:
    """Read a ``Timestamp`` of protobuf's JSON, of up to nanoseconds."""
    if not text:
        return 0
    whole, point, rest = text.partition(".")
    if point:
        digits = rest.rstrip("Zz")
        return _time_ms(f"{whole}Z") + int(digits.ljust(9, "0")[:3])
    try:
        moment = datetime.fromisoformat(whole.replace("Z", "+00:00"))
    except ValueError as error:
        raise SourceError(f"A time of MLflow's cannot be read: {text[:60]!r}") from error
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _duration_ms(found: ToldTrace) -> int | None:
    if found.execution_duration is None:
        return found.execution_duration_ms
    whole, _, rest = found.execution_duration.rstrip("s").partition(".")
    try:
        return int(whole) * 1000 + int(rest.ljust(3, "0")[:3] or 0)
    except ValueError as error:
        raise SourceError(
            f"A duration of MLflow's cannot be read: {found.execution_duration[:60]!r}"
        ) from error
