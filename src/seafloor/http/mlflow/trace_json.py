"""Traces and assessments in MLflow's shapes: protobuf's JSON, with its times and durations."""

from __future__ import annotations

import json
import re
import secrets
from datetime import UTC, datetime
from typing import Any

import msgspec

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.experiments import Experiment
from seafloor.domain.traces import (
    ARTIFACTS_TAG,
    ASSESSMENT_CHARS_MAX,
    ASSESSMENTS_MAX,
    LABEL_CHARS_MAX,
    LABEL_KEY_CHARS_MAX,
    PREVIEW_CHARS_MAX,
    SPANS_TAG,
    TIME_MS_MAX,
    TOLD_KEY,
    Assessment,
    AssessmentKind,
    Trace,
    TraceState,
    check_id,
)
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import experiment_id_of
from seafloor.http.mlflow.entities import Json, artifact_root, without_empty

NAME_CHARS_MAX = 4_096

_DURATION = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s\Z")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})\Z"
)
_STATES = [TraceState.UNSPECIFIED, TraceState.OK, TraceState.ERROR, TraceState.IN_PROGRESS]
_SOURCES = ("SOURCE_TYPE_UNSPECIFIED", "HUMAN", "LLM_JUDGE", "CODE")
_JSON_FORMAT = "JSON_FORMAT"


class ExperimentIn(msgspec.Struct):
    """Where a trace is."""

    experiment_id: str = ""


class LocationIn(msgspec.Struct):
    """Where a trace is."""

    mlflow_experiment: ExperimentIn | None = None


class SourceIn(msgspec.Struct):
    """Who says it."""

    source_type: str | int = ""
    source_id: str = ""


class ErrorIn(msgspec.Struct):
    """Why there is no value."""

    error_code: str = ""
    error_message: str = ""
    stack_trace: str = ""


class FeedbackIn(msgspec.Struct):
    """How good it was."""

    value: Any = None
    error: ErrorIn | None = None


class SerializedIn(msgspec.Struct):
    """A value as a text."""

    serialization_format: str = ""
    value: str = ""


class ExpectationIn(msgspec.Struct):
    """What was expected."""

    value: Any = None
    serialized_value: SerializedIn | None = None


class IssueIn(msgspec.Struct):
    """Which issue it has."""

    issue_name: str = ""


class AssessmentIn(msgspec.Struct):
    """An ``Assessment``."""

    assessment_id: str = ""
    assessment_name: str = ""
    span_id: str = ""
    source: SourceIn | None = None
    create_time: str | None = None
    last_update_time: str | None = None
    feedback: FeedbackIn | None = None
    expectation: ExpectationIn | None = None
    issue: IssueIn | None = None
    rationale: str = ""
    metadata: dict[str, str] = {}
    overrides: str = ""
    valid: bool = True


class TraceInfoIn(msgspec.Struct):
    """A ``TraceInfoV3``."""

    trace_id: str = ""
    client_request_id: str | None = None
    trace_location: LocationIn | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    request_time: str | None = None
    execution_duration: str | None = None
    state: str | int = TraceState.UNSPECIFIED
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[AssessmentIn] = []


def trace_of(found: TraceInfoIn, *, now_ms: int) -> Trace:
    """The trace that a client tells of.

    Raises:
        InvalidValue, LimitExceeded: a field is missing or cannot be kept.
    """
    location = found.trace_location
    if location is None or location.mlflow_experiment is None:
        raise InvalidValue(
            "Traces are kept in experiments: `trace_location` must be one of an experiment.",
            field="trace.trace_info.trace_location",
        )
    trace_id = check_id(found.trace_id)
    if len(found.assessments) > ASSESSMENTS_MAX:
        raise LimitExceeded(
            f"A trace is told with at most {ASSESSMENTS_MAX} assessments.", field="assessments"
        )
    return Trace(
        id=trace_id,
        experiment_id=experiment_id_of(location.mlflow_experiment.experiment_id),
        time_ms=0 if found.request_time is None else time_ms_of(found.request_time, "request_time"),
        duration_ms=_duration_ms(found.execution_duration),
        state=_state(found.state),
        client_request_id=_bounded(found.client_request_id, "client_request_id", 50),
        request_preview=_bounded(found.request_preview, "request_preview", PREVIEW_CHARS_MAX),
        response_preview=_bounded(found.response_preview, "response_preview", PREVIEW_CHARS_MAX),
        tags=_labels(found.tags, "tags", without=(ARTIFACTS_TAG, SPANS_TAG)),
        metadata=_labels(found.trace_metadata, "trace_metadata", without=(TOLD_KEY,)),
        assessments=tuple(assessment_of(one, trace_id, now_ms=now_ms) for one in found.assessments),
    )


