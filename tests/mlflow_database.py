"""Fills an MLflow database with runs of every kind; executed by the Python that has mlflow.

``python mlflow_database.py FOLDER RUNS [files]`` makes ``FOLDER/mlflow.db`` and
``FOLDER/artifacts``, or with ``files`` the file store ``FOLDER/mlruns``, and prints the ids of the
experiments. The same arguments make the same runs but for ids and times.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
from pathlib import Path
from typing import Any

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from mlflow.entities import (
    Dataset,
    DatasetInput,
    ExperimentTag,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelParameter,
    LoggedModelStatus,
    LoggedModelTag,
    Metric,
    Param,
    RunStatus,
    RunTag,
)
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.file_store import FileStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from mlflow_trace_fill import fill_traces

START_MS = 1_700_000_000_000
NAMES = ("größer", "run/with:odd chars", "a" * 200, "plain", "  spaces  ")
ODD = (math.nan, math.inf, -math.inf, 0.1 + 0.2, -0.0, 5e-324, 1e308)


def fill(store: Any, folder: Path, runs: int) -> list[str]:
    seeded = random.Random(runs)
    experiments = ["0"] + [
        store.create_experiment(
            name, tags=[ExperimentTag("team", "ü"), ExperimentTag("n", str(at))]
        )
        for at, name in enumerate(("vision", "größe / λ", "gone", "gone with runs"))
    ]
    made = [
        _run(store, folder, experiments[at % len(experiments)], at, seeded) for at in range(runs)
    ]
    fill_traces(store, folder, experiments, made)
    store.delete_experiment(experiments[3])
    store.delete_experiment(experiments[4])
    return experiments


def _run(store: Any, folder: Path, experiment: str, at: int, seeded: random.Random) -> str:
    started = START_MS + at * 1000
    tags = [RunTag("mlflow.source.name", "train.py"), RunTag("note", "東京 " * (at % 7))]
    name = NAMES[at % len(NAMES)]
    run = store.create_run(experiment, f"user{at % 3}", started, tags, name)
    run_id = run.info.run_id
    metrics = [
        Metric(key, seeded.gauss(1, 1) / (step + 1), started + step * 10, step)
        for key in ("loss", "val/acc", "lr")
        for step in range(at % 40 + 1)
    ]
    metrics += [Metric("odd", value, started, step - 3) for step, value in enumerate(ODD)]
    metrics += [Metric("again", 1.0, started, 0)] * 2 + [Metric("again", 2.0, started, 0)]
    params = [Param(f"p{n}", f"value {at}.{n}") for n in range(10)]
    params += [Param("empty", ""), Param("long", "x" * 5000)]
    store.log_batch(run_id, metrics, params, [RunTag("t", "v" * (at % 300))])
    if at % 3 == 0:
        data = Dataset(f"digits{at % 4}", f"d{at}", "local", "{}", '{"s": 1}', None)
        store.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "train")])])
    if at % 5 == 0:
        _model(store, folder, experiment, run_id, at)
    if at % 4 == 0:
        _files(folder, run.info.artifact_uri, at)
    _end(store, run_id, at, started)
    return run_id


def _model(store: Any, folder: Path, experiment: str, run_id: str, at: int) -> None:
    model = store.create_logged_model(
        experiment,
        f"net-{at}",
        run_id,
        [LoggedModelTag("kind", "test")],
        [LoggedModelParameter("depth", "3")],
        "sklearn",
    )
    value = Metric("acc", 0.5, START_MS, 1, model_id=model.model_id, run_id=run_id)
    store.log_batch(run_id, [value], [], [])
    store.log_outputs(run_id, [LoggedModelOutput(model.model_id, at)])
    store.log_inputs(run_id, models=[LoggedModelInput(model.model_id)])
    _files(folder, model.artifact_location, at)
    status = (LoggedModelStatus.READY, LoggedModelStatus.FAILED)[at % 2]
    store.finalize_logged_model(model.model_id, status)


def _files(folder: Path, uri: str, at: int) -> None:
    root = folder / "artifacts" / uri.removeprefix("mlflow-artifacts:/")
    if uri.startswith(("file:", "/")):
        root = Path(uri.removeprefix("file://"))
    for path in ("weights.bin", "sub/a b ü.txt", "sub/deep/1+&.json", "empty"):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"" if path == "empty" else f"{path} {at} ".encode() * (at % 50 + 1))


def _end(store: Any, run_id: str, at: int, started: int) -> None:
    statuses = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED, RunStatus.RUNNING)
    status = statuses[at % 11 % 4]
    if status != RunStatus.RUNNING:
        store.update_run_info(run_id, status, started + 60_000, None)
    if at % 13 == 12:
        store.delete_run(run_id)


def main() -> None:
    folder, runs = Path(sys.argv[1]), int(sys.argv[2])
    if "files" in sys.argv[3:]:
        store: Any = FileStore(str(folder / "mlruns"))
    else:
        database = f"sqlite:///{folder / 'mlflow.db'}"
        store = SqlAlchemyStore(database, "mlflow-artifacts:/")
        registry = Registry(database)
        registry.create_registered_model("digits", description="numbers")
        registry.create_model_version("digits", "file:///models/digits")
        registry.set_registered_model_alias("digits", "best", "1")
    print(json.dumps(fill(store, folder, runs)))


if __name__ == "__main__":
    main()
