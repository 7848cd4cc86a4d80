"""What a search for traces means, agreed upon by every implementation of the store."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator

import msgspec

from seafloor.domain.errors import Conflict, InvalidValue, LimitExceeded, NotFound, nearest
from seafloor.domain.search import Comparison, Identifier, Operator, Subject
from seafloor.domain.traces import (
    CONTENT_KEY,
    SPAN_ATTRIBUTES,
    TRACE_ATTRIBUTES,
    Trace,
    TraceComparison,
    TraceOrder,
    TraceQuery,
    TraceSubject,
)
from seafloor.stores.metadata.comparisons import (
    COMPARISONS_MAX,
    ORDERS_MAX,
    PATTERN_BYTES_MAX,
    VALUES_MAX,
)
from seafloor.stores.metadata.regular_expressions import RegularExpression

LIMIT_MAX = 500
DOCUMENTS_BYTES_MAX = 16 * 1024 * 1024
"""Of spans, in memory at once."""
REGULAR_MAX = 10
"""Regular expressions in a filter."""

_PATTERN = frozenset({Operator.LIKE, Operator.ILIKE})
_REGULAR = frozenset({Operator.RLIKE})
_EQUAL = frozenset({Operator.EQ})
_RANGE = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_EQUALITY = frozenset({Operator.EQ, Operator.NE})
_LISTS = frozenset({Operator.IN, Operator.NOT_IN})
NULLNESS = frozenset({Operator.IS_NULL, Operator.IS_NOT_NULL})
_LABELS = (TraceSubject.TAG, TraceSubject.METADATA)
_ASSESSMENTS = (TraceSubject.FEEDBACK, TraceSubject.EXPECTATION)


def no_assessment(trace_id: str, assessment_id: str) -> NotFound:
    """That a trace has no such assessment, in the words that MLflow's clients know."""
    return NotFound(
        f"Assessment with ID '{assessment_id}' not found for trace '{trace_id}'",
        field="assessment_id",
    )


def check_moves(known: Trace | None, news: Trace) -> None:
    """Refuse to put a trace into another experiment; Conflict."""
    if known is not None and known.experiment_id != news.experiment_id:
        raise Conflict(
            f"The trace {news.id} is in experiment {known.experiment_id}.", field="experiment_id"
        )


def check_trace_query(query: TraceQuery) -> None:
    """Refuse what means nothing.

    Raises:
        InvalidValue: an operator that does not compare its left side, an unknown attribute, a
            limit out of bounds.
        LimitExceeded: too many comparisons, values or orders, or too long a pattern.
    """
    if not 1 <= query.limit <= LIMIT_MAX:
        raise InvalidValue(f"A page has 1 to {LIMIT_MAX} traces, not {query.limit}.", field="limit")
    if len(query.comparisons) > COMPARISONS_MAX:
        raise LimitExceeded(f"A filter has at most {COMPARISONS_MAX} comparisons.", field="filter")
    if len(query.order) > ORDERS_MAX:
        raise LimitExceeded(f"A search orders by at most {ORDERS_MAX} keys.", field="order")
    values = sum(len(one.value) for one in query.comparisons if isinstance(one.value, tuple))
    if values + len(query.experiment_ids) > VALUES_MAX:
        raise LimitExceeded(
            f"A search has at most {VALUES_MAX} values in lists and experiments.", field="filter"
        )
    if sum(one.operator is Operator.RLIKE for one in query.comparisons) > REGULAR_MAX:
        raise LimitExceeded(
            f"A filter has at most {REGULAR_MAX} regular expressions.", field="filter"
        )
    for comparison in query.comparisons:
        _check_comparison(comparison)
    for order in query.order:
        _check_order(order)


def _check_order(order: TraceOrder) -> None:
    if order.subject is TraceSubject.ATTRIBUTE:
        _check_attribute(order.key, field="order")
    only_compared = order.subject is TraceSubject.ATTRIBUTE and order.key in ("run_id", "prompt")
    if order.subject not in (TraceSubject.ATTRIBUTE, *_LABELS) or only_compared:
        raise InvalidValue(
            f"Traces cannot be ordered by {order.subject} {order.key}.", field="order"
        )


