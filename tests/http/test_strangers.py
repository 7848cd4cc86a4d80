"""Nobody enters unasked: every route refuses strangers, and tasks keep to their own.

The routes are taken from the application itself, so that a new one is tested from its first day;
what a task's token may do with it must be said here before this passes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar.routes import HTTPRoute

from http_world import TOKEN, Answer, ask
from live_server import LiveServer, wait_for
from seafloor.app.tokens import Tokens
from seafloor.domain.metrics import Point
from seafloor.http.server import create_framework
from seafloor.wire.metric_batches import encode_batch

WithToken = Callable[..., Answer]

OPEN = {("GET", "/health"), ("GET", "/version"), ("GET", "/"), ("GET", "/{page_path}")}
"""Open to everybody: they hold nothing of anybody."""

READS = "reads"
"""A task may: whatever a script looks up while it trains."""

OWN = "own"
"""A task may write to its own run, and to runs that it created."""

CREATES = "creates"
"""A task may create these."""

ADMINISTRATES = "administrates"
"""Not a task's."""


def _routes() -> list[tuple[str, str]]:
    identity = SimpleNamespace(version="0", url="http://localhost", token="")
    app = create_framework(cast(Any, SimpleNamespace(identity=identity, clock=None)))
    found = {
        (method, route.path_format)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    return sorted(found)


ROUTES = _routes()
GUARDED = [route for route in ROUTES if route not in OPEN]
BLOB_NAME = f"{hashlib.sha256(b'x').hexdigest()}.txt"
VALUES = {
    "attempt": "1",
    "experiment_id": "0",
    "sha256": "0" * 64,
    "task": "main",
    "reference": "x",
    "name": "x",
    "model_id": "m-" + "0" * 32,
    "key": "k",
    "artifact_path": "a",
    "file_path": "a",
    "assessment_id": "a-1",
    "blob": BLOB_NAME,
}


def filled(path: str, run: str) -> str:
    """A path with values in the places of its parameters."""
    if path.endswith("mlflow-artifacts/artifacts/{artifact_path}"):
        return path.replace("{artifact_path}", f"0/{run}/artifacts/a")
    values = {**VALUES, "run_id": run, "trace_id": f"tr-{run}"}
    return re.sub(r"\{(\w+)\}", lambda found: values[found.group(1)], path)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_route__asked_by_a_stranger__is_refused(
    guarded_server: LiveServer, method: str, path: str
) -> None:
    for header in (
        None,
        "Bearer wrong",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer sfw1.x.y.z",
        f"Bearer sfw1.{'0' * 32}.1.{'A' * 43}",
        f"Bearer sfw1.{'0' * 32}.²." + "é" * 10,
    ):
        headers = {} if header is None else {"Authorization": header}
        answer = ask(guarded_server.url, method, filled(path, "0" * 32), headers=headers)
        assert answer.status == 401, (header, answer)
        assert answer.headers["www-authenticate"] == "Bearer"
        if method != "HEAD":
            said = answer.json
            mlflow = "/2.0/" in path or "/3.0/" in path or path.startswith("/v1/")
            assert said["error_code" if mlflow else "code"].lower() == "unauthenticated"


@pytest.mark.parametrize("prefix", ["/", "//", "/./", "/x/../", "/%2f", "/assets/../", "///"])
def test_route__by_a_crooked_path__gives_nothing_to_a_stranger(
    guarded_server: LiveServer, prefix: str
) -> None:
    for path in (
        *("api/v1/runs", "api/v1/server", "api/openapi.json", "api//v1/runs", "API/v1/runs"),
        *("ajax-api/v1/runs", "ajax-api/2.0/mlflow/experiments/search", "ajax-api//v1/runs"),
    ):
        answer = ask(guarded_server.url, "GET", prefix + path)
        assert answer.status in (400, 401, 404) or b"<!doctype html>" in answer.body, answer


def test_open_routes__are_open(guarded_server: LiveServer) -> None:
    assert set(ROUTES) >= OPEN
    for path in ("/health", "/", "/runs/0123"):
        assert ask(guarded_server.url, "GET", path).status == 200


def test_right_token__enters(with_token: WithToken) -> None:
    assert with_token("GET", "/api/v1/server").json["authentication"] == "token"
    settings = with_token("GET", "/api/v1/server").body.decode()
    assert TOKEN not in settings


@dataclass(frozen=True)
class Asked:
    """A request that is good but for who asks."""

    may: str
    query: str = ""
    body: Any = None
    more: dict[str, str] = field(default_factory=dict)


def _mlflow(path: str) -> str:
    return f"/api/2.0/{path}"


RUNS, TASK = "/api/v1/runs/{run_id}", "/api/v1/runs/{run_id}/attempts/{attempt}"
KEYED = {"key": "k", "value": "v"}
MODEL_JSON = {
    "model_json": '{"artifact_path": "m", "flavors": {}, "utc_time_created": "", "run_id": ""}'
}


def told(run: str) -> dict[str, Any]:
    """A trace that was made in the course of a run, under an id like the run's."""
    return {
        "trace": {
            "trace_info": {
                "trace_id": f"tr-{run}",
                "trace_location": {"mlflow_experiment": {"experiment_id": "0"}},
                "request_time": "2026-01-01T00:00:00Z",
                "trace_metadata": {"mlflow.sourceRun": run},
            }
        }
    }


def spans_of(run: str) -> dict[str, Any]:
    """A span of the same trace, as OpenTelemetry sends it."""
    span = {"traceId": run, "spanId": "1" * 16, "name": "s"}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


TRACE, FEEDBACK = "/api/3.0/mlflow/traces/{trace_id}", {"value": True}
SAID = {"assessment_name": "n", "source": {"source_type": "HUMAN"}, "feedback": FEEDBACK}
ASSESSMENT = f"{TRACE}/assessments/{{assessment_id}}"
NOTE = {"records": [{"key": "k", "step": 0, "time_ms": 0, "content": {"kind": "text", "text": ""}}]}
RULES: dict[tuple[str, str], Asked] = {
    ("GET", "/api/openapi.json"): Asked(READS),
    ("GET", "/api/v1/server"): Asked(ADMINISTRATES),
    ("GET", "/metrics"): Asked(ADMINISTRATES),
    ("POST", "/api/v1/plans"): Asked(ADMINISTRATES, body={"spec": {"name": "x", "command": "y"}}),
    ("GET", "/api/v1/notebooks"): Asked(ADMINISTRATES),
    ("GET", "/api/v1/servings"): Asked(ADMINISTRATES),
    ("GET", "/api/v1/runs"): Asked(READS),
    ("POST", "/api/v1/runs"): Asked(CREATES, body={}),
    ("GET", RUNS): Asked(READS),
    ("PATCH", RUNS): Asked(OWN, body={"tags": {"a": "b"}}),
    ("DELETE", RUNS): Asked(ADMINISTRATES),
    ("POST", f"{RUNS}/restore"): Asked(ADMINISTRATES),
    ("POST", f"{RUNS}/stop"): Asked(OWN),
    ("POST", f"{RUNS}/attempts"): Asked(ADMINISTRATES),
    ("GET", f"{RUNS}/attempts"): Asked(READS),
    ("GET", f"{RUNS}/events"): Asked(READS),
    ("GET", "/api/v1/comparisons"): Asked(READS, query="?run={own}&run={other}"),
    ("GET", f"{RUNS}/metrics"): Asked(READS),
    ("POST", f"{RUNS}/metrics"): Asked(OWN, body={"points": [["x", 1, 1, 1]]}),
    ("POST", f"{RUNS}/metrics/batches"): Asked(
        OWN, body=encode_batch([Point("x", 1.0, 1, 1)], None)
    ),
    ("GET", f"{RUNS}/metrics/series"): Asked(READS, query="?key=x"),
    ("GET", f"{RUNS}/metrics/arrow"): Asked(READS, query="?key=x"),
    ("GET", f"{RUNS}/metrics/chart"): Asked(READS, query="?key=x"),
    ("POST", "/api/v1/metrics/charts"): Asked(READS, body={"runs": ["{own}"], "keys": ["x"]}),
    ("POST", "/api/v1/metrics/table"): Asked(READS, body={"runs": ["{own}"]}),
    ("GET", f"{RUNS}/media"): Asked(READS, query="?key=x"),
    ("GET", f"{RUNS}/media/keys"): Asked(READS),
    ("POST", f"{RUNS}/media"): Asked(OWN, body=NOTE),
    ("PUT", f"{RUNS}/media/blobs/{{blob}}"): Asked(OWN, body=b"x"),
    ("GET", f"{RUNS}/media/blobs/{{blob}}"): Asked(READS),
    ("GET", f"{RUNS}/logs"): Asked(READS),
    ("GET", f"{RUNS}/logs/follow"): Asked(READS, query="?attempt=1"),
    ("GET", f"{RUNS}/logs/raw"): Asked(READS),
    ("GET", f"{RUNS}/logs/setups"): Asked(READS),
    ("GET", f"{TASK}/tasks/{{task}}/start"): Asked(OWN),
    ("POST", f"{TASK}/tasks/{{task}}/start"): Asked(OWN, body={"time_ns": 1}),
    ("POST", f"{TASK}/tasks/{{task}}/logs"): Asked(OWN, query="?offset=0", body=b""),
    ("POST", f"{TASK}/tasks/{{task}}/end"): Asked(OWN, body={"time_ns": 1, "ending": {}}),
    ("POST", f"{TASK}/event-files"): Asked(OWN, query="?path=a&offset=0", body=b""),
    ("GET", f"{RUNS}/artifacts"): Asked(READS),
    ("GET", f"{RUNS}/usage"): Asked(READS),
    ("PUT", f"{RUNS}/artifacts/{{artifact_path}}"): Asked(OWN, body=b"x"),
    ("GET", f"{RUNS}/artifacts/{{artifact_path}}"): Asked(READS),
    ("HEAD", f"{RUNS}/artifacts/{{artifact_path}}"): Asked(READS),
    ("DELETE", f"{RUNS}/artifacts/{{artifact_path}}"): Asked(OWN),
    ("GET", f"{RUNS}/event-files"): Asked(READS),
    ("GET", f"{RUNS}/event-files/{{attempt}}/{{file_path}}"): Asked(READS),
    ("GET", f"{RUNS}/inputs"): Asked(READS),
    ("POST", f"{RUNS}/inputs"): Asked(OWN, body={}),
    ("GET", f"{RUNS}/logged-models"): Asked(READS),
    ("GET", "/api/v1/experiments/{experiment_id}/logged-models"): Asked(READS),
    ("GET", "/api/v1/logged-models/{model_id}"): Asked(READS),
    ("GET", "/api/v1/traces"): Asked(READS, query="?experiment_id=0"),
    ("GET", "/api/v1/traces/{trace_id}"): Asked(READS),
    ("PUT", "/api/v1/traces/{trace_id}"): Asked(
        ADMINISTRATES, body={"trace": {"id": "tr-1", "experiment_id": 0, "time_ms": 1}}
    ),
    ("GET", "/api/v1/traces/{trace_id}/spans"): Asked(READS),
    ("POST", "/api/v1/traces/{trace_id}/spans"): Asked(
        ADMINISTRATES, query="?experiment_id=0", body=b"{}"
    ),
    ("PUT", "/api/v1/logged-models/{model_id}"): Asked(
        ADMINISTRATES, body={"experiment_id": 0, "name": "m", "created_ns": 1}
    ),
    ("GET", "/api/v1/projects"): Asked(READS),
    ("POST", "/api/v1/projects"): Asked(ADMINISTRATES, body={"name": "x"}),
    ("GET", "/api/v1/experiments"): Asked(READS),
    ("POST", "/api/v1/experiments"): Asked(CREATES, body={"name": "by a task"}),
    ("GET", "/api/v1/experiments/{experiment_id}"): Asked(READS),
    ("PATCH", "/api/v1/experiments/{experiment_id}"): Asked(ADMINISTRATES, body={}),
    ("DELETE", "/api/v1/experiments/{experiment_id}"): Asked(ADMINISTRATES),
    ("POST", "/api/v1/experiments/{experiment_id}/restore"): Asked(ADMINISTRATES),
    ("GET", "/api/v1/environments"): Asked(READS),
    ("POST", "/api/v1/environments"): Asked(ADMINISTRATES, body={"spec": {"name": "x"}}),
    ("GET", "/api/v1/environments/{reference}"): Asked(READS),
    ("DELETE", "/api/v1/environments/{reference}"): Asked(ADMINISTRATES),
    ("GET", "/api/v1/environment-archives/{sha256}/{name}"): Asked(READS),
    ("GET", "/api/v1/volumes"): Asked(READS),
    ("POST", "/api/v1/volumes"): Asked(ADMINISTRATES, body={"name": "x"}),
    ("GET", "/api/v1/volumes/{name}"): Asked(READS),
    ("DELETE", "/api/v1/volumes/{name}"): Asked(ADMINISTRATES),
    ("GET", "/api/v1/volumes/{name}/usage"): Asked(READS),
    ("GET", "/api/v1/volumes/{name}/snapshots"): Asked(READS),
    ("POST", "/api/v1/volumes/{name}/snapshots"): Asked(ADMINISTRATES),
    ("POST", "/api/v1/volumes/{name}/restore"): Asked(ADMINISTRATES, body={"snapshot": 1}),
    ("POST", "/api/v1/volumes/{name}/resize"): Asked(ADMINISTRATES, body={"size": "1Gi"}),
    ("HEAD", "/api/v1/snapshots/{sha256}"): Asked(READS),
    ("GET", "/api/v1/snapshots/{sha256}"): Asked(READS),
    ("PUT", "/api/v1/snapshots/{sha256}"): Asked(ADMINISTRATES, body=b"x"),
    ("GET", "/api/3.0/mlflow/server-info"): Asked(READS),
    ("GET", "/api/3.0/mlflow/workspaces"): Asked(READS),
    ("POST", "/api/3.0/mlflow/workspaces"): Asked(ADMINISTRATES, body={"name": "team"}),
    ("GET", "/api/3.0/mlflow/workspaces/{name}"): Asked(READS),
    ("PATCH", "/api/3.0/mlflow/workspaces/{name}"): Asked(ADMINISTRATES, body={}),
    ("DELETE", "/api/3.0/mlflow/workspaces/{name}"): Asked(ADMINISTRATES),
    ("POST", "/v1/traces"): Asked(
        OWN, body=spans_of("{run}"), more={"x-mlflow-experiment-id": "0"}
    ),
    ("POST", "/api/3.0/mlflow/traces"): Asked(OWN, body=told("{run}")),
    ("GET", TRACE): Asked(READS),
    ("GET", "/api/3.0/mlflow/traces/get"): Asked(READS, query="?trace_id=tr-{own}"),
    ("GET", "/api/3.0/mlflow/traces/batchGet"): Asked(READS, query="?trace_ids=tr-{own}"),
    ("POST", "/api/3.0/mlflow/traces/batchGetInfos"): Asked(
        READS, body={"trace_ids": ["tr-{own}"]}
    ),
    ("POST", "/api/3.0/mlflow/traces/search"): Asked(
        READS, body={"locations": [{"mlflow_experiment": {"experiment_id": "0"}}]}
    ),
    **{
        (method, prefix + path): Asked(may, body=body)
        for prefix in ("/api/2.0/mlflow", "/api/3.0/mlflow")
        for method, path, may, body in (
            ("PATCH", "/traces/{trace_id}/tags", OWN, KEYED),
            ("DELETE", "/traces/{trace_id}/tags", OWN, {"key": "none"}),
            (
                *("POST", "/traces/delete-traces", ADMINISTRATES),
                {"experiment_id": "0", "request_ids": ["tr-{run}"]},
            ),
        )
    },
    ("POST", _mlflow("mlflow/traces/link-to-run")): Asked(
        OWN, body={"trace_ids": ["tr-{own}"], "run_id": "{run}"}
    ),
    ("POST", _mlflow("mlflow/traces/link-prompts")): Asked(
        OWN, body={"trace_id": "tr-{run}", "prompt_versions": [{"name": "p", "version": "1"}]}
    ),
    ("POST", f"{TRACE}/assessments"): Asked(OWN, body={"assessment": SAID}),
    ("GET", ASSESSMENT): Asked(READS),
    ("PATCH", ASSESSMENT): Asked(OWN, body={"assessment": SAID, "update_mask": "feedback"}),
    ("DELETE", ASSESSMENT): Asked(OWN),
    ("GET", _mlflow("mlflow/experiments/get-by-name")): Asked(
        READS, query="?experiment_name=Default"
    ),
    ("GET", _mlflow("mlflow/experiments/get")): Asked(READS, query="?experiment_id=0"),
    ("POST", _mlflow("mlflow/experiments/create")): Asked(CREATES, body={"name": "by mlflow"}),
    ("POST", _mlflow("mlflow/experiments/search")): Asked(READS, body={}),
    ("GET", _mlflow("mlflow/experiments/search")): Asked(READS),
    ("POST", _mlflow("mlflow/experiments/search-datasets")): Asked(
        READS, body={"experiment_ids": ["0"]}
    ),
    ("POST", _mlflow("mlflow/experiments/update")): Asked(
        ADMINISTRATES, body={"experiment_id": "0", "new_name": "x"}
    ),
    ("POST", _mlflow("mlflow/experiments/delete")): Asked(
        ADMINISTRATES, body={"experiment_id": "0"}
    ),
    ("POST", _mlflow("mlflow/experiments/restore")): Asked(
        ADMINISTRATES, body={"experiment_id": "0"}
    ),
    # A script names and tags the experiment that it logs to.
    ("POST", _mlflow("mlflow/experiments/set-experiment-tag")): Asked(
        CREATES, body={"experiment_id": "0", **KEYED}
    ),
    ("POST", _mlflow("mlflow/experiments/delete-experiment-tag")): Asked(
        CREATES, body={"experiment_id": "0", "key": "none"}
    ),
    ("POST", _mlflow("mlflow/runs/create")): Asked(CREATES, body={}),
    ("GET", _mlflow("mlflow/runs/get")): Asked(READS, query="?run_id={own}"),
    ("POST", _mlflow("mlflow/runs/search")): Asked(READS, body={}),
    ("POST", _mlflow("mlflow/runs/delete")): Asked(ADMINISTRATES, body={"run_id": "{own}"}),
    ("POST", _mlflow("mlflow/runs/restore")): Asked(ADMINISTRATES, body={"run_id": "{own}"}),
    ("GET", _mlflow("mlflow/metrics/get-history")): Asked(
        READS, query="?run_id={own}&metric_key=x"
    ),
    ("GET", _mlflow("mlflow/metrics/get-history-bulk")): Asked(
        READS, query="?run_id={own}&metric_key=x"
    ),
    ("GET", _mlflow("mlflow/metrics/get-history-bulk-interval")): Asked(
        READS, query="?run_ids={own}&metric_key=x"
    ),
    ("GET", _mlflow("mlflow/artifacts/list")): Asked(READS, query="?run_id={own}"),
    ("GET", _mlflow("mlflow-artifacts/artifacts")): Asked(READS, query="?path=0/{own}/artifacts"),
    ("GET", _mlflow("mlflow-artifacts/artifacts/{artifact_path}")): Asked(READS),
    ("PUT", _mlflow("mlflow-artifacts/artifacts/{artifact_path}")): Asked(OWN, body=b"x"),
    ("DELETE", _mlflow("mlflow-artifacts/artifacts/{artifact_path}")): Asked(OWN),
    ("POST", _mlflow("mlflow/logged-models")): Asked(
        OWN, body={"experiment_id": "0", "name": "m", "source_run_id": "{run}"}
    ),
    ("POST", _mlflow("mlflow/logged-models/search")): Asked(READS, body={"experiment_ids": ["0"]}),
    ("GET", _mlflow("mlflow/logged-models/{model_id}")): Asked(READS),
    ("PATCH", _mlflow("mlflow/logged-models/{model_id}")): Asked(
        OWN, body={"status": "LOGGED_MODEL_READY"}
    ),
    ("DELETE", _mlflow("mlflow/logged-models/{model_id}")): Asked(OWN),
    ("POST", _mlflow("mlflow/logged-models/{model_id}/params")): Asked(OWN, body={}),
    ("PATCH", _mlflow("mlflow/logged-models/{model_id}/tags")): Asked(OWN, body={}),
    ("DELETE", _mlflow("mlflow/logged-models/{model_id}/tags/{key}")): Asked(OWN),
    ("GET", _mlflow("mlflow/logged-models/{model_id}/artifacts/directories")): Asked(READS),
    ("GET", _mlflow("mlflow/registered-models/get")): Asked(READS),
    ("GET", _mlflow("mlflow/registered-models/alias")): Asked(READS),
    ("GET", _mlflow("mlflow/registered-models/get-latest-versions")): Asked(READS),
    ("POST", _mlflow("mlflow/registered-models/get-latest-versions")): Asked(READS, body={}),
    ("GET", _mlflow("mlflow/registered-models/search")): Asked(READS),
    ("GET", _mlflow("mlflow/model-versions/get")): Asked(READS),
    ("GET", _mlflow("mlflow/model-versions/get-download-uri")): Asked(READS),
    ("GET", _mlflow("mlflow/model-versions/search")): Asked(READS),
    ("POST", _mlflow("mlflow/registered-models/create")): Asked(CREATES, body={}),
    ("POST", _mlflow("mlflow/model-versions/create")): Asked(CREATES, body={}),
    **{
        ("POST", _mlflow(f"mlflow/runs/{verb}")): Asked(OWN, body={"run_id": "{run}", **body})
        for verb, body in {
            "update": {"run_name": "x"},
            "log-parameter": KEYED,
            "set-tag": KEYED,
            "delete-tag": {"key": "none"},
            "log-metric": {"key": "k", "value": 1, "timestamp": 1},
            "log-batch": {"tags": [KEYED]},
            "log-inputs": {},
            "log-model": MODEL_JSON,
            "outputs": {"models": []},
        }.items()
    },
}


def test_rules__compared_with_the_routes__cover_every_one() -> None:
    """A new route fails here until it is said what a task may do with it."""
    assert set(GUARDED) == set(RULES)


@dataclass(frozen=True)
class World:
    """Two runs with a model each, and the token of the first one's task."""

    own: str
    other: str
    own_model: str
    other_model: str
    token: str


@pytest.fixture(scope="module")
def world(guarded_server: LiveServer) -> Iterator[World]:
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def made(path: str, body: Any) -> Any:
        answer = ask(guarded_server.url, "POST", path, body=body, headers=headers)
        assert answer.status in (200, 201), answer
        return answer.json

    def is_over(run: str) -> bool:
        answer = ask(guarded_server.url, "GET", f"/api/v1/runs/{run}", headers=headers)
        return answer.json["ended_ns"] is not None

    runs, models = [], []
    for _ in range(2):
        spec = {"name": "strangers", "command": ["sleep", "600"]}
        run = made("/api/v1/runs", {"spec": spec})["id"]
        body = {"experiment_id": "0", "name": "m", "source_run_id": run}
        runs.append(run)
        models.append(made(_mlflow("mlflow/logged-models"), body)["model"]["info"]["model_id"])
        made("/api/3.0/mlflow/traces", told(run))
    key = (guarded_server.data / "token.key").read_bytes()
    token = Tokens(key, cast(Any, None), cast(Any, None)).issue(runs[0], 1)
    yield World(runs[0], runs[1], models[0], models[1], token)
    for run in runs:
        made(f"/api/v1/runs/{run}/stop", None)
        # Its agent would wait for a server that is gone.
        wait_for(lambda run=run: is_over(run), what="its end")


def asked_by_task(
    server: LiveServer, route: tuple[str, str], world: World, *, other: bool
) -> Answer:
    """Ask as the first run's task, about its own run or the other one."""
    method, path = route
    rule = RULES[route]
    run, model = (world.other, world.other_model) if other else (world.own, world.own_model)
    names = {"{own}": world.own, "{other}": world.other, "{run}": run}

    def named(text: str) -> str:
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    body = rule.body
    if isinstance(body, dict):
        body = json.loads(named(json.dumps(body)))
    address = filled(path.replace("{model_id}", model), run) + named(rule.query)
    headers = {"Authorization": f"Bearer {world.token}", **rule.more}
    return ask(server.url, method, address, body=body, headers=headers)


def _is_read_without_end(route: tuple[str, str]) -> bool:
    return route[1].endswith("/follow")  # its run sleeps on; the others of its kind are tried


@pytest.mark.parametrize("route", [r for r, rule in RULES.items() if rule.may == ADMINISTRATES])
def test_task__administrating__is_refused(
    guarded_server: LiveServer, world: World, route: tuple[str, str]
) -> None:
    for other in (False, True):
        answer = asked_by_task(guarded_server, route, world, other=other)
        assert answer.status == 403, answer


@pytest.mark.parametrize("route", [r for r, rule in RULES.items() if rule.may == OWN])
def test_task__writing_to_anothers_run__is_refused(
    guarded_server: LiveServer, world: World, route: tuple[str, str]
) -> None:
    assert asked_by_task(guarded_server, route, world, other=True).status == 403
    ends_it = route[1].endswith(("/stop", "/end")) or route == ("DELETE", _mlflow("logged-models"))
    if not ends_it:
        answer = asked_by_task(guarded_server, route, world, other=False)
        assert answer.status not in (401, 403), answer
        assert answer.status < 500, answer


@pytest.mark.parametrize(
    "route",
    [
        r
        for r, rule in RULES.items()
        if rule.may in (READS, CREATES) and not _is_read_without_end(r)
    ],
)
def test_task__reading_and_creating__may(
    guarded_server: LiveServer, world: World, route: tuple[str, str]
) -> None:
    answer = asked_by_task(guarded_server, route, world, other=True)
    assert answer.status not in (401, 403), answer
    assert answer.status < 500 or answer.status == 501, answer


def test_task__launching__is_refused(guarded_server: LiveServer, world: World) -> None:
    headers = {"Authorization": f"Bearer {world.token}"}
    spec = {"name": "x", "command": "true"}
    answer = ask(guarded_server.url, "POST", "/api/v1/runs", body={"spec": spec}, headers=headers)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")


def test_task__writing_to_a_run_it_created__may(guarded_server: LiveServer, world: World) -> None:
    headers = {"Authorization": f"Bearer {world.token}"}
    child = ask(guarded_server.url, "POST", "/api/v1/runs", body={}, headers=headers).json["id"]
    path = f"/api/v1/runs/{child}"
    changed = ask(guarded_server.url, "PATCH", path, body={"name": "child"}, headers=headers)
    assert changed.json["name"] == "child"
    stolen = {"tags": {"seafloor.createdBy": world.other}}
    assert ask(guarded_server.url, "PATCH", path, body=stolen, headers=headers).status == 400


def test_token_of_an_earlier_attempt__is_no_longer_good(
    guarded_server: LiveServer, world: World
) -> None:
    key = (guarded_server.data / "token.key").read_bytes()
    tokens = Tokens(key, cast(Any, None), cast(Any, None))
    for attempt in (0, 2):
        headers = {"Authorization": f"Bearer {tokens.issue(cast(Any, world.own), attempt)}"}
        assert ask(guarded_server.url, "GET", "/api/v1/runs", headers=headers).status == 403
