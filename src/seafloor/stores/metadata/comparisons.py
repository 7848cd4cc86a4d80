"""What a comparison of a search means, agreed upon by every implementation of the store."""

from __future__ import annotations

import math
import sys

from seafloor.domain.errors import InvalidValue, LimitExceeded, nearest
from seafloor.domain.search import (
    ATTRIBUTES,
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

LIMIT_MAX = 50_000
PATTERN_BYTES_MAX = 20_000
ORDERS_MAX = 16
COMPARISONS_MAX = 200
VALUES_MAX = 20_000
"""Each is less than the least that a database takes in one statement."""
DATASET_KEYS = ("name", "digest", "context")

_NUMERIC = frozenset({Operator.EQ, Operator.NE, Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_NULLNESS = frozenset({Operator.IS_NULL, Operator.IS_NOT_NULL})
_SETS = frozenset({Operator.IN, Operator.NOT_IN})


def fold(text: str) -> str:
    """What texts share that differ only in the case of their letters, letter by letter.

    The two forms of a small sigma are one letter: which of them ``lower`` makes depends on what
    stands beside it.
    """
    return text.lower().replace("ς", "σ")


def is_numeric(identifier: Identifier) -> bool:
    """Whether what an identifier speaks of is a number."""
    if identifier.subject is Subject.ATTRIBUTE:
        return ATTRIBUTES.get(identifier.key) == "number"
    return identifier.subject is Subject.METRIC


def searchable(value: float) -> float | None:
    """What a search takes a metric's value for: None for NaN, infinities as the largest float.

    Not every database stores an infinity, and all must find the same.
    """
    if math.isnan(value):
        return None
    return max(-sys.float_info.max, min(sys.float_info.max, value))


def number_of(comparison: Comparison) -> float | int | None:
    """The number that a metric or numeric attribute is compared with; None for NaN."""
    value = comparison.value
    if not isinstance(value, int | float):
        raise InvalidValue(
            f"{comparison.left.subject} {comparison.left.key} is compared with a number.",
            field="filter",
        )
    if isinstance(value, int):
        try:
            as_float = float(value)
        except OverflowError:
            return sys.float_info.max if value > 0 else -sys.float_info.max
        return value if -(1 << 63) <= value < 1 << 63 else as_float
    return searchable(value)


def check_query(query: WorkloadQuery) -> None:
    """Refuse what means nothing: a text operator on a number, an unknown attribute, a limit of 0.

    Raises:
        InvalidValue: one of them, or an order by datasets, of which a run has many.
        LimitExceeded: too many comparisons, values or orders, or too long a pattern.
    """
    if not 1 <= query.limit <= LIMIT_MAX:
        raise InvalidValue(f"A page has 1 to {LIMIT_MAX} runs, not {query.limit}.", field="limit")
    comparisons = _comparisons(query.filter)
    if len(comparisons) > COMPARISONS_MAX:
        raise LimitExceeded(f"A filter has at most {COMPARISONS_MAX} comparisons.", field="filter")
    for comparison in comparisons:
        _check_identifier(comparison.left, field="filter")
        _check_operand(comparison)
    values = sum(len(one.value) for one in comparisons if isinstance(one.value, tuple))
    if values + len(query.experiment_ids or ()) > VALUES_MAX:
        raise LimitExceeded(
            f"A search has at most {VALUES_MAX} values in lists and experiments.", field="filter"
        )
    _check_orders(query.order)


def _check_orders(orders: tuple[Order, ...]) -> None:
    if len(orders) > ORDERS_MAX:
        raise LimitExceeded(f"A search orders by at most {ORDERS_MAX} keys.", field="order")
    for order in orders:
        _check_identifier(order.by, field="order")
        if order.by.subject is Subject.DATASET:
            raise InvalidValue("Runs cannot be ordered by their datasets.", field="order")


def _comparisons(part: Filter | None) -> list[Comparison]:
    waiting: list[Filter] = [] if part is None else [part]
    found: list[Comparison] = []
    while waiting:
        one = waiting.pop()
        if isinstance(one, AllOf | AnyOf):
            waiting.extend(one.parts)
        else:
            found.append(one)
    return found


def _check_identifier(identifier: Identifier, *, field: str) -> None:
    known = {Subject.ATTRIBUTE: tuple(ATTRIBUTES), Subject.DATASET: DATASET_KEYS}.get(
        identifier.subject
    )
    if known is not None and identifier.key not in known:
        raise InvalidValue(
            f'"{identifier.key}" is not known of a {identifier.subject}.'
            f"{nearest(identifier.key, known)}",
            field=field,
        )


def _check_operand(comparison: Comparison) -> None:
    operator, value = comparison.operator, comparison.value
    if operator in _NULLNESS:
        return
    what = f"{comparison.left.subject} {comparison.left.key}"
    if is_numeric(comparison.left):
        if operator not in _NUMERIC:
            raise InvalidValue(
                f"`{operator}` cannot compare numbers such as {what}.", field="filter"
            )
        number_of(comparison)
    elif operator in _SETS:
        if not isinstance(value, tuple):
            raise InvalidValue(
                f"`{operator}` compares {what} with a list of texts.", field="filter"
            )
    elif not isinstance(value, str):
        raise InvalidValue(f"{what} is compared with a text.", field="filter")
    elif operator in (Operator.LIKE, Operator.ILIKE) and len(value.encode()) > PATTERN_BYTES_MAX:
        raise LimitExceeded(f"A pattern has at most {PATTERN_BYTES_MAX} bytes.", field="filter")