def _check_attribute(key: str, *, field: str) -> None:
    if key not in TRACE_ATTRIBUTES:
        raise InvalidValue(
            f'"{key}" is not known of a trace.{nearest(key, TRACE_ATTRIBUTES)}', field=field
        )


def _check_comparison(comparison: TraceComparison) -> None:
    subject, key = comparison.subject, comparison.key
    if subject is TraceSubject.ATTRIBUTE:
        _check_attribute(key, field="filter")
    if subject is TraceSubject.SPAN and key not in SPAN_ATTRIBUTES:
        raise InvalidValue(
            f'"{key}" is not known of a span.{nearest(key, SPAN_ATTRIBUTES)}', field="filter"
        )
    operator, value = comparison.operator, comparison.value
    if operator not in operators_of(subject, key):
        raise InvalidValue(f"`{operator}` cannot compare {subject} {key}.", field="filter")
    if operator in NULLNESS:
        return
    if operator in _LISTS:
        if not isinstance(value, tuple):
            raise InvalidValue(f"`{operator}` compares {key} with a list.", field="filter")
    elif is_number(comparison) is not isinstance(value, int | float):
        kind = "number" if is_number(comparison) else "text"
        raise InvalidValue(f"{subject} {key} is compared with a {kind}.", field="filter")
    elif operator in _PATTERN and len(str(value).encode()) > PATTERN_BYTES_MAX:
        raise LimitExceeded(f"A pattern has at most {PATTERN_BYTES_MAX} bytes.", field="filter")
    elif operator is Operator.RLIKE:
        RegularExpression(str(value))


def operators_of(subject: TraceSubject, key: str) -> frozenset[Operator]:
    """How something can be compared."""
    if subject in _LABELS:
        return _EQUALITY | _PATTERN | _REGULAR | NULLNESS
    if subject in _ASSESSMENTS:
        return _EQUALITY | _RANGE | _PATTERN | _REGULAR | NULLNESS
    if subject is TraceSubject.SPAN and key == CONTENT_KEY:
        return _EQUALITY | _PATTERN | _REGULAR
    if subject is TraceSubject.ATTRIBUTE and key == "prompt":
        return _EQUAL
    if subject is TraceSubject.ATTRIBUTE and TRACE_ATTRIBUTES[key] == "number":
        return _EQUALITY | _RANGE
    if subject is TraceSubject.ATTRIBUTE and key == "run_id":
        return _EQUALITY | _LISTS
    return _EQUALITY | _PATTERN | _REGULAR | _LISTS


def is_number(comparison: TraceComparison) -> bool:
    """Whether numbers are compared."""
    if comparison.subject in _ASSESSMENTS:
        return comparison.operator in _RANGE
    return (
        comparison.subject is TraceSubject.ATTRIBUTE
        and TRACE_ATTRIBUTES[comparison.key] == "number"
    )


def as_comparison(found: TraceComparison) -> Comparison:
    """The same of something of a run, which compares alike."""
    if not is_number(found):
        left = Identifier(Subject.ATTRIBUTE, "name")
    elif found.subject is TraceSubject.ATTRIBUTE:
        left = Identifier(Subject.ATTRIBUTE, "created_ns")
    else:
        left = Identifier(Subject.METRIC, found.key)
    return Comparison(left, found.operator, found.value)


def json_text(value: object) -> str:
    """An assessment's value as searches see it."""
    return msgspec.json.encode(value).decode()


def number_in(value: object) -> float | None:
    """The number that an assessment's value is; truth is one; None when it is none."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def json_forms(text: str) -> tuple[str, str]:
    """What an assessment's value may be, as JSON, that is asked for as a text."""
    return text, json.dumps(text, ensure_ascii=False)


def first_documents(every: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The first of some documents, at least one, up to ``DOCUMENTS_BYTES_MAX`` bytes."""
    size = 0
    for span_id, document in every:
        if size and size + len(document) > DOCUMENTS_BYTES_MAX:
            return
        size += len(document)
        yield span_id, document
