"""What a user's script does with mlflow. Runs in the client's environment, not in ours.

Nothing here knows Seafloor: it is the client as it is.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mlflow.entities import Metric, Param, RunTag, ViewType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from mlflow_script import main, refusal, scenario


def number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def shown(run_id: str) -> dict[str, Any]:
    """A run as the client reads it."""
    run = mlflow.get_run(run_id)
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "user": run.info.user_id,
        "lifecycle": run.info.lifecycle_stage,
        "experiment_id": run.info.experiment_id,
        "start": run.info.start_time,
        "end": run.info.end_time,
        "artifact_uri": run.info.artifact_uri,
        "metrics": {key: number(value) for key, value in run.data.metrics.items()},
        "params": dict(run.data.params),
        "tags": dict(run.data.tags),
    }


@scenario
def log_everything(experiment: str) -> Any:
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name="größer", tags={"first": "1"}, description="notes") as run:
        mlflow.log_param("p", 1)
        mlflow.log_params({"a": "x", "b": None, "größe": "ü" * 100, "empty": ""})
        mlflow.log_metric("m", 1.5, step=1)
        mlflow.log_metric("m", float("nan"), step=2)
        mlflow.log_metric("m", float("inf"), step=3)
        mlflow.log_metric("m", float("-inf"), step=-4)
        mlflow.log_metrics({"x": 1, "y/z w": 2.5}, step=7)
        mlflow.set_tag("t", "v")
        mlflow.set_tags({"u": 1, "w": "東京"})
        mlflow.set_tag("gone", "soon")
        mlflow.delete_tag("gone")
        mlflow.log_metric("later", 3, synchronous=False).wait()
    client = mlflow.MlflowClient()
    history = client.get_metric_history(run.info.run_id, "m")
    return {
        "run": shown(run.info.run_id),
        "history": [[m.step, number(m.value)] for m in history],
        "none": client.get_metric_history(run.info.run_id, "never"),
    }


@scenario
def log_artifacts(experiment: str) -> Any:
    mlflow.set_experiment(experiment)
    folder = Path(tempfile.mkdtemp())
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").write_bytes(b"")
    (folder / "sub" / "a b ü.txt").write_text("größe", encoding="utf-8")
    (folder / "sub" / "deep" / "data.bin").write_bytes(bytes(range(256)) * 100)
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(folder / "sub" / "a b ü.txt"))
        mlflow.log_artifacts(str(folder), "folder")
        mlflow.log_text("some text", "texts/note.txt")
        mlflow.log_dict({"a": [1, 2]}, "d.json")
        mlflow.log_dict({"a": [1, 2]}, "d.yaml")
        figure = Figure()
        figure.subplots().plot([1, 2])
        mlflow.log_figure(figure, "plots/f.png")
        mlflow.log_table({"q": ["x"], "a": [1]}, "t.json")
        mlflow.log_table({"q": ["y"], "a": [2]}, "t.json")
        mlflow.log_image(np.zeros((8, 8, 3), dtype=np.uint8), "black.png")
    client = mlflow.MlflowClient()
    run_id = run.info.run_id
    copied = Path(client.download_artifacts(run_id, "folder", tempfile.mkdtemp()))
    listed = client.list_artifacts(run_id)
    return {
        "run_id": run_id,
        "top": [[f.path, f.is_dir, f.file_size] for f in listed],
        "folder": [
            [f.path, f.is_dir, f.file_size] for f in client.list_artifacts(run_id, "folder")
        ],
        "of a file": client.list_artifacts(run_id, "d.json"),
        "of nothing": client.list_artifacts(run_id, "nothing"),
        "copied": sorted(str(p.relative_to(copied)) for p in copied.rglob("*") if p.is_file()),
        "same": (copied / "sub" / "deep" / "data.bin").read_bytes() == bytes(range(256)) * 100,
        "text": mlflow.artifacts.load_text(run.info.artifact_uri + "/texts/note.txt"),
        "dict": mlflow.artifacts.load_dict(run.info.artifact_uri + "/d.json"),
        "table": mlflow.load_table("t.json", [run_id])["q"].tolist(),
        "image": mlflow.artifacts.load_image(run.info.artifact_uri + "/black.png").size,
        "missing": refusal(lambda: client.download_artifacts(run_id, "missing.txt")),
    }


@scenario
def save_and_load_a_model(experiment: str) -> Any:
    mlflow.set_experiment(experiment)
    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=300).fit(x, y)
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            input_example=x[:2],
            pip_requirements=["scikit-learn"],
            params={"C": 1.0},
            tags={"kind": "test"},
        )
        mlflow.log_metric("accuracy", 0.9, model_id=info.model_id)
    same = [
        bool((mlflow.sklearn.load_model(uri).predict(x) == model.predict(x)).all())
        for uri in (f"runs:/{run.info.run_id}/model", info.model_uri)
    ]
    generic = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model").predict(pd.DataFrame(x))
    client = mlflow.MlflowClient()
    logged = client.get_logged_model(info.model_id)
    found = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'"
    )
    client.set_logged_model_tags(info.model_id, {"more": "1"})
    client.delete_logged_model_tag(info.model_id, "kind")
    return {
        "run": shown(run.info.run_id),
        "same": same,
        "generic": bool((generic == model.predict(x)).all()),
        "status": str(logged.status),
        "params": logged.params,
        "metrics": [[m.key, m.value] for m in logged.metrics or []],
        "found": [m.model_id == info.model_id for m in found],
        "tags": client.get_logged_model(info.model_id).tags,
        "register": refusal(lambda: mlflow.register_model(info.model_uri, "digits")),
    }


@scenario
def autolog(experiment: str) -> Any:
    mlflow.set_experiment(experiment)
    x, y = load_iris(return_X_y=True)
    mlflow.sklearn.autolog()
    try:
        with mlflow.start_run() as run:
            LogisticRegression(max_iter=300, C=0.5).fit(x, y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    client = mlflow.MlflowClient()
    loaded = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
    return {
        "run": shown(run.info.run_id),
        "files": [f.path for f in client.list_artifacts(run.info.run_id)],
        "accuracy": float(loaded.score(x, y)),
        "inputs": len(client.get_run(run.info.run_id).inputs.dataset_inputs),
    }


def _autologged(flavor: Any, experiment: str, train: Callable[[], None]) -> Any:
    """What autolog of a flavor notes of a training, and the model that it kept."""
    mlflow.set_experiment(experiment)
    flavor.autolog()
    try:
        with mlflow.start_run() as run:
            train()
    finally:
        flavor.autolog(disable=True)
    client = mlflow.MlflowClient()
    found = client.get_run(run.info.run_id)
    loaded = flavor.load_model(f"runs:/{run.info.run_id}/model")
    (made,) = found.outputs.model_outputs
    return {
        "run": shown(run.info.run_id),
        "files": [f.path for f in client.list_artifacts(run.info.run_id)],
        "contexts": sorted(tag.value for i in found.inputs.dataset_inputs for tag in i.tags),
        "model": str(client.get_logged_model(made.model_id).status),
        "kind": type(loaded).__name__,
        "history": [
            len(client.get_metric_history(run.info.run_id, key)) for key in found.data.metrics
        ],
    }


@scenario
def autolog_xgboost(experiment: str) -> Any:
    import mlflow.xgboost
    import xgboost

    x, y = load_iris(return_X_y=True)
    params = {"max_depth": 2, "objective": "multi:softprob", "num_class": 3, "nthread": 1}

    def train() -> None:
        data = xgboost.DMatrix(x, label=y)
        xgboost.train(params, data, 5, evals=[(data, "train")], verbose_eval=False)

    return _autologged(mlflow.xgboost, experiment, train)


@scenario
def autolog_lightgbm(experiment: str) -> Any:
    import lightgbm
    import mlflow.lightgbm

    x, y = load_iris(return_X_y=True)
    params = {"num_leaves": 4, "objective": "multiclass", "num_class": 3, "verbosity": -1}

    def train() -> None:
        data = lightgbm.Dataset(x, label=y)
        lightgbm.train(
            {**params, "num_threads": 1}, data, 5, valid_sets=[data], valid_names=["train"]
        )

    return _autologged(mlflow.lightgbm, experiment, train)


@scenario
def autolog_lightning(experiment: str) -> Any:
    import lightning
    import mlflow.pytorch
    import torch

    class Line(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, _: int) -> Any:
            x, y = batch
            loss = torch.nn.functional.mse_loss(self.layer(x), y)
            self.log("loss", loss, on_epoch=True)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    x = torch.arange(64.0).reshape(32, 2) / 64
    rows = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))

    def train() -> None:
        trainer = lightning.Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
        )
        trainer.fit(Line(), torch.utils.data.DataLoader(rows, batch_size=8))

    return _autologged(mlflow.pytorch, experiment, train)


@scenario
def autolog_transformers(experiment: str) -> Any:
    import mlflow.transformers
    import torch
    import transformers

    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
    )
    rows = [
        {"input_ids": torch.tensor([1 + n % 5, 2, 3]), "labels": torch.tensor(n % 2)}
        for n in range(16)
    ]
    mlflow.set_experiment(experiment)
    mlflow.transformers.autolog()
    with mlflow.start_run() as run:
        transformers.Trainer(
            model=transformers.BertForSequenceClassification(config),
            args=transformers.TrainingArguments(
                output_dir="trained",
                num_train_epochs=2,
                per_device_train_batch_size=4,
                logging_steps=2,
                report_to=["mlflow"],
                use_cpu=True,
                save_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=rows,
        ).train()
    client = mlflow.MlflowClient()
    return {
        "run": shown(run.info.run_id),
        "config": config.to_dict()["hidden_size"],
        "losses": [m.step for m in client.get_metric_history(run.info.run_id, "loss")],
    }


@scenario
def nest_resume_end(experiment: str) -> Any:
    mlflow.set_experiment(experiment)
    with mlflow.start_run() as parent:
        mlflow.log_param("p", 1)
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("c", 1)
    with mlflow.start_run(run_id=parent.info.run_id):
        resumed = mlflow.get_run(parent.info.run_id).info.status
        mlflow.log_metric("again", 2)
        mlflow.log_param("p", 1)
    failed = None
    try:
        with mlflow.start_run() as run:
            failed = run.info.run_id
            raise RuntimeError("the script broke")  # noqa: TRY301  # as scripts do
    except RuntimeError:
        pass
    client = mlflow.MlflowClient()
    killed = client.create_run(parent.info.experiment_id, run_name="killed", start_time=1000)
    client.set_terminated(killed.info.run_id, status="KILLED", end_time=2000)
    client.update_run(killed.info.run_id, name="renamed")
    return {
        "parent": shown(parent.info.run_id),
        "child": shown(child.info.run_id),
        "resumed": resumed,
        "failed": shown(failed),
        "killed": shown(killed.info.run_id),
    }


@scenario
def delete_and_restore(experiment: str) -> Any:
    client = mlflow.MlflowClient()
    experiment_id = client.create_experiment(experiment, tags={"a": "1"})
    client.set_experiment_tag(experiment_id, "b", "2")
    run = client.create_run(experiment_id).info.run_id
    client.delete_run(run)
    deleted = shown(run)["lifecycle"]
    write = refusal(lambda: client.log_metric(run, "x", 1))
    among = [len(client.search_runs([experiment_id], run_view_type=view)) for view in (1, 2, 3)]
    client.restore_run(run)
    client.rename_experiment(experiment_id, experiment + "!")
    client.delete_experiment(experiment_id)
    gone = client.get_experiment(experiment_id).lifecycle_stage
    listed = [e.name for e in client.search_experiments(ViewType.DELETED_ONLY)]
    into = refusal(lambda: client.create_run(experiment_id))
    client.restore_experiment(experiment_id)
    back = client.get_experiment(experiment_id)
    return {
        "deleted": deleted,
        "write": write,
        "among": among,
        "gone": gone,
        "listed": experiment + "!" in listed,
        "into": into,
        "back": [back.name, back.lifecycle_stage, back.tags],
        "run": shown(run)["lifecycle"],
    }


@scenario
def search(experiment: str) -> Any:
    client = mlflow.MlflowClient()
    experiment_id = client.create_experiment(experiment)
    for i in range(12):
        run = client.create_run(experiment_id, run_name=f"run-{i:02}", start_time=1000 + i)
        client.log_batch(
            run.info.run_id,
            metrics=[Metric("loss", i % 4 if i != 7 else float("nan"), 1, 0)] if i != 9 else [],
            params=[Param("model", "cnn" if i % 2 else "mlp"), Param("weird key/x", str(i))],
            tags=[RunTag("team.name", "a" if i < 6 else "b")],
        )
        client.set_terminated(run.info.run_id, "FINISHED" if i % 3 else "FAILED", end_time=9000 + i)

    def names(text: str = "", **more: Any) -> list[str]:
        return [r.info.run_name for r in client.search_runs([experiment_id], text, **more)]

    filters = [
        "metrics.loss < 1",
        "metrics.loss >= 3",
        "metrics.loss != 0",
        "params.model = 'cnn' and metrics.loss > 1",
        "params.`weird key/x` = '5'",
        "params.\"weird key/x\" LIKE '1%'",
        "tags.`team.name` = 'b'",
        "tags.\"team.name\" ILIKE 'A'",
        "attributes.status = 'FAILED'",
        "status != 'FAILED'",
        "run_name LIKE 'run-0%'",
        "attributes.run_name ILIKE 'RUN-1%'",
        "tags.mlflow.runName = 'run-03'",
        "start_time > 1009",
        "attributes.end_time <= 9001",
        "start_time = 1004",
        "params.missing IS NULL",
        "params.missing IS NOT NULL",
        "params.missing != 'x'",
    ]
    one, two = names()[:2]
    ids = {r.info.run_name: r.info.run_id for r in client.search_runs([experiment_id])}
    pages: list[list[str]] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=5, page_token=token)
        pages.append([r.info.run_name for r in page])
        token = page.token
        if not token:
            break
    return {
        "filters": {text: sorted(names(text)) for text in filters},
        "in": sorted(names(f"attributes.run_id IN ('{ids[one]}', '{ids[two]}')")),
        "newest": [one, two],
        "by loss": names(order_by=["metrics.loss ASC", "start_time ASC"]),
        "by loss desc": names(order_by=["metrics.loss DESC", "start_time ASC"]),
        "by start": names(order_by=["attributes.start_time ASC"], max_results=3),
        "by param": names(order_by=["params.model DESC", "attributes.start_time DESC"])[:2],
        "pages": pages,
        "frame": list(mlflow.search_runs([experiment_id], "metrics.loss = 2").shape)[:1],
        "experiments": [
            e.name
            for e in client.search_experiments(filter_string=f"name LIKE '{experiment[:6]}%'")
        ],
        "or": refusal(lambda: names("metrics.loss < 1 OR metrics.loss > 2")),
        "bad": refusal(lambda: names("metrics.loss <")),
        "unknown": refusal(lambda: names("nothing = 'x'")),
        "zero": refusal(lambda: names(max_results=0)),
        "many": refusal(lambda: names(max_results=50_001)),
    }


@scenario
def long_history(points: int) -> Any:
    client = mlflow.MlflowClient()
    run = client.create_run("0").info.run_id
    for start in range(0, points, 1000):
        batch = [Metric("m", s / 2, s, s) for s in range(start, min(points, start + 1000))]
        client.log_batch(run, metrics=batch)
    client.log_batch(run, metrics=[Metric("m", 0.0, 0, 0)])  # a repeat
    history = client.get_metric_history(run, "m")
    return [len(history), [m.step for m in history] == list(range(points)), history[-1].value]


@scenario
def inputs() -> Any:
    frame = pd.DataFrame({"x": [1, 2], "y": [3.0, 4.0]})
    with mlflow.start_run() as run:
        data = mlflow.data.from_pandas(frame, source="https://example.com/d.csv", name="points")
        mlflow.log_input(data, context="training", tags={"k": "v"})
        mlflow.log_input(data, context="training", tags={"k": "v"})
        mlflow.log_input(data, context="evaluation")
    found = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    return [
        [i.dataset.name, i.dataset.digest == data.digest, {t.key: t.value for t in i.tags}]
        for i in found
    ]


@scenario
def refusals(experiment: str) -> Any:
    client = mlflow.MlflowClient()
    experiment_id = client.create_experiment(experiment)
    run = client.create_run(experiment_id).info.run_id
    client.log_param(run, "p", "1")
    client.log_param(run, "p", "1")
    return {
        "run_id": run,
        "no run": refusal(lambda: client.get_run("0" * 32)),
        "no such id": refusal(lambda: client.get_run("never-there")),
        "no experiment": refusal(lambda: client.get_experiment("123456")),
        "odd experiment": refusal(lambda: client.get_experiment("abc")),
        "by name": client.get_experiment_by_name("never there"),
        "twice": refusal(lambda: client.create_experiment(experiment)),
        "blank": refusal(lambda: client.create_experiment("  ")),
        "param": refusal(lambda: client.log_param(run, "p", "2")),
        "params": refusal(lambda: client.log_batch(run, params=[Param("p", "3")])),
        "no tag": refusal(lambda: client.delete_tag(run, "none")),
        "key": refusal(lambda: client.log_metric(run, "a//b", 1)),
        "location": refusal(lambda: client.create_experiment("s3", artifact_location="s3://b/x")),
        "no model": refusal(lambda: client.get_logged_model("m-" + "0" * 32)),
        "history": refusal(lambda: client.get_metric_history("0" * 32, "x")),
        "after": shown(run),
    }


@scenario
def attached() -> Any:
    """As a script that Seafloor started: mlflow finds its run by itself."""
    with mlflow.start_run() as run:
        mlflow.log_metric("inside", 1)
        return [run.info.run_id, os.environ.get("MLFLOW_RUN_ID")]


if __name__ == "__main__":
    main()
