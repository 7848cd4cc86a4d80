"""Workspaces: a request reaches what is in its own, beside a real ``mlflow server``'s."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from http_world import Answer, ask
from live_server import LiveServer, wait_for
from mlflow_world import client_python, mlflow_server, plugin_python
from seafloor.app.tokens import Tokens
from seafloor.http.mlflow.router import mlflow_router
from untouched import everything_below

pytestmark = pytest.mark.timeout(900)

V2, V3 = "/api/2.0/mlflow", "/api/3.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
TRACE = f"tr-{'5' * 32}"
SPANS = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": "5" * 32,
                            "spanId": "1" * 16,
                            "name": "call",
                            "startTimeUnixNano": "1700000000000000000",
                            "endTimeUnixNano": "1700000001000000000",
                        }
                    ]
                }
            ]
        }
    ]
}


class Case(NamedTuple):
    """One request, its ids in braces; ``empty``: it is not refused, it finds nothing.

    ``differs`` says why MLflow's answer is another.
    """

    method: str
    path: str
    body: Any = None
    empty: bool = False
    differs: str = ""


OPEN = "MLflow does not look at the workspace here."
WORDS = "Other words, the same code."
PAGES = "MLflow has it for its pages alone, under /ajax-api."
ORDER = "The same run, its fields in another order and with the fields that MLflow has beside."
EMPTY = "An empty list is written out."
NONE = "MLflow says of what is not there that it is done."
CASES = [
    Case("GET", f"{V2}/experiments/get?experiment_id={{exp}}"),
    Case("GET", f"{V2}/experiments/get-by-name?experiment_name=secret"),
    Case("POST", f"{V2}/experiments/update", {"experiment_id": "{exp}", "new_name": "x"}),
    Case("POST", f"{V2}/experiments/delete", {"experiment_id": "{exp}"}),
    Case("POST", f"{V2}/experiments/restore", {"experiment_id": "{exp}"}),
    Case(
        "POST",
        f"{V2}/experiments/set-experiment-tag",
        {"experiment_id": "{exp}", "key": "k", "value": "v"},
    ),
    Case(
        "POST", f"{V2}/experiments/delete-experiment-tag", {"experiment_id": "{exp}", "key": "team"}
    ),
    Case("POST", f"{V2}/experiments/search", {"max_results": 9, "filter": "name = 'secret'"}, True),
    Case(
        "GET", f"{V2}/experiments/search?max_results=9&filter=name%20%3D%20%27secret%27", None, True
    ),
    Case("POST", f"{V2}/experiments/search-datasets", {"experiment_ids": ["{exp}"]}, True, PAGES),
    Case("POST", f"{V2}/runs/create", {"experiment_id": "{exp}", "start_time": 1}),
    Case("GET", f"{V2}/runs/get?run_id={{run}}"),
    Case("POST", f"{V2}/runs/update", {"run_id": "{run}", "status": "FAILED"}),
    Case("POST", f"{V2}/runs/delete", {"run_id": "{run}"}),
    Case("POST", f"{V2}/runs/restore", {"run_id": "{run}"}),
    Case("POST", f"{V2}/runs/log-parameter", {"run_id": "{run}", "key": "k", "value": "v"}),
    Case("POST", f"{V2}/runs/set-tag", {"run_id": "{run}", "key": "k", "value": "v"}),
    Case("POST", f"{V2}/runs/delete-tag", {"run_id": "{run}", "key": "kept"}),
    Case(
        "POST", f"{V2}/runs/log-metric", {"run_id": "{run}", "key": "k", "value": 1, "timestamp": 1}
    ),
    Case(
        "POST",
        f"{V2}/runs/log-batch",
        {"run_id": "{run}", "metrics": [{"key": "k", "value": 1, "timestamp": 1, "step": 0}]},
    ),
    Case(
        "POST",
        f"{V2}/runs/log-inputs",
        {"run_id": "{run}", "datasets": [{"dataset": {"name": "d", "digest": "d"}, "tags": []}]},
    ),
    Case(
        "POST",
        f"{V2}/runs/outputs",
        {"run_id": "{run}", "models": [{"model_id": "{model}", "step": 0}]},
    ),
    Case("POST", f"{V2}/runs/search", {"experiment_ids": ["{exp}"]}, True),
    Case("POST", f"{V2}/runs/search", {"experiment_ids": ["{exp}", "{own}"]}, True, ORDER),
    Case(
        "POST",
        f"{V2}/runs/log-model",
        {
            "run_id": "{run}",
            "model_json": json.dumps(
                {
                    "artifact_path": "m",
                    "flavors": {},
                    "utc_time_created": "2026-01-01",
                    "run_id": "0",
                }
            ),
        },
    ),
    Case("GET", f"{V2}/metrics/get-history?run_id={{run}}&metric_key=loss"),
    Case("GET", f"{V2}/metrics/get-history-bulk?run_id={{run}}&metric_key=loss", differs=PAGES),
    Case("GET", f"{V2}/metrics/get-history-bulk-interval?run_ids={{run}}&metric_key=loss"),
    Case("POST", f"{V2}/logged-models", {"experiment_id": "{exp}", "name": "x"}),
    Case(
        "POST",
        f"{V2}/logged-models",
        {"experiment_id": "{own}", "name": "x", "source_run_id": "{run}"},
        differs=OPEN,
    ),
    Case("GET", f"{V2}/logged-models/{{model}}"),
    Case(
        "PATCH",
        f"{V2}/logged-models/{{model}}",
        {"model_id": "{model}", "status": "LOGGED_MODEL_UPLOAD_FAILED"},
    ),
    Case("DELETE", f"{V2}/logged-models/{{model}}"),
    Case(
        "POST",
        f"{V2}/logged-models/{{model}}/params",
        {"model_id": "{model}", "params": [{"key": "k", "value": "v"}]},
    ),
    Case(
        "PATCH",
        f"{V2}/logged-models/{{model}}/tags",
        {"model_id": "{model}", "tags": [{"key": "k", "value": "v"}]},
    ),
    Case("DELETE", f"{V2}/logged-models/{{model}}/tags/kept"),
    Case("POST", f"{V2}/logged-models/search", {"experiment_ids": ["{exp}"]}, True),
    Case("GET", f"{V2}/logged-models/{{model}}/artifacts/directories"),
    Case("GET", f"{V2}/artifacts/list?run_id={{run}}"),
    Case("GET", f"{FILES}?path={{exp}}/{{run}}/artifacts", differs=OPEN),
    Case("GET", f"{FILES}/{{exp}}/{{run}}/artifacts/a.txt", differs=OPEN),
    Case("PUT", f"{FILES}/{{exp}}/{{run}}/artifacts/b.txt", b"x", differs=OPEN),
    Case("DELETE", f"{FILES}/{{exp}}/{{run}}/artifacts/a.txt", differs=OPEN),
    Case("GET", f"{FILES}?path={{exp}}/models/{{model}}/artifacts", differs=OPEN),
    Case("GET", f"{FILES}/{{exp}}/models/{{model}}/artifacts/a.txt", differs=OPEN),
    Case("PUT", f"{FILES}/{{exp}}/models/{{model}}/artifacts/b.txt", b"x", differs=OPEN),
    Case("GET", f"{FILES}?path={{exp}}/traces/{TRACE}/artifacts", differs=OPEN),
    Case("PUT", f"{FILES}/{{exp}}/traces/{TRACE}/artifacts/b.txt", b"x", differs=OPEN),
    Case("GET", f"{V3}/traces/{TRACE}"),
    Case("GET", f"{V3}/traces/get?trace_id={TRACE}"),
    Case("GET", f"{V3}/traces/batchGet?trace_ids={TRACE}", None, True, EMPTY),
    Case("POST", f"{V3}/traces/batchGetInfos", {"trace_ids": [TRACE]}, True),
    Case(
        "POST",
        f"{V3}/traces/search",
        {
            "locations": [
                {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "{exp}"}}
            ]
        },
        True,
    ),
    Case(
        "POST",
        f"{V3}/traces",
        {
            "trace": {
                "trace_info": {
                    "trace_id": f"tr-{'6' * 32}",
                    "trace_location": {
                        "type": "MLFLOW_EXPERIMENT",
                        "mlflow_experiment": {"experiment_id": "{exp}"},
                    },
                    "request_time": "2026-01-02T03:04:05Z",
                    "state": "OK",
                }
            }
        },
    ),
    *(
        case
        for base in (V2, V3)
        for case in (
            Case(
                "POST",
                f"{base}/traces/delete-traces",
                {"experiment_id": "{exp}", "request_ids": [TRACE]},
                differs=NONE,
            ),
            Case(
                "PATCH",
                f"{base}/traces/{TRACE}/tags",
                {"key": "k", "value": "v"},
            ),
            Case("DELETE", f"{base}/traces/{TRACE}/tags?key=kept", {"key": "kept"}),
        )
    ),
    Case(
        *("POST", f"{V2}/traces/link-prompts"),
        {"trace_id": TRACE, "prompt_versions": [{"name": "p", "version": "1"}]},
    ),
    Case("POST", f"{V2}/traces/link-to-run", {"run_id": "{run}", "trace_ids": []}, differs=OPEN),
    Case(
        "POST", f"{V2}/traces/link-to-run", {"run_id": "{mine}", "trace_ids": [TRACE]}, differs=OPEN
    ),
    Case(
        "POST",
        f"{V3}/traces/{TRACE}/assessments",
        {
            "assessment": {
                "assessment_name": "good",
                "source": {"source_type": "HUMAN", "source_id": "me"},
                "feedback": {"value": True},
                "create_time": "2026-01-02T03:04:05Z",
                "last_update_time": "2026-01-02T03:04:05Z",
            }
        },
    ),
    Case("GET", f"{V3}/traces/{TRACE}/assessments/{{assessment}}", differs=WORDS),
    Case(
        "PATCH",
        f"{V3}/traces/{TRACE}/assessments/{{assessment}}",
        {"assessment": {"assessment_name": "bad"}, "update_mask": "assessment_name"},
    ),
    Case("DELETE", f"{V3}/traces/{TRACE}/assessments/{{assessment}}"),
]
NO_IDS = {
    f"{V2}/experiments/create",
    f"{V2}/registered-models/get",
    f"{V2}/registered-models/get-latest-versions",
    f"{V2}/registered-models/alias",
    f"{V2}/model-versions/get",
    f"{V2}/model-versions/get-download-uri",
    f"{V2}/registered-models/search",
    f"{V2}/registered-models/create",
    f"{V2}/model-versions/search",
    f"{V2}/model-versions/create",
    f"{V3}/server-info",
    f"{V3}/workspaces",
    f"{V3}/workspaces/{{name:str}}",
}
"""Routes that name nothing that could be another workspace's."""


