"""A real ``mlflow server`` and Seafloor are asked the same, and their answers compared.

By bare requests, and by programs that use the mlflow client: of these what the client gives is
compared field by field, its refusals by class, code and how their messages begin.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from http_world import ask
from live_server import LiveServer
from mlflow_agreement import answers_agree, check_answers
from mlflow_cases import CASES, Case, T
from mlflow_programs import PROGRAMS
from mlflow_programs.outcomes import agree, apart
from mlflow_world import mlflow_server, run_programs

# The peer's environment may have to be fetched and built first.
pytestmark = pytest.mark.timeout(1800)

_OWN = {
    "creation_time",
    "last_update_time",
    "artifact_uri",
    "artifact_location",
    "next_page_token",
}
"""What each server says in its own way, or its clock."""
_LEFT_OUT = {"sqlstate", "error_class", "workspace", "effective_trace_archival_retention"}
"""What no client needs."""
_API = "/api/2.0/mlflow"


class Side:
    """A server, and what it calls what the cases speak of."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._ids: dict[str, str] = {}
        self._ids["exp"] = self._made("/experiments/create", {"name": "diff"})["experiment_id"]
        self._ids["dexp"] = self._made("/experiments/create", {"name": "deleted"})["experiment_id"]
        self._made("/experiments/delete", {"experiment_id": "{dexp}"})
        for name in ("run", "gone", "odd"):
            body = {"experiment_id": "{exp}", "run_name": name[0], "start_time": T, "user_id": "u"}
            self._ids[name] = self._made("/runs/create", body)["run"]["info"]["run_id"]
        self._made("/runs/delete", {"run_id": "{gone}"})

    def _made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.answer(Case("POST", path, body), named=False)
        assert status == 200, answer
        return answer

    def batch(self, body: dict[str, Any]) -> tuple[int, Any, Any]:
        """What a batch for a run of its own is answered, and the run's data after it."""
        new = {"experiment_id": "0", "run_name": "batch", "start_time": T, "user_id": "u"}
        run_id = self._made("/runs/create", new)["run"]["info"]["run_id"]
        status, answer = self.answer(Case("POST", "/runs/log-batch", {"run_id": run_id, **body}))
        _, found = self.answer(Case("GET", f"/runs/get?run_id={run_id}"))
        return status, answer, found["run"]["data"]

    def answer(self, case: Case, *, named: bool = True) -> tuple[int, Any]:
        """The status and the body, with names in the place of ids."""
        found = ask(
            self.url, case.method, _API + self._with_ids(case.path), body=self._sent(case.body)
        )
        try:
            body = json.loads(found.body)
        except ValueError:
            body = {"not JSON": found.body[:200].decode(errors="replace")}
        return found.status, self._with_names(body) if named else body

    def _sent(self, body: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if body is None else json.loads(self._with_ids(json.dumps(body)))

    def _with_ids(self, text: str) -> str:
        for name, found in self._ids.items():
            text = text.replace(f"{{{name}}}", found)
        return text

    def _with_names(self, body: Any) -> Any:
        text = json.dumps(body)
        for name in ("run", "gone", "odd"):
            text = text.replace(self._ids[name], f"{{{name}}}")
        return _bare(json.loads(text))


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
        if name in ("params", "tags") or (name == "metrics" and "tags" in found):
            # The order of what belongs to a run says nothing. Each run tells its user as a tag.
            kept = [one for one in bare if one["key"] != "mlflow.user"]
            bare = sorted(kept, key=lambda one: one["key"])
        if bare not in ([], {}):
            made[name] = bare
    return made


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """A real MLflow and a Seafloor, both new."""
    folder: Path = tmp_path_factory.mktemp("differential")
    ours = LiveServer(folder / "data").start()
    try:
        with mlflow_server(folder) as url:
            yield Side(url), Side(ours.url)
    finally:
        ours.stop()


@pytest.fixture(scope="module")
def answers(sides: tuple[Side, Side]) -> list[tuple[tuple[int, Any], tuple[int, Any]]]:
    """What MLflow and what Seafloor answered to each case, all in one go."""
    peer, own = sides
    return [(peer.answer(case), own.answer(case)) for case in CASES]


@pytest.mark.parametrize("at", range(len(CASES)), ids=lambda at: f"{at}-{CASES[at].path[:60]}")
def test_answer__to_the_same_request__is_mlflows_or_differs_on_purpose(
    answers: list[tuple[tuple[int, Any], tuple[int, Any]]], at: int
) -> None:
    check_answers(CASES[at], *answers[at])


def test_cases__there_are_enough_of_them() -> None:
    assert len(CASES) > 250


_KEYS = (
    st.text("aäж0_-: ", min_size=1, max_size=4)
    | st.sampled_from(["k" * 250, "a/b", "p", "q", ".a"])
    | st.text("a./*~", max_size=4)
    | st.just("k" * 251)
)
_VALUES = st.text(st.characters(exclude_categories=["C"]), max_size=8)
_LABELS = st.lists(st.fixed_dictionaries({"key": _KEYS, "value": _VALUES}), max_size=3)
_MEASURED = st.fixed_dictionaries(
    {
        "key": _KEYS,
        "value": st.floats(allow_nan=False, allow_infinity=False),
        "timestamp": st.integers(0, 2**41),
        "step": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2),
    }
)
_BATCHES = st.fixed_dictionaries(
    {"metrics": st.lists(_MEASURED, max_size=3), "params": _LABELS, "tags": _LABELS}
)


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=_BATCHES)
def test_batch__made_up__is_taken_or_refused_as_by_mlflow(
    sides: tuple[Side, Side], body: dict[str, Any]
) -> None:
    """Of several faults in a batch each server names one; what a refusal left is nothing."""
    peer, own = sides
    theirs, ours = peer.batch(body), own.batch(body)
    event(f"answered by {theirs[0]}")
    assert ours[0] == theirs[0], (theirs, ours)
    if ours[0] == 200:
        assert _by_key(ours[2]) == _by_key(theirs[2])
    else:
        assert ours[1]["error_code"] == theirs[1]["error_code"], (theirs, ours)
        assert ours[2] == {"tags": [{"key": "mlflow.runName", "value": "batch"}]}


