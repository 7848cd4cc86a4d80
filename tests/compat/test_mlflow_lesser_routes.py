"""Routes that MLflow's pages and older clients ask, by bare requests."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from http_world import Answer, ask
from live_server import LiveServer

API = "/api/2.0/mlflow"
BASES = ("/api", "/ajax-api")


@pytest.fixture
def world(shared_server: LiveServer) -> World:
    return World(shared_server.url)


class World:
    """A server and an experiment with a run of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        made = self.post("/experiments/create", {"name": uuid.uuid4().hex})
        self.experiment_id: str = made.json["experiment_id"]
        self.run_id = self.new_run()

    def new_run(self) -> str:
        made = self.post("/runs/create", {"experiment_id": self.experiment_id})
        return made.json["run"]["info"]["run_id"]

    def post(self, path: str, body: Any, *, base: str = "/api") -> Answer:
        return ask(self.url, "POST", f"{base}/2.0/mlflow{path}", body=body)

    def get(self, path: str) -> Answer:
        return ask(self.url, "GET", path)

    def tags(self) -> dict[str, str]:
        found = self.get(f"{API}/runs/get?run_id={self.run_id}").json["run"]["data"]["tags"]
        return {tag["key"]: tag["value"] for tag in found}


def refused(answer: Answer, words: str, *, code: str = "INVALID_PARAMETER_VALUE") -> None:
    assert answer.status == (404 if code == "RESOURCE_DOES_NOT_EXIST" else 400), answer
    assert answer.json["error_code"] == code
    assert words in answer.json["message"], answer.json


def _used(name: str, context: str | None = None) -> dict[str, Any]:
    tags = [] if context is None else [{"key": "mlflow.data.context", "value": context}]
    dataset = {"name": name, "digest": "d", "source_type": "local", "source": "s"}
    return {"tags": tags, "dataset": dataset}


@pytest.mark.parametrize("base", BASES)
def test_search_datasets__used_by_two_runs__tells_each_once(world: World, base: str) -> None:
    datasets = [_used("b", "train"), _used("a")]
    for run_id in (world.run_id, world.new_run()):
        logged = world.post("/runs/log-inputs", {"run_id": run_id, "datasets": datasets})
        assert logged.status == 200, logged
    body = {"experiment_ids": [world.experiment_id]}
    found = world.post("/experiments/search-datasets", body, base=base)
    shown = {"experiment_id": world.experiment_id, "digest": "d"}
    assert found.json == {
        "dataset_summaries": [shown | {"name": "a"}, shown | {"name": "b", "context": "train"}]
    }


def test_search_datasets__of_an_experiment_without_any__is_empty(world: World) -> None:
    for of in (world.experiment_id, "99999999"):
        answer = world.post("/experiments/search-datasets", {"experiment_ids": [of]})
        assert (answer.status, answer.json) == (200, {})


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([], "must specify at least one experiment_id."),
        (["0"] * 21, "cannot specify more than 20 experiment_ids. Received 21 experiment_ids."),
        (["x"], "'x'"),
        (["9" * 30], "9999"),
        ("0", "experiment_ids"),
        ([None], "experiment_ids"),
    ],
)
def test_search_datasets__of_what_is_no_experiment__is_refused(
    world: World, ids: Any, words: str
) -> None:
    refused(world.post("/experiments/search-datasets", {"experiment_ids": ids}), words)


MODEL = {
    "artifact_path": "model",
    "flavors": {"sklearn": {"code": None, "config": {"a": 1}}, "python_function": {"env": "e"}},
    "utc_time_created": "2026-01-01",
    "model_uuid": "u",
    "signature": {"inputs": "[]"},
}


def _log_model(world: World, model: Any, **more: Any) -> Answer:
    text = model if isinstance(model, str) else json.dumps(model)
    return world.post("/runs/log-model", {"run_id": world.run_id, "model_json": text, **more})


def test_log_model__twice__is_noted_in_the_runs_tag(world: World) -> None:
    model = MODEL | {"run_id": world.run_id}
    for path in ("first", "second"):
        answer = _log_model(world, model | {"artifact_path": path})
        assert (answer.status, answer.json) == (200, {})
    noted = {
        "run_id": world.run_id,
        "utc_time_created": "2026-01-01",
        "model_uuid": "u",
        "flavors": {"sklearn": {"code": None}, "python_function": {"env": "e"}},
    }
    assert json.loads(world.tags()["mlflow.log-model.history"]) == [
        noted | {"artifact_path": "first"},
        noted | {"artifact_path": "second"},
    ]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("{", "Malformed model info."),
        ("[]", "Malformed model info."),
        (MODEL, "missing mandatory fields: ['run_id']"),
        (MODEL | {"run_id": "r", "flavors": 1}, "Malformed model info."),
        (MODEL | {"run_id": "r", "artifact_path": "x" * 8000}, "8000 characters"),
        ("", "Missing value for required parameter 'model_json'"),
    ],
)
def test_log_model__that_is_none__is_refused_and_writes_nothing(
    world: World, model: Any, words: str
) -> None:
    before = world.tags()
    refused(_log_model(world, model), words)
    assert world.tags() == before


