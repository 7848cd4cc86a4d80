"""``/api/2.0/mlflow/experiments/…``."""

from __future__ import annotations

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from seafloor.domain.errors import Conflict, InvalidValue
from seafloor.domain.experiments import Experiment
from seafloor.domain.search import Identifier, Lifecycle, Subject
from seafloor.domain.search_grammar import Dialect, parse_filter, parse_order
from seafloor.http.mlflow.bodies import (
    Int64,
    KeyValue,
    body_of,
    experiment_id_of,
    int64,
    offset_of,
    pairs,
)
from seafloor.http.mlflow.entities import Json, experiment_json, without_empty
from seafloor.http.mlflow.matching import Value, matches
from seafloor.http.requests import AnyRequest, check_administrator
from seafloor.http.state import application_of

MAX_RESULTS = 50_000
_VIEWS = {
    "ACTIVE_ONLY": Lifecycle.ACTIVE,
    "DELETED_ONLY": Lifecycle.DELETED,
    "ALL": Lifecycle.ALL,
}
_DIALECT = Dialect(
    {
        "name": "text",
        "experiment_id": "text",
        "creation_time": "number",
        "last_update_time": "number",
    },
    nesting=False,
)


class _Create(msgspec.Struct):
    name: str = ""
    artifact_location: str = ""
    tags: list[KeyValue] = []


class _Change(msgspec.Struct):
    experiment_id: str = ""
    new_name: str = ""
    key: str = ""
    value: str = ""


class _Search(msgspec.Struct):
    max_results: Int64 = 1000
    filter: str = ""
    order_by: list[str] = []
    view_type: str = "ACTIVE_ONLY"
    page_token: str = ""


def view_of(text: str) -> Lifecycle:
    """Read a ViewType; InvalidValue when it is none."""
    found = _VIEWS.get(text or "ACTIVE_ONLY")
    if found is None:
        raise InvalidValue(f"Invalid value '{text}' for parameter 'view_type'.", field="view_type")
    return found


@get("/experiments/get-by-name")
async def get_by_name(request: AnyRequest, experiment_name: FromQuery[str]) -> Json:
    found = await application_of(request).experiments.get_by_name(experiment_name)
    return {"experiment": experiment_json(found)}


@get("/experiments/get")
async def get_experiment(request: AnyRequest, experiment_id: FromQuery[str]) -> Json:
    found = await application_of(request).experiments.get(experiment_id_of(experiment_id))
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
    made = await application_of(request).experiments.create(
        body.name, tags=pairs(body.tags, field="tags")
    )
    return {"experiment_id": str(made.id)}


async def _search(request: AnyRequest, asked: _Search) -> Json:
    limit = int64(asked.max_results, field="max_results")
    if not 1 <= limit <= MAX_RESULTS:
        raise InvalidValue(
            f"Invalid value {limit} for parameter 'max_results' supplied. "
            f"It must be a positive integer of at most {MAX_RESULTS}.",
            field="max_results",
        )
    offset = offset_of(asked.page_token)
    condition = parse_filter(asked.filter, _DIALECT)
    found = [
        experiment
        for experiment in await application_of(request).experiments.list(
            lifecycle=view_of(asked.view_type)
        )
        if matches(condition, lambda left, of=experiment: _value(of, left))
    ]
    found = _ordered(found, asked.order_by)
    more = offset + limit < len(found)
    return without_empty(
        {
            "experiments": [experiment_json(one) for one in found[offset : offset + limit]],
            "next_page_token": str(offset + limit) if more else None,
        }
    )


def _ordered(found: list[Experiment], order_by: list[str]) -> list[Experiment]:
    found = sorted(found, key=lambda one: (-one.created_ns, one.id))
    for text in reversed(order_by):
        order = parse_order(text, _DIALECT)
        present = [one for one in found if _value(one, order.by) is not None]
        missing = [one for one in found if _value(one, order.by) is None]
        present.sort(key=lambda one: _sort_value(one, order.by), reverse=order.descending)
        found = present + missing
    return found


def _sort_value(experiment: Experiment, by: Identifier) -> tuple[float, str]:
    value = _value(experiment, by)
    if by.key == "experiment_id":
        return (experiment.id, "")
    return (0.0, value) if isinstance(value, str) else (float(value or 0), "")


def _value(experiment: Experiment, left: Identifier) -> Value:
    if left.subject is Subject.TAG:
        return experiment.tags.get(left.key)
    values: dict[str, Value] = {
        "name": experiment.name,
        "experiment_id": str(experiment.id),
        "creation_time": experiment.created_ns // 1_000_000,
        "last_update_time": experiment.updated_ns // 1_000_000,
    }
    return values.get(left.key)


@post("/experiments/search", status_code=200)
async def search(request: AnyRequest) -> Json:
    return await _search(request, await body_of(request, _Search))


@get("/experiments/search")
async def search_by_query(
    request: AnyRequest,
    max_results: FromQuery[int] = 1000,
    order_by: FromQuery[list[str] | None] = None,
    view_type: FromQuery[str] = "ACTIVE_ONLY",
    page_token: FromQuery[str] = "",
) -> Json:
    text = request.query_params.get("filter", "")
    return await _search(request, _Search(max_results, text, order_by or [], view_type, page_token))


@post("/experiments/update", status_code=200)
async def update(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Change)
    if not body.new_name:
        raise InvalidValue("Missing value for required parameter 'new_name'.", field="new_name")
    await application_of(request).experiments.update(
        experiment_id_of(body.experiment_id), name=body.new_name
    )
    return {}


@post("/experiments/delete", status_code=200)
async def delete(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Change)
    await application_of(request).experiments.delete(experiment_id_of(body.experiment_id))
    return {}


@post("/experiments/restore", status_code=200)
async def restore(request: AnyRequest) -> Json:
    check_administrator(request)
    body = await body_of(request, _Change)
    await application_of(request).experiments.restore(experiment_id_of(body.experiment_id))
    return {}


@post("/experiments/set-experiment-tag", status_code=200)
async def set_tag(request: AnyRequest) -> Json:
    body = await body_of(request, _Change)
    experiments = application_of(request).experiments
    experiment_id = experiment_id_of(body.experiment_id)
    if (await experiments.get(experiment_id)).deleted_ns is not None:
        raise Conflict(f"The experiment {experiment_id} must be in the 'active' state.")
    await experiments.change_tags(experiment_id, set_={body.key: body.value})
    return {}


@post("/experiments/delete-experiment-tag", status_code=200)
async def delete_tag(request: AnyRequest) -> Json:
    body = await body_of(request, _Change)
    experiments = application_of(request).experiments
    await experiments.change_tags(experiment_id_of(body.experiment_id), set_={}, delete=[body.key])
    return {}


ROUTES: list[HTTPRouteHandler] = [
    get_by_name,
    get_experiment,
    create,
    search,
    search_by_query,
    update,
    delete,
    restore,
    set_tag,
    delete_tag,
]
