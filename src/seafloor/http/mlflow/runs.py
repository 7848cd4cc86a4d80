"""``/api/2.0/mlflow/runs/…``."""

from __future__ import annotations

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from seafloor.app.application import Application
from seafloor.app.runs import PARAM_CHARS_MAX, TAG_CHARS_MAX, NewTrackedRun
from seafloor.app.tokens import Principal
from seafloor.domain.errors import Conflict, InvalidValue
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import TIME_MS_MAX, Point
from seafloor.domain.models import DatasetInput, ModelMetric, ModelOutput
from seafloor.domain.names import check_name
from seafloor.domain.workloads import Workload, WorkloadState
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import (
    Int64,
    KeyValue,
    MetricIn,
    body_of,
    experiment_id_of,
    float64,
    int64,
    pairs,
    run_id_of,
    time_ns,
)
from seafloor.http.mlflow.entities import Json, run_info_json, run_json
from seafloor.http.mlflow.workspaces import (
    model_of,
    no_experiment,
    project_of,
    run_of,
)
from seafloor.http.requests import AnyRequest, check_administrator, check_write, principal_of
from seafloor.http.state import application_of
from seafloor.stores.entries.protocol import Entries
from seafloor.wire.models import MlflowDataset

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
NAME_TAG = "mlflow.runName"
"""The tag that is the run's name."""
_DATASET_CHARS_MAX = {
    "name": 500,
    "digest": 36,
    "source": 65_535,
    "schema": 1_048_575,
    "profile": 16_777_215,
}
_INPUT_TAG_KEY_CHARS_MAX = 255
_INPUT_TAG_CHARS_MAX = 500


class Create(msgspec.Struct):
    """The body of ``runs/create``."""

    experiment_id: str = ""
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


class _DatasetUse(msgspec.Struct):
    dataset: MlflowDataset
    tags: list[KeyValue] = []


class _ModelUse(msgspec.Struct):
    model_id: str = ""
    step: Int64 = 0


class _Inputs(msgspec.Struct):
    run_id: str = ""
    datasets: list[_DatasetUse] = []
    models: list[_ModelUse] = []


class _Outputs(msgspec.Struct):
    run_id: str = ""
    models: list[_ModelUse] | None = None


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
    await check_write(request, app, run_id_of(run_id, run_uuid))
    found = await run_of(request, run_id, run_uuid)
    if found.deleted_ns is not None:
        raise Conflict(
            f"The run {found.id} must be in the 'active' state. Current state is deleted."
        )
    return found


@post("/runs/create", status_code=200)
async def create(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, Create, either=["experiment_id"])
    return await created(app, body, by=principal_of(request), project=project_of(request))


async def created(app: Application, body: Create, *, by: Principal, project: str | None) -> Json:
    """Create a run; what is said of it is what was written, which need not be read again.

    Args:
        project: The workspace; None: there are none.

    Raises:
        NotFound: no experiment of the project has the id.
    """
    experiment_id = experiment_id_of(body.experiment_id)
    if project is not None:
        found = await app.projects.of_experiment(experiment_id, hoped=project)
        if found != project:
            raise no_experiment(experiment_id)
    tags = pairs(body.tags, field="tags")
    named = tags.pop(NAME_TAG, "")
    if body.run_name and named and named != body.run_name:
        raise InvalidValue(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with "
            f"different values (run_name='{body.run_name}', mlflow.runName='{named}').",
            field="run_name",
        )
    user = body.user_id or tags.get("mlflow.user", "")
    started_ns = None if not body.start_time else time_ns(body.start_time, field="start_time")
    new = NewTrackedRun(
        experiment_id=experiment_id,
        found_in=project,
        name=body.run_name or named or None,
        user=user,
        tags=cut(tags, TAG_CHARS_MAX),
        started_ns=started_ns,
    )
    try:
        made = await app.runs.create_tracked(new, by=by)
    except Conflict as error:
        raise Conflict(
            f"The experiment {experiment_id} must be in the 'active' state. "
            "Current state is deleted."
        ) from error
    return {"run": run_json(made, None)}


async def _run(app: Application, workload_id: WorkloadId) -> Json:
    details = await app.runs.details(workload_id)
    inputs = await app.stores.metadata.inputs_get([workload_id])
    return run_json(details, inputs.get(workload_id))


@get("/runs/get")
async def get_run(
    request: AnyRequest, run_id: FromQuery[str] = "", run_uuid: FromQuery[str] = ""
) -> Json:
    found = await run_of(request, run_id, run_uuid)
    return {"run": await _run(application_of(request), found.id)}


