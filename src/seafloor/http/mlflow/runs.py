"""``/api/2.0/mlflow/runs/…``."""

from __future__ import annotations

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from seafloor.app.application import Application
from seafloor.app.runs import PARAM_CHARS_MAX, TAG_CHARS_MAX, NewTrackedRun
from seafloor.domain.errors import Conflict, InvalidValue
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import Point
from seafloor.domain.models import DatasetInput, ModelMetric, ModelOutput
from seafloor.domain.names import check_key
from seafloor.domain.workloads import Workload, WorkloadState
from seafloor.http.mlflow.bodies import (
    Int64,
    KeyValue,
    MetricIn,
    body_of,
    experiment_id_of,
    int64,
    pairs,
    run_id_of,
    time_ns,
)
from seafloor.http.mlflow.entities import Json, run_info_json, run_json
from seafloor.http.requests import AnyRequest, check_administrator, check_write, principal_of
from seafloor.http.state import application_of
from seafloor.wire.numbers import number_in

METRICS_MAX = 1000
LABELS_MAX = 100
_STATES = {
    "RUNNING": WorkloadState.RUNNING,
    "SCHEDULED": WorkloadState.RUNNING,
    "FINISHED": WorkloadState.SUCCEEDED,
    "FAILED": WorkloadState.FAILED,
    "KILLED": WorkloadState.STOPPED,
    "1": WorkloadState.RUNNING,
    "2": WorkloadState.RUNNING,
    "3": WorkloadState.SUCCEEDED,
    "4": WorkloadState.FAILED,
    "5": WorkloadState.STOPPED,
}
_NAME_TAG = "mlflow.runName"


class _Create(msgspec.Struct):
    experiment_id: str = "0"
    user_id: str = ""
    run_name: str = ""
    start_time: Int64 | None = None
    tags: list[KeyValue] = []


