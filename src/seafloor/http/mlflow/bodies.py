"""Request bodies of MLflow's clients: protobuf's JSON.

int64 comes as number or text, a field by either of its names (``spellings``), unknown fields are
ignored, ``run_uuid`` is an old name of ``run_id``, and old clients encode a body twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from seafloor.domain.bounds import INT64_MAX, INT64_MIN
from seafloor.domain.errors import InvalidValue, NotFound
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.http.mlflow import words
from seafloor.http.mlflow.spellings import in_ours, may_use_others
from seafloor.http.requests import AnyRequest, body_bytes

BODY_BYTES_MAX = 64 * 1024 * 1024

Int64 = int | float | str
"""A whole number, however it is written: ``5``, ``5.0``, ``"5"``, ``"5e0"``."""

_AS_WRITTEN = frozenset({"run_id", "run_uuid", "experiment_id", "new_name", "model_json"})
"""What MLflow's server misses in a request that has it by its other name only."""
_EXPERIMENT_ID = re.compile(r"-?[0-9]{1,18}\Z")
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}\Z")
_T = TypeVar("_T", bound=msgspec.Struct)


class KeyValue(msgspec.Struct, frozen=True):
    """A tag or a param."""

    key: str
    value: str = ""


class MetricIn(msgspec.Struct, frozen=True):
    """A metric value; ``timestamp`` in milliseconds."""

    key: str
    value: float | str
    timestamp: Int64
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


async def body_of(request: AnyRequest, kind: type[_T], *, either: Collection[str] = ()) -> _T:
    """Read a JSON body.

    Args:
        either: Fields that this request can do without, and so takes by either name, though
            others need them.

    Raises:
        InvalidValue: it is not JSON, a field has the wrong type, or is there by both its names.
    """
    raw = await body_bytes(request, size_bytes_max=BODY_BYTES_MAX)
    try:
        if raw[:1] == b'"':
            raw = msgspec.json.decode(raw, type=str).encode()
        raw = raw or b"{}"
        if not may_use_others(raw, kind):
            with suppress(msgspec.ValidationError):
                return msgspec.json.decode(raw, type=kind)
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise words.not_json() from error
    found = in_ours(found, kind, as_written=_AS_WRITTEN.difference(either))
    try:
        return msgspec.convert({} if found is None else found, kind)
    except msgspec.ValidationError as error:
        raise words.not_decoded(error, found) from error


def int64(value: Int64, *, field: str) -> int:
    """Read an int64.

    Raises:
        InvalidValue: it is not one.
    """
    number = _whole(value)
    if number is None:
        raise words.invalid(value, field)
    if not INT64_MIN <= number <= INT64_MAX:
        raise InvalidValue(
            f"Invalid value {str(number)[:40]} for parameter '{field}' supplied: "
            "it must fit 64 bits.",
            field=field,
        )
    return number


def _whole(value: Int64) -> int | None:
    """None: it is not a whole number."""
    if isinstance(value, str):
        with suppress(ValueError):
            return int(value)
        with suppress(ValueError):
            return _whole(float(value))
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def float64(value: float | str, *, field: str) -> float:
    """Read a value of a metric.

    Raises:
        InvalidValue: it is a text that is no number; of those that are none, ``NaN`` is one.
    """
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        number = float(value)
        if value == "NaN" or not math.isnan(number):
            return number
    raise words.invalid(value, field)


def time_ns(time_ms: Int64, *, field: str) -> int:
    """Read a time in milliseconds since 1970 as nanoseconds.

    Raises:
        InvalidValue: it is not one, or its nanoseconds do not fit 64 bits.
    """
    number = int64(time_ms, field=field)
    if not 0 <= number <= INT64_MAX // 1_000_000:
        raise InvalidValue(
            f"Invalid value {number} for parameter '{field}' supplied: "
            "it must be milliseconds since 1970.",
            field=field,
        )
    return number * 1_000_000


def run_id_of(run_id: str, run_uuid: str = "") -> WorkloadId:
    """The run that a request speaks of.

    Raises:
        InvalidValue: none is named, or no run of any MLflow server could be named so.
        NotFound: it is not one of our ids, so no run has it.
    """
    text = run_id or run_uuid
    if not text:
        raise words.missing("run_id")
    if not _RUN_ID.match(text):
        raise InvalidValue(
            f"Invalid value {text[:64]!r} for parameter 'run_id' supplied.", field="run_id"
        )
    try:
        return parse_workload_id(text, field="run_id")
    except InvalidValue as error:
        raise NotFound(f"Run with id={text} not found", field="run_id") from error


def experiment_id_of(text: str) -> int:
    """The experiment that a request speaks of.

    Raises:
        InvalidValue: it is not a whole number.
    """
    if not text:
        raise words.missing("experiment_id")
    if not _EXPERIMENT_ID.match(text):
        raise InvalidValue(
            f"Invalid experiment ID '{text[:64]}'. Experiment ID must be a valid integer.",
            field="experiment_id",
        )
    return int(text)


def pairs(items: list[KeyValue], *, field: str) -> dict[str, str]:
    """Key-value pairs as a mapping.

    Raises:
        InvalidValue: a key stands twice.
    """
    made = {item.key: item.value for item in items}
    if len(made) != len(items):
        raise InvalidValue(f"Duplicate keys are not allowed in '{field}'.", field=field)
    return made


def as_pairs(mapping: dict[str, str]) -> list[dict[str, Any]]:
    """A mapping as key-value pairs."""
    return [{"key": key, "value": value} for key, value in mapping.items()]
