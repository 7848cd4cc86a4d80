"""Errors: one tree, stable codes, each documented and each with a status."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from seafloor.domain import errors
from seafloor.domain.errors import (
    CallerError,
    InvalidValue,
    OutOfOrder,
    SeafloorError,
    error_classes,
    nearest,
)
from seafloor.http.errors import STATUSES
from seafloor.http.mlflow.errors import CODES

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"
CLASSES = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, SeafloorError)
]


def test_codes__of_all_classes__are_unique() -> None:
    leaves = [cls for cls in CLASSES if cls is not SeafloorError]
    assert len({cls.code for cls in leaves}) == len(leaves)
    assert error_classes() == {cls.code: cls for cls in leaves}


def test_document__compared_with_the_table__has_every_code_and_status() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (\d+) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {code: int(status) for code, status in rows.items()} == STATUSES
    assert set(STATUSES) == set(error_classes())


def test_statuses__of_caller_errors__are_4xx_and_of_retryable_ones_are_not() -> None:
    for code, cls in error_classes().items():
        if issubclass(cls, CallerError):
            assert 400 <= STATUSES[code] < 500, code
        if cls.retryable:
            assert STATUSES[code] in (503, 507), code


def test_mlflow_codes__of_all_errors__are_known() -> None:
    assert set(CODES) == set(error_classes())


@pytest.mark.parametrize("cls", CLASSES)
def test_pickle__of_an_error__brings_all_back(cls: type[SeafloorError]) -> None:
    error = cls("What to do.", field="code.ref")
    error.detail = "for the log"
    error.retry_after_s = 2.5
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is cls
    assert str(again) == again.message == "What to do."
    assert (again.field, again.detail, again.retry_after_s) == ("code.ref", "for the log", 2.5)


def test_pickle__of_out_of_order__keeps_the_offset() -> None:
    again = pickle.loads(pickle.dumps(OutOfOrder("Go on.", next_offset=7)))  # noqa: S301
    assert again.next_offset == 7


def test_nearest__of_a_near_name__asks_for_it() -> None:
    assert nearest("comand", ["command", "code"]) == ' Did you mean "command"?'


def test_nearest__of_a_far_name__lists_at_most_twelve() -> None:
    assert nearest("zzz", ["a", "b"]) == " Known: a, b."
    assert nearest("zzz", [f"n{i:02}" for i in range(20)]).endswith("n11, ….")
    assert nearest("zzz", []) == ""


def test_nearest__of_a_huge_name__answers_at_once() -> None:
    assert nearest("x" * 10_000_000, ["command"] * 1000).startswith(" Known:")


def test_message__of_an_error__is_its_text() -> None:
    assert str(InvalidValue("Say what to do.")) == "Say what to do."