@post("/runs/update", status_code=200)
async def update(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, _Update)
    found = await active_run(request, body.run_id, body.run_uuid)
    # Everything is read before anything is written; the state may refuse, a name that was read not.
    if body.run_name:
        check_name(body.run_name, field="run_name")
    state = _STATES.get(str(body.status))
    if state is None and body.status != "":
        raise words.invalid(body.status, "status")
    ended_ns = None if not body.end_time else time_ns(body.end_time, field="end_time")
    if state is not None:
        found = await app.runs.set_state(found.id, state, ended_ns=ended_ns)
    if body.run_name:
        await app.runs.log(found.id, Entries(name=body.run_name))
        found = await app.runs.get(found.id)
    experiment = await app.experiments.get(found.experiment_id or 0)
    return {"run_info": run_info_json(found, experiment)}


@post("/runs/delete", status_code=200)
async def delete(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Label)
    found = await run_of(request, body.run_id, body.run_uuid)
    await application_of(request).runs.delete(found.id)
    return {}


@post("/runs/restore", status_code=200)
async def restore(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Label)
    found = await run_of(request, body.run_id, body.run_uuid)
    await application_of(request).runs.restore(found.id)
    return {}


@post("/runs/log-parameter", status_code=200)
async def log_parameter(request: AnyRequest) -> Json:
    body = await body_of(request, _Label)
    key = words.checked_key(body.key, name="key", called="Param key")
    found = await active_run(request, body.run_id, body.run_uuid)
    entries = Entries(params=cut({key: body.value}, PARAM_CHARS_MAX))
    await application_of(request).runs.log(found.id, entries)
    return {}


@post("/runs/set-tag", status_code=200)
async def set_tag(request: AnyRequest) -> Json:
    body = await body_of(request, _Label)
    key = words.checked_key(body.key, name="key")
    found = await active_run(request, body.run_id, body.run_uuid)
    tags, name = _tags_and_name({key: body.value})
    if tags or name:
        await application_of(request).runs.log(found.id, Entries(tags=tags, name=name))
    return {}


def _tags_and_name(tags: dict[str, str]) -> tuple[dict[str, str], str | None]:
    """Tags as they are kept, and the name of the run if one of them is that."""
    made = cut(tags, TAG_CHARS_MAX)
    name = made.pop(NAME_TAG, "")
    return made, name or None


@post("/runs/delete-tag", status_code=200)
async def delete_tag(request: AnyRequest) -> Json:
    body = await body_of(request, _Label)
    if not body.key:
        raise words.missing("key")
    found = await active_run(request, body.run_id, body.run_uuid)
    if body.key == NAME_TAG:
        raise InvalidValue(
            f"The tag {NAME_TAG} is the name of the run, which has always one: set another.",
            field="key",
        )
    await application_of(request).runs.log(found.id, Entries(delete_tags=[body.key]))
    return {}


@post("/runs/log-metric", status_code=200)
async def log_metric(request: AnyRequest) -> Json:
    body = await body_of(request, _Metric)
    point = _point(body, name="name", called="Metric name")
    found = await active_run(request, body.run_id, body.run_uuid)
    await _check_models(request, [body])
    entries = Entries(points=[point], model_metrics=_of_models(found.id, [body], [point]))
    await application_of(request).runs.log(found.id, entries)
    return {}


async def _check_models(request: AnyRequest, metrics: list[MetricIn]) -> None:
    """Refuse models of another workspace, before anything is written; NotFound."""
    if project_of(request) is None:
        return
    for model_id in {metric.model_id for metric in metrics if metric.model_id}:
        await model_of(request, model_id)


def _of_models(
    run_id: WorkloadId, metrics: list[MetricIn], points: list[Point]
) -> dict[str, list[ModelMetric]]:
    """What metrics tell of models, by their ids."""
    by_model: dict[str, list[ModelMetric]] = {}
    for metric, point in zip(metrics, points, strict=True):
        if metric.model_id:
            by_model.setdefault(metric.model_id, []).append(
                ModelMetric(
                    key=point.key,
                    value=point.value,
                    step=point.step,
                    time_ms=point.time_ms,
                    run_id=run_id,
                    dataset_name=metric.dataset_name or None,
                    dataset_digest=metric.dataset_digest or None,
                )
            )
    return by_model