def test_log_model__after_a_tag_that_is_no_list__is_refused(world: World) -> None:
    tag = {"key": "mlflow.log-model.history", "value": "mine"}
    world.post("/runs/set-tag", {"run_id": world.run_id, **tag})
    refused(_log_model(world, MODEL | {"run_id": "r"}), "is not a list of models")
    assert world.tags()[tag["key"]] == "mine"


def test_log_model__to_a_run_that_is_not_there__is_refused(world: World) -> None:
    model = MODEL | {"run_id": "r"}
    answer = _log_model(world, model, run_id="0" * 32)
    refused(answer, "not found", code="RESOURCE_DOES_NOT_EXIST")
    world.post("/runs/delete", {"run_id": world.run_id})
    refused(_log_model(world, model), "must be in the 'active' state")


@pytest.mark.parametrize("base", BASES)
def test_model_directories__with_files__list_by_folder(world: World, base: str) -> None:
    body = {"experiment_id": world.experiment_id, "name": "m", "source_run_id": world.run_id}
    info = world.post("/logged-models", body).json["model"]["info"]
    root = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    put = f"/api/2.0/mlflow-artifacts/artifacts/{root}"
    listed = f"{base}/2.0/mlflow/logged-models/{info['model_id']}/artifacts/directories"
    assert world.get(listed).json == {"root_uri": info["artifact_uri"]}
    for path in ("MLmodel", "data/weights"):
        assert ask(world.url, "PUT", f"{put}/{path}", body=b"12").status == 200
    assert world.get(listed).json["files"] == [
        {"path": "MLmodel", "is_dir": False, "file_size": 2},
        {"path": "data", "is_dir": True},
    ]
    below = world.get(f"{listed}?artifact_directory_path=data").json["files"]
    assert below == [{"path": "data/weights", "is_dir": False, "file_size": 2}]
    for odd in ("..", "/etc", "a/../b"):
        refused(world.get(f"{listed}?artifact_directory_path={odd}"), "path")


def test_model_directories__of_no_model__are_not_found(world: World) -> None:
    answer = world.get(f"{API}/logged-models/m-{'0' * 32}/artifacts/directories")
    refused(answer, "not found", code="RESOURCE_DOES_NOT_EXIST")


def test_version__is_bare_text_above_three__and_says_whose_server_it_is(world: World) -> None:
    """An mlflow client sends spans to what is 3.4 or later only."""
    answer = world.get("/version")
    assert answer.status == 200
    like, _, own = answer.body.decode().partition("+seafloor.")
    assert tuple(int(part) for part in like.split(".")) >= (3, 4)
    assert own == world.get("/api/v1/server").json["version"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/2.0/mlflow/experiments/create"),
        ("POST", "/ajax-api/2.0/mlflow/experiments/create"),
        ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/x"),
    ],
)
def test_workspace__that_is_not_ours__is_not_found_and_nothing_written(
    world: World, method: str, path: str
) -> None:
    name = uuid.uuid4().hex
    body = {"POST": {"name": name}, "PUT": b"x"}.get(method)
    path = path.replace("{run}", world.run_id)
    headers = {"X-MLFLOW-WORKSPACE": "elsewhere"}
    answer = ask(world.url, method, path, body=body, headers=headers)
    refused(answer, "Workspace 'elsewhere' not found", code="RESOURCE_DOES_NOT_EXIST")
    assert world.get(f"{API}/experiments/get-by-name?experiment_name={name}").status == 404
    assert "files" not in world.get(f"{API}/artifacts/list?run_id={world.run_id}").json


def test_workspace__default__is_where_everything_is(world: World) -> None:
    for name in ("default", " ", ""):
        headers = {"X-MLFLOW-WORKSPACE": name}
        path = f"{API}/runs/get?run_id={world.run_id}"
        assert ask(world.url, "GET", path, headers=headers).status == 200


def test_server_info__asked_from_another_workspace__says_there_are_none(world: World) -> None:
    """An mlflow client whose workspace is set asks this first, and then tells its user."""
    headers = {"X-MLFLOW-WORKSPACE": "elsewhere"}
    answer = ask(world.url, "GET", "/api/3.0/mlflow/server-info", headers=headers)
    assert answer.json["workspaces_enabled"] is False
    answer = ask(world.url, "GET", "/api/3.0/mlflow/workspaces")
    assert (answer.status, answer.json["error_code"]) == (501, "NOT_IMPLEMENTED")
