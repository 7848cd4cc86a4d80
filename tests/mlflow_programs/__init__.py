"""What MLflow documents of its client, as small programs; ``world.py`` says how they are run."""

from mlflow_programs import (
    artifacts,
    experiments,
    fluent,
    inputs,
    labels,
    metrics,
    models,
    runs,
    searches,
)
from mlflow_programs.world import PROGRAMS

__all__ = [
    "PROGRAMS",
    "artifacts",
    "experiments",
    "fluent",
    "inputs",
    "labels",
    "metrics",
    "models",
    "runs",
    "searches",
]
