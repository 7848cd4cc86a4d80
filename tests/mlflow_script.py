"""How scenarios run in the client's environment: one after the other, as they are asked for.

``main`` reads ``{"scenario", "arguments"}`` lines from standard input and answers each with an
``@answer`` line.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException

SCENARIOS: dict[str, Callable[..., Any]] = {}


def scenario(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function asked for by its name."""
    SCENARIOS[function.__name__] = function
    return function


def refusal(call: Callable[[], Any]) -> list[str | None]:
    """What an MlflowException says: its code and its message."""
    try:
        call()
    except MlflowException as error:
        return [error.error_code, str(error)]
    return [None, "nothing was raised"]


def main() -> None:
    """Run what is asked for until standard input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"result": SCENARIOS[asked["scenario"]](**asked["arguments"])}
        except BaseException:  # noqa: BLE001  # whatever it is, the test is told
            answer = {"error": traceback.format_exc()}
        sys.stdout.write("@answer " + json.dumps(answer, default=str) + "\n")
        sys.stdout.flush()
