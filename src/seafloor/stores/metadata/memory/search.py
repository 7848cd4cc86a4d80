"""Search in memory: the filter's tree, evaluated one workload at a time."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence

from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Operator,
    Order,
    Subject,
    WorkloadQuery,
)
from seafloor.domain.workloads import Workload
from seafloor.stores.metadata.comparisons import (
    check_query,
    fold,
    is_numeric,
    number_of,
    searchable,
)
from seafloor.stores.metadata.cursors import Position, SortKey, decode_cursor, encode_cursor
from seafloor.stores.metadata.memory.experiments import lives
from seafloor.stores.metadata.memory.rows import WorkloadRows
from seafloor.stores.metadata.protocol import WorkloadPage

_Value = float | int | str | None
_CONTEXT_TAG = "mlflow.data.context"


def search(
    all_rows: Iterable[WorkloadRows],
    query: WorkloadQuery,
    last_value: Callable[[str, str], float | None],
) -> WorkloadPage:
    """Answer a query."""
    check_query(query)
    after = decode_cursor(query)
    compare = functools.partial(_compare_positions, query.order)
    found = [
        (_position(rows, query.order, last_value), rows.workload)
        for rows in all_rows
        if _is_asked_for(rows.workload, query) and _holds(query.filter, rows, last_value)
    ]
    if after is not None:
        found = [one for one in found if compare(one[0], after) > 0]
    found.sort(key=functools.cmp_to_key(lambda one, other: compare(one[0], other[0])))
    page = found[: query.limit]
    more = len(found) > len(page)
    return WorkloadPage(
        items=tuple(workload for _, workload in page),
        next=encode_cursor(query, page[-1][0]) if more else None,
    )


def _is_asked_for(workload: Workload, query: WorkloadQuery) -> bool:
    return (
        workload.kind is query.kind
        and query.project in (None, workload.project)
        and (query.experiment_ids is None or workload.experiment_id in query.experiment_ids)
        and (query.states is None or workload.state in query.states)
        and lives(workload.deleted_ns, query.lifecycle)
    )


def _holds(
    part: Filter | None, rows: WorkloadRows, last_value: Callable[[str, str], float | None]
) -> bool:
    if part is None:
        return True
    if isinstance(part, AllOf):
        return all(_holds(one, rows, last_value) for one in part.parts)
    if isinstance(part, AnyOf):
        return any(_holds(one, rows, last_value) for one in part.parts)
    values = _values(part.left, rows, last_value)
    if part.operator is Operator.IS_NULL:
        return not values
    if part.operator is Operator.IS_NOT_NULL:
        return bool(values)
    return any(_matches(part, value) for value in values)


def _values(
    identifier: Identifier, rows: WorkloadRows, last_value: Callable[[str, str], float | None]
) -> Sequence[float | int | str]:
    """Every value that an identifier has; none when it is missing."""
    key = identifier.key
    found: _Value
    match identifier.subject:
        case Subject.METRIC:
            found = last_value(rows.workload.id, key)
        case Subject.PARAM:
            found = rows.labels.params.get(key)
        case Subject.TAG:
            found = rows.labels.tags.get(key)
        case Subject.ATTRIBUTE:
            found = getattr(rows.workload, key)
        case Subject.DATASET:
            return _dataset_values(key, rows)
    return () if found is None else (found,)


def _dataset_values(key: str, rows: WorkloadRows) -> Sequence[str]:
    if key == "context":
        return [one.tags[_CONTEXT_TAG] for one in rows.datasets if _CONTEXT_TAG in one.tags]
    return [getattr(one, key) for one in rows.datasets]


def _matches(comparison: Comparison, value: float | int | str) -> bool:
    if is_numeric(comparison.left) and not isinstance(value, str):
        return _number_matches(comparison, value)
    wanted, text = comparison.value, str(value)
    match comparison.operator:
        case Operator.EQ:
            return text == wanted
        case Operator.NE:
            return text != wanted
        case Operator.IN:
            return isinstance(wanted, tuple) and text in wanted
        case Operator.NOT_IN:
            return isinstance(wanted, tuple) and text not in wanted
        case Operator.LIKE:
            return _is_like(text, str(wanted))
        case _:
            return _is_like(fold(text), fold(str(wanted)))


def _number_matches(comparison: Comparison, value: float | int) -> bool:
    found = searchable(value) if isinstance(value, float) else value
    wanted = number_of(comparison)
    if found is None or wanted is None:
        return comparison.operator is Operator.NE
    match comparison.operator:
        case Operator.EQ:
            return found == wanted
        case Operator.NE:
            return found != wanted
        case Operator.LT:
            return found < wanted
        case Operator.LE:
            return found <= wanted
        case Operator.GT:
            return found > wanted
        case _:
            return found >= wanted


def _is_like(text: str, pattern: str) -> bool:
    parts = (".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _position(
    rows: WorkloadRows, orders: Sequence[Order], last_value: Callable[[str, str], float | None]
) -> Position:
    keys = tuple(_sort_key(_values(order.by, rows, last_value)) for order in orders)
    return Position(keys, rows.workload.created_ns, rows.workload.id)


def _sort_key(values: Sequence[float | int | str]) -> SortKey:
    if not values:
        return (2, None)
    value = values[0]
    if isinstance(value, float):
        return (1, None) if math.isnan(value) else (0, searchable(value))
    return (0, str(value) if isinstance(value, str) else value)


def _compare_positions(orders: Sequence[Order], one: Position, other: Position) -> int:
    for order, mine, its in zip(orders, one.keys, other.keys, strict=True):
        if mine[0] != its[0]:
            return mine[0] - its[0]
        if mine[0] == 0 and mine[1] != its[1]:
            is_less = mine[1] < its[1]  # pyright: ignore[reportOperatorIssue, reportUnknownVariableType]
            return -1 if is_less is not order.descending else 1
    if one.created_ns != other.created_ns:
        return other.created_ns - one.created_ns
    return (one.id > other.id) - (one.id < other.id)