def _point(metric: MetricIn, *, name: str, called: str, place: str = "") -> Point:
    """Read a metric; ``name`` and ``place`` are what MLflow calls its key and where it stands."""
    if not metric.key:
        raise words.missing(f"{place}key")
    key = words.checked_key(metric.key, name=name, called=called)
    if metric.value == "":
        raise words.missing(f"{place}value")
    value = float64(metric.value, field=f"{place}value")
    time_ms = int64(metric.timestamp, field=f"{place}timestamp")
    if not 0 <= time_ms <= TIME_MS_MAX:
        raise InvalidValue(
            f"Invalid value {time_ms} for parameter '{place}timestamp' supplied: metric '{key}' "
            f"(value={value}). Timestamp must be a nonnegative long (64-bit integer) "
            f"of at most {TIME_MS_MAX}",
            field="timestamp",
        )
    if bool(metric.dataset_name) != bool(metric.dataset_digest):
        raise InvalidValue(
            "Both dataset_name and dataset_digest must be provided if one is provided",
            field="dataset_digest" if metric.dataset_name else "dataset_name",
        )
    return Point(key, value, int64(metric.step, field=f"{place}step"), time_ms)


@post("/runs/log-batch", status_code=200)
async def log_batch(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, _Batch)
    _check_batch(body)
    found = await active_run(request, body.run_id)
    points = [
        _point(metric, name=f"metrics[{at}].name", called="Metric name", place=f"metrics[{at}].")
        for at, metric in enumerate(body.metrics)
    ]
    for at, param in enumerate(body.params):
        words.checked_key(param.key, name=f"params[{at}].key", called="Param key")
    for at, tag in enumerate(body.tags):
        words.checked_key(tag.key, name=f"tags[{at}].key", called=f"tags[{at}].key")
    tags, name = _tags_and_name({tag.key: tag.value for tag in body.tags})
    if name is not None:
        check_name(name, field="tags")
    await _check_models(request, body.metrics)
    entries = Entries(
        points=points,
        params=cut(_params(body.params), PARAM_CHARS_MAX),
        tags=tags,
        name=name,
        model_metrics=_of_models(found.id, body.metrics, points),
    )
    if points or entries.params or tags or name is not None:
        await _log(app, found.id, entries)
    return {}


def _params(items: list[KeyValue]) -> dict[str, str]:
    keys = [item.key for item in items]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise InvalidValue(
            f"Duplicate parameter keys have been submitted: {twice}. Please ensure the request "
            "contains only one param value per param key.",
            field="params",
        )
    return {item.key: item.value for item in items}


async def _log(app: Application, workload_id: WorkloadId, entries: Entries) -> None:
    """Log entries; which params have another value already is told of all."""
    try:
        await app.runs.log(workload_id, entries)
    except Conflict as error:
        known = (await app.stores.metadata.labels_get([workload_id]))[workload_id].params
        changed = [
            {"key": key, "old_value": known[key], "new_value": value}
            for key, value in entries.params.items()
            if known.get(key, value) != value
        ]
        if not changed:
            raise
        raise Conflict(
            f"Changing param values is not allowed. Params were already logged='{changed}' for "
            f"run ID='{workload_id}'.",
            field="params",
        ) from error


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
    every = sum(count for _, count, _ in counts)
    if every > METRICS_MAX:
        what = "metrics, params, and tags"
        raise InvalidValue(
            f"A batch logging request can contain at most {METRICS_MAX} {what}. Got {every} "
            f"{what}. Please split up {what} across multiple requests and try again."
        )


@post("/runs/log-inputs", status_code=200)
async def log_inputs(request: AnyRequest) -> Json:
    body = await body_of(request, _Inputs)
    for use in body.datasets:
        _check_dataset(use)
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


def _check_dataset(use: _DatasetUse) -> None:
    """Hold the limits of a dataset and its tags."""
    for name, chars_max in _DATASET_CHARS_MAX.items():
        if len(getattr(use.dataset, name) or "") > chars_max:
            raise words.too_long(name, chars_max)
    for tag in use.tags:
        if len(tag.key) > _INPUT_TAG_KEY_CHARS_MAX:
            raise words.too_long("key", _INPUT_TAG_KEY_CHARS_MAX)
        if len(tag.value) > _INPUT_TAG_CHARS_MAX:
            raise words.too_long("value", _INPUT_TAG_CHARS_MAX)


@post("/runs/outputs", status_code=200)
async def log_outputs(request: AnyRequest) -> Json:
    body = await body_of(request, _Outputs)
    if not body.run_id:
        raise words.missing("run_id")
    if body.models is None:
        raise words.missing("models")
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
