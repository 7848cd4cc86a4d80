"""Searches over runs, from MLflow's names to ours."""

from __future__ import annotations

import re
from typing import cast

from seafloor.domain.bounds import INT64_MAX
from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Not,
    Operator,
    Order,
    Subject,
)
from seafloor.domain.workloads import WorkloadState
from seafloor.http.mlflow.matching import matches
from seafloor.http.mlflow.search_words import Grammar

GRAMMAR = Grammar(
    {
        "run_id": "text",
        "run_name": "text",
        "run name": "text",
        "Run name": "text",
        "Run Name": "text",
        "status": "text",
        "user_id": "text",
        "artifact_uri": "text",
        "start_time": "number",
        "created": "number",
        "Created": "number",
        "end_time": "number",
    },
    lists=frozenset({"run_id"}),
)
_NAMES = {
    "run_id": "id",
    "run_name": "name",
    "run name": "name",
    "Run name": "name",
    "Run Name": "name",
    "status": "state",
    "user_id": "user",
    "start_time": "started_ns",
    "created": "started_ns",
    "Created": "started_ns",
    "end_time": "ended_ns",
}
_TAGS = {"mlflow.runName": "name", "mlflow.user": "user"}

STATUS_OF = {
    WorkloadState.QUEUED: "SCHEDULED",
    WorkloadState.PREPARING: "SCHEDULED",
    WorkloadState.RUNNING: "RUNNING",
    WorkloadState.STOPPING: "RUNNING",
    WorkloadState.SUCCEEDED: "FINISHED",
    WorkloadState.FAILED: "FAILED",
    WorkloadState.LOST: "FAILED",
    WorkloadState.STOPPED: "KILLED",
}
"""What MLflow calls our states."""


_ARTIFACTS = re.compile(r".*/([0-9a-f]{32})/artifacts\Z", re.DOTALL)
_STARTED = Order(Identifier(Subject.ATTRIBUTE, "started_ns"), descending=True)
_ID = Order(Identifier(Subject.ATTRIBUTE, "id"))


def run_filter(text: str) -> Filter | None:
    """Read a filter over runs; InvalidValue when it is not one."""
    found = GRAMMAR.filter(text)
    return None if found is None else _translated(found)


def run_order(texts: list[str]) -> tuple[Order, ...]:
    """Read what to order by; InvalidValue when it is not that.

    Ties are broken as MLflow does: what started last comes first, then the least id.
    """
    read = [GRAMMAR.order(text) for text in texts]
    orders = [Order(_ordered_by(one.by), one.descending) for one in read]
    if len({order.by for order in orders}) < len(orders):
        raise InvalidValue("`order_by` contains duplicate fields.", field="order_by")
    known = {order.by for order in orders}
    return (*orders, *(tie for tie in (_STARTED, _ID) if tie.by not in known))


def _translated(found: Filter) -> Filter:
    if isinstance(found, AllOf | AnyOf):
        return type(found)(tuple(_translated(part) for part in found.parts))
    if isinstance(found, Not):
        return Not(_translated(found.part))
    special = _SPECIAL.get(found.left.key) if found.left.subject is Subject.ATTRIBUTE else None
    if special is not None:
        return special(found)
    left = _identifier(found.left)
    value = found.value
    if left.key.endswith("_ns") and left.subject is Subject.ATTRIBUTE:
        # MLflow counts milliseconds; `= t` must still find what began within that millisecond.
        return _milliseconds(left, found.operator, _bounded(cast(float, value)))
    if found.left.subject is Subject.TAG and left.key == "user":
        return _user_tag(found, left)
    return Comparison(left, found.operator, value)


def _user_tag(found: Comparison, left: Identifier) -> Filter:
    """A run without a user has no such tag."""
    nobody = Comparison(left, Operator.EQ, "")
    if found.operator is Operator.IS_NULL:
        return nobody
    if found.operator is Operator.IS_NOT_NULL:
        return Not(nobody)
    return AllOf((Comparison(left, found.operator, found.value), Not(nobody)))


def _bounded(time_ms: float) -> int:
    """A time that as nanoseconds fits 64 bits; what lies beyond compares as the utmost one."""
    utmost = INT64_MAX // 1_000_000 - 1
    return int(max(-utmost, min(utmost, time_ms)))


def _milliseconds(left: Identifier, operator: Operator, time_ms: int) -> Filter:
    first_ns, after_ns = time_ms * 1_000_000, (time_ms + 1) * 1_000_000
    within = (
        Comparison(left, Operator.GE, first_ns),
        Comparison(left, Operator.LT, after_ns),
    )
    match operator:
        case Operator.EQ:
            return AllOf(within)
        case Operator.NE:
            return AnyOf(
                (
                    Comparison(left, Operator.LT, first_ns),
                    Comparison(left, Operator.GE, after_ns),
                )
            )
        case Operator.GT:
            return Comparison(left, Operator.GE, after_ns)
        case Operator.LE:
            return Comparison(left, Operator.LT, after_ns)
        case _:
            return Comparison(left, operator, first_ns)


def _identifier(found: Identifier) -> Identifier:
    if found.subject is Subject.ATTRIBUTE:
        return Identifier(Subject.ATTRIBUTE, _NAMES[found.key])
    if found.subject is Subject.TAG and found.key in _TAGS:
        return Identifier(Subject.ATTRIBUTE, _TAGS[found.key])
    return found


def _ordered_by(found: Identifier) -> Identifier:
    return _ID.by if found == Identifier(Subject.ATTRIBUTE, "artifact_uri") else _identifier(found)


def _status(found: Comparison) -> Filter:
    """A status is several of our states."""
    states = tuple(str(state) for state, status in STATUS_OF.items() if _is_met(found, status))
    return Comparison(Identifier(Subject.ATTRIBUTE, "state"), Operator.IN, states or ("",))


def _is_met(found: Comparison, status: str) -> bool:
    return matches(found, lambda _: status)


def _artifact_uri(found: Comparison) -> Filter:
    """Where a run's files are follows from its id."""
    if found.operator not in (Operator.EQ, Operator.NE):
        raise InvalidValue("An artifact_uri can be compared with = and != only.", field="filter")
    named = _ARTIFACTS.match(str(found.value))
    run_id = named.group(1) if named is not None else ""
    return Comparison(Identifier(Subject.ATTRIBUTE, "id"), found.operator, run_id)


_SPECIAL = {"status": _status, "artifact_uri": _artifact_uri}
