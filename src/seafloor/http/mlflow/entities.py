"""Our values in MLflow's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seafloor.app.runs import RunDetails
from seafloor.domain.experiments import Experiment
from seafloor.domain.metrics import MetricSummary
from seafloor.domain.models import DatasetInput, LoggedModel, LoggedModelState, ModelMetric
from seafloor.domain.workloads import Workload
from seafloor.http.mlflow.bodies import as_pairs
from seafloor.http.mlflow.run_search import STATUS_OF
from seafloor.stores.metadata.protocol import WorkloadInputs
from seafloor.wire.numbers import number_out

Json = dict[str, Any]

MODEL_STATUS = {
    LoggedModelState.PENDING: "LOGGED_MODEL_PENDING",
    LoggedModelState.READY: "LOGGED_MODEL_READY",
    LoggedModelState.UPLOAD_FAILED: "LOGGED_MODEL_UPLOAD_FAILED",
}


def lifecycle(deleted_ns: int | None) -> str:
    """MLflow's word for living or deleted."""
    return "active" if deleted_ns is None else "deleted"


def artifact_root(experiment: Experiment) -> str:
    """Where an experiment's artifacts are, as clients are told."""
    return experiment.artifact_location or f"mlflow-artifacts:/{experiment.id}"


def experiment_json(experiment: Experiment) -> Json:
    """An ``Experiment``."""
    return {
        "experiment_id": str(experiment.id),
        "name": experiment.name,
        "workspace": experiment.project,
        "artifact_location": artifact_root(experiment),
        "lifecycle_stage": lifecycle(experiment.deleted_ns),
        "creation_time": experiment.created_ns // 1_000_000,
        "last_update_time": experiment.updated_ns // 1_000_000,
        "tags": as_pairs(experiment.tags),
    }


def run_info_json(workload: Workload, experiment: Experiment) -> Json:
    """A ``RunInfo``."""
    info: Json = {
        "run_id": workload.id,
        "run_uuid": workload.id,
        "run_name": workload.name,
        "experiment_id": str(experiment.id),
        "user_id": workload.user,
        "status": STATUS_OF[workload.state],
        "artifact_uri": f"{artifact_root(experiment)}/{workload.id}/artifacts",
        "lifecycle_stage": lifecycle(workload.deleted_ns),
    }
    started_ns = workload.started_ns
    info["start_time"] = (workload.created_ns if started_ns is None else started_ns) // 1_000_000
    if workload.ended_ns is not None:
        info["end_time"] = workload.ended_ns // 1_000_000
    return info


def run_json(details: RunDetails, inputs: WorkloadInputs | None) -> Json:
    """A ``Run``."""
    workload = details.workload
    tags = {**details.labels.tags, "mlflow.runName": workload.name}
    if workload.user:
        tags.setdefault("mlflow.user", workload.user)
    run: Json = {
        "info": run_info_json(workload, details.experiment),
        "data": {
            "metrics": [summary_json(summary) for summary in details.metrics],
            "params": as_pairs(details.labels.params),
            "tags": as_pairs(tags),
        },
        "inputs": {},
    }
    if inputs is not None:
        run["inputs"] = {
            "dataset_inputs": [dataset_json(dataset) for dataset in inputs.datasets],
            "model_inputs": [{"model_id": model_id} for model_id in inputs.models],
        }
        run["outputs"] = {
            "model_outputs": [
                {"model_id": output.model_id, "step": output.step} for output in inputs.outputs
            ]
        }
    return run


def dataset_json(dataset: DatasetInput) -> Json:
    """A ``DatasetInput``."""
    shown: Json = {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
    }
    if dataset.schema is not None:
        shown["schema"] = dataset.schema
    if dataset.profile is not None:
        shown["profile"] = dataset.profile
    return {"tags": as_pairs(dataset.tags), "dataset": shown}


def summary_json(summary: MetricSummary) -> Json:
    """The latest ``Metric`` of a series."""
    return {
        "key": summary.key,
        "value": number_out(summary.last),
        "timestamp": summary.last_time_ms,
        "step": summary.last_step,
    }


def model_json(model: LoggedModel, experiment: Experiment, metrics: Sequence[ModelMetric]) -> Json:
    """A ``LoggedModel``."""
    return {
        "info": {
            "model_id": model.id,
            "experiment_id": str(model.experiment_id),
            "name": model.name,
            "creation_timestamp_ms": model.created_ns // 1_000_000,
            "last_updated_timestamp_ms": model.updated_ns // 1_000_000,
            "artifact_uri": f"{artifact_root(experiment)}/models/{model.id}/artifacts",
            "status": MODEL_STATUS[model.state],
            "model_type": model.model_type,
            "source_run_id": model.source_run_id or "",
            "tags": as_pairs(model.tags),
        },
        "data": {
            "params": as_pairs(model.params),
            "metrics": [_model_metric_json(model.id, metric) for metric in metrics],
        },
    }


def _model_metric_json(model_id: str, metric: ModelMetric) -> Json:
    shown: Json = {
        "key": metric.key,
        "value": number_out(metric.value),
        "timestamp": metric.time_ms,
        "step": metric.step,
        "run_id": metric.run_id,
        "model_id": model_id,
    }
    if metric.dataset_name is not None:
        shown["dataset_name"] = metric.dataset_name
    if metric.dataset_digest is not None:
        shown["dataset_digest"] = metric.dataset_digest
    return shown


def without_empty(found: Mapping[str, Any]) -> Json:
    """Leave out absent values, as protobuf's JSON does."""
    return {key: value for key, value in found.items() if value not in (None, [], "")}
