from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

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


@pytest.fixture
def no_forced_switches() -> Iterator[None]:
    """The interpreter's lock passes on only when the thread that has it gives it away."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1_000.0)
    yield
    sys.setswitchinterval(interval_s)


@pytest.mark.usefixtures("no_forced_switches")
def test_matches__while_it_looks__other_threads_go_on() -> None:
    hard = RegularExpression("[ab]*a[ab]{450}c")
    text = "abbab" * 40_000
    turns = 0
    turns_beside: list[int] = []

    def look() -> None:
        # The machine may be too busy to give the other thread a turn beside the first few.
        while len(turns_beside) < 50 and not any(turns_beside):
            before = turns
            assert not hard.matches(text)
            turns_beside.append(turns - before)

    looking = threading.Thread(target=look)
    threads = threading.active_count()
    looking.start()
    while looking.is_alive():
        turns += 1
        time.sleep(0)  # gives the lock away
    looking.join()
    assert any(turns_beside)
    assert threading.active_count() == threads
