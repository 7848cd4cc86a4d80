"""``mlflow.autolog`` of boosted trees goes through: what a training gives is kept and read back.

Not tried: pytorch-lightning and transformers, as torch from PyPI brings gigabytes of CUDA with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from live_server import LiveServer
from mlflow_world import MlflowClientProcess, autolog_python

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
    work = tmp_path_factory.mktemp("autolog")
    # To find out what a model requires mlflow imports it all anew in another process.
    waits = {"MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1"}
    process = MlflowClientProcess(autolog_python(), shared_server.url, work, **waits)
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
