"""Filters that are evaluated here: over experiments and logged models, of which there are few."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from seafloor.domain.search import AllOf, AnyOf, Comparison, Filter, Identifier, Operator

Value = float | int | str | None


def matches(found: Filter | None, look_up: Callable[[Identifier], Value]) -> bool:
    """Say whether a filter holds; a missing value matches nothing but IS NULL."""
    if found is None:
        return True
    if isinstance(found, AllOf):
        return all(matches(part, look_up) for part in found.parts)
    if isinstance(found, AnyOf):
        return any(matches(part, look_up) for part in found.parts)
    return _holds(found, look_up(found.left))


def _holds(comparison: Comparison, value: Value) -> bool:
    operator, wanted = comparison.operator, comparison.value
    if operator is Operator.IS_NULL:
        return value is None
    if value is None:
        return False
    if operator is Operator.IS_NOT_NULL:
        return True
    if operator in (Operator.IN, Operator.NOT_IN):
        return (value in cast(tuple[str, ...], wanted)) is (operator is Operator.IN)
    if operator in (Operator.LIKE, Operator.ILIKE):
        return like(str(value), str(wanted), fold=operator is Operator.ILIKE)
    if operator is Operator.EQ:
        return value == wanted
    if operator is Operator.NE:
        return value != wanted
    left, right = float(value), float(cast(float, wanted))
    return {
        Operator.LT: left < right,
        Operator.LE: left <= right,
        Operator.GT: left > right,
        Operator.GE: left >= right,
    }[operator]


def like(value: str, pattern: str, *, fold: bool) -> bool:
    """SQL's LIKE: ``%`` is any text, ``_`` any character."""
    parts = {"%": ".*", "_": "."}
    regex = "".join(parts.get(char, re.escape(char)) for char in pattern)
    flags = re.DOTALL | (re.IGNORECASE if fold else 0)
    return re.fullmatch(regex, value, flags) is not None
