"""``/api/2.0/mlflow/experiments/…``."""

from __future__ import annotations

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from seafloor.domain.errors import InvalidValue, NotFound
from seafloor.domain.experiments import DEFAULT_PROJECT
from seafloor.domain.search import Lifecycle
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import (
    KeyValue,
    body_of,
    pairs,
)
from seafloor.http.mlflow.entities import Json, experiment_json
from seafloor.http.mlflow.workspaces import active_experiment, experiment_of, project_of
from seafloor.http.requests import AnyRequest, check_administrator
from seafloor.http.state import application_of

_VIEWS: dict[str | int, Lifecycle] = {
    "ACTIVE_ONLY": Lifecycle.ACTIVE,
    "DELETED_ONLY": Lifecycle.DELETED,
    "ALL": Lifecycle.ALL,
    1: Lifecycle.ACTIVE,
    2: Lifecycle.DELETED,
    3: Lifecycle.ALL,
}


class _Create(msgspec.Struct):
    name: str = ""
    artifact_location: str = ""
    tags: list[KeyValue] = []


class _Change(msgspec.Struct):
    experiment_id: str = ""
    new_name: str = ""
    key: str = ""
    value: str = ""


def view_of(text: str | int) -> Lifecycle:
    """Read a ViewType by its name or number; InvalidValue when it is none."""
    found = _VIEWS.get(text or "ACTIVE_ONLY")
    if found is None:
        raise InvalidValue(f"Invalid value '{text}' for parameter 'view_type'.", field="view_type")
    return found


@get("/experiments/get-by-name")
async def get_by_name(request: AnyRequest, experiment_name: FromQuery[str]) -> Json:
    try:
        found = await application_of(request).experiments.get_by_name(
            experiment_name, project=project_of(request) or DEFAULT_PROJECT
        )
    except NotFound as error:
        raise NotFound(f"Could not find experiment with name '{experiment_name}'") from error
    return {"experiment": experiment_json(found)}


@get("/experiments/get")
async def get_experiment(request: AnyRequest, experiment_id: FromQuery[str]) -> Json:
    found = await experiment_of(request, experiment_id)
    return {"experiment": experiment_json(found)}


@post("/experiments/create", status_code=200)
async def create(request: AnyRequest) -> Json:
    body = await body_of(request, _Create)
    location = body.artifact_location
    if location and not location.startswith("mlflow-artifacts:/"):
        raise InvalidValue(
            "Artifacts are kept by this server: leave artifact_location out.",
            field="artifact_location",
        )
    if not body.name:
        raise words.missing("name")
    for tag in body.tags:
        words.checked_key(tag.key, name="key", called="key")
    made = await application_of(request).experiments.create(
        body.name,
        project=project_of(request) or DEFAULT_PROJECT,
        tags=pairs(body.tags, field="tags"),
    )
    return {"experiment_id": str(made.id)}


@post("/experiments/update", status_code=200)
async def update(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Change)
    if not body.new_name:
        raise words.missing("new_name")
    found = await experiment_of(request, body.experiment_id)
    await application_of(request).experiments.update(found.id, name=body.new_name)
    return {}


@post("/experiments/delete", status_code=200)
async def delete(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Change)
    found = await experiment_of(request, body.experiment_id)
    await application_of(request).experiments.delete(found.id)
    return {}


@post("/experiments/restore", status_code=200)
async def restore(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Change)
    found = await experiment_of(request, body.experiment_id)
    await application_of(request).experiments.restore(found.id)
    return {}


@post("/experiments/set-experiment-tag", status_code=200)
async def set_tag(request: AnyRequest) -> Json:
    body = await body_of(request, _Change)
    experiments = application_of(request).experiments
    found = await active_experiment(request, body.experiment_id)
    key = words.checked_key(body.key, name="key")
    await experiments.change_tags(found.id, set_={key: body.value})
    return {}


@post("/experiments/delete-experiment-tag", status_code=200)
async def delete_tag(request: AnyRequest) -> Json:
    body = await body_of(request, _Change)
    experiments = application_of(request).experiments
    found = await active_experiment(request, body.experiment_id)
    if body.key not in found.tags:
        raise NotFound(f"No tag with name: {body.key} in experiment with id {found.id}")
    await experiments.change_tags(found.id, set_={}, delete=[body.key])
    return {}


ROUTES: list[HTTPRouteHandler] = [
    get_by_name,
    get_experiment,
    create,
    update,
    delete,
    restore,
    set_tag,
    delete_tag,
]
