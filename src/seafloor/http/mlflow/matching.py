"""Filters that are evaluated here: over experiments and logged models, of which there are few."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from seafloor.domain.search import AllOf, AnyOf, Comparison, Filter, Identifier, Not, Operator

Value = float | int | str | None


def matches(found: Filter | None, look_up: Callable[[Identifier], Value]) -> bool:
    """Say whether a filter holds; a missing value matches nothing but IS NULL."""
    if found is None:
        return True
    if isinstance(found, AllOf):
        return all(matches(part, look_up) for part in found.parts)
    if isinstance(found, AnyOf):
        return any(matches(part, look_up) for part in found.parts)
    if isinstance(found, Not):
        return not matches(found.part, look_up)
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
    """SQL's LIKE: ``%`` is any text, ``_`` any character.

    Cost: at most the product of both lengths; a regular expression's could be any power of them.
    """
    if fold:
        value, pattern = value.casefold(), pattern.casefold()
    at = 0
    first, *rest = pattern.split("%")
    if not _fits(value, first, at=0):
        return False
    if not rest:
        return len(value) == len(first)
    at = len(first)
    *middle, last = rest
    for part in middle:
        found = next((i for i in range(at, len(value) + 1) if _fits(value, part, at=i)), None)
        if found is None:
            return False
        at = found + len(part)
    end = len(value) - len(last)
    return end >= at and _fits(value, last, at=end)


def _fits(value: str, part: str, *, at: int) -> bool:
    """Say whether a part without ``%`` stands at a place."""
    if "_" not in part:
        return value.startswith(part, at)
    if at + len(part) > len(value):
        return False
    return all(char in ("_", value[at + i]) for i, char in enumerate(part))