def _bounded(text: str | None, name: str, chars_max: int) -> str | None:
    if text is not None and len(text) > chars_max:
        raise words.too_long(name, chars_max)
    return text


def _labels(found: dict[str, str], name: str, *, without: tuple[str, ...]) -> dict[str, str]:
    for key, value in found.items():
        if not key or len(key) > LABEL_KEY_CHARS_MAX:
            raise words.too_long(f"{name} key", LABEL_KEY_CHARS_MAX)
        if len(value) > LABEL_CHARS_MAX:
            raise words.too_long(f"{name}.{key}", LABEL_CHARS_MAX)
    return {key: value for key, value in found.items() if key not in without}


def _state(found: str | int) -> TraceState:
    if isinstance(found, int) and 0 <= found < len(_STATES):
        return _STATES[found]
    if isinstance(found, str) and found in list(TraceState):
        return TraceState(found)
    raise words.invalid(found, "state")


def time_ms_of(text: str, name: str) -> int:
    """Read a ``Timestamp``: RFC 3339, from the year 1970 to 9999.

    Raises:
        InvalidValue: it is not one.
    """
    found = _TIME.match(text)
    if found is None:
        raise words.invalid(text, name)
    whole, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(whole + zone.replace("Z", "+00:00"))
    except ValueError as error:
        raise words.invalid(text, name) from error
    time_ms = int(moment.timestamp()) * 1000 + int((fraction or "").ljust(9, "0")[:3])
    if not 0 <= time_ms <= TIME_MS_MAX:
        raise words.invalid(text, name)
    return time_ms


def _duration_ms(text: str | None) -> int | None:
    if text is None:
        return None
    found = _DURATION.match(text)
    if found is None or found[1] or int(found[2]) * 1000 > TIME_MS_MAX:
        raise words.invalid(text, "execution_duration")
    return int(found[2]) * 1000 + int((found[3] or "").ljust(9, "0")[:3])


def assessment_of(found: AssessmentIn, trace_id: str, *, now_ms: int) -> Assessment:
    """The assessment that a client makes; one without an id gets one.

    Raises:
        InvalidValue, LimitExceeded: a field is missing or cannot be kept.
    """
    kind, value, error = _value_of(found)
    source = found.source or SourceIn()
    check_bounds(
        name=found.assessment_name,
        value=value,
        rationale=found.rationale,
        metadata=found.metadata,
    )
    return Assessment(
        id=check_id(found.assessment_id or new_assessment_id(), field="assessment_id"),
        trace_id=trace_id,
        name=found.assessment_name,
        kind=kind,
        value=value,
        error=error,
        source_type=_source_type(source.source_type),
        source_id=_bounded(source.source_id, "source_id", LABEL_KEY_CHARS_MAX) or "",
        span_id=_bounded(found.span_id, "span_id", 50) or None,
        rationale=found.rationale or None,
        metadata=found.metadata,
        overrides=found.overrides or None,
        created_ms=_time_or(found.create_time, "create_time", now_ms),
        updated_ms=_time_or(found.last_update_time, "last_update_time", now_ms),
    )


def check_bounds(*, name: str, value: Any, rationale: str, metadata: dict[str, str]) -> None:
    """Refuse what is too long to be kept of an assessment; LimitExceeded."""
    _bounded(name, "assessment_name", LABEL_KEY_CHARS_MAX)
    _bounded(rationale, "rationale", ASSESSMENT_CHARS_MAX)
    _bounded(msgspec.json.encode(value).decode(), "value", ASSESSMENT_CHARS_MAX)
    _labels(metadata, "metadata", without=())


def new_assessment_id() -> str:
    """Make an id as MLflow's server does."""
    return f"a-{secrets.token_hex(16)}"


def _time_or(text: str | None, name: str, now_ms: int) -> int:
    return now_ms if text is None else time_ms_of(text, name)


