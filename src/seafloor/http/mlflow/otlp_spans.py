"""Spans as OpenTelemetry sends them: what MLflow reads of them, and the whole as clients read it.

Source: opentelemetry/proto/trace/v1/trace.proto; which attributes mean what is MLflow's.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as proto

from seafloor.domain.bounds import INT64_MAX
from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.names import KEY_CHARS_MAX, check_key
from seafloor.domain.span_documents import (
    SPAN_BYTES_MAX,
    kept,
    number_json,
    sums_of,
    type_of,
)
from seafloor.domain.traces import (
    NAME_TAG,
    SESSION_KEY,
    USER_KEY,
    Span,
    SpanBatch,
)
from seafloor.http.mlflow.previews import preview

Json = dict[str, Any]

SPANS_MAX = 10_000
TAG_CHARS_MAX = 8_000
LABEL_CHARS_MAX = 250

_TRACE_ID = "mlflow.traceRequestId"
_INPUTS, _OUTPUTS = "mlflow.spanInputs", "mlflow.spanOutputs"
_TAG_PREFIX = "mlflow.traceTag."
_SESSIONS = ("session.id", "gen_ai.conversation.id")
_USER = "user.id"
_NOT_TAGS = ("telemetry.sdk.", "mlflow.")
_HEX_IDS = ("traceId", "spanId", "parentSpanId")
_MAYBE_NO_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
"""A half of a pair, in JSON: alone it is no character."""
_STATUSES = {0: "UNSET", 1: "OK", 2: "ERROR"}
# Numbers that are not known yet are left out, as any other unknown field.
_CODES = {1: "STATUS_CODE_OK", 2: "STATUS_CODE_ERROR"}
_KINDS: dict[int, str] = {number: name for name, number in proto.Span.SpanKind.items() if number}


def read_spans(raw: bytes, *, is_json: bool, experiment_id: int) -> list[SpanBatch]:
    """Read a request to export spans.

    Returns:
        The spans of each trace, of a span that comes twice the last.

    Raises:
        InvalidValue: it is none, or a span has no id, or one that OpenTelemetry has not, or times
            out of bounds.
        LimitExceeded: too many spans, or too large a one.
    """
    request = _parsed(raw, is_json=is_json)
    if not request.resource_spans:
        raise InvalidValue("Invalid OpenTelemetry format - no spans found")
    batches: dict[str, _Gathered] = {}
    count = 0
    for group in request.resource_spans:
        tags = _resource_tags(group.resource)
        for scope in group.scope_spans:
            count += len(scope.spans)
            if count > SPANS_MAX:
                raise LimitExceeded(f"A request has at most {SPANS_MAX} spans: send fewer at once.")
            for span in scope.spans:
                trace_id = "tr-" + _id(span.trace_id, size=16, name="trace_id")
                batches.setdefault(trace_id, _Gathered(trace_id)).add(span, tags)
    return [batch.whole(experiment_id) for batch in batches.values()]


def _parsed(raw: bytes, *, is_json: bool) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    try:
        if is_json:
            _read_json(raw, request)
        else:
            request.ParseFromString(raw)
    # A TypeError: a number, where the library expects an object. An OverflowError: 1e400.
    except (
        DecodeError,
        ParseError,
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InvalidValue("Invalid OpenTelemetry format") from error
    return request


def _read_json(raw: bytes, request: ExportTraceServiceRequest) -> None:
    """Read OpenTelemetry's JSON, which has ids in hex digits, where the library expects base64.

    The library takes most of its time for attributes, so those that are as they nearly always are
    are kept from it and read here.
    """
    text = raw.decode("utf-8-sig")
    found = json.loads(text)
    if _MAYBE_NO_CHARACTER.search(text):
        # The library ends with an error of Python's own on a name that is no text.
        json.dumps(found, ensure_ascii=False).encode()
    spans = _dicts(found, "resourceSpans", "scopeSpans", "spans")
    for span in spans:
        for link in (span, *_dicts(span, "links")):
            for name in _HEX_IDS:
                value = link.get(name)
                if isinstance(value, str):
                    link[name] = base64.b64encode(bytes.fromhex(value)).decode()
    # The library takes these names too, and then not all of its spans are among the ones here.
    groups = _dicts(found, "resourceSpans")
    if "resource_spans" in found or any("scope_spans" in group for group in groups):
        spans = []
    kept = [_plain_attributes(span) for span in spans]
    ParseDict(found, request, ignore_unknown_fields=True)
    if not spans:
        return
    read = (
        span
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    )
    for span, attributes in zip(read, kept, strict=True):
        for key, text in attributes:
            span.attributes.add(key=key).value.string_value = text


def _plain_attributes(span: Json) -> list[tuple[str, str]]:
    """Take the attributes out of a span if all of them are a key and a text."""
    attributes: Any = span.get("attributes")
    if not isinstance(attributes, list):
        return []
    made: list[tuple[str, str]] = []
    for one in cast(list[Any], attributes):
        match one:
            case {"key": str(key), "value": {"stringValue": str(text), **others}} if not others:
                made.append((key, text))
            case _:
                return []
    del span["attributes"]
    return made


def _dicts(found: Any, *names: str) -> list[Json]:
    """The objects in the lists that stand under names, level by level."""
    level: list[Any] = [found]
    for name in names:
        lists = [cast(Json, one).get(name) for one in level if isinstance(one, dict)]
        level = [one for some in lists if isinstance(some, list) for one in cast(list[Any], some)]
    return [cast(Json, one) for one in level if isinstance(one, dict)]


class _Gathered:
    """The spans of one trace, as they are read."""

    def __init__(self, trace_id: str) -> None:
        self._trace_id = trace_id
        self._spans: dict[str, Span] = {}
        self._tags: dict[str, str] = {}
        self._own_tags: dict[str, str] = {}
        self._metadata: dict[str, str] = {}
        self._previews: dict[str, str | None] = {}

    def add(self, found: proto.Span, tags: Mapping[str, str]) -> None:
        attributes = {one.key: _plain(one.value) for one in found.attributes}
        span = _span(found, attributes, self._trace_id)
        self._spans[span.id] = span
        self._tags = {**tags, **self._tags}
        session = next((attributes[key] for key in _SESSIONS if attributes.get(key)), None)
        for key, value in ((SESSION_KEY, session), (USER_KEY, attributes.get(_USER))):
            if value:
                self._metadata.setdefault(key, str(value)[:LABEL_CHARS_MAX])
        if span.parent_id is None:
            self._own_tags |= _own_tags(attributes)
            self._previews = {
                "request_preview": preview(attributes.get(_INPUTS), role="user"),
                "response_preview": preview(attributes.get(_OUTPUTS), role="assistant"),
            }

    def whole(self, experiment_id: int) -> SpanBatch:
        return SpanBatch(
            trace_id=self._trace_id,
            experiment_id=experiment_id,
            spans=tuple(self._spans.values()),
            tags={**self._tags, **self._own_tags},
            metadata=self._metadata,
            **self._previews,
        )


def _span(found: proto.Span, attributes: Mapping[str, Any], trace_id: str) -> Span:
    parent = found.parent_span_id
    document = msgspec.json.encode(_span_json(found, trace_id))
    if len(document) > SPAN_BYTES_MAX:
        raise LimitExceeded(
            f"The span {found.name[:60]!r} has {len(document)} bytes: at most {SPAN_BYTES_MAX} are "
            "kept. Log large values as artifacts."
        )
    return Span(
        id=_id(found.span_id, size=8, name="span_id"),
        parent_id=_id(parent, size=8, name="parent_span_id") if parent else None,
        name=kept(found.name),
        type=type_of(attributes),
        status=_STATUSES.get(found.status.code, "UNSET"),
        start_ns=_time_ns(found.start_time_unix_nano),
        end_ns=_time_ns(found.end_time_unix_nano) or None,
        document=document,
        sums=sums_of(attributes),
    )


def _id(raw: bytes, *, size: int, name: str) -> str:
    if len(raw) != size or not any(raw):
        raise InvalidValue(
            f"Invalid OpenTelemetry format: {name} has {size} bytes, not all of them zero.",
            field=name,
        )
    return raw.hex()


def _time_ns(value: int) -> int:
    if value > INT64_MAX:
        raise InvalidValue(
            "Invalid OpenTelemetry format: a span's time is nanoseconds since 1970 in 64 bits."
        )
    return value


def _resource_tags(resource: Resource) -> dict[str, str]:
    """What a resource says of itself, as far as it can be a tag."""
    made: dict[str, str] = {}
    for one in resource.attributes:
        value = _plain(one.value)
        text = value if isinstance(value, str) else json.dumps(value)
        if not one.key.startswith(_NOT_TAGS) and _is_key(one.key):
            made[one.key] = kept(text)[:TAG_CHARS_MAX]
    return made


def _own_tags(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The tags that a client gave the trace, which its root span carries."""
    found = {
        key.removeprefix(_TAG_PREFIX): value if isinstance(value, str) else json.dumps(value)
        for key, value in attributes.items()
        if key.startswith(_TAG_PREFIX)
    }
    return {key: kept(text)[:TAG_CHARS_MAX] for key, text in found.items() if _is_key(key)}


