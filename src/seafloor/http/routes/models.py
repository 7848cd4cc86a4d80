"""What runs used and produced: ``/api/v1/runs/{run}/inputs``, ``…/logged-models``."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from seafloor.app.models import ModelDetails
from seafloor.domain.ids import parse_model_id, parse_workload_id
from seafloor.domain.models import LoggedModel, ModelMetric, ModelOutput
from seafloor.domain.search import Lifecycle
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, check_administrator, check_write
from seafloor.http.routes.experiments import ExperimentNumber
from seafloor.http.state import application_of
from seafloor.stores.metadata.protocol import WorkloadInputs
from seafloor.wire.models import (
    LoggedModelList,
    LoggedModelPage,
    LoggedModelPut,
    LoggedModelView,
    ModelMetricValue,
    ModelUse,
    RunInputs,
)
from seafloor.wire.numbers import number_in, number_out

_MODELS_MAX: Final = 100


def _inputs(found: WorkloadInputs) -> RunInputs:
    outputs = tuple(ModelUse(use.model_id, use.step) for use in found.outputs)
    return RunInputs(found.datasets, found.models, outputs)


def _view(details: ModelDetails) -> LoggedModelView:
    model = details.model
    return LoggedModelView(
        id=model.id,
        experiment_id=model.experiment_id,
        name=model.name,
        created_ns=model.created_ns,
        updated_ns=model.updated_ns,
        deleted_ns=model.deleted_ns,
        model_type=model.model_type,
        state=model.state,
        source_run_id=model.source_run_id,
        params=model.params,
        tags=model.tags,
        metrics=tuple(
            ModelMetricValue(
                key=metric.key,
                value=number_out(metric.value),
                step=metric.step,
                time_ms=metric.time_ms,
                run_id=metric.run_id,
                dataset_name=metric.dataset_name,
                dataset_digest=metric.dataset_digest,
            )
            for metric in details.metrics
        ),
    )


@get("/runs/{run_id:str}/inputs", responses=documented(404), summary="What a run used")
async def get_inputs(request: AnyRequest, run_id: FromPath[str]) -> RunInputs:
    """The datasets and models that a run used, and the models it produced."""
    app = application_of(request)
    workload_id = (await app.runs.get(await app.runs.find(run_id))).id
    return _inputs(await app.models.inputs(workload_id))


@post(
    "/runs/{run_id:str}/inputs",
    responses=documented(404, 409, 413),
    status_code=200,
    summary="Note what a run used",
)
async def add_inputs(
    request: AnyRequest, run_id: FromPath[str], data: JSONBody[RunInputs]
) -> RunInputs:
    """Add datasets and models that a run used or produced; repeats are one."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    await app.runs.check_active(workload_id)
    await app.models.add_inputs(
        workload_id,
        datasets=data.datasets,
        models=data.models,
        outputs=tuple(ModelOutput(use.model_id, use.step) for use in data.outputs),
    )
    return _inputs(await app.models.inputs(workload_id))


@get("/runs/{run_id:str}/logged-models", responses=documented(404), summary="Models of a run")
async def list_logged_models(
    request: AnyRequest,
    run_id: FromPath[str],
    deleted: FromQuery[Lifecycle] = Lifecycle.ACTIVE,
) -> LoggedModelList:
    """The models that a run logged, oldest first."""
    app = application_of(request)
    workload_id = (await app.runs.get(await app.runs.find(run_id))).id
    found = await app.models.of_run(workload_id, lifecycle=deleted)
    return LoggedModelList(tuple(map(_view, found)))


@get(
    "/experiments/{experiment_id:int}/logged-models",
    responses=documented(404),
    summary="Models of an experiment",
)
async def list_models_of_experiment(
    request: AnyRequest,
    experiment_id: ExperimentNumber,
    deleted: FromQuery[Lifecycle] = Lifecycle.ACTIVE,
    limit: Annotated[int, QueryParameter(ge=1, le=_MODELS_MAX)] = _MODELS_MAX,
    cursor: FromQuery[str] = "",
) -> LoggedModelPage:
    """The models of an experiment by id, those that no run logged too; a page of at most 100."""
    found = await application_of(request).models.page(
        experiment_id, lifecycle=deleted, after=cursor, limit=limit
    )
    last = found[-1].model.id if len(found) == limit else None
    return LoggedModelPage(tuple(map(_view, found)), last)


@get("/logged-models/{model_id:str}", responses=documented(404), summary="Get a model")
async def get_logged_model(request: AnyRequest, model_id: FromPath[str]) -> LoggedModelView:
    """A model that a run logged, a deleted one too."""
    return _view(await application_of(request).models.get(parse_model_id(model_id)))


@put("/logged-models/{model_id:str}", responses=documented(404, 409, 413), summary="Bring a model")
async def put_logged_model(
    request: AnyRequest, model_id: FromPath[str], data: JSONBody[LoggedModelPut]
) -> LoggedModelView:
    """Keep a model that was logged elsewhere, under the id it has; a repeat is harmless."""
    check_administrator(request)
    source = data.source_run_id
    model = LoggedModel(
        id=parse_model_id(model_id),
        experiment_id=data.experiment_id,
        name=data.name,
        model_type=data.model_type,
        state=data.state,
        source_run_id=None if source is None else parse_workload_id(source, field="source_run_id"),
        params=data.params,
        tags=data.tags,
        created_ns=data.created_ns,
        updated_ns=data.created_ns,
    )
    metrics = tuple(
        ModelMetric(
            key=metric.key,
            value=number_in(metric.value),
            step=metric.step,
            time_ms=metric.time_ms,
            run_id=parse_workload_id(metric.run_id, field="run_id"),
            dataset_name=metric.dataset_name,
            dataset_digest=metric.dataset_digest,
        )
        for metric in data.metrics
    )
    return _view(await application_of(request).models.put(model, metrics))


ROUTES = [
    get_inputs,
    add_inputs,
    list_logged_models,
    list_models_of_experiment,
    get_logged_model,
    put_logged_model,
]