class Side:
    """A server with an experiment, run, model and trace in one workspace, and another beside."""

    def __init__(self, url: str, data: Path | None = None) -> None:
        self.url = url
        self.data = data
        for name in ("theirs", "mine"):
            made = self.ask("POST", f"{V3}/workspaces", {"name": name}, workspace=None)
            assert made.status == 201, made
        self.ids = {"exp": self._experiment("theirs", "secret")}
        self.ids["own"] = self._experiment("mine", "open")
        self.ids["run"] = self._run("theirs", self.ids["exp"])
        self.ids["mine"] = self._run("mine", self.ids["own"])
        self._fill()

    def _experiment(self, workspace: str, name: str) -> str:
        body = {"name": name, "tags": [{"key": "team", "value": "t"}]}
        made = self.ask("POST", f"{V2}/experiments/create", body, workspace=workspace)
        return made.json["experiment_id"]

    def _run(self, workspace: str, experiment_id: str) -> str:
        body = {"experiment_id": experiment_id, "start_time": 5, "run_name": "r"}
        body["tags"] = [{"key": "kept", "value": "v"}]
        made = self.ask("POST", f"{V2}/runs/create", body, workspace=workspace)
        return made.json["run"]["info"]["run_id"]

    def _fill(self) -> None:
        run_id, experiment_id = self.ids["run"], self.ids["exp"]
        point = {"run_id": run_id, "key": "loss", "value": 0.5, "timestamp": 5, "step": 1}
        self.good("POST", f"{V2}/runs/log-metric", point)
        dataset = {"dataset": {"name": "d", "digest": "0", "source_type": "s", "source": "s"}}
        body: Any = {"run_id": run_id, "datasets": [{**dataset, "tags": []}]}
        self.good("POST", f"{V2}/runs/log-inputs", body)
        body = {"experiment_id": experiment_id, "name": "m", "source_run_id": run_id}
        body["tags"] = [{"key": "kept", "value": "v"}]
        model = self.good("POST", f"{V2}/logged-models", body).json["model"]["info"]
        self.ids["model"] = model["model_id"]
        self.good("PUT", f"{FILES}/{experiment_id}/{run_id}/artifacts/a.txt", b"secret")
        place = f"{FILES}/{experiment_id}/models/{model['model_id']}/artifacts/a.txt"
        self.good("PUT", place, b"secret")
        headers = {"X-MLFLOW-EXPERIMENT-ID": experiment_id, "Content-Type": "application/json"}
        self.good("POST", "/v1/traces", SPANS, headers)
        self.good("PATCH", f"{V3}/traces/{TRACE}/tags", {"key": "kept", "value": "v"})
        (made,) = [one for one in CASES if one.method == "POST" and "assessments" in one.path]
        found = self.good("POST", made.path, made.body).json["assessment"]
        self.ids["assessment"] = found["assessment_id"]

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        workspace: str | None,
    ) -> Answer:
        sent = dict(headers or {})
        if workspace is not None:
            sent["X-MLFLOW-WORKSPACE"] = workspace
        return ask(self.url, method, path, body=body, headers=sent)

    def good(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        answer = self.ask(method, path, body, headers, workspace="theirs")
        assert answer.status in (200, 201, 204), (method, path, answer)
        return answer

    def case(self, case: Case, *, workspace: str | None) -> Answer:
        body = case.body
        if isinstance(body, dict):
            body = json.loads(self._with_ids(json.dumps(body)))
        return self.ask(case.method, self._with_ids(case.path), body, workspace=workspace)

    def _with_ids(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: self.ids.get(found[1], found[0]), text)

    def without_ids(self, text: str) -> str:
        """A text that both sides can say."""
        for name, value in sorted(self.ids.items(), key=lambda one: -len(one[1])):
            text = re.sub(rf"\b{re.escape(value)}\b", f"{{{name}}}", text)
        return text

    def seen(self) -> list[Any]:
        """All of the workspace that can be seen."""
        asked = [case for case in CASES if case.method == "GET" or case.empty]
        return [self.case(case, workspace="theirs").body for case in asked]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    env = {"SEAFLOOR_SERVER__WORKSPACES": "true"}
    server = LiveServer(tmp_path_factory.mktemp("ours") / "data", env=env).start()
    yield Side(server.url, server.data)
    server.stop()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    with mlflow_server(tmp_path_factory.mktemp("real"), "--enable-workspaces") as url:
        yield Side(url)


def test_routes__all_of_them__are_among_the_cases() -> None:
    asked = {
        (case.method, re.sub(r"/traces/tr-5+", "/traces/{trace}", case.path.split("?")[0]))
        for case in CASES
    }
    shown = {(method, re.sub(r"\{\w+\}", "*", path)) for method, path in asked}
    for route in mlflow_router().routes:
        if route.path in NO_IDS:
            continue
        path = re.sub(r"\{\w+:str\}", "*", route.path).replace("tags/*", "tags/kept")
        for method in route.methods - {"OPTIONS", "HEAD"}:
            if path.endswith("{artifact_path:path}"):
                assert any(m == method and p.startswith(FILES + "/") for m, p in shown)
            else:
                assert (method, path) in shown, (method, path)


@pytest.mark.parametrize("workspace", ["mine", "default", None])
def test_workspace__of_others__is_as_if_it_were_not_there(
    ours: Side, workspace: str | None
) -> None:
    before = ours.seen()
    for case in CASES:
        if workspace != "mine" and ("{own}" in str(case) or "{mine}" in str(case)):
            continue
        answer = ours.case(case, workspace=workspace)
        if case.empty:
            assert answer.status == 200, (case, answer)
            found = {key: value for key, value in answer.json.items() if value}
            assert "run" not in ours.without_ids(json.dumps(found)) or found.keys() == {"runs"}
            for secret in ("exp", "run", "model"):
                assert f"{{{secret}}}" not in ours.without_ids(answer.body.decode()), (case, answer)
        else:
            assert answer.status == 404, (case, answer)
            assert answer.json["error_code"] == "RESOURCE_DOES_NOT_EXIST", case
    assert ours.seen() == before


def test_workspace__own__has_it_all(ours: Side) -> None:
    for case in CASES:
        if case.method == "GET" and "traces" not in case.path:
            assert ours.case(case, workspace="theirs").status == 200, case


def test_workspace__beside_mlflows__answers_alike(ours: Side, real: Side) -> None:
    odd: list[Any] = []
    for case in CASES:
        mine, theirs = (side.case(case, workspace="mine") for side in (ours, real))
        alike = mine.status == theirs.status and _said(ours, mine) == _said(real, theirs)
        if alike is bool(case.differs):
            odd.append((case, mine.status, mine.body, theirs.status, theirs.body))
    assert odd == [], "\n".join(map(repr, odd))


def test_workspace__of_a_task_that_names_none__is_its_runs(ours: Side) -> None:
    assert ours.data is not None
    spec = {"name": "in theirs", "command": ["sleep", "600"], "project": "theirs"}
    launched = ask(ours.url, "POST", "/api/v1/runs", body={"spec": spec}).json
    run_id, experiment_id = launched["id"], str(launched["experiment"]["id"])
    key = (ours.data / "token.key").read_bytes()
    token = Tokens(key, cast(Any, None), cast(Any, None)).issue(run_id, 1)

    def asked(method: str, path: str, body: Any, **more: str) -> int:
        headers = {"Authorization": f"Bearer {token}", **more}
        return ask(ours.url, method, V2 + path, body=body, headers=headers).status

    point = {"run_id": run_id, "key": "k", "value": 1, "timestamp": 1}
    mine = {"experiment_id": ours.ids["own"], "start_time": 1}
    try:
        assert asked("POST", "/runs/log-metric", point) == 200
        assert asked("GET", f"/runs/get?run_id={run_id}", None) == 200
        assert asked("POST", "/runs/create", mine | {"experiment_id": experiment_id}) == 200
        assert asked("POST", "/runs/create", mine) == 404
        elsewhere = {"X-MLFLOW-WORKSPACE": "mine"}
        assert asked("POST", "/runs/log-metric", point, **elsewhere) == 404
    finally:
        path = f"/api/v1/runs/{run_id}"
        ask(ours.url, "POST", f"{path}/stop")
        wait_for(lambda: ask(ours.url, "GET", path).json["ended_ns"], what="the end of the task")


NAMES = ["nowhere", "Upper", "a", "x" * 64, "api", "-a", "a_b", "größe"]


@pytest.mark.parametrize("name", NAMES)
def test_workspace__that_is_none__is_refused_in_mlflows_words(
    ours: Side, real: Side, name: str
) -> None:
    headers = {"X-MLFLOW-WORKSPACE": name.encode("ascii", "ignore").decode()}
    for method, path, body in (
        ("GET", f"{V2}/experiments/get?experiment_id=0", None),
        ("POST", f"{V2}/experiments/create", {"name": "x"}),
    ):
        mine, theirs = (
            side.ask(method, path, body, headers, workspace=None) for side in (ours, real)
        )
        assert (mine.status, _error(mine)) == (theirs.status, _error(theirs))
        assert mine.status in (400, 404)


WORKSPACES: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("GET", "/theirs", None),
    ("GET", "/default", None),
    ("GET", "/nowhere", None),
    ("GET", "/Upper", None),
    ("POST", "", {}),
    ("POST", "", {"name": "default"}),
    ("POST", "", {"name": "A"}),
    ("POST", "", {"name": "Upper"}),
    ("POST", "", {"name": "workspaces"}),
    ("POST", "", {"name": "theirs", "description": 5}),
    ("PATCH", "/nowhere", {"description": "x"}),
    ("PATCH", "/nowhere", {}),
    ("PATCH", "/Upper", {"description": "x"}),
    ("PATCH", "/theirs", {}),
    ("PATCH", "/theirs", {"description": 5}),
    ("PATCH", "/theirs", {"description": ["x"]}),
    ("PATCH", "/theirs", {"name": "other"}),
    ("PATCH", "/theirs", {"default_artifact_root": 5}),
    ("PATCH", "/theirs", {"trace_archival_config": {}}),
    ("PATCH", "/theirs", {"trace_archival_config": 5}),
    ("DELETE", "/default", None),
    ("DELETE", "/default?mode=CASCADE", None),
    ("DELETE", "/nowhere", None),
    ("DELETE", "/nowhere?mode=CASCADE", None),
    ("DELETE", "/nowhere?mode=SET_DEFAULT", None),
    ("DELETE", "/nowhere?mode=all", None),
    ("DELETE", "/nowhere?mode=", None),
    ("DELETE", "/Upper", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WORKSPACES)
def test_workspaces_route__as_mlflows__answers_alike(
    ours: Side, real: Side, method: str, path: str, body: Any
) -> None:
    mine, theirs = (
        side.ask(method, f"{V3}/workspaces{path}", body, workspace=None) for side in (ours, real)
    )
    assert mine.status == theirs.status, (mine, theirs)
    names = [_names(answer) for answer in (mine, theirs)]
    assert names[0] == names[1], (mine, theirs)


@pytest.fixture(params=["ours", "real"])
def side(request: pytest.FixtureRequest) -> Side:
    """Either server, so that what is expected of ours is what MLflow's does."""
    return request.getfixturevalue(request.param)


class Space:
    """A workspace of one test."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.name = f"team-{uuid.uuid4().hex[:8]}"
        self.made = side.ask("POST", f"{V3}/workspaces", {"name": self.name}, workspace=None)

    def ask(self, method: str, path: str = "", body: Any = None) -> Answer:
        """Ask about the workspace."""
        return self.side.ask(method, f"{V3}/workspaces/{self.name}{path}", body, workspace=None)

    def experiment(self, name: str, *, of: str = "") -> str:
        """Make an experiment in it, or in another."""
        made = self.side.ask(
            "POST", f"{V2}/experiments/create", {"name": name}, workspace=of or self.name
        )
        return made.json["experiment_id"]

    def found(self, experiment_id: str, *, workspace: str | None = None) -> Answer:
        """Look for an experiment."""
        path = f"{V2}/experiments/get?experiment_id={experiment_id}"
        return self.side.ask("GET", path, workspace=workspace)


def test_workspace__described__says_so(side: Side) -> None:
    space = Space(side)
    assert space.made.json == {"workspace": {"name": space.name}}
    for text in ("größer", "", "x" * 5_000):
        said = {"workspace": {"name": space.name, "description": text}}
        answer = space.ask("PATCH", body={"description": text})
        assert (answer.status, answer.json) == (200, said)
        assert space.ask("GET").json == said
    answer = space.ask("PATCH", body={"default_artifact_root": ""})
    assert (answer.status, answer.json) == (200, said)
    listed = side.ask("GET", f"{V3}/workspaces", workspace=None).json["workspaces"]
    assert said["workspace"] in listed


def test_workspace__default__can_be_described(side: Side) -> None:
    answer = side.ask("PATCH", f"{V3}/workspaces/default", {"description": "all"}, workspace=None)
    assert answer.status == 200
    assert answer.json["workspace"]["description"] == "all"


def test_workspace__made_with_a_description__has_it(side: Side) -> None:
    body = {"name": f"team-{uuid.uuid4().hex[:8]}", "description": "vision"}
    answer = side.ask("POST", f"{V3}/workspaces", body, workspace=None)
    assert (answer.status, answer.json) == (201, {"workspace": body})


@pytest.mark.parametrize("mode", ["", "?mode=RESTRICT", "?mode=CASCADE", "?mode=SET_DEFAULT"])
def test_workspace__empty__is_deleted_and_its_name_is_free(side: Side, mode: str) -> None:
    space = Space(side)
    answer = space.ask("DELETE", mode)
    assert (answer.status, answer.body) == (204, b"")
    assert space.ask("GET").status == 404
    assert space.ask("DELETE", mode).status == 404
    refused = space.found("0", workspace=space.name)
    assert refused.json["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    again = side.ask("POST", f"{V3}/workspaces", {"name": space.name}, workspace=None)
    assert again.json == space.made.json


def test_workspace__with_a_deleted_experiment__is_not_deleted(side: Side) -> None:
    space = Space(side)
    made = space.experiment("secret")
    side.ask("POST", f"{V2}/experiments/delete", {"experiment_id": made}, workspace=space.name)
    for mode in ("", "?mode=RESTRICT"):
        answer = space.ask("DELETE", mode)
        # Clients repeat a 500 for minutes.
        assert answer.status == (500 if side.data is None else 400)
        assert answer.json["error_code"] == "INVALID_STATE"
        assert answer.json["message"] == (
            f"Cannot delete workspace '{space.name}': table 'experiments' still contains 1 "
            "resource(s). Remove or reassign them before deleting the workspace."
        )
    assert space.found(made, workspace=space.name).status == 200


def test_workspace__deleted_into_the_default_one__its_runs_are_there(side: Side) -> None:
    space = Space(side)
    name = f"moved {space.name}"
    made = space.experiment(name)
    body = {"experiment_id": made, "start_time": 5}
    run_id = side.ask("POST", f"{V2}/runs/create", body, workspace=space.name).json["run"]["info"][
        "run_id"
    ]
    path = f"{V2}/runs/get?run_id={run_id}"
    assert side.ask("GET", path, workspace="default").status == 404
    assert space.ask("DELETE", "?mode=SET_DEFAULT").status == 204
    for workspace in ("default", None):
        assert space.found(made, workspace=workspace).json["experiment"]["name"] == name
        assert side.ask("GET", path, workspace=workspace).status == 200
        point = {"run_id": run_id, "key": "k", "value": 1, "timestamp": 1}
        answer = side.ask("POST", f"{V2}/runs/log-metric", point, workspace=workspace)
        assert answer.status == 200
    again = Space(side)
    again.name = space.name
    side.ask("POST", f"{V3}/workspaces", {"name": space.name}, workspace=None)
    assert again.found(made, workspace=space.name).status == 404
    assert side.ask("GET", path, workspace=space.name).status == 404


def test_workspace__with_names_of_the_default_one__is_not_deleted_into_it(side: Side) -> None:
    space = Space(side)
    name = f"both {space.name}"
    space.experiment(name, of="default")
    made = space.experiment(name)
    answer = space.ask("DELETE", "?mode=SET_DEFAULT")
    assert _error(answer) == {
        "error_code": "INVALID_STATE",
        "message": (
            f"Cannot reassign resources from workspace '{space.name}' to 'default': the following "
            "names already exist in the default workspace and would cause conflicts:\n"
            f"  - experiments: '{name}'\nRename or remove the conflicting resources before "
            "retrying."
        ),
    }
    assert space.found(made, workspace=space.name).status == 200


def test_workspace__deleted_with_all_in_it__nothing_is_left(side: Side) -> None:
    space = Space(side)
    ids = {"exp": space.experiment("secret")}
    filled = FilledSide(side, space.name, ids)
    assert filled.run_found() == 200
    assert space.ask("DELETE", "?mode=CASCADE").status == 204
    assert filled.run_found() == 404
    again = side.ask("POST", f"{V3}/workspaces", {"name": space.name}, workspace=None)
    assert again.status == 201
    assert filled.run_found() == 404
    assert space.found(ids["exp"], workspace=space.name).status == 404
    other = Space(side)  # whose experiment may have the id of the one that is gone
    assert FilledSide(side, other.name, {"exp": other.experiment("secret")}).run_found() == 200
    shown = side.ask("GET", f"{V3}/traces/{filled.trace_id}", workspace=space.name)
    assert shown.status == 404
    if side.data is not None:
        left = [path for path in everything_below(side.data) if filled.run_id in str(path)]
        assert left == []


class FilledSide:
    """A run with a file, a point and a model, and a trace, in a workspace of a side."""

    def __init__(self, side: Side, workspace: str, ids: dict[str, str]) -> None:
        self.side, self.workspace = side, workspace
        self.trace_id = f"tr-{uuid.uuid4().hex}"
        experiment_id = ids["exp"]
        body: Any = {"experiment_id": experiment_id, "start_time": 5}
        self.run_id = self._good("POST", f"{V2}/runs/create", body).json["run"]["info"]["run_id"]
        point = {"run_id": self.run_id, "key": "loss", "value": 0.5, "timestamp": 5, "step": 1}
        self._good("POST", f"{V2}/runs/log-metric", point)
        body = {"experiment_id": experiment_id, "name": "m", "source_run_id": self.run_id}
        self._good("POST", f"{V2}/logged-models", body)
        self._good("PUT", f"{FILES}/{experiment_id}/{self.run_id}/artifacts/a.txt", b"secret")
        spans = json.loads(json.dumps(SPANS).replace("5" * 32, self.trace_id[3:]))
        headers = {"X-MLFLOW-EXPERIMENT-ID": experiment_id, "Content-Type": "application/json"}
        self._good("POST", "/v1/traces", spans, headers)

    def _good(
        self, method: str, path: str, body: Any, headers: dict[str, str] | None = None
    ) -> Answer:
        answer = self.side.ask(method, path, body, headers, workspace=self.workspace)
        assert answer.status in (200, 204), (method, path, answer)
        return answer

    def run_found(self) -> int:
        """The status of an answer about the run."""
        path = f"{V2}/runs/get?run_id={self.run_id}"
        return self.side.ask("GET", path, workspace=self.workspace).status


def _names(answer: Answer) -> Any:
    """The names of workspaces, which are all that ours have; or why there are none."""
    if answer.status >= 400:
        return _error(answer)
    found = answer.json.get("workspaces") or [answer.json["workspace"]]
    return [one["name"] for one in found if not one["name"].startswith("team-")]  # of the clients


def _error(answer: Answer) -> dict[str, Any]:
    return {key: answer.json[key] for key in ("error_code", "message")}


def _said(side: Side, answer: Answer) -> Any:
    if answer.status >= 400 and answer.body.startswith(b"{"):
        return answer.json["error_code"], side.without_ids(answer.json["message"]).rstrip(".")
    return None if answer.status >= 400 else side.without_ids(answer.body.decode())


CLIENT = """
import json, sys, mlflow
from mlflow import MlflowClient
mlflow.set_experiment("by the client")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
    mlflow.log_param("lr", 1)
    mlflow.log_text("hello", "a.txt")
@mlflow.trace
def work(x):
    return x + 1
work(1)
mlflow.flush_trace_async_logging()
client = MlflowClient()
found = {
    "experiments": sorted(one.name for one in client.search_experiments()),
    "runs": len(mlflow.search_runs(search_all_experiments=True, output_format="list")),
    "files": [one.path for one in client.list_artifacts(run.info.run_id)],
    "traces": len(mlflow.search_traces(return_type="list")),
}
print(json.dumps(found))
"""


@pytest.mark.parametrize("by", ["http", "plugin"])
def test_client__unmodified_in_two_workspaces__sees_its_own(
    ours: Side, tmp_path: Path, by: str
) -> None:
    python, url = (
        (client_python(), ours.url) if by == "http" else (plugin_python(), f"seafloor+{ours.url}")
    )
    for name in (f"team-{uuid.uuid4().hex[:8]}" for _ in range(2)):
        made = ours.ask("POST", f"{V3}/workspaces", {"name": name}, workspace=None)
        assert made.status == 201
        done = subprocess.run(
            [str(python), "-W", "ignore", "-c", CLIENT],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "MLFLOW_TRACKING_URI": url,
                "MLFLOW_WORKSPACE": name,
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads(done.stdout.strip().splitlines()[-1]) == {
            "experiments": ["by the client"],
            "runs": 1,
            "files": ["a.txt"],
            "traces": 1,
        }