def _is_key(key: str) -> bool:
    if key == NAME_TAG:
        return True
    try:
        check_key(key)
    except InvalidValue:
        return False
    return len(key) <= KEY_CHARS_MAX


def _plain(value: AnyValue) -> Any:
    """A value as plain data."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: _plain(one.value) for one in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)


def _span_json(found: proto.Span, trace_id: str) -> Json:
    """A span as MLflow's clients read it: protobuf's JSON with whole numbers as numbers."""
    attributes = [_pair_json(one) for one in found.attributes if one.key != _TRACE_ID]
    attributes.append({"key": _TRACE_ID, "value": {"string_value": trace_id}})
    made: Json = {
        "trace_id": _base64(found.trace_id),
        "span_id": _base64(found.span_id),
        "trace_state": found.trace_state,
        "parent_span_id": _base64(found.parent_span_id),
        "flags": found.flags,
        "name": found.name,
        "kind": _KINDS.get(found.kind, ""),
        "start_time_unix_nano": found.start_time_unix_nano,
        "end_time_unix_nano": found.end_time_unix_nano,
        "attributes": attributes,
        "dropped_attributes_count": found.dropped_attributes_count,
        "events": [_event_json(one) for one in found.events],
        "dropped_events_count": found.dropped_events_count,
        "links": [_link_json(one) for one in found.links],
        "dropped_links_count": found.dropped_links_count,
        "status": _status_json(found.status),
    }
    return {key: value for key, value in made.items() if value not in ("", 0, [], {})}


def _event_json(found: proto.Span.Event) -> Json:
    return {
        "time_unix_nano": _time_ns(found.time_unix_nano),
        "name": found.name,
        "attributes": [_pair_json(one) for one in found.attributes],
    }


def _link_json(found: proto.Span.Link) -> Json:
    return {
        "trace_id": _base64(found.trace_id),
        "span_id": _base64(found.span_id),
        "attributes": [_pair_json(one) for one in found.attributes],
    }


def _status_json(found: proto.Status) -> Json:
    made = {"code": _CODES.get(found.code, ""), "message": found.message}
    return {key: value for key, value in made.items() if value}


def _pair_json(found: KeyValue) -> Json:
    return {"key": found.key, "value": _value_json(found.value)}


def _value_json(value: AnyValue) -> Json:
    kind = value.WhichOneof("value")
    if kind is None:
        return {}
    if kind == "array_value":
        return {kind: {"values": [_value_json(one) for one in value.array_value.values]}}
    if kind == "kvlist_value":
        return {kind: {"values": [_pair_json(one) for one in value.kvlist_value.values]}}
    if kind == "bytes_value":
        return {kind: _base64(value.bytes_value)}
    if kind == "double_value":
        return {kind: number_json(value.double_value)}
    return {kind: getattr(value, kind)}


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
