"""Train a small network on scikit-learn's handwritten digits.

Nothing in this file knows Seafloor. It logs with the ``mlflow`` client and a ``SummaryWriter``, as
any script does, and runs as well by itself:

    python train.py --epochs 3

Started by Seafloor, a few variables lead the same calls home: ``MLFLOW_TRACKING_URI`` and
``MLFLOW_RUN_ID`` (read by mlflow), ``SEAFLOOR_EVENTS_DIR`` and ``SEAFLOOR_OUTPUT_DIR`` (read here).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.sklearn
import numpy as np
from matplotlib.figure import Figure
from mlflow.models import infer_signature
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from tensorboardX import SummaryWriter
from tqdm import tqdm

CLASSES = np.arange(10)
PIXEL_MAX = 16.0
# skops saves a model without pickle and loads only types that it is told to trust.
TRUSTED = ["sklearn.neural_network._stochastic_optimizers.AdamOptimizer"]


@dataclass(frozen=True)
class Options:
    """What can be set from the command line."""

    epochs: int
    batch_size: int
    learning_rate: float
    hidden: int
    seed: int


@dataclass(frozen=True)
class Digits:
    """The images, (n, 64) float64 in 0..1, and what they show, (n,) integers in 0..9."""

    train_x: np.ndarray
    train_y: np.ndarray
    val_x: np.ndarray
    val_y: np.ndarray


@dataclass(frozen=True)
class Score:
    """How the model does on images that it was not trained on."""

    loss: float
    accuracy: float


def parse_options(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a small network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--hidden", type=int, default=64, help="units in the hidden layer")
    parser.add_argument("--seed", type=int, default=0)
    options = Options(**vars(parser.parse_args(arguments)))
    if min(options.epochs, options.batch_size, options.hidden) < 1:
        parser.error("--epochs, --batch-size and --hidden are whole numbers from 1")
    return options


def load(seed: int) -> Digits:
    """Load the images that come with scikit-learn: 1,437 to train on and 360 to judge by."""
    images, labels = load_digits(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(
        images / PIXEL_MAX, labels, test_size=0.2, stratify=labels, random_state=seed
    )
    return Digits(train_x, train_y, val_x, val_y)


def batches(count: int, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Deal the numbers 0..count-1 into shuffled batches."""
    order = random.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


def judge(model: MLPClassifier, digits: Digits) -> Score:
    """Measure the model on the images kept back."""
    probabilities = model.predict_proba(digits.val_x)
    return Score(
        loss=float(log_loss(digits.val_y, probabilities, labels=CLASSES)),
        accuracy=float(accuracy_score(digits.val_y, probabilities.argmax(axis=1))),
    )


def train(options: Options, digits: Digits, writer: SummaryWriter) -> tuple[MLPClassifier, Score]:
    """Train epoch by epoch; steps count batches, in mlflow and in TensorBoard alike."""
    model = MLPClassifier(
        hidden_layer_sizes=(options.hidden,),
        learning_rate_init=options.learning_rate,
        random_state=options.seed,
    )
    random = np.random.default_rng(options.seed)
    score = Score(loss=float("nan"), accuracy=0.0)
    step = 0
    for epoch in range(1, options.epochs + 1):
        started = time.perf_counter()
        count = len(digits.train_x)
        losses = []
        bar = tqdm(
            batches(count, options.batch_size, random),
            total=-(-count // options.batch_size),
            desc=f"epoch {epoch}/{options.epochs}",
            unit="batch",
            file=sys.stderr,
        )
        for batch in bar:
            model.partial_fit(digits.train_x[batch], digits.train_y[batch], classes=CLASSES)
            step += 1
            losses.append(model.loss_)
            mlflow.log_metric("train/loss", model.loss_, step=step)
            writer.add_scalar("tb/loss", model.loss_, step)
        score = judge(model, digits)
        mlflow.log_metrics(
            {"val/loss": score.loss, "val/accuracy": score.accuracy, "epoch": epoch}, step=step
        )
        writer.add_scalar("tb/accuracy", score.accuracy, step)
        writer.flush()
        print(
            f"epoch {epoch:>2}: train loss {np.mean(losses):.4f}, val loss {score.loss:.4f}, "
            f"val accuracy {score.accuracy:.2%}, {time.perf_counter() - started:.1f} s",
            flush=True,
        )
    return model, score


def keep(model: MLPClassifier, digits: Digits, options: Options, score: Score) -> None:
    """Keep what is worth keeping: a plot and the model by mlflow, files in the output folder."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay.from_estimator(
        model, digits.val_x, digits.val_y, ax=axes, colorbar=False
    )
    axes.set_title(f"{score.accuracy:.1%} of {len(digits.val_y)} digits read correctly")
    mlflow.log_figure(figure, "plots/confusion.png")
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=infer_signature(digits.val_x, model.predict(digits.val_x)),
        input_example=digits.val_x[:2],
        skops_trusted_types=TRUSTED,
        pip_requirements=str(Path(__file__).with_name("requirements.txt")),
    )
    output = Path(os.environ.get("SEAFLOOR_OUTPUT_DIR", "output"))
    output.mkdir(parents=True, exist_ok=True)
    report = {
        "accuracy": score.accuracy,
        "loss": score.loss,
        "options": vars(options),
        "wrong": int((model.predict(digits.val_x) != digits.val_y).sum()),
    }
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    weights = {f"weights_{i}": layer for i, layer in enumerate(model.coefs_)}
    biases = {f"biases_{i}": layer for i, layer in enumerate(model.intercepts_)}
    np.savez_compressed(output / "weights.npz", **weights, **biases)


def main() -> None:
    """Train, judge, keep."""
    options = parse_options()
    digits = load(options.seed)
    print(f"{len(digits.train_x)} images to train on, {len(digits.val_x)} to judge by", flush=True)
    with (
        mlflow.start_run() as run,
        SummaryWriter(os.environ.get("SEAFLOOR_EVENTS_DIR", "runs")) as writer,
    ):
        print(f"run {run.info.run_id}", flush=True)
        mlflow.log_params(vars(options))
        mlflow.set_tag("dataset", "sklearn.datasets.load_digits")
        model, score = train(options, digits, writer)
        keep(model, digits, options, score)
    print(f"done: val accuracy {score.accuracy:.2%}", flush=True)


if __name__ == "__main__":
    main()
