"""What may be logged, and what is the caller's mistake."""

from __future__ import annotations

import fractions
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.sdk.values import check_params, check_step, check_tags, make_points


class Tensor:
    """Like torch's: one number has ``__float__``, several raise RuntimeError."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def __float__(self) -> float:
        if len(self.values) != 1:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self.values[0]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1, 1.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (fractions.Fraction(1, 4), 0.25),
        (Tensor(3.0), 3.0),
        (math.inf, math.inf),
    ],
)
def test_make_points__anything_that_is_one_number__is_taken(value: object, kept: float) -> None:
    assert make_points({"loss": value}) == [("loss", kept)]  # type: ignore[dict-item]


def test_make_points__nan__is_kept() -> None:
    ((_, value),) = make_points({"loss": math.nan})
    assert math.isnan(value)


@pytest.mark.parametrize(
    "value", [None, "0.5", b"1", [1.0], 1j, object(), 10**400, np.array([1.0, 2.0]), Tensor(1, 2)]
)
def test_make_points__what_is_no_number__names_the_metric(value: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        make_points({"train/loss": value})  # type: ignore[dict-item]
    assert caught.value.field == "train/loss"
    assert "train/loss" in caught.value.message


@pytest.mark.parametrize("key", ["", "a\nb", "../a", "/a", "a//b", 7, None, "k" * 251])
def test_make_points__a_key_that_is_none__is_refused(key: object) -> None:
    with pytest.raises((InvalidValue, LimitExceeded)):
        make_points({key: 1.0})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("step", "kept"), [(0, 0), (-3, -3), (2.0, 2), (np.int32(5), 5), (True, 1)]
)
def test_check_step__whole_numbers__are_taken(step: object, kept: int) -> None:
    assert check_step(step) == kept


@pytest.mark.parametrize("step", [1.5, "1", math.nan, math.inf, 2**63, -(2**63) - 1, [1]])
def test_check_step__anything_else__is_refused(step: object) -> None:
    with pytest.raises(InvalidValue):
        check_step(step)


def test_check_params__values_of_any_type__become_texts() -> None:
    assert check_params({"a": None, "b": [1], "c": 0.1}) == {"a": "None", "b": "[1]", "c": "0.1"}


def test_check_tags__a_lone_surrogate__is_replaced() -> None:
    assert check_tags({"a": "\ud800x"}) == {"a": "?x"}


def test_check_params__too_long__says_what_to_do() -> None:
    with pytest.raises(LimitExceeded, match="artifact"):
        check_params({"text": "x" * 6001})


@pytest.mark.parametrize("given", [None, [("loss", 1.0)], 0.5, "loss"])
@pytest.mark.parametrize("check", [make_points, check_params, check_tags])
def test_values__given_otherwise_than_as_a_dict__are_refused_in_words(
    check: Callable[[Any], object], given: object
) -> None:
    with pytest.raises(InvalidValue, match=f"are a dict from keys to .*{type(given).__name__}"):
        check(given)
