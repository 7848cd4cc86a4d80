"""Search in memory: the filter's tree, evaluated one workload at a time."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence

from seafloor.domain.metrics import MetricSummary
from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Not,
    Operator,
    Order,
    Part,
    Subject,
    Value,
    WorkloadQuery,
    json_at,
    number_in,
)
from seafloor.domain.workloads import Workload
from seafloor.stores.metadata.comparisons import (
    NEGATED,
    check_query,
    compares_numbers,
    fold,
    number_of,
    searchable,
)
from seafloor.stores.metadata.cursors import Position, decode_cursor, encode_cursor
from seafloor.stores.metadata.memory.experiments import lives
from seafloor.stores.metadata.memory.rows import WorkloadRows
from seafloor.stores.metadata.protocol import WorkloadPage
from seafloor.stores.metadata.sort_keys import SortKey

SummaryOf = Callable[[str, str], MetricSummary | None]
"""What is known of a metric, by workload id and key."""

_CONTEXT_TAG = "mlflow.data.context"
_POSITIVE = {
    Operator.NE: Operator.EQ,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_LIKE: Operator.LIKE,
    Operator.NOT_ILIKE: Operator.ILIKE,
}


def search(
    all_rows: Iterable[WorkloadRows], query: WorkloadQuery, summary_of: SummaryOf
) -> WorkloadPage:
    """Answer a query."""
    check_query(query)
    after = decode_cursor(query)
    compare = functools.partial(_compare_positions, query.order)
    found = [
        (_position(rows, query.order, summary_of), rows.workload)
        for rows in all_rows
        if _is_asked_for(rows.workload, query) and _holds(query.filter, rows, summary_of)
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


def _holds(part: Filter | None, rows: WorkloadRows, summary_of: SummaryOf) -> bool:
    if part is None:
        return True
    if isinstance(part, AllOf):
        return all(_holds(one, rows, summary_of) for one in part.parts)
    if isinstance(part, AnyOf):
        return any(_holds(one, rows, summary_of) for one in part.parts)
    if isinstance(part, Not):
        return not _holds(part.part, rows, summary_of)
    values = _values(part.left, rows, summary_of)
    if part.operator is Operator.IS_NULL:
        return not values
    if part.operator is Operator.IS_NOT_NULL:
        return bool(values)
    if compares_numbers(part):
        return any(number_matches(part, number) for number in _numbers(part.left, values))
    return any(text_matches(part, str(value)) for value in values)


def _values(identifier: Identifier, rows: WorkloadRows, summary_of: SummaryOf) -> Sequence[Value]:
    """Every value that an identifier has; none when it is missing."""
    key = identifier.key
    found: Value | None
    match identifier.subject:
        case Subject.METRIC:
            found = _of_series(summary_of(rows.workload.id, key), identifier.part)
        case Subject.PARAM:
            found = _of_label(rows.labels.params.get(key), identifier)
        case Subject.TAG:
            found = _of_label(rows.labels.tags.get(key), identifier)
        case Subject.ATTRIBUTE:
            found = getattr(rows.workload, key)
        case Subject.DATASET:
            return _dataset_values(key, rows)
    return () if found is None else (found,)


def _of_series(summary: MetricSummary | None, part: Part) -> Value | None:
    if summary is None:
        return None
    match part:
        case Part.LAST:
            return summary.last
        case Part.MIN:
            return summary.min
        case Part.MAX:
            return summary.max
        case Part.STEP:
            return summary.last_step


def _of_label(text: str | None, identifier: Identifier) -> str | None:
    return text if text is None or not identifier.path else json_at(text, identifier.path)


def _dataset_values(key: str, rows: WorkloadRows) -> Sequence[str]:
    if key == "context":
        return [one.tags[_CONTEXT_TAG] for one in rows.datasets if _CONTEXT_TAG in one.tags]
    return [getattr(one, key) for one in rows.datasets]


def _numbers(left: Identifier, values: Sequence[Value]) -> list[float | int | None]:
    """What values are as numbers, None for NaN; texts that read as none are left out."""
    if left.subject in (Subject.PARAM, Subject.TAG):
        return [number for text in values if (number := number_in(str(text))) is not None]
    return [searchable(value) if isinstance(value, float) else int(value) for value in values]


def number_matches(comparison: Comparison, found: float | int | None) -> bool:
    """Whether a number, None for NaN, is as a comparison says."""
    operator, value = comparison.operator, comparison.value
    if operator in NEGATED:
        positive = Comparison(comparison.left, _POSITIVE[operator], value)
        return not number_matches(positive, found)
    if operator is Operator.IN:
        values = value if isinstance(value, tuple) else ()
        return any(_compared(Operator.EQ, found, one) for one in values)
    return _compared(operator, found, value)


def _compared(operator: Operator, found: float | int | None, value: object) -> bool:
    wanted = number_of(value)
    if found is None or wanted is None:
        return False
    if isinstance(found, float):
        wanted = float(wanted)
    return _is_in_order(operator, (found > wanted) - (found < wanted))


def _is_in_order(operator: Operator, difference: int) -> bool:
    match operator:
        case Operator.EQ:
            return difference == 0
        case Operator.LT:
            return difference < 0
        case Operator.LE:
            return difference <= 0
        case Operator.GT:
            return difference > 0
        case _:
            return difference >= 0


def text_matches(comparison: Comparison, text: str) -> bool:
    """Whether a text is as a comparison says."""
    operator, wanted = comparison.operator, comparison.value
    if operator in NEGATED:
        positive = Comparison(comparison.left, _POSITIVE[operator], wanted)
        return not text_matches(positive, text)
    match operator:
        case Operator.IN:
            return isinstance(wanted, tuple) and text in wanted
        case Operator.LIKE:
            return _is_like(text, str(wanted))
        case Operator.ILIKE:
            return _is_like(fold(text), fold(str(wanted)))
        case _:
            other = str(wanted)
            return _is_in_order(operator, (text > other) - (text < other))


def _is_like(text: str, pattern: str) -> bool:
    parts = (".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _position(rows: WorkloadRows, orders: Sequence[Order], summary_of: SummaryOf) -> Position:
    keys = tuple(_sort_key(order, _values(order.by, rows, summary_of)) for order in orders)
    return Position(keys, rows.workload.created_ns, rows.workload.id)


def _sort_key(order: Order, values: Sequence[Value]) -> SortKey:
    if order.numeric:
        values = [number for text in values if (number := number_in(str(text))) is not None]
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
    if one.begun != other.begun:
        return other.begun - one.begun
    return (one.id > other.id) - (one.id < other.id)
