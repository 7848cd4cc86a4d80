"""Filters that the MLflow routes evaluate themselves."""

from __future__ import annotations

import base64
import math
import re
import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import Comparison, Identifier, Operator, Order, Subject
from seafloor.domain.search_grammar import parse_filter
from seafloor.http.mlflow.matching import Value, like, matches, page_of

VALUES: dict[str, Value] = {"name": "digits", "user": None, "created_ns": 5}


def look_up(left: Identifier) -> Value:
    return VALUES.get(left.key) if left.subject is Subject.ATTRIBUTE else None


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("name = 'digits'", True),
        ("name != 'digits'", False),
        ("name LIKE 'dig%'", True),
        ("name LIKE 'DIG%'", False),
        ("name ILIKE 'DIG%'", True),
        ("name IN ('a', 'digits')", True),
        ("name NOT IN ('a')", True),
        ("user = 'x'", False),
        ("user != 'x'", False),
        ("user IS NULL", True),
        ("user IS NOT NULL", False),
        ("user NOT IN ('x')", False),
        ("created_ns > 4", True),
        ("created_ns >= 5.5", False),
        ("created_ns <= 5", True),
        ("created_ns < 5", False),
        ("created_ns = 5", True),
        ("name = 'x' OR created_ns = 5", True),
        ("name = 'x' AND created_ns = 5", False),
        ("tags.t IS NULL", True),
        ("tags.t != 'x'", False),
    ],
)
def test_matches__of_a_filter__holds_or_not(text: str, *, holds: bool) -> None:
    assert matches(parse_filter(text), look_up) is holds


def test_matches__of_a_comparison_with_a_huge_number__answers() -> None:
    left = Identifier(Subject.ATTRIBUTE, "created_ns")
    assert matches(Comparison(left, Operator.LT, float("inf")), look_up) is True


ALPHABET = st.text("ab%_İß\n", max_size=8)


@given(value=ALPHABET, pattern=ALPHABET, fold=st.booleans())
def test_like__of_any_texts__is_what_a_regular_expression_says(
    value: str, pattern: str, *, fold: bool
) -> None:
    folded = pattern.casefold() if fold else pattern
    parts = {"%": ".*", "_": "."}
    regex = "".join(parts.get(char, re.escape(char)) for char in folded)
    holds = bool(re.fullmatch(regex, value.casefold() if fold else value, re.DOTALL))
    assert like(value, pattern, fold=fold) == holds


def _calls(value: str, pattern: str) -> int:
    """How many functions are called to compare a text that is not like a pattern."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        found = like(value, pattern, fold=True)
    finally:
        sys.setprofile(None)
    assert not found
    return calls


@pytest.mark.parametrize(
    "pattern",
    [
        "%" + "_" * 1000 + "b%",
        "%" + "_a" * 500 + "b%",
        "%_" + "a" * 1000 + "b%",
        "%_a" * 300 + "%b",
        "%a" * 500 + "%b",
        "_a" * 500 + "%b",
        "%" + "_a" * 500 + "b",
    ],
)
def test_like__of_a_pattern_made_to_take_forever__takes_no_more_steps_than_characters(
    pattern: str,
) -> None:
    value = "a" * 2000
    assert _calls(value, pattern) <= 2 * (len(value) + len(pattern))


def test_like__of_the_longest_texts_that_are_kept__answers_at_once() -> None:
    begun = time.process_time()
    for pattern in ("%" + "_" * 3999 + "b%", "%" + "_a" * 2000 + "b%", "%_a" * 2000 + "%b"):
        assert not like("a" * 8000, pattern, fold=False)
    assert time.process_time() - begun < 1


A, N = Identifier(Subject.TAG, "a"), Identifier(Subject.TAG, "n")
ITEMS = [(2.0, 1), (math.nan, 2), (None, 3), (1.0, 4), (2.0, 5)]


def _at(item: tuple[float | None, int], by: Identifier) -> float | int | None:
    return item[0] if by == A else item[1]


def _numbers(*orders: Order, limit: int, token: str = "", asked: object = None) -> object:
    page, following = page_of(
        ITEMS, [*orders, Order(N)], _at, limit=limit, token=token, asked=asked
    )
    return [item[1] for item in page], following


@pytest.mark.parametrize(
    ("descending", "numbers"), [(False, [4, 1, 5, 2, 3]), (True, [1, 5, 4, 2, 3])]
)
def test_page_of__in_both_directions__has_nan_then_missing_last(
    descending: bool, numbers: list[int]
) -> None:
    order = Order(A, descending)
    assert _numbers(order, limit=9) == (numbers, None)
    seen: list[int] = []
    token = ""
    while True:
        page, following = page_of(ITEMS, [order, Order(N)], _at, limit=2, token=token, asked=1)
        seen += [item[1] for item in page]
        if following is None:
            break
        token = following
    assert seen == numbers


@pytest.mark.parametrize(
    "keys",
    [[], [[0, 1]] * 3, [[0, "x"], [0, 1]], [[0, 1.5], [0, 1]], [[2, None], [0, 1]]],
    ids=["none", "one more", "another type", "another value", "another rank"],
)
def test_page_of__a_token_whose_place_was_changed__is_refused(keys: list[object]) -> None:
    orders = [Order(A), Order(N)]
    _, token = page_of(ITEMS, orders, _at, limit=2, token="", asked=1)
    assert token is not None
    digest, _ = msgspec.msgpack.decode(base64.urlsafe_b64decode(token))
    changed = base64.urlsafe_b64encode(msgspec.msgpack.encode([digest, keys])).decode()
    with pytest.raises(InvalidValue, match="of another filter or order"):
        page_of(ITEMS, orders, _at, limit=2, token=changed, asked=1)


def test_page_of__a_token_of_another_search__is_refused() -> None:
    _, token = page_of(ITEMS, [Order(N)], _at, limit=2, token="", asked=1)
    assert token is not None
    for odd in (token, token[:-4], "x", "ä", "-3", "!" * 8):
        with pytest.raises(InvalidValue):
            _numbers(limit=2, token=odd, asked=2)
