"""Filters that the MLflow routes evaluate themselves."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.search import Comparison, Identifier, Operator, Subject
from seafloor.domain.search_grammar import parse_filter
from seafloor.http.mlflow.matching import Value, like, matches

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


@given(ALPHABET, ALPHABET)
def test_like__of_any_texts__is_what_a_regular_expression_says(value: str, pattern: str) -> None:
    parts = {"%": ".*", "_": "."}
    regex = "".join(parts.get(char, re.escape(char)) for char in pattern)
    assert like(value, pattern, fold=False) == bool(re.fullmatch(regex, value, re.DOTALL))


def test_like__of_a_pattern_made_to_take_forever__answers_at_once() -> None:
    begun = time.process_time()
    assert not like("a" * 5000, "%a" * 200 + "%b", fold=False)
    assert not like("a" * 2000, "%_a" * 100 + "%b", fold=True)
    assert time.process_time() - begun < 2