def _source_type(found: str | int) -> str:
    if isinstance(found, int) and 0 < found < len(_SOURCES):
        return _SOURCES[found]
    if isinstance(found, str) and found in _SOURCES[1:]:
        return found
    raise words.invalid(found, "source.source_type")


def _value_of(found: AssessmentIn) -> tuple[AssessmentKind, Any, dict[str, str] | None]:
    given = [one for one in (found.feedback, found.expectation, found.issue) if one is not None]
    if len(given) != 1:
        raise InvalidValue(
            "Exactly one of `expectation`, `feedback`, or `issue` should be specified.",
            field="assessment",
        )
    if found.feedback is not None:
        return AssessmentKind.FEEDBACK, found.feedback.value, error_of(found.feedback)
    if found.expectation is not None:
        return AssessmentKind.EXPECTATION, expected(found.expectation), None
    return AssessmentKind.ISSUE, {"issue_name": given[0].issue_name}, None  # pyright: ignore


def error_of(found: FeedbackIn) -> dict[str, str] | None:
    """Why a feedback has no value."""
    return None if found.error is None else without_empty(msgspec.to_builtins(found.error))


def expected(found: ExpectationIn) -> Any:
    """The value of an expectation.

    Raises:
        InvalidValue: it is serialised in a way that is not known.
    """
    told = found.serialized_value
    if told is None:
        return found.value
    if told.serialization_format != _JSON_FORMAT:
        raise InvalidValue(
            f"Unknown serialization format: {told.serialization_format[:60]}. Only JSON_FORMAT is "
            "supported.",
            field="expectation.serialized_value",
        )
    try:
        return msgspec.json.decode(told.value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidValue(
            "The expectation's value is not JSON.", field="expectation.serialized_value"
        ) from error


def time_json(time_ms: int) -> str:
    """A ``Timestamp``, with three digits of a second or none."""
    seconds, rest = divmod(min(time_ms, TIME_MS_MAX), 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"


def duration_json(duration_ms: int) -> str:
    """A ``Duration``, likewise."""
    seconds, rest = divmod(duration_ms, 1000)
    return f"{seconds}.{rest:03d}s" if rest else f"{seconds}s"


def trace_info_json(trace: Trace, experiment: Experiment) -> Json:
    """A ``TraceInfoV3``."""
    files = f"{artifact_root(experiment)}/traces/{trace.id}/artifacts"
    made: Json = {
        "trace_id": trace.id,
        "client_request_id": trace.client_request_id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": str(trace.experiment_id)},
        },
        "request_preview": trace.request_preview,
        "response_preview": trace.response_preview,
        "request_time": time_json(trace.time_ms),
        "execution_duration": None,
        "state": str(trace.state),
        "trace_metadata": trace.metadata,
        "tags": {**trace.tags, ARTIFACTS_TAG: files},
        "assessments": [assessment_json(one) for one in trace.assessments],
    }
    if trace.duration_ms is not None:
        made["execution_duration"] = duration_json(trace.duration_ms)
    if not trace.assessments:
        del made["assessments"]
    return {key: value for key, value in made.items() if value is not None}


def assessment_json(assessment: Assessment) -> Json:
    """An ``Assessment``."""
    made: Json = {
        "assessment_id": assessment.id,
        "assessment_name": assessment.name,
        "trace_id": assessment.trace_id,
        "span_id": assessment.span_id,
        "source": without_empty(
            {"source_type": assessment.source_type, "source_id": assessment.source_id}
        ),
        "create_time": time_json(assessment.created_ms),
        "last_update_time": time_json(assessment.updated_ms),
        "rationale": assessment.rationale,
        "metadata": assessment.metadata or None,
        "overrides": assessment.overrides,
        "valid": assessment.valid,
    }
    match assessment.kind:
        case AssessmentKind.FEEDBACK:
            made["feedback"] = {"value": assessment.value}
            if assessment.error is not None:
                made["feedback"]["error"] = assessment.error
        case AssessmentKind.EXPECTATION:
            made["expectation"] = _expectation_json(assessment.value)
        case AssessmentKind.ISSUE:
            made["issue"] = assessment.value
    return {key: value for key, value in made.items() if value is not None}


def _expectation_json(value: Any) -> Json:
    if isinstance(value, str | int | float):
        return {"value": value}
    text = json.dumps(value)
    return {"serialized_value": {"serialization_format": _JSON_FORMAT, "value": text}}
