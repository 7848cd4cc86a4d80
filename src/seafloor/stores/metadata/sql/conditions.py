"""Filters as SQL conditions on ``workload``. What they mean: ``stores.metadata.comparisons``.

Every condition is true or false, never NULL, so that NOT is its contrary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, false, literal, not_, or_, true

from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Not,
    Operator,
    Part,
    Subject,
)
from seafloor.stores.metadata.comparisons import (
    NEGATED,
    compares_numbers,
    float_rank,
    fold,
    number_of,
)
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.folding import folded
from seafloor.stores.metadata.sql.operands import KEYED, as_number, has_row, value_in_row

Column = ColumnElement[Any]
Condition = ColumnElement[bool]

_COMPARED: dict[Operator, Callable[[Column, Any], Condition]] = {
    Operator.EQ: lambda column, value: column == value,
    Operator.NE: lambda column, value: column != value,
    Operator.LT: lambda column, value: column < value,
    Operator.LE: lambda column, value: column <= value,
    Operator.GT: lambda column, value: column > value,
    Operator.GE: lambda column, value: column >= value,
    Operator.LIKE: lambda column, value: _like(column, value),
    Operator.ILIKE: lambda column, value: _like(folded(column), fold(value)),
    Operator.NOT_LIKE: lambda column, value: not_(_like(column, value)),
    Operator.NOT_ILIKE: lambda column, value: not_(_like(folded(column), fold(value))),
    Operator.IN: lambda column, value: column.in_(value),
    Operator.NOT_IN: lambda column, value: column.not_in(value),
}

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1


def _like(column: Column, pattern: str) -> Condition:
    """Compare with a pattern in which only ``%`` and ``_`` are special.

    Without being told, some databases take a backslash for an escape and others nothing.
    """
    return column.like(pattern.replace("/", "//"), escape="/")


def condition(
    found: Filter, *, run_id: Column = tables.workload.c.id, negated: bool = False
) -> Condition:
    """Make the condition of a filter that ``check_query`` accepts.

    Args:
        run_id: The column of the statement that has the run's id. Attributes are always those of
            ``workload``.
        negated: Make the contrary.
    """
    if isinstance(found, Not):
        return condition(found.part, run_id=run_id, negated=not negated)
    if isinstance(found, AllOf | AnyOf):
        parts = [condition(part, run_id=run_id, negated=negated) for part in found.parts]
        if isinstance(found, AllOf) is not negated:
            return and_(true(), *parts)
        return or_(false(), *parts)
    if found.left.subject is Subject.ATTRIBUTE:
        return _of_attribute(found, negated=negated)
    holds = _of_rows(found, run_id)
    return not_(holds) if negated else holds


def _of_attribute(found: Comparison, *, negated: bool) -> Condition:
    column = tables.workload.c[found.left.key]
    if found.operator in (Operator.IS_NULL, Operator.IS_NOT_NULL):
        is_null = (found.operator is Operator.IS_NULL) is not negated
        return column.is_(None) if is_null else column.is_not(None)
    holds = compared(found, column)
    if found.operator in NEGATED:
        holds = and_(column.is_not(None), holds)
    return or_(column.is_(None), not_(holds)) if negated else holds


def _of_rows(found: Comparison, run_id: Column) -> Condition:
    left = found.left
    table: Any = (
        tables.workload_input if left.subject is Subject.DATASET else KEYED[left.subject].alias()
    )
    value = value_in_row(left, table)
    # A row may be there without a value; NaN has none in its column, but is there.
    asks_for_it = found.operator in NEGATED | {Operator.IS_NULL, Operator.IS_NOT_NULL}
    there = value.is_not(None) if asks_for_it and _may_lack(left) else true()
    if found.operator is Operator.IS_NULL:
        return not_(has_row(left, there, table, run_id))
    if found.operator is Operator.IS_NOT_NULL:
        return has_row(left, there, table, run_id)
    also = and_(there, compared(found, value))
    return has_row(left, also, table, run_id, by_text=is_of_text(found))


def is_of_text(found: Filter) -> bool:
    """Whether it asks for one whole text of a param or tag, which the index of values can find."""
    if not isinstance(found, Comparison):
        return False
    left = found.left
    is_text = left.subject in (Subject.PARAM, Subject.TAG) and not left.path
    return is_text and found.operator is Operator.EQ and not compares_numbers(found)


def _may_lack(left: Identifier) -> bool:
    return bool(left.path) or left.part in (Part.MIN, Part.MAX)


def compared(found: Comparison, column: Column) -> Condition:
    """Compare a column or expression that holds the value of a comparison's left side.

    It may be NULL for a NULL column, but for a metric's, which then is NaN.
    """
    if not compares_numbers(found):
        return _COMPARED[found.operator](column, found.value)
    left = found.left
    if left.subject in (Subject.PARAM, Subject.TAG):
        column = as_number(column)
    if found.operator in (Operator.IN, Operator.NOT_IN):
        return _among(found, column)
    return _number_compared(left, found.operator, column, number_of(found.value))


def _is_nan_there(left: Identifier) -> bool:
    return left.subject is Subject.METRIC and left.part is Part.LAST


def _among(found: Comparison, column: Column) -> Condition:
    left = found.left
    values = found.value if isinstance(found.value, tuple) else ()
    numbers = [number for value in values if (number := number_of(value)) is not None]
    listed: list[Any] = [number for number in numbers if math.isfinite(number)]
    if left.subject is Subject.ATTRIBUTE or left.part is Part.STEP:
        listed = [int(one) for one in listed if one == int(one) and _INT_MIN <= one <= _INT_MAX]
    elif left.part in (Part.MIN, Part.MAX):
        listed = [float_rank(float(one)) for one in listed]
    else:
        listed = [float(one) for one in listed]
    if found.operator is Operator.IN:
        return column.in_(listed) if listed else false()
    differs = column.not_in(listed) if listed else column.is_not(None)
    return or_(column.is_(None), differs) if _is_nan_there(left) else differs


def _number_compared(
    left: Identifier, operator: Operator, column: Column, value: float | int | None
) -> Condition:
    """Compare a number; a last value's column is NULL for NaN, which matches ``!=`` only."""
    differs = operator in NEGATED
    nan_there = _is_nan_there(left)
    if value is None:  # compared with NaN: everything differs from it
        if not differs:
            return false()
        return true() if nan_there else column.is_not(None)
    if left.subject is Subject.ATTRIBUTE or left.part is Part.STEP:
        return _whole_number_compared(operator, column, value)
    if left.part in (Part.MIN, Part.MAX):
        return _COMPARED[operator](column, literal(float_rank(float(value)), BigInteger()))
    holds = _COMPARED[operator](column, float(value))
    return or_(column.is_(None), holds) if differs and nan_there else holds


def _whole_number_compared(operator: Operator, column: Column, value: float) -> Condition:
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
    return _COMPARED[operator](column, literal(whole, BigInteger()))


def _none_or_all(column: Column, *, all_: bool) -> Condition:
    return column.is_not(None) if all_ else false()
