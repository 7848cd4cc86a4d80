"""Filters as SQL conditions on ``workload``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import ColumnElement, and_, exists, func, or_, true

from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Operator,
    Subject,
)
from seafloor.stores.metadata.sql import tables

_COMPARISONS: dict[Operator, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]] = {
    Operator.EQ: lambda column, value: column == value,
    Operator.NE: lambda column, value: column != value,
    Operator.LT: lambda column, value: column < value,
    Operator.LE: lambda column, value: column <= value,
    Operator.GT: lambda column, value: column > value,
    Operator.GE: lambda column, value: column >= value,
    Operator.LIKE: lambda column, value: column.op("LIKE", is_comparison=True)(value),
    Operator.ILIKE: lambda column, value: func.lower(column).op("LIKE", is_comparison=True)(
        str(value).lower()
    ),
    Operator.IN: lambda column, value: column.in_(value),
    Operator.NOT_IN: lambda column, value: column.not_in(value),
}


def condition(found: Filter) -> ColumnElement[bool]:
    """Make the condition."""
    if isinstance(found, AllOf):
        return and_(true(), *(condition(part) for part in found.parts))
    if isinstance(found, AnyOf):
        return or_(*(condition(part) for part in found.parts))
    return _comparison(found)


def _comparison(found: Comparison) -> ColumnElement[bool]:
    if found.left.subject is Subject.ATTRIBUTE:
        return _attribute(found)
    if found.operator is Operator.IS_NULL:
        return ~_there(found.left, true())
    if found.operator is Operator.IS_NOT_NULL:
        return _there(found.left, true())
    if found.left.subject is Subject.METRIC:
        return _there(found.left, _metric(found))
    column = _value_column(found.left)
    return _there(found.left, _COMPARISONS[found.operator](column, found.value))


def attribute_column(key: str) -> ColumnElement[Any]:
    """The column of an attribute; its name is the attribute's."""
    return tables.workload.c[key]


def _attribute(found: Comparison) -> ColumnElement[bool]:
    column = attribute_column(found.left.key)
    if found.operator is Operator.IS_NULL:
        return column.is_(None)
    if found.operator is Operator.IS_NOT_NULL:
        return column.is_not(None)
    return _COMPARISONS[found.operator](column, found.value)


def _metric(found: Comparison) -> ColumnElement[bool]:
    """Compare the last value, which is NULL for NaN: NaN matches ``!=`` only."""
    last = tables.metric_summary.c.last
    value = float(cast(float, found.value))
    if math.isnan(value):
        return last.is_not(None) if found.operator is Operator.NE else last.is_(None) & ~true()
    compared = _COMPARISONS[found.operator](last, value)
    return or_(last.is_(None), compared) if found.operator is Operator.NE else compared


def _value_column(left: Identifier) -> ColumnElement[Any]:
    if left.subject is Subject.PARAM:
        return tables.param.c.value
    if left.subject is Subject.TAG:
        return tables.tag.c.value
    columns = {
        "name": tables.workload_input.c.name,
        "digest": tables.workload_input.c.dataset_digest,
        "context": tables.workload_input.c.context,
    }
    return columns[left.key]


def _there(left: Identifier, also: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a row for the identifier is there that fulfils a condition."""
    if left.subject is Subject.DATASET:
        table = tables.workload_input
        which = and_(table.c.kind == "dataset", _value_column(left).is_not(None))
    else:
        table = {
            Subject.METRIC: tables.metric_summary,
            Subject.PARAM: tables.param,
            Subject.TAG: tables.tag,
        }[left.subject]
        which = table.c.key == left.key
    return exists().where(table.c.workload_id == tables.workload.c.id, which, also)
