"""``/api/2.0/mlflow/logged-models…``; the registry's routes answer that it is not there yet."""

from __future__ import annotations

import secrets

import msgspec
from litestar import HttpMethod, delete, get, patch, post, route
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from seafloor.app.application import Application
from seafloor.domain.errors import InvalidValue, NotFound, NotSupported
from seafloor.domain.models import LoggedModel, LoggedModelState
from seafloor.domain.names import check_name
from seafloor.http.mlflow.bodies import (
    KeyValue,
    body_of,
    pairs,
)
from seafloor.http.mlflow.entities import Json, model_json
from seafloor.http.mlflow.runs import active_run
from seafloor.http.mlflow.workspaces import active_experiment, model_of
from seafloor.http.requests import AnyRequest, check_write
from seafloor.http.state import application_of

_NO_REGISTRY = "The model registry is not part of this version."
_STATES = {
    "LOGGED_MODEL_PENDING": LoggedModelState.PENDING,
    "LOGGED_MODEL_READY": LoggedModelState.READY,
    "LOGGED_MODEL_UPLOAD_FAILED": LoggedModelState.UPLOAD_FAILED,
}


class _Create(msgspec.Struct):
    experiment_id: str = ""
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class _Change(msgspec.Struct):
    status: str = ""
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class _Named(msgspec.Struct):
    name: str = ""


async def _shown(app: Application, model: LoggedModel) -> Json:
    experiment = await app.experiments.get(model.experiment_id)
    metrics = await app.stores.metadata.model_metrics_get(model.id)
    return model_json(model, experiment, metrics)


async def writable_model(request: AnyRequest, model_id: str) -> LoggedModel:
    """The logged model that may be written to by whoever asks; NotFound, Forbidden."""
    app = application_of(request)
    found = await model_of(request, model_id)
    if found.source_run_id is not None:
        await check_write(request, app, found.source_run_id)
    return found


@post("/logged-models", status_code=200)
async def create(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, _Create)
    name = check_name(body.name or f"model-{secrets.token_hex(4)}")
    if any(char in "/:.%\"'" for char in name):
        raise InvalidValue(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and "
            "cannot contain the following characters: ('/', ':', '.', '%', '\"', \"'\")",
            field="name",
        )
    experiment = await active_experiment(request, body.experiment_id)
    source = None
    if body.source_run_id:
        source = (await active_run(request, body.source_run_id)).id
    now_ns = app.clock.now_ns()
    made = await app.stores.metadata.model_create(
        LoggedModel(
            id=f"m-{secrets.token_hex(16)}",
            experiment_id=experiment.id,
            name=name,
            model_type=body.model_type,
            source_run_id=source,
            params=pairs(body.params, field="params"),
            tags=pairs(body.tags, field="tags"),
            created_ns=now_ns,
            updated_ns=now_ns,
        )
    )
    return {"model": await _shown(app, made)}


@get("/logged-models/{model_id:str}")
async def get_model(
    request: AnyRequest, model_id: FromPath[str], *, allow_deleted: FromQuery[bool] = False
) -> Json:
    app = application_of(request)
    found = await model_of(request, model_id)
    if found.deleted_ns is not None and not allow_deleted:
        raise NotFound(f"Logged model with ID '{model_id}' not found.")
    return {"model": await _shown(app, found)}


@patch("/logged-models/{model_id:str}")
async def finalize(request: AnyRequest, model_id: FromPath[str]) -> Json:
    app = application_of(request)
    body = await body_of(request, _Change)
    state = _STATES.get(body.status)
    if state is None:
        raise InvalidValue(f"Invalid model status: '{body.status}'.", field="status")
    await writable_model(request, model_id)
    if state is LoggedModelState.READY:
        await app.stores.artifacts.seal(model_id)
    changed = await app.stores.metadata.model_update(
        model_id, updated_ns=app.clock.now_ns(), state=state
    )
    return {"model": await _shown(app, changed)}


@delete("/logged-models/{model_id:str}", status_code=200)
async def delete_model(request: AnyRequest, model_id: FromPath[str]) -> Json:
    app = application_of(request)
    await writable_model(request, model_id)
    now_ns = app.clock.now_ns()
    await app.stores.metadata.model_update(model_id, updated_ns=now_ns, deleted_ns=now_ns)
    return {}


@post("/logged-models/{model_id:str}/params", status_code=200)
async def log_params(request: AnyRequest, model_id: FromPath[str]) -> Json:
    app = application_of(request)
    body = await body_of(request, _Change)
    await writable_model(request, model_id)
    await app.stores.metadata.model_update(
        model_id, updated_ns=app.clock.now_ns(), params=pairs(body.params, field="params")
    )
    return {}


@patch("/logged-models/{model_id:str}/tags")
async def set_tags(request: AnyRequest, model_id: FromPath[str]) -> Json:
    app = application_of(request)
    body = await body_of(request, _Change)
    await writable_model(request, model_id)
    changed = await app.stores.metadata.model_update(
        model_id, updated_ns=app.clock.now_ns(), tags=pairs(body.tags, field="tags")
    )
    return {"model": await _shown(app, changed)}


@delete("/logged-models/{model_id:str}/tags/{key:str}", status_code=200)
async def delete_tag(request: AnyRequest, model_id: FromPath[str], key: FromPath[str]) -> Json:
    app = application_of(request)
    await writable_model(request, model_id)
    await app.stores.metadata.model_update(
        model_id, updated_ns=app.clock.now_ns(), delete_tags=[key]
    )
    return {}


@get(["/registered-models/get", "/registered-models/alias"])
async def get_registered_model(name: FromQuery[str] = "") -> Json:
    raise _not_registered(name)


@route(
    "/registered-models/get-latest-versions",
    http_method=[HttpMethod.GET, HttpMethod.POST],
    status_code=200,
)
async def get_latest_versions(request: AnyRequest, name: FromQuery[str] = "") -> Json:
    body = await body_of(request, _Named)
    raise _not_registered(name or body.name)


@get(["/model-versions/get", "/model-versions/get-download-uri"])
async def get_model_version(name: FromQuery[str] = "", version: FromQuery[str] = "") -> Json:
    raise NotFound(f"Model Version (name={name}, version={version}) not found. {_NO_REGISTRY}")


def _not_registered(name: str) -> NotFound:
    """What every name is to a client, which tells it from a broken server by the code."""
    return NotFound(f"Registered Model with name={name} not found. {_NO_REGISTRY}")


@get(["/registered-models/search", "/model-versions/search"])
async def search_registry() -> Json:
    return {}


@post(["/registered-models/create", "/model-versions/create"], status_code=200)
async def create_in_registry() -> Json:
    raise NotSupported(
        f"{_NO_REGISTRY[:-1]}: log the model without a registered_model_name and load it by its "
        "run."
    )


ROUTES: list[HTTPRouteHandler] = [
    create,
    get_model,
    finalize,
    delete_model,
    log_params,
    set_tags,
    delete_tag,
    get_registered_model,
    get_latest_versions,
    get_model_version,
    search_registry,
    create_in_registry,
]
