"""``mlflow.autolog`` goes through: what a training gives is kept and read back."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from live_server import LiveServer
from mlflow_world import MlflowClientProcess, autolog_python, torch_python

pytestmark = [
    pytest.mark.slow,
    # The client's environment may have to be fetched and built first.
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def client(
    shared_server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowClientProcess]:
    """A process with mlflow, xgboost and lightgbm in it."""
    yield from _client(autolog_python(), shared_server.url, tmp_path_factory.mktemp("autolog"))


@pytest.fixture(scope="module")
def torch_client(
    shared_server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowClientProcess]:
    """A process with mlflow, lightning and transformers in it."""
    if not (os.environ.get("CI") or os.environ.get("SEAFLOOR_TORCH")):
        pytest.skip("torch's packages may be gigabytes: SEAFLOOR_TORCH=1 fetches them")
    yield from _client(torch_python(), shared_server.url, tmp_path_factory.mktemp("torch"))


def _client(python: Path, url: str, work: Path) -> Iterator[MlflowClientProcess]:
    # To find out what a model requires mlflow imports it all anew in another process.
    waits = {"MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1", "HF_HUB_OFFLINE": "1"}
    process = MlflowClientProcess(python, url, work, **waits)
    yield process
    process.close()


@pytest.mark.parametrize(
    ("library", "metric", "param", "file"),
    [
        ("xgboost", "train-mlogloss", ("max_depth", "2"), "feature_importance_weight.json"),
        ("lightgbm", "train-multi_logloss", ("num_leaves", "4"), "feature_importance_gain.json"),
    ],
)
def test_autolog__of_boosted_trees__logs_metrics_params_files_and_the_model(
    client: MlflowClientProcess, library: str, metric: str, param: tuple[str, str], file: str
) -> None:
    found = client.run(f"autolog_{library}", experiment=f"{library} {uuid.uuid4().hex}")
    run = found["run"]
    assert run["status"] == "FINISHED"
    assert 0 < run["metrics"][metric] < 1
    assert run["params"][param[0]] == param[1]
    assert found["history"] == [5]
    assert file in found["files"]
    assert found["contexts"] == ["eval", "train"]
    assert found["model"] == "READY"
    assert found["kind"] == "Booster"


def test_autolog__of_lightning__logs_metrics_params_files_and_the_model(
    torch_client: MlflowClientProcess,
) -> None:
    found = torch_client.run("autolog_lightning", experiment=f"lightning {uuid.uuid4().hex}")
    run = found["run"]
    assert run["status"] == "FINISHED"
    assert set(run["metrics"]) == {"loss", "loss_step", "loss_epoch"}
    assert 0 < run["metrics"]["loss_epoch"] < 1
    assert run["params"]["optimizer_name"] == "SGD"
    assert run["params"]["lr"] == "0.1"
    assert found["history"] == [3, 3, 3]
    assert "model_summary.txt" in found["files"]
    assert found["model"] == "READY"
    assert found["kind"] == "Line"


def test_autolog__of_a_transformers_trainer__logs_its_losses_and_its_settings(
    torch_client: MlflowClientProcess,
) -> None:
    found = torch_client.run("autolog_transformers", experiment=f"bert {uuid.uuid4().hex}")
    run = found["run"]
    assert run["status"] == "FINISHED"
    assert found["losses"] == [2, 4, 6, 8]
    assert run["metrics"]["epoch"] == 2
    assert run["metrics"]["train_loss"] > 0
    assert run["params"]["num_train_epochs"] == "2"
    assert run["params"]["hidden_size"] == str(found["config"])
    assert len(run["params"]) > 100, "the trainer logs its settings in several batches"
