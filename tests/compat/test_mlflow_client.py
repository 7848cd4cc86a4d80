"""What a script does with the unmodified mlflow client, and what it then reads back."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from live_server import LiveServer
from mlflow_world import MlflowClientProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def experiment() -> str:
    return f"mlflow {uuid.uuid4().hex}"


def test_start_run__with_every_kind_of_log__reads_all_of_it_back(
    mlflow_client: MlflowClientProcess, shared_server: LiveServer, experiment: str
) -> None:
    found = mlflow_client.run("log_everything", experiment=experiment)
    run = found["run"]
    assert (run["name"], run["status"], run["lifecycle"]) == ("größer", "FINISHED", "active")
    assert run["end"] >= run["start"] > 0
    assert run["metrics"] == {"m": "inf", "x": 1, "y/z w": 2.5, "later": 3}
    assert run["params"] == {"p": "1", "a": "x", "b": "None", "größe": "ü" * 100, "empty": ""}
    tags = run["tags"]
    assert {key: tags[key] for key in ("first", "t", "u", "w")} == {
        "first": "1",
        "t": "v",
        "u": "1",
        "w": "東京",
    }
    assert tags["mlflow.runName"] == "größer"
    assert tags["mlflow.note.content"] == "notes"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert "gone" not in tags
    assert found["history"] == [[-4, "-inf"], [1, 1.5], [2, "nan"], [3, "inf"]]
    assert found["none"] == []
    native = shared_server.get(f"/api/v1/runs/{run['run_id']}")
    assert (native["state"], native["origin"]) == ("succeeded", "tracked")
    assert native["metrics"]["m"]["nans"] == 1
    assert native["experiment"]["name"] == experiment


def test_log_artifacts__of_every_kind__come_back_as_they_were(
    mlflow_client: MlflowClientProcess, shared_server: LiveServer, experiment: str
) -> None:
    found = mlflow_client.run("log_artifacts", experiment=experiment)
    assert {path for path, _, _ in found["top"]} == {
        *("a b ü.txt", "black.png", "d.json", "d.yaml", "folder", "plots", "t.json", "texts"),
    }
    assert found["folder"] == [["folder/empty", False, 0], ["folder/sub", True, None]]
    assert found["of a file"] == []
    assert found["of nothing"] == []
    assert found["copied"] == ["empty", "sub/a b ü.txt", "sub/deep/data.bin"]
    assert found["same"] is True
    assert found["text"] == "some text"
    assert found["dict"] == {"a": [1, 2]}
    assert found["table"] == ["x", "y"]
    assert found["image"] == [8, 8]
    assert found["missing"][0] == "RESOURCE_DOES_NOT_EXIST"
    native = shared_server.get(f"/api/v1/runs/{found['run_id']}/artifacts?folder=folder/sub")
    assert [(e["path"], e["is_folder"], e["size_bytes"]) for e in native["items"]] == [
        ("folder/sub/a b ü.txt", False, 7),
        ("folder/sub/deep", True, 25_600),
    ]


def test_log_model__and_load_model__give_the_same_predictions(
    mlflow_client: MlflowClientProcess, shared_server: LiveServer, experiment: str
) -> None:
    found = mlflow_client.run("save_and_load_a_model", experiment=experiment)
    assert found["same"] == [True, True]
    assert found["generic"] is True
    assert found["status"] == "READY"
    assert found["params"] == {"C": "1.0"}
    assert found["metrics"] == [["accuracy", 0.9]]
    assert found["found"] == [True]
    assert found["tags"].get("more") == "1"
    assert "kind" not in found["tags"]
    assert found["run"]["metrics"] == {"accuracy": 0.9}
    code, message = found["register"]
    assert code == "NOT_IMPLEMENTED"
    assert "registry is not part of this version" in message
    path = f"/api/v1/runs/{found['run']['run_id']}/artifacts?folder=model"
    names = {entry["path"] for entry in shared_server.get(path)["items"]}
    assert "model/MLmodel" in names


def test_autolog__of_sklearn__logs_metrics_params_and_the_model(
    mlflow_client: MlflowClientProcess, experiment: str
) -> None:
    found = mlflow_client.run("autolog", experiment=experiment)
    assert found["run"]["status"] == "FINISHED"
    assert found["run"]["params"]["C"] == "0.5"
    assert found["run"]["metrics"]["training_score"] > 0.9
    assert found["run"]["tags"]["estimator_name"] == "LogisticRegression"
    assert "estimator.html" in found["files"]
    assert found["accuracy"] > 0.9
    assert found["inputs"] == 1


def test_runs__nested_resumed_and_ended__have_the_right_states(
    mlflow_client: MlflowClientProcess, experiment: str
) -> None:
    found = mlflow_client.run("nest_resume_end", experiment=experiment)
    parent, child = found["parent"], found["child"]
    assert child["tags"]["mlflow.parentRunId"] == parent["run_id"]
    assert found["resumed"] == "RUNNING"
    assert (parent["status"], parent["metrics"], parent["params"]) == (
        "FINISHED",
        {"again": 2},
        {"p": "1"},
    )
    assert child["status"] == "FINISHED"
    assert found["failed"]["status"] == "FAILED"
    killed = found["killed"]
    assert (killed["status"], killed["name"]) == ("KILLED", "renamed")
    assert (killed["start"], killed["end"]) == (1000, 2000)
    assert killed["tags"]["mlflow.runName"] == "renamed"


def test_experiments_and_runs__deleted_and_restored__come_back(
    mlflow_client: MlflowClientProcess, experiment: str
) -> None:
    found = mlflow_client.run("delete_and_restore", experiment=experiment)
    assert found["deleted"] == "deleted"
    assert found["write"][0] == "INVALID_PARAMETER_VALUE"
    assert "must be in the 'active' state" in found["write"][1]
    assert found["among"] == [0, 1, 1]
    assert found["gone"] == "deleted"
    assert found["listed"] is True
    assert found["into"][0] == "INVALID_PARAMETER_VALUE"
    assert found["back"] == [experiment + "!", "active", {"a": "1", "b": "2"}]
    assert found["run"] == "active"


FOUND: dict[str, list[int]] = {
    "metrics.loss < 1": [0, 4, 8],
    "metrics.loss >= 3": [3, 11],
    # NaN matches != and nothing else; a run without the metric matches nothing.
    "metrics.loss != 0": [1, 2, 3, 5, 6, 7, 10, 11],
    "params.model = 'cnn' and metrics.loss > 1": [3, 11],
    "params.`weird key/x` = '5'": [5],
    "params.\"weird key/x\" LIKE '1%'": [1, 10, 11],
    "tags.`team.name` = 'b'": [6, 7, 8, 9, 10, 11],
    "tags.\"team.name\" ILIKE 'A'": [0, 1, 2, 3, 4, 5],
    "attributes.status = 'FAILED'": [0, 3, 6, 9],
    "status != 'FAILED'": [1, 2, 4, 5, 7, 8, 10, 11],
    "run_name LIKE 'run-0%'": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    "attributes.run_name ILIKE 'RUN-1%'": [10, 11],
    "tags.mlflow.runName = 'run-03'": [3],
    "start_time > 1009": [10, 11],
    "attributes.end_time <= 9001": [0, 1],
    "start_time = 1004": [4],
    "params.missing IS NULL": list(range(12)),
    "params.missing IS NOT NULL": [],
    "params.missing != 'x'": [],
}


def named(numbers: list[int]) -> list[str]:
    return [f"run-{number:02}" for number in numbers]


def test_search__by_filter_order_and_page__finds_what_mlflow_finds(
    mlflow_client: MlflowClientProcess, experiment: str
) -> None:
    found: dict[str, Any] = mlflow_client.run("search", experiment=experiment)
    for text, numbers in FOUND.items():
        assert found["filters"][text] == named(numbers), text
    assert found["newest"] == named([11, 10])
    assert found["in"] == named([10, 11])
    # Numbers first, then NaN, then missing: in both directions.
    assert found["by loss"] == named([0, 4, 8, 1, 5, 2, 6, 10, 3, 11, 7, 9])
    assert found["by loss desc"] == named([3, 11, 2, 6, 10, 1, 5, 0, 4, 8, 7, 9])
    assert found["by start"] == named([0, 1, 2])
    assert found["by param"] == named([10, 8])
    assert [len(page) for page in found["pages"]] == [5, 5, 2]
    assert sorted(name for page in found["pages"] for name in page) == named(list(range(12)))
    assert found["frame"] == [3]
    assert experiment in found["experiments"]
    for what in ("or", "bad", "unknown", "zero", "many"):
        assert found[what][0] == "INVALID_PARAMETER_VALUE", what


def test_get_metric_history__of_more_than_a_page__is_whole(
    mlflow_client: MlflowClientProcess,
) -> None:
    assert mlflow_client.run("long_history", points=26_500) == [26_500, True, 13_249.5]


def test_log_input__repeated__is_there_once_for_each_use(
    mlflow_client: MlflowClientProcess,
) -> None:
    first, second = mlflow_client.run("inputs")
    assert first == ["points", True, {"k": "v", "mlflow.data.context": "training"}]
    assert second == ["points", True, {"mlflow.data.context": "evaluation"}]


def test_refusals__have_mlflows_codes(mlflow_client: MlflowClientProcess, experiment: str) -> None:
    found = mlflow_client.run("refusals", experiment=experiment)
    wanted = {
        "no run": ("RESOURCE_DOES_NOT_EXIST", f"Run with id={'0' * 32} not found"),
        "no such id": ("RESOURCE_DOES_NOT_EXIST", "Run with id=never-there not found"),
        "no experiment": ("RESOURCE_DOES_NOT_EXIST", "No Experiment with id=123456 exists"),
        "odd experiment": ("INVALID_PARAMETER_VALUE", "experiment"),
        "twice": ("RESOURCE_ALREADY_EXISTS", experiment),
        "blank": ("INVALID_PARAMETER_VALUE", "blank"),
        "param": (
            "INVALID_PARAMETER_VALUE",
            "Changing param values is not allowed. Param with key='p' was already logged with "
            f"value='1' for run ID='{found['run_id']}'. Attempted logging new value '2'.",
        ),
        "params": ("INVALID_PARAMETER_VALUE", "Changing param values is not allowed."),
        "no tag": (
            "RESOURCE_DOES_NOT_EXIST",
            f"No tag with name: none in run with id {found['run_id']}",
        ),
        "key": ("INVALID_PARAMETER_VALUE", "a//b"),
        "location": ("INVALID_PARAMETER_VALUE", "leave artifact_location out"),
        "no model": ("RESOURCE_DOES_NOT_EXIST", "m-000"),
        "history": ("RESOURCE_DOES_NOT_EXIST", "not found"),
    }
    for what, (code, words) in wanted.items():
        assert found[what][0] == code, (what, found[what])
        assert words in found[what][1], (what, found[what])
    assert found["by name"] is None
    assert found["after"]["params"] == {"p": "1"}
    assert found["after"]["metrics"] == {}


def test_launched_script__that_uses_mlflow__logs_to_its_own_run(
    shared_server: LiveServer, mlflow_python: Path
) -> None:
    code = (
        "import mlflow\n"
        "with mlflow.start_run() as run:\n"
        "    mlflow.log_metric('inside', 1)\n"
        "    mlflow.log_param('p', 'x')\n"
        "    mlflow.log_text('text', 'note.txt')\n"
        "print('id', run.info.run_id)\n"
    )
    run = shared_server.launch([str(mlflow_python), "-W", "ignore", "-c", code])
    ended = shared_server.wait_state(run["id"], "succeeded", "failed", "lost", timeout_s=240)
    lines = [line["text"] for line in shared_server.log_lines(run["id"])]
    assert ended["state"] == "succeeded", lines
    assert f"id {run['id']}" in lines
    assert ended["metrics"]["inside"]["last"] == 1
    assert ended["params"] == {"p": "x"}
    assert ended["attempt"] == 1
    items = shared_server.get(f"/api/v1/runs/{run['id']}/artifacts")["items"]
    assert "note.txt" in [entry["path"] for entry in items]


def test_client__with_a_token__is_let_in_and_without_told_so(
    mlflow_python: Path, tmp_path: Path
) -> None:
    server = LiveServer(tmp_path / "data", env={"SEAFLOOR_SERVER__TOKEN": "of-the-tests"}).start()
    stranger = MlflowClientProcess(mlflow_python, server.url, tmp_path)
    known = MlflowClientProcess(
        mlflow_python, server.url, tmp_path, MLFLOW_TRACKING_TOKEN="of-the-tests"
    )
    try:
        with pytest.raises(AssertionError, match="This server asks for a token"):
            stranger.run("log_everything", experiment="guarded")
        found = known.run("log_everything", experiment="guarded")
        assert found["run"]["params"]["p"] == "1"
    finally:
        stranger.close()
        known.close()
        server.stop()
