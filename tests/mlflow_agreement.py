"""When two servers' answers to one request say the same."""

from __future__ import annotations

import re
from typing import Any

from mlflow_cases import Case

_SET = re.compile(r"\{('[^'{}]*'(?:, '[^'{}]*')*)\}")
"""A set of names as Python prints it: in an order that each process draws anew."""


def in_order(message: str) -> str:
    """``message`` with each set of names that it shows in the order of the names."""
    return _SET.sub(lambda shown: "{" + ", ".join(sorted(shown[1].split(", "))) + "}", message)


def answers_agree(theirs: tuple[int, Any], ours: tuple[int, Any]) -> bool:
    """Whether a status and a body say what MLflow's say; an error may go on after its sentence."""
    if theirs[0] < 400 or ours[0] < 400:
        return theirs == ours
    told, said = (in_order(body.get("message", "")) for _, body in (theirs, ours))
    codes = theirs[1].get("error_code"), ours[1].get("error_code")
    return theirs[0] == ours[0] and codes[0] == codes[1] and said.startswith(told.rstrip("."))


def check_answers(case: Case, theirs: tuple[int, Any], ours: tuple[int, Any]) -> None:
    """Hold Seafloor's answer to a case against MLflow's: the same, or different on purpose."""
    shown = f"{case}\nmlflow:   {theirs}\nseafloor: {ours}"
    assert ours[0] < 500, shown
    if case.differs:
        assert not answers_agree(theirs, ours), f"no difference any more: {shown}"
    else:
        assert answers_agree(theirs, ours), shown
