"""``/api/2.0/mlflow/experiments/search``."""

from __future__ import annotations

import asyncio

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from seafloor.domain.errors import InvalidValue
from seafloor.domain.experiments import Experiment
from seafloor.domain.search import Identifier, Order, Subject
from seafloor.http.mlflow.bodies import Int64, body_of, int64
from seafloor.http.mlflow.entities import Json, experiment_json, without_empty
from seafloor.http.mlflow.experiments import view_of
from seafloor.http.mlflow.matching import Value, matches, page_of
from seafloor.http.mlflow.search_words import Grammar
from seafloor.http.mlflow.workspaces import project_of
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of

MAX_RESULTS = 50_000
GRAMMAR = Grammar(
    {
        "name": "text",
        "experiment_id": "text",
        "creation_time": "number",
        "last_update_time": "number",
    },
    lists=frozenset({"experiment_id"}),
    subjects=(Subject.ATTRIBUTE, Subject.TAG),
)
_ID = Identifier(Subject.ATTRIBUTE, "experiment_id")
_CREATED = Identifier(Subject.ATTRIBUTE, "creation_time")


class _Search(msgspec.Struct):
    max_results: Int64 = 1000
    filter: str = ""
    order_by: list[str] = []
    view_type: str | int = "ACTIVE_ONLY"
    page_token: str = ""


async def _search(request: AnyRequest, asked: _Search) -> Json:
    limit = int64(asked.max_results, field="max_results")
    if not 1 <= limit <= MAX_RESULTS:
        bound = f"at most {MAX_RESULTS}" if limit > 0 else "a positive integer"
        raise InvalidValue(
            f"Invalid value {limit} for parameter 'max_results' supplied. It must be {bound}",
            field="max_results",
        )
    condition = GRAMMAR.filter(asked.filter)
    orders = [GRAMMAR.order(text) for text in asked.order_by]
    # MLflow breaks ties by the oldest first only when it chose the order itself.
    ties = [Order(_ID, descending=True)] if orders else [Order(_CREATED, True), Order(_ID)]
    every = await application_of(request).experiments.list(
        project=project_of(request), lifecycle=view_of(asked.view_type)
    )

    def find() -> tuple[list[Experiment], str | None]:
        found = [one for one in every if matches(condition, lambda left, of=one: _value(of, left))]
        return page_of(
            found,
            [*orders, *ties],
            _order_value,
            limit=limit,
            token=asked.page_token,
            asked=(condition, asked.view_type),
        )

    # Seconds, when many patterns are compared with long tags of many.
    page, following = await asyncio.to_thread(find)
    return without_empty(
        {
            "experiments": [experiment_json(one) for one in page],
            "next_page_token": following,
        }
    )


def _order_value(experiment: Experiment, by: Identifier) -> Value:
    return experiment.id if by == _ID else _value(experiment, by)


def _value(experiment: Experiment, left: Identifier) -> Value:
    if left.subject is Subject.TAG:
        return experiment.tags.get(left.key)
    values: dict[str, Value] = {
        "name": experiment.name,
        "experiment_id": str(experiment.id),
        "creation_time": experiment.created_ns // 1_000_000,
        "last_update_time": experiment.updated_ns // 1_000_000,
    }
    return values[left.key]


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


ROUTES: list[HTTPRouteHandler] = [search, search_by_query]
