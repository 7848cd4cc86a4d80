"""Filters as SQL conditions on ``workload``. What they mean: ``stores.metadata.comparisons``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, exists, false, literal, or_, true

from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Operator,
    Subject,
)
from seafloor.stores.metadata.comparisons import fold, is_numeric, number_of
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.folding import folded

_COMPARISONS: dict[Operator, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]] = {
    Operator.EQ: lambda column, value: column == value,
    Operator.NE: lambda column, value: column != value,
    Operator.LT: lambda column, value: column < value,
    Operator.LE: lambda column, value: column <= value,
    Operator.GT: lambda column, value: column > value,
    Operator.GE: lambda column, value: column >= value,
    Operator.LIKE: lambda column, value: _like(column, str(value)),
    Operator.ILIKE: lambda column, value: _like(folded(column), fold(str(value))),
    Operator.IN: lambda column, value: column.in_(value),
    Operator.NOT_IN: lambda column, value: column.not_in(value),
}

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1

_DATASET_COLUMNS = {
    "name": tables.workload_input.c.name,
    "digest": tables.workload_input.c.dataset_digest,
    "context": tables.workload_input.c.context,
}


def _like(column: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
    """Compare with a pattern in which only ``%`` and ``_`` are special.

    Without being told, some databases take a backslash for an escape and others nothing.
    """
    return column.like(pattern.replace("/", "//"), escape="/")


def condition(found: Filter) -> ColumnElement[bool]:
    """Make the condition of a filter that ``check_query`` accepts."""
    if isinstance(found, AllOf):
        return and_(true(), *(condition(part) for part in found.parts))
    if isinstance(found, AnyOf):
        return or_(false(), *(condition(part) for part in found.parts))
    column = _column(found.left)
    if found.left.subject is Subject.ATTRIBUTE:
        return _compared(found, column)
    if found.operator is Operator.IS_NULL:
        return ~_exists(found.left, true())
    if found.operator is Operator.IS_NOT_NULL:
        return _exists(found.left, true())
    return _exists(found.left, _compared(found, column))


def _compared(found: Comparison, column: ColumnElement[Any]) -> ColumnElement[bool]:
    if found.operator is Operator.IS_NULL:
        return column.is_(None)
    if found.operator is Operator.IS_NOT_NULL:
        return column.is_not(None)
    if is_numeric(found.left):
        return _number_compared(found, column)
    return _COMPARISONS[found.operator](column, found.value)


def _number_compared(found: Comparison, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Compare a number; a metric's column is NULL for NaN, which matches ``!=`` only."""
    value = number_of(found)
    differs = found.operator is Operator.NE
    is_metric = found.left.subject is Subject.METRIC
    if value is None:  # compared with NaN: everything differs from it
        if not differs:
            return false()
        return true() if is_metric else column.is_not(None)
    if not is_metric:
        return _whole_number_compared(found.operator, column, value)
    compared = _COMPARISONS[found.operator](column, float(value))
    return or_(column.is_(None), compared) if differs else compared


def _whole_number_compared(
    operator: Operator, column: ColumnElement[Any], value: float
) -> ColumnElement[bool]:
    """Compare a column of whole numbers exactly: databases would round the one or the other."""
    if operator in (Operator.EQ, Operator.NE) and value != math.floor(value):
        return column.is_not(None) if operator is Operator.NE else false()
    # Between two whole numbers: below it is below the upper, above it is above the lower.
    upward = operator in (Operator.LT, Operator.GE)
    whole = math.ceil(value) if upward else math.floor(value)
    if whole > _INT_MAX:
        return _none_or_all(column, all_=operator in (Operator.LT, Operator.LE, Operator.NE))
    if whole < _INT_MIN:
        return _none_or_all(column, all_=operator in (Operator.GT, Operator.GE, Operator.NE))
    return _COMPARISONS[operator](column, literal(whole, BigInteger()))


def _none_or_all(column: ColumnElement[Any], *, all_: bool) -> ColumnElement[bool]:
    return column.is_not(None) if all_ else false()


def _column(left: Identifier) -> ColumnElement[Any]:
    match left.subject:
        case Subject.ATTRIBUTE:
            return tables.workload.c[left.key]
        case Subject.METRIC:
            return tables.metric_summary.c.last
        case Subject.PARAM:
            return tables.param.c.value
        case Subject.TAG:
            return tables.tag.c.value
        case Subject.DATASET:
            return _DATASET_COLUMNS[left.key]


def _exists(left: Identifier, also: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a row for the identifier is there that fulfils a condition."""
    if left.subject is Subject.DATASET:
        table = tables.workload_input
        which = and_(table.c.kind == "dataset", _column(left).is_not(None))
    else:
        table = {
            Subject.METRIC: tables.metric_summary,
            Subject.PARAM: tables.param,
            Subject.TAG: tables.tag,
        }[left.subject]
        which = table.c.key == left.key
    return exists().where(table.c.workload_id == tables.workload.c.id, which, also)
