"""Searches at random, and the text that a user would write for one."""

from __future__ import annotations

import json
import math

from hypothesis import strategies as st

from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Lifecycle,
    Not,
    Operator,
    Order,
    Part,
    Subject,
    Value,
    WorkloadQuery,
)
from seafloor.domain.workloads import WorkloadState
from seafloor.testing.metadata_records import T0_NS

KEYS = ("lr", "LR")
DOCUMENTS = (
    json.dumps({"a": {"b": 1.5, "c": ["x", 10, {"d": "9"}]}, "ä b": True, "n": None}),
    '{"a": {"b": 10, "c": [1e1, "\\u00e4"]}}',
    '{"a": {"b": "ab"}}',
    '["a", {"b": 9}]',
    '{"a": {"b": NaN}}',
    '{"a": {"b": "\\u0000"}}',
    '{"a": {"b": "\\ud800"}}',
    '{"a": {"b": "\\ud83d\\ude00 \\n"}}',
    '"a"',
    '{"a": {"b": ',
)
NUMBERS = ("10", "9", "1e1", "-2", "+.5", "0x1", "1.5", "1_0", " 9", "9\n", "nan", "1e999")
TEXTS = ("", "a", "A", "ab", "ä", "b", *NUMBERS)
VALUES = (-0.0, 1.5, -2.0, math.nan, math.inf, -math.inf)
PATHS = (("a", "b"), ("a",), ("a", "c", 1), ("a", "c", 2, "d"), ("ä b",), (1, "b"), (0,), ("n",))

_EQUAL = [Operator.EQ, Operator.NE]
_RANGES = [Operator.LT, Operator.LE, Operator.GT, Operator.GE]
_PATTERN = [Operator.LIKE, Operator.ILIKE, Operator.NOT_LIKE, Operator.NOT_ILIKE]
_LISTS = [Operator.IN, Operator.NOT_IN]
_NULLNESS = [Operator.IS_NULL, Operator.IS_NOT_NULL]

_keys = st.sampled_from(KEYS)
_texts = st.sampled_from(TEXTS)
_patterns = st.one_of(_texts, st.sampled_from(["%", "_", "a%", "%B", "RUN %", "run _", "%d%"]))
_numbers: st.SearchStrategy[Value] = st.sampled_from([*VALUES, 1, -2, 9, 10, 0.5, 1 << 70])
_times = st.integers(T0_NS, T0_NS + 5)


def _comparisons(
    left: st.SearchStrategy[Identifier],
    values: st.SearchStrategy[Value],
    operators: list[Operator],
) -> st.SearchStrategy[Filter]:
    several = st.lists(values, max_size=3).map(tuple[Value, ...])
    return st.one_of(
        st.builds(Comparison, left, st.sampled_from(operators), values),
        st.builds(Comparison, left, st.sampled_from(_LISTS), several),
        st.builds(Comparison, left, st.sampled_from(_NULLNESS)),
    )


_METRICS = st.builds(Identifier, st.just(Subject.METRIC), _keys, st.sampled_from(list(Part)))
_LABEL = st.builds(
    Identifier,
    st.sampled_from([Subject.PARAM, Subject.TAG]),
    _keys,
    st.just(Part.LAST),
    st.one_of(st.just(()), st.just(()), st.sampled_from(PATHS)),
)
_NUMBER_ATTRIBUTES = st.builds(
    Identifier,
    st.just(Subject.ATTRIBUTE),
    st.sampled_from(["created_ns", "started_ns", "ended_ns", "updated_ns", "experiment_id"]),
)
_TEXT_ATTRIBUTES = st.builds(
    Identifier,
    st.just(Subject.ATTRIBUTE),
    st.sampled_from(["name", "state", "user", "environment", "origin", "id", "project"]),
)
_DATASETS = st.builds(Identifier, st.just(Subject.DATASET), st.sampled_from(["name", "digest"]))

LEAVES: st.SearchStrategy[Filter] = st.one_of(
    _comparisons(_METRICS, _numbers, _EQUAL + _RANGES),
    _comparisons(
        _NUMBER_ATTRIBUTES, st.one_of(st.integers(-1, 3), _times, _numbers), _EQUAL + _RANGES
    ),
    _comparisons(_LABEL, _patterns, _EQUAL + _RANGES + _PATTERN),
    _comparisons(_LABEL, _numbers, _EQUAL + _RANGES),
    _comparisons(_TEXT_ATTRIBUTES, _patterns, _EQUAL + _RANGES + _PATTERN),
    _comparisons(_DATASETS, _patterns, _EQUAL + _PATTERN),
)


def _trees(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    some = st.lists(parts, max_size=3).map(tuple[Filter, ...])
    return st.one_of(st.builds(AllOf, some), st.builds(AnyOf, some), st.builds(Not, parts))


FILTERS = st.recursive(LEAVES, _trees, max_leaves=4)
_ORDERED_BY = st.one_of(
    _METRICS,
    _LABEL,
    st.builds(
        Identifier,
        st.just(Subject.ATTRIBUTE),
        st.sampled_from(["name", "created_ns", "started_ns", "ended_ns", "environment", "state"]),
    ),
)


def _ordered(by: Identifier, *, descending: bool, numeric: bool) -> Order:
    return Order(by, descending, numeric and by.subject in (Subject.PARAM, Subject.TAG))


ORDERS = st.lists(
    st.builds(_ordered, _ORDERED_BY, descending=st.booleans(), numeric=st.booleans()), max_size=3
).map(tuple[Order, ...])

QUERIES = st.builds(
    WorkloadQuery,
    filter=st.none() | FILTERS,
    order=ORDERS,
    lifecycle=st.sampled_from(list(Lifecycle)),
    experiment_ids=st.none()
    | st.lists(st.sampled_from([0, 0, 1, 2]), max_size=2).map(tuple[int, ...]),
    states=st.none()
    | st.lists(st.sampled_from(list(WorkloadState)), max_size=3).map(tuple[WorkloadState, ...]),
    limit=st.integers(1, 3),
)


def text_of(found: Filter) -> str | None:
    """What a user would write; None for what has no text: an empty tree, NaN."""
    if isinstance(found, Comparison):
        return _comparison_text(found)
    if isinstance(found, Not):
        inner = text_of(found.part)
        return None if inner is None else f"not ({inner})"
    parts = [text_of(part) for part in found.parts]
    if not parts or None in parts:
        return None
    joined = " AND " if isinstance(found, AllOf) else " or "
    return joined.join(f"({part})" for part in parts)


def _comparison_text(found: Comparison) -> str | None:
    left, value = _identifier_text(found.left), found.value
    if value is None:
        return f"{left} {found.operator}"
    if isinstance(value, tuple):
        texts = [_value_text(one) for one in value]
        if not texts or None in texts or len({isinstance(one, str) for one in value}) > 1:
            return None
        return f"{left} {found.operator} ({', '.join(str(text) for text in texts)})"
    text = _value_text(value)
    return None if text is None else f"{left} {found.operator} {text}"


def _identifier_text(left: Identifier) -> str:
    if left.subject is Subject.ATTRIBUTE:
        return left.key
    text = f"{left.subject}s.`{left.key}`"
    if left.part is not Part.LAST:
        return f"{text}.{left.part}"
    if left.path:
        steps = (f'."{step}"' if isinstance(step, str) else f"[{step}]" for step in left.path)
        return f"{text}->'${''.join(steps)}'"
    return text


def _value_text(value: Value) -> str | None:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else f"{'-' if value < 0 else ''}1e999"
    return repr(value)
