"""Search: what is asked of runs, as a tree. ``search_grammar`` reads the text users write."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Any, cast

import msgspec

from seafloor.domain.workloads import WorkloadKind, WorkloadState


class Subject(StrEnum):
    """What an identifier speaks of."""

    METRIC = "metric"
    PARAM = "param"
    TAG = "tag"
    ATTRIBUTE = "attribute"
    DATASET = "dataset"


class Part(StrEnum):
    """What of a metric's series: its last, least or greatest value, or the step of the last."""

    LAST = "last"
    MIN = "min"
    MAX = "max"
    STEP = "step"


class Operator(StrEnum):
    """How an identifier is compared. LIKE is case-sensitive with ``%`` and ``_``; ILIKE is not.

    RLIKE looks for a regular expression; it compares what is known of traces, nothing of runs.
    """

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    LIKE = "LIKE"
    ILIKE = "ILIKE"
    RLIKE = "RLIKE"
    NOT_LIKE = "NOT LIKE"
    NOT_ILIKE = "NOT ILIKE"
    IN = "IN"
    NOT_IN = "NOT IN"
    IS_NULL = "IS NULL"
    IS_NOT_NULL = "IS NOT NULL"


ATTRIBUTES = {
    "id": "text",
    "name": "text",
    "state": "text",
    "user": "text",
    "project": "text",
    "environment": "text",
    "origin": "text",
    "experiment_id": "number",
    "created_ns": "number",
    "started_ns": "number",
    "ended_ns": "number",
    "updated_ns": "number",
}
"""The attributes of a workload that can be searched and ordered by, with their type."""

PATH_STEPS_MAX = 16

Value = float | int | str
"""What a comparison compares with: a number or a text."""


class Identifier(msgspec.Struct, frozen=True):
    """A thing to compare or order by.

    Args:
        subject: What it speaks of.
        key: Key of the metric, param or tag; one of ATTRIBUTES; ``name``, ``digest`` or
            ``context`` of a dataset.
        part: Of a metric.
        path: Of a param or tag that holds a JSON document: names of objects and places of
            lists, from the outside in. See ``json_at``.
    """

    subject: Subject
    key: str
    part: Part = Part.LAST
    path: tuple[str | int, ...] = ()


class Comparison(msgspec.Struct, frozen=True, tag="comparison"):
    """One clause. A missing key never matches, not even ``!=``; only IS NULL does.

    Args:
        value: A number for metrics and numeric attributes; for params and tags a number, then
            those match that read as one (``number_in``), or a text; a text otherwise. Several for
            IN and NOT IN; None for IS NULL and IS NOT NULL.
    """

    left: Identifier
    operator: Operator
    value: Value | tuple[Value, ...] | None = None


class AllOf(msgspec.Struct, frozen=True, tag="all"):
    """Every part holds; true when there is none."""

    parts: tuple[Filter, ...]


class AnyOf(msgspec.Struct, frozen=True, tag="any"):
    """At least one part holds."""

    parts: tuple[Filter, ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    """The part does not hold; so it does for what lacks the key that the part compares."""

    part: Filter


Filter = Comparison | AllOf | AnyOf | Not


class Order(msgspec.Struct, frozen=True):
    """One key to order by: values first, then NaN, then missing, in both directions.

    Args:
        numeric: Of a param or tag: by the number that it reads as; others count as missing.
    """

    by: Identifier
    descending: bool = False
    numeric: bool = False


class Lifecycle(StrEnum):
    """Which of the living and the deleted."""

    ACTIVE = "active"
    DELETED = "deleted"
    ALL = "all"


class WorkloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of workloads.

    Args:
        kind: Of which kind.
        project: Only of this project; None: of all.
        experiment_ids: Only of these; None: of all.
        states: Only in these states; None: in all.
        filter: Only those for which it holds.
        order: Ties are broken by ``created_ns`` descending, then id ascending.
        lifecycle: Living, deleted or both.
        limit: 1..50,000.
        cursor: ``next`` of the page before; only valid with the same query.
    """

    kind: WorkloadKind = WorkloadKind.RUN
    project: str | None = None
    experiment_ids: tuple[int, ...] | None = None
    states: tuple[WorkloadState, ...] | None = None
    filter: Filter | None = None
    order: tuple[Order, ...] = ()
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    limit: int = 100
    cursor: str | None = None


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Which params, tags and metrics of the runs found are wanted, by key; None: all, (): none."""

    params: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None


NUMBER_PATTERN = r"[-+]?([0-9]{1,30}([.][0-9]{0,30})?|[.][0-9]{1,30})([eE][-+]?[0-9]{1,2})?"
"""A text that reads as a number; such that no database's float overflows."""

_NUMBER = re.compile(NUMBER_PATTERN)


def number_in(text: str) -> float | None:
    """The number that a param's or tag's text reads as.

    >>> number_in("1e-3"), number_in(" 1"), number_in("nan"), number_in("1e300")
    (0.001, None, None, None)
    """
    return float(text) if _NUMBER.fullmatch(text) else None


def json_at(document: str, path: tuple[str | int, ...]) -> str | None:
    """The text that stands in a JSON document at a path.

    Of a number it is what is written there; true and false are such texts. An object, a list,
    null, a place that is not there, and all of a text that is no JSON are None.

    >>> json_at('{"optimizer": {"lr": 1e-3, "betas": [0.9, 0.99]}}', ("optimizer", "betas", 1))
    '0.99'
    """
    try:
        found: Any = json.loads(
            document, parse_float=str, parse_int=str, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        return None
    for step in path:
        if isinstance(step, str) and isinstance(found, dict):
            found = cast(dict[str, Any], found).get(step)
        elif isinstance(step, int) and isinstance(found, list):
            places = cast(list[Any], found)
            found = places[step] if step < len(places) else None
        else:
            return None
    if isinstance(found, bool):
        return "true" if found else "false"
    return found if isinstance(found, str) and _is_kept(found) else None


def _is_kept(text: str) -> bool:
    """Whether every database could hold the text, escapes resolved."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and infinities are Python's, not JSON's
