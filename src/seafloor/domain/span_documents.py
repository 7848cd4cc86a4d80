"""The documents of spans: protobuf's JSON as MLflow's clients read it, and what is read of them.

A document has ids in base64, times as numbers of nanoseconds (or digits), and attributes as pairs
of a key and a value of one kind: ``{"key": "a", "value": {"string_value": "b"}}``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from seafloor.domain.bounds import INT64_MAX
from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.traces import COST_KEY, TOKENS_KEY, Span

SPAN_BYTES_MAX = 8 * 1024 * 1024
_TYPE_ATTRIBUTE = "mlflow.spanType"
_SUM_ATTRIBUTES = {"mlflow.chat.tokenUsage": TOKENS_KEY, "mlflow.llm.cost": COST_KEY}
_READ = (_TYPE_ATTRIBUTE, *_SUM_ATTRIBUTES)
_STATUSES = {"STATUS_CODE_OK": "OK", "STATUS_CODE_ERROR": "ERROR"}
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DIGITS = re.compile(r"-?[0-9]{1,19}\Z")


class _Pair(msgspec.Struct):
    key: str = ""
    value: dict[str, Any] = {}


class _Status(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Event(msgspec.Struct):
    name: str = ""
    time_unix_nano: int = 0
    attributes: list[_Pair] = []


class _Link(msgspec.Struct):
    trace_id: str = ""
    span_id: str = ""
    attributes: list[_Pair] = []


class _Document(msgspec.Struct):
    span_id: str
    trace_id: str = ""
    name: str = ""
    parent_span_id: str = ""
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    attributes: list[_Pair] = []
    status: _Status = msgspec.field(default_factory=_Status)
    events: list[_Event] = []
    links: list[_Link] = []


def read_span(document: bytes) -> Span:
    """The span of a document, which it keeps as it is.

    Raises:
        InvalidValue: it is no document of a span, or one that a search could not read.
        LimitExceeded: it is larger than ``SPAN_BYTES_MAX``.
    """
    if len(document) > SPAN_BYTES_MAX:
        raise LimitExceeded(f"A span has at most {SPAN_BYTES_MAX} bytes, not {len(document)}.")
    try:
        found = msgspec.json.decode(document, type=_Document, strict=False)
        _shown(found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"This is no span: {error}.") from error
    named = {one.key: one.value for one in found.attributes}
    attributes = {name: plain(named[name]) for name in _READ if name in named}
    return Span(
        id=_id(found.span_id, name="span_id"),
        parent_id=_id(found.parent_span_id, name="parent_span_id")
        if found.parent_span_id
        else None,
        name=kept(found.name),
        type=type_of(attributes),
        status=_STATUSES.get(found.status.code, "UNSET"),
        start_ns=_time_ns(found.start_time_unix_nano),
        end_ns=_time_ns(found.end_time_unix_nano) or None,
        document=document,
        sums=sums_of(attributes),
    )


def type_of(attributes: Mapping[str, Any]) -> str:
    """The type of a span by its attributes, which are plain data."""
    found = attributes.get(_TYPE_ATTRIBUTE)
    return kept(found) if isinstance(found, str) else ""


def sums_of(attributes: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What a span adds to the numbers of its trace, likewise."""
    return {
        key: numbers
        for name, key in _SUM_ATTRIBUTES.items()
        if (numbers := _numbers_in(attributes.get(name)))
    }


def kept(text: str) -> str:
    """A text as every database keeps it; the document has it as it was."""
    return text.replace("\0", "\ufffd")


