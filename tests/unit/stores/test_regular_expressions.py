from __future__ import annotations

import threading

import pytest

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.stores.metadata.regular_expressions import (
    PATTERN_CHARS_MAX,
    STEPS_MAX,
    RegularExpression,
    escaped,
)


@pytest.mark.parametrize(
    ("pattern", "text", "is_there"),
    [
        ("", "", True),
        ("b", "abc", True),
        ("^b", "abc", False),
        ("c$", "abc", True),
        ("c$", "abc\n", False),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        ("(?i)GRÖSSE", "größse grösse", True),
        ("gr.ße", "größe", True),
        (r"\w", "ö", False),
        (r"\p{Greek}", "λ", True),
        ("a\0b", "a\0b", True),
        (escaped("a.b|[c] ö"), "x a.b|[c] ö y", True),
        (escaped("a.b"), "axb", False),
    ],
)
def test_matches__anywhere_in_a_text__as_re2_reads_it(
    pattern: str, text: str, is_there: bool
) -> None:
    assert RegularExpression(pattern).matches(text) is is_there


@pytest.mark.parametrize("pattern", ["(", "[", "*", r"(a)\1", "(?=a)", "(?<!a)b", r"\q", "a{2,1}"])
def test_expression__that_is_none__is_refused_with_what_is_wrong(pattern: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        RegularExpression(pattern)
    assert f"`{pattern}` is not a regular expression (RE2): " in caught.value.message
    assert "b'" not in caught.value.message


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("x" * (PATTERN_CHARS_MAX + 1), LimitExceeded),
        ("[ab]*a[ab]{600}c", LimitExceeded),
        ("(?:........){1000}", InvalidValue),  # RE2 itself has not the memory
    ],
)
def test_expression__too_large__is_refused(pattern: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"too large|at most"):
        RegularExpression(pattern)


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(x|xx)+$y", "(.*)*y", "(x*)*(x*)*(x*)*y"])
def test_matches__what_takes_other_engines_years__is_answered(pattern: str) -> None:
    found = RegularExpression(pattern)
    assert found.steps < STEPS_MAX
    assert not found.matches("x" * 1_000_000)


def test_matches__while_it_looks__other_threads_go_on() -> None:
    hard = RegularExpression("[ab]*a[ab]{450}c")
    text = "abbab" * 40_000
    answers: list[bool] = []
    looking = threading.Thread(target=lambda: answers.append(hard.matches(text)))
    before = threading.active_count()
    looking.start()
    turns = 0
    while looking.is_alive():
        turns += 1
    looking.join()
    assert answers == [False]
    # Had it kept the interpreter's lock, this thread would have had a turn or two.
    assert turns > 1_000
    assert threading.active_count() == before
