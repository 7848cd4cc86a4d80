"""What a comparison of a search means, agreed upon by every implementation of the store."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterable

from seafloor.domain.errors import InvalidValue, LimitExceeded, nearest
from seafloor.domain.search import (
    ATTRIBUTES,
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
    WorkloadQuery,
)

LIMIT_MAX = 50_000
PATTERN_BYTES_MAX = 20_000
ORDERS_MAX = 16
COMPARISONS_MAX = 200
VALUES_MAX = 20_000
"""Each is less than the least that a database takes in one statement."""
DEPTH_MAX = 100
DATASET_KEYS = ("name", "digest", "context")
NEGATED = frozenset({Operator.NE, Operator.NOT_IN, Operator.NOT_LIKE, Operator.NOT_ILIKE})
"""What holds for whatever differs: for NaN too."""

_RANGE = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_PATTERN = frozenset({Operator.LIKE, Operator.ILIKE, Operator.NOT_LIKE, Operator.NOT_ILIKE})
_NULLNESS = frozenset({Operator.IS_NULL, Operator.IS_NOT_NULL})
_SETS = frozenset({Operator.IN, Operator.NOT_IN})


def fold(text: str) -> str:
    """What texts share that differ only in the case of their letters, letter by letter.

    The two forms of a small sigma are one letter: which of them ``lower`` makes depends on what
    stands beside it.
    """
    return text.lower().replace("ς", "σ")


def compares_numbers(comparison: Comparison) -> bool:
    """Whether a comparison is one of numbers; of params and tags what it compares with decides."""
    left, value = comparison.left, comparison.value
    if left.subject is Subject.METRIC:
        return True
    if left.subject is Subject.ATTRIBUTE:
        return ATTRIBUTES.get(left.key) == "number"
    if left.subject is Subject.DATASET:
        return False
    values = value if isinstance(value, tuple) else (value,)
    return bool(values) and all(_is_number(one) for one in values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def searchable(value: float) -> float | None:
    """What a search takes a metric's value for: None for NaN, infinities as the largest float.

    Not every database stores an infinity, and all must find the same.
    """
    if math.isnan(value):
        return None
    return max(-sys.float_info.max, min(sys.float_info.max, value))


def number_of(value: object) -> float | int | None:
    """A number that something is compared with; None for NaN.

    Raises:
        InvalidValue: it is none.
    """
    if not isinstance(value, int | float):
        raise InvalidValue("Numbers are compared with numbers.", field="filter")
    if isinstance(value, int):
        try:
            as_float = float(value)
        except OverflowError:
            return sys.float_info.max if value > 0 else -sys.float_info.max
        return value if -(1 << 63) <= value < 1 << 63 else as_float
    return searchable(value)


FLOAT_RANK_MAX = struct.unpack("<q", struct.pack("<d", sys.float_info.max))[0]


def float_rank(value: float) -> int:
    """A whole number that is to others as the float is to theirs; -0.0 is 0.0.

    Least and greatest values are stored by their bits, and so databases compare whole numbers.
    """
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    rank = -(1 << 63) - bits if bits < 0 else bits
    return max(-FLOAT_RANK_MAX, min(FLOAT_RANK_MAX, rank))


def check_query(query: WorkloadQuery) -> None:
    """Refuse what means nothing: a text operator on a number, an unknown attribute, a limit of 0.

    Raises:
        InvalidValue: one of them, or an order by datasets, of which a run has many.
        LimitExceeded: too many comparisons, values or orders, too deep, or too long a pattern.
    """
    if not 1 <= query.limit <= LIMIT_MAX:
        raise InvalidValue(f"A page has 1 to {LIMIT_MAX} runs, not {query.limit}.", field="limit")
    comparisons = list(comparisons_of(query.filter))
    if len(comparisons) > COMPARISONS_MAX:
        raise LimitExceeded(f"A filter has at most {COMPARISONS_MAX} comparisons.", field="filter")
    for comparison in comparisons:
        _check_identifier(comparison.left, field="filter")
        if comparison.operator is Operator.RLIKE:
            raise InvalidValue("Runs are not searched by regular expressions.", field="filter")
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


def comparisons_of(part: Filter | None) -> Iterable[Comparison]:
    """Every comparison of a filter; LimitExceeded when it is nested too deeply."""
    waiting: list[tuple[Filter, int]] = [] if part is None else [(part, 0)]
    while waiting:
        one, depth = waiting.pop()
        if depth > DEPTH_MAX:
            raise LimitExceeded(f"A filter has at most {DEPTH_MAX} levels.", field="filter")
        if isinstance(one, AllOf | AnyOf):
            waiting.extend((inner, depth + 1) for inner in one.parts)
        elif isinstance(one, Not):
            waiting.append((one.part, depth + 1))
        else:
            yield one


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
    if identifier.path and identifier.subject not in (Subject.PARAM, Subject.TAG):
        raise InvalidValue("Only params and tags hold documents.", field=field)
    if identifier.part is not Part.LAST and identifier.subject is not Subject.METRIC:
        raise InvalidValue("Only metrics have a least and a greatest value.", field=field)


def _check_operand(comparison: Comparison) -> None:
    operator, value = comparison.operator, comparison.value
    if operator in _NULLNESS:
        return
    left = comparison.left
    what = f"{left.subject} {left.key}"
    if operator in _SETS:
        if not isinstance(value, tuple):
            raise InvalidValue(f"`{operator}` compares {what} with a list.", field="filter")
        values: tuple[object, ...] = value
    else:
        values = (value,)
    numbers = compares_numbers(comparison)
    if numbers and operator in _PATTERN:
        raise InvalidValue(f"`{operator}` cannot compare numbers such as {what}.", field="filter")
    if left.subject is Subject.DATASET and operator in _RANGE:
        raise InvalidValue(f"`{operator}` cannot compare datasets.", field="filter")
    for one in values:
        if numbers:
            number_of(one)
        elif not isinstance(one, str):
            raise InvalidValue(f"{what} is compared with a text.", field="filter")
        elif operator in _PATTERN and len(one.encode()) > PATTERN_BYTES_MAX:
            raise LimitExceeded(f"A pattern has at most {PATTERN_BYTES_MAX} bytes.", field="filter")