def _numbers_in(value: Any) -> dict[str, float]:
    """The numbers of an object, or of a text that holds one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    if not isinstance(value, dict):
        return {}
    return {
        str(key): number
        for key, number in cast(dict[Any, Any], value).items()
        if isinstance(number, int | float)
        and not isinstance(number, bool)
        and abs(number) <= INT64_MAX  # neither does NaN
    }


def plain(value: dict[str, Any]) -> Any:
    """A value of a document as plain data; None: it has none."""
    for kind, found in value.items():
        if kind == "array_value":
            return [plain(one) for one in _values(found)]
        if kind == "kvlist_value":
            return {
                str(one.get("key", "")): plain(_object(one.get("value"))) for one in _values(found)
            }
        if kind == "double_value" and isinstance(found, str):
            return _NUMBERS.get(found, found)
        if kind == "int_value" and isinstance(found, str):
            return int(found) if _DIGITS.match(found) else found
        return found
    return None


def _object(found: Any) -> dict[str, Any]:
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _values(found: Any) -> list[dict[str, Any]]:
    listed = _object(found).get("values")
    every: list[Any] = cast(list[Any], listed) if isinstance(listed, list) else []
    return [cast(dict[str, Any], one) for one in every if isinstance(one, dict)]


def searched_text(document: bytes) -> str:
    """A span as searches of its contents see it: the JSON that MLflow's server keeps of it.

    An attribute's value is JSON within a text there.
    """
    return _shown(msgspec.json.decode(document, type=_Document, strict=False))


def _shown(found: _Document) -> str:
    made = {
        "trace_id": found.trace_id,
        "span_id": found.span_id,
        "parent_span_id": found.parent_span_id or None,
        "name": found.name,
        "start_time_unix_nano": found.start_time_unix_nano,
        "end_time_unix_nano": found.end_time_unix_nano,
        "events": [
            {
                "name": one.name,
                "time_unix_nano": one.time_unix_nano,
                "attributes": {pair.key: plain(pair.value) for pair in one.attributes},
            }
            for one in found.events
        ],
        "status": {
            "code": found.status.code or "STATUS_CODE_UNSET",
            "message": found.status.message,
        },
        "attributes": {
            one.key: json.dumps(plain(one.value), ensure_ascii=False) for one in found.attributes
        },
        "links": [
            {
                "trace_id": f"tr-{_hex(one.trace_id)}",
                "span_id": _hex(one.span_id),
                "attributes": {pair.key: plain(pair.value) for pair in one.attributes},
            }
            for one in found.links
        ],
    }
    return json.dumps(made, ensure_ascii=False)


def _hex(text: str) -> str:
    try:
        return base64.b64decode(text).hex()
    except (binascii.Error, ValueError):
        return text


def valued(value: Any) -> dict[str, Any]:
    """Plain data as a value of a document; the reverse of ``plain``.

    >>> valued(["a", 1, None])
    {'array_value': {'values': [{'string_value': 'a'}, {'int_value': 1}, {}]}}
    >>> plain(valued({"a": [1.5, True]}))
    {'a': [1.5, True]}
    """
    match value:
        case None:
            return {}
        case bool():
            return {"bool_value": value}
        case str():
            return {"string_value": value}
        case int() if abs(value) <= INT64_MAX:
            return {"int_value": value}
        case float():
            return {"double_value": number_json(value)}
        case list() | tuple():
            return {"array_value": {"values": [valued(one) for one in cast(list[Any], value)]}}
        case dict():
            pairs = cast(dict[Any, Any], value).items()
            return {"kvlist_value": {"values": [pair(str(key), one) for key, one in pairs]}}
        case _:
            return {"string_value": str(value)}


def pair(key: str, value: Any) -> dict[str, Any]:
    """An attribute of a document; one without a value has none."""
    return {"key": key} if value is None else {"key": key, "value": valued(value)}


def number_json(value: float) -> float | str:
    """A number as protobuf's JSON has it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _id(text: str, *, name: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 8 or not any(raw):
        raise InvalidValue(f"{name} is 8 bytes in base64, not all of them zero.", field=name)
    return raw.hex()


def _time_ns(value: int) -> int:
    if not 0 <= value <= INT64_MAX:
        raise InvalidValue("A span's time is nanoseconds since 1970 in 64 bits.")
    return value