def _by_key(data: dict[str, Any]) -> dict[str, Any]:
    return {part: sorted(found, key=lambda one: one["key"]) for part, found in data.items()}


Outcomes = dict[str, Any]


@pytest.fixture(scope="module")
def outcomes(
    sides: tuple[Side, Side],
    answers: list[tuple[tuple[int, Any], tuple[int, Any]]],  # which speak of servers that are new
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Outcomes, Outcomes]:
    """What the programs gave on MLflow and on Seafloor."""
    folder = tmp_path_factory.mktemp("programs")
    places = [folder / name for name in ("mlflow", "seafloor")]
    with ThreadPoolExecutor() as pool:
        theirs, ours = pool.map(run_programs, [side.url for side in sides], places)
    return theirs, ours


@pytest.mark.parametrize("name", PROGRAMS)
def test_program__on_both_servers__gives_the_same_or_differs_on_purpose(
    outcomes: tuple[Outcomes, Outcomes], name: str
) -> None:
    theirs, ours = (each[name] for each in outcomes)
    found = "\n".join(apart(theirs, ours))
    if PROGRAMS[name].differs:
        assert found, f"no difference any more: {theirs}"
    else:
        assert not found, found


def test_programs__there_are_enough_of_them() -> None:
    assert sum(not one.differs for one in PROGRAMS.values()) >= 150


def test_agree__of_what_differs__is_false() -> None:
    refusal = {"class": "A", "code": "B", "message": "No run."}
    assert agree({"a": [1, refusal]}, {"a": [1, {**refusal, "message": "No run. Or is it?"}]})
    for other in ({"class": "X"}, {"code": None}, {"message": "No."}):
        assert not agree(refusal, {**refusal, **other})
    for theirs, ours in (([1], [1, 2]), ({"a": None}, {}), (1, "1")):
        assert not agree(theirs, ours)


def test_answers__with_sets_in_another_order__agree() -> None:
    told = {"error_code": "B", "message": "Valid keys are '{'name', 'a', 'b c'}'"}
    said = {"error_code": "B", "message": "Valid keys are '{'b c', 'name', 'a'}'"}
    assert answers_agree((400, told), (400, said))
    for other in ("{'b c', 'name'}", "{'b c', 'name', 'x'}", "{'b', 'name', 'a'}"):
        differs = {**said, "message": f"Valid keys are '{other}'"}
        assert not answers_agree((400, told), (400, differs))
