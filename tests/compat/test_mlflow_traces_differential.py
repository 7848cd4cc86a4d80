"""A real ``mlflow server`` and Seafloor are asked the same about traces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from http_world import ask
from live_server import LiveServer
from mlflow_agreement import check_answers
from mlflow_trace_cases import CASES, OTLP, Case
from mlflow_world import mlflow_server

# The peer's environment may have to be fetched and built first.
pytestmark = pytest.mark.timeout(900)

_OWN = {"mlflow.artifactLocation", "next_page_token"}
"""What each server says in its own way."""
_LEFT_OUT = {"sqlstate", "error_class", "last_update_time"}
"""What no client needs, or its clock."""
_API = "/api/2.0/mlflow"


class Side:
    """A server, and what it calls what the cases speak of."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ids: dict[str, str] = {}
        for name in ("exp", "other", "odd", "dexp"):
            made = self._made("/experiments/create", {"name": name})
            self._ids[name] = made["experiment_id"]
        self._made("/experiments/delete", {"experiment_id": "{dexp}"})
        body = {"experiment_id": "{exp}", "run_name": "r", "start_time": 1, "user_id": "u"}
        self._ids["run"] = self._made("/runs/create", body)["run"]["info"]["run_id"]

    def _made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.answer(Case("POST", _API + path, body), named=False)
        assert status == 200, answer
        return answer

    def answer(self, case: Case, *, named: bool = True) -> tuple[int, Any]:
        """The status and the body, with names in the place of ids."""
        body = None if case.body is None else json.loads(self._with_ids(json.dumps(case.body)))
        headers = {"x-mlflow-experiment-id": self._ids["exp"]} if case.path == OTLP else {}
        path = self._with_ids(case.path)
        found = ask(self._url, case.method, path, body=body, headers=headers)
        if case.path == OTLP and found.status == 200:
            return 200, {}
        try:
            answer = json.loads(found.body)
        except ValueError:
            answer = {"not JSON": found.body[:200].decode(errors="replace")}
        return found.status, self._with_names(answer) if named else answer

    def _with_ids(self, text: str) -> str:
        for name, found in self._ids.items():
            text = text.replace(f"{{{name}}}", found)
        return text

    def _with_names(self, body: Any) -> Any:
        return _bare(json.loads(json.dumps(body).replace(self._ids["run"], "{run}")))


def _bare(found: Any) -> Any:
    """An answer without what differs between any two servers."""
    if isinstance(found, list):
        return [_bare(one) for one in found]
    if not isinstance(found, dict):
        return found
    made: dict[str, Any] = {}
    for name, value in found.items():
        if name in _LEFT_OUT or value is None:
            continue
        bare = "own" if name in _OWN else _bare(value)
        if name == "assessments":
            bare = sorted(bare, key=lambda one: one["assessment_id"])
        if bare not in ([], {}):
            made[name] = bare
    return made


@pytest.fixture(scope="module")
def answers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[tuple[tuple[int, Any], tuple[int, Any]]]]:
    """What MLflow and what Seafloor answered to each case, all in one go."""
    folder: Path = tmp_path_factory.mktemp("traces-differential")
    ours = LiveServer(folder / "data").start()
    try:
        with mlflow_server(folder) as url:
            peer, own = Side(url), Side(ours.url)
            yield [(peer.answer(case), own.answer(case)) for case in CASES]
    finally:
        ours.stop()


@pytest.mark.parametrize("at", range(len(CASES)), ids=lambda at: f"{at}-{CASES[at].path[:60]}")
def test_answer__to_the_same_request__is_mlflows_or_differs_on_purpose(
    answers: list[tuple[tuple[int, Any], tuple[int, Any]]], at: int
) -> None:
    check_answers(CASES[at], *answers[at])


def test_cases__there_are_enough_of_them() -> None:
    assert len(CASES) > 150
