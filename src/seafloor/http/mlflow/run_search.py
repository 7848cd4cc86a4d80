"""Searches over runs, from MLflow's names to ours."""

from __future__ import annotations

from typing import cast

from seafloor.domain.bounds import INT64_MAX
from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Operator,
    Order,
    Subject,
)
from seafloor.domain.search_grammar import Dialect, parse_filter, parse_order
from seafloor.domain.workloads import WorkloadState

DIALECT = Dialect(
    {
        "run_id": "text",
        "run_name": "text",
        "run name": "text",
        "Run name": "text",
        "Run Name": "text",
        "status": "text",
        "user_id": "text",
        "start_time": "number",
        "created": "number",
        "Created": "number",
        "end_time": "number",
    },
    nesting=False,
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


def run_filter(text: str) -> Filter | None:
    """Read a filter over runs; InvalidValue when it is not one."""
    return _translated(parse_filter(text, DIALECT))


def run_order(texts: list[str]) -> tuple[Order, ...]:
    """Read what to order by; InvalidValue when it is not that."""
    orders = [parse_order(text, DIALECT) for text in texts]
    return tuple(Order(_identifier(order.by), order.descending) for order in orders)


def _translated(found: Filter | None) -> Filter | None:
    if found is None:
        return None
    if isinstance(found, AllOf | AnyOf):
        parts = tuple(cast(Filter, _translated(part)) for part in found.parts)
        return type(found)(parts)
    if found.left == Identifier(Subject.ATTRIBUTE, "status"):
        return _status(found)
    left = _identifier(found.left)
    value = found.value
    if left.key.endswith("_ns") and left.subject is Subject.ATTRIBUTE:
        # MLflow counts milliseconds; `= t` must still find what began within that millisecond.
        return _milliseconds(left, found.operator, _bounded(cast(float, value)))
    return Comparison(left, found.operator, value)


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


def _status(found: Comparison) -> Filter:
    """A status is several of our states."""
    if found.operator not in (Operator.EQ, Operator.NE):
        raise InvalidValue("A status can be compared with = and != only.", field="filter")
    wanted = str(found.value).upper()
    states = tuple(str(state) for state, status in STATUS_OF.items() if status == wanted)
    operator = Operator.IN if found.operator is Operator.EQ else Operator.NOT_IN
    return Comparison(Identifier(Subject.ATTRIBUTE, "state"), operator, states or ("",))