class _Update(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    status: str | int = ""
    end_time: Int64 | None = None
    run_name: str = ""


class _Label(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    key: str = ""
    value: str = ""


class _Metric(MetricIn, frozen=True, kw_only=True):
    run_id: str = ""
    run_uuid: str = ""


class _Batch(msgspec.Struct):
    run_id: str = ""
    metrics: list[MetricIn] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class _Dataset(msgspec.Struct):
    name: str = ""
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class _DatasetUse(msgspec.Struct):
    dataset: _Dataset
    tags: list[KeyValue] = []


class _ModelUse(msgspec.Struct):
    model_id: str = ""
    step: Int64 = 0


class _Inputs(msgspec.Struct):
    run_id: str = ""
    datasets: list[_DatasetUse] = []
    models: list[_ModelUse] = []


def cut(values: dict[str, str], chars_max: int) -> dict[str, str]:
    """Cut long values, as MLflow's server does by default."""
    return {key: value[:chars_max] for key, value in values.items()}


async def active_run(request: AnyRequest, run_id: str, run_uuid: str = "") -> Workload:
    """The run that may be written to by whoever asks.

    Raises:
        NotFound, Conflict: there is none, or it is deleted; in MLflow's words.
        Forbidden: the token is another run's.
    """
    app = application_of(request)
    workload_id = run_id_of(run_id, run_uuid)
    await check_write(request, app, workload_id)
    found = await app.runs.get(workload_id)
    if found.deleted_ns is not None:
        raise Conflict(
            f"The run {workload_id} must be in the 'active' state. Current state is deleted."
        )
    return found


@post("/runs/create", status_code=200)
async def create(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, _Create)
    experiment = await app.experiments.get(experiment_id_of(body.experiment_id))
    if experiment.deleted_ns is not None:
        raise Conflict(
            f"The experiment {experiment.id} must be in the 'active' state. "
            "Current state is deleted."
        )
    tags = pairs(body.tags, field="tags")
    named = tags.pop(_NAME_TAG, "")
    if body.run_name and named and named != body.run_name:
        raise InvalidValue(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with "
            f"different values (run_name='{body.run_name}', mlflow.runName='{named}').",
            field="run_name",
        )
    user = body.user_id or tags.get("mlflow.user", "")
    started_ns = None if not body.start_time else time_ns(body.start_time, field="start_time")
    made = await app.runs.create_tracked(
        NewTrackedRun(
            experiment_id=experiment.id,
            name=body.run_name or named or None,
            user=user,
            tags=cut(tags, TAG_CHARS_MAX),
            started_ns=started_ns,
        ),
        by=principal_of(request),
    )
    return {"run": await _run(app, made.id)}


async def _run(app: Application, workload_id: WorkloadId) -> Json:
    details = await app.runs.details(workload_id)
    inputs = await app.stores.metadata.inputs_get([workload_id])
    return run_json(details, inputs.get(workload_id))


@get("/runs/get")
async def get_run(
    request: AnyRequest, run_id: FromQuery[str] = "", run_uuid: FromQuery[str] = ""
) -> Json:
    return {"run": await _run(application_of(request), run_id_of(run_id, run_uuid))}


@post("/runs/update", status_code=200)
async def update(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, _Update)
    found = await active_run(request, body.run_id, body.run_uuid)
    if body.run_name:
        found = await app.runs.rename(found.id, body.run_name)
    if body.status:
        state = _STATES.get(str(body.status))
        if state is None:
            raise InvalidValue(f"Invalid status '{body.status}'.", field="status")
        ended_ns = None if not body.end_time else time_ns(body.end_time, field="end_time")
        found = await app.runs.set_state(found.id, state, ended_ns=ended_ns)
    experiment = await app.experiments.get(found.experiment_id or 0)
    return {"run_info": run_info_json(found, experiment)}


@post("/runs/delete", status_code=200)
async def delete(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Label)
    await application_of(request).runs.delete(run_id_of(body.run_id, body.run_uuid))
    return {}


@post("/runs/restore", status_code=200)
async def restore(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Label)
    await application_of(request).runs.restore(run_id_of(body.run_id, body.run_uuid))
    return {}


@post("/runs/log-parameter", status_code=200)
async def log_parameter(request: AnyRequest) -> Json:
    body = await body_of(request, _Label)
    found = await active_run(request, body.run_id, body.run_uuid)
    await application_of(request).runs.log_params(
        found.id, cut({body.key: body.value}, PARAM_CHARS_MAX)
    )
    return {}


@post("/runs/set-tag", status_code=200)
async def set_tag(request: AnyRequest) -> Json:
    body = await body_of(request, _Label)
    found = await active_run(request, body.run_id, body.run_uuid)
    await _set_tags(application_of(request), found.id, {body.key: body.value})
    return {}


async def _set_tags(app: Application, workload_id: WorkloadId, tags: dict[str, str]) -> None:
    tags = cut(tags, TAG_CHARS_MAX)
    name = tags.pop(_NAME_TAG, "")
    if tags:
        await app.runs.change_tags(workload_id, set_=tags)
    if name:
        await app.runs.rename(workload_id, name)


@post("/runs/delete-tag", status_code=200)
async def delete_tag(request: AnyRequest) -> Json:
    body = await body_of(request, _Label)
    found = await active_run(request, body.run_id, body.run_uuid)
    await application_of(request).runs.change_tags(found.id, set_={}, delete=[body.key])
    return {}


@post("/runs/log-metric", status_code=200)
async def log_metric(request: AnyRequest) -> Json:
    body = await body_of(request, _Metric)
    found = await active_run(request, body.run_id, body.run_uuid)
    await _log_metrics(application_of(request), found, [body], [_point(body)])
    return {}


async def _log_metrics(
    app: Application, run: Workload, metrics: list[MetricIn], points: list[Point]
) -> None:
    await app.stores.metrics.append(run.id, points, attempt=run.attempt)
    by_model: dict[str, list[ModelMetric]] = {}
    for metric, point in zip(metrics, points, strict=True):
        if metric.model_id:
            by_model.setdefault(metric.model_id, []).append(
                ModelMetric(
                    key=point.key,
                    value=point.value,
                    step=point.step,
                    time_ms=point.time_ms,
                    run_id=run.id,
                    dataset_name=metric.dataset_name or None,
                    dataset_digest=metric.dataset_digest or None,
                )
            )
    for model_id, found in by_model.items():
        await app.stores.metadata.model_metrics_add(model_id, found)


def _point(metric: MetricIn) -> Point:
    return Point(
        check_key(metric.key),
        number_in(metric.value, field="value"),
        int64(metric.step, field="step"),
        int64(metric.timestamp, field="timestamp"),
    )


@post("/runs/log-batch", status_code=200)
async def log_batch(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, _Batch)
    _check_batch(body)
    found = await active_run(request, body.run_id)
    # Everything is read before anything is written; then params, metrics, tags, as in MLflow.
    params = cut(pairs(body.params, field="params"), PARAM_CHARS_MAX)
    tags = {tag.key: tag.value for tag in body.tags}
    points = [_point(metric) for metric in body.metrics]
    for key in (*params, *tags):
        check_key(key)
    if params:
        await app.runs.log_params(found.id, params)
    if points:
        await _log_metrics(app, found, body.metrics, points)
    if tags:
        await _set_tags(app, found.id, tags)
    return {}


def _check_batch(body: _Batch) -> None:
    counts = (
        ("metrics", len(body.metrics), METRICS_MAX),
        ("params", len(body.params), LABELS_MAX),
        ("tags", len(body.tags), LABELS_MAX),
    )
    for what, count, count_max in counts:
        if count > count_max:
            raise InvalidValue(
                f"A batch logging request can contain at most {count_max} {what}. Got {count} "
                f"{what}. Please split up {what} across multiple requests and try again.",
                field=what,
            )
    if sum(count for _, count, _ in counts) > METRICS_MAX:
        raise InvalidValue(
            f"A batch logging request can contain at most {METRICS_MAX} metrics, params and tags "
            "together. Please split them up across multiple requests and try again."
        )


@post("/runs/log-inputs", status_code=200)
async def log_inputs(request: AnyRequest) -> Json:
    body = await body_of(request, _Inputs)
    found = await active_run(request, body.run_id)
    await application_of(request).stores.metadata.inputs_add(
        found.id,
        datasets=[
            DatasetInput(
                name=use.dataset.name,
                digest=use.dataset.digest,
                source_type=use.dataset.source_type,
                source=use.dataset.source,
                schema=use.dataset.schema,
                profile=use.dataset.profile,
                tags=pairs(use.tags, field="tags"),
            )
            for use in body.datasets
        ],
        models=[use.model_id for use in body.models],
    )
    return {}


@post("/runs/outputs", status_code=200)
async def log_outputs(request: AnyRequest) -> Json:
    body = await body_of(request, _Inputs)
    found = await active_run(request, body.run_id)
    await application_of(request).stores.metadata.inputs_add(
        found.id,
        outputs=[ModelOutput(use.model_id, int64(use.step, field="step")) for use in body.models],
    )
    return {}


ROUTES: list[HTTPRouteHandler] = [
    create,
    get_run,
    update,
    delete,
    restore,
    log_parameter,
    set_tag,
    delete_tag,
    log_metric,
    log_batch,
    log_inputs,
    log_outputs,
]
