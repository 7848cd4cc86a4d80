"""``/api/2.0/mlflow/logged-models/search``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler

from seafloor.domain.errors import InvalidValue
from seafloor.domain.models import LoggedModel, ModelMetric
from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Lifecycle,
    Not,
    Order,
    Subject,
)
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import Int64, body_of, int64
from seafloor.http.mlflow.entities import MODEL_STATUS, Json, model_json, without_empty
from seafloor.http.mlflow.matching import Value, matches, page_of
from seafloor.http.mlflow.search_words import Grammar
from seafloor.http.mlflow.workspaces import experiments_of
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of

MODELS_MAX = 1000
GRAMMAR = Grammar(
    {
        "name": "text",
        "model_id": "text",
        "model_type": "text",
        "status": "text",
        "source_run_id": "text",
        "creation_timestamp": "number",
        "creation_time": "number",
        "last_updated_timestamp": "number",
        "last_updated_time": "number",
    },
    lists=frozenset({"name", "model_id", "model_type", "status", "source_run_id"}),
    subjects=(Subject.METRIC, Subject.PARAM, Subject.TAG, Subject.ATTRIBUTE),
)
_CREATED = Order(Identifier(Subject.ATTRIBUTE, "creation_timestamp"), descending=True)
_ID = Order(Identifier(Subject.ATTRIBUTE, "model_id"))


class _Dataset(msgspec.Struct):
    dataset_name: str = ""
    dataset_digest: str = ""


class _OrderBy(msgspec.Struct):
    field_name: str = ""
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class _Search(msgspec.Struct):
    experiment_ids: list[str] = []
    filter: str = ""
    order_by: list[_OrderBy] = []
    max_results: Int64 = 50
    page_token: str = ""
    datasets: list[_Dataset] = []


@dataclass(frozen=True)
class _Found:
    """A model with all metric values logged for it."""

    model: LoggedModel
    metrics: tuple[ModelMetric, ...]

    def holds(self, part: Filter | None, datasets: Sequence[_Dataset]) -> bool:
        """Say whether a filter holds, metrics being those on one of the datasets, if any."""
        if isinstance(part, AllOf):
            return all(self.holds(one, datasets) for one in part.parts)
        if isinstance(part, Comparison) and part.left.subject is Subject.METRIC:
            values = [one.value for one in self._on(part.left.key, datasets)]
            return any(matches(part, lambda _, of=value: of) for value in values)
        return matches(part, lambda left: self.value(left))

    def _on(self, key: str | None, datasets: Sequence[_Dataset]) -> list[ModelMetric]:
        return [
            one
            for one in self.metrics
            if key in (None, one.key)
            and (not datasets or any(_is_on(one, dataset) for dataset in datasets))
        ]

    def is_on(self, datasets: Sequence[_Dataset]) -> bool:
        """Say whether it has a value on one of the datasets."""
        return bool(self._on(None, datasets))

    def value(self, left: Identifier, dataset: _Dataset | None = None) -> Value:
        """What it has; of a metric the last value on a dataset."""
        if left.subject is Subject.TAG:
            return self.model.tags.get(left.key)
        if left.subject is Subject.PARAM:
            return self.model.params.get(left.key)
        if left.subject is Subject.METRIC:
            found = self._on(left.key, [] if dataset is None else [dataset])
            last = max(found, key=lambda one: (one.time_ms, one.step), default=None)
            return None if last is None else last.value
        return _attributes(self.model)[left.key]


def _is_on(metric: ModelMetric, dataset: _Dataset) -> bool:
    return metric.dataset_name == dataset.dataset_name and dataset.dataset_digest in (
        "",
        metric.dataset_digest,
    )


@post("/logged-models/search", status_code=200)
async def search(request: AnyRequest) -> Json:
    app = application_of(request)
    body = await body_of(request, _Search)
    limit = int64(body.max_results, field="max_results")
    if not 1 <= limit <= MODELS_MAX:
        raise InvalidValue(f"max_results must be 1..{MODELS_MAX}.", field="max_results")
    if not body.experiment_ids:
        raise words.missing("experiment_ids")
    if not all(dataset.dataset_name for dataset in body.datasets):
        raise InvalidValue("`dataset_name` must be specified.", field="datasets")
    condition = GRAMMAR.filter(body.filter)
    orders = [_order(one) for one in body.order_by]
    on = {order.by: _Dataset(one.dataset_name, one.dataset_digest) if one.dataset_name else None
          for order, one in zip(orders, body.order_by, strict=True)}  # fmt: skip
    metadata = app.stores.metadata
    models = await metadata.model_list(await experiments_of(request, body.experiment_ids))
    metrics = await metadata.model_metrics_list([model.id for model in models])

    def find() -> tuple[list[_Found], str | None]:
        found = [_Found(model, metrics.get(model.id, ())) for model in models]
        return page_of(
            [
                one
                for one in found
                if one.holds(condition, body.datasets)
                and (not body.datasets or _asks_for_metric(condition) or one.is_on(body.datasets))
            ],
            [*orders, *(tie for tie in (_CREATED, _ID) if tie.by not in on)],
            lambda one, by: one.value(by, on.get(by)),
            limit=limit,
            token=body.page_token,
            asked=(condition, body.experiment_ids, body.datasets, on),
        )

    # Seconds, when many patterns are compared with long tags of many.
    page, following = await asyncio.to_thread(find)
    experiments = {
        one.id: one for one in await app.experiments.list(lifecycle=Lifecycle.ALL) if page
    }
    shown = [
        model_json(one.model, experiments[one.model.experiment_id], one.metrics) for one in page
    ]
    return without_empty({"models": shown, "next_page_token": following})


def _asks_for_metric(part: Filter | None) -> bool:
    if isinstance(part, AllOf | AnyOf):
        return any(_asks_for_metric(one) for one in part.parts)
    if isinstance(part, Not):
        return _asks_for_metric(part.part)
    return part is not None and part.left.subject is Subject.METRIC


def _order(asked: _OrderBy) -> Order:
    name = asked.field_name
    entity, dot, key = name.partition(".")
    if not name:
        raise InvalidValue(
            "`field_name` in the `order_by` clause must be specified.", field="order_by"
        )
    if asked.dataset_digest and not asked.dataset_name:
        raise InvalidValue(
            "`dataset_digest` can only be specified if `dataset_name` is also specified.",
            field="order_by",
        )
    if dot and entity == "metrics":
        by = Identifier(Subject.METRIC, key)
    elif dot:
        raise InvalidValue(
            f"Invalid order by field name: {entity}, only `metrics.<name>` is allowed.",
            field="order_by",
        )
    elif name not in GRAMMAR.attributes:
        raise InvalidValue(f"Invalid order by field name: {name}.", field="order_by")
    else:
        by = Identifier(Subject.ATTRIBUTE, name)
    return Order(by, descending=not asked.ascending)


def _attributes(model: LoggedModel) -> dict[str, Value]:
    created_ms, updated_ms = model.created_ns // 1_000_000, model.updated_ns // 1_000_000
    return {
        "name": model.name,
        "model_id": model.id,
        "model_type": model.model_type,
        "status": MODEL_STATUS[model.state].removeprefix("LOGGED_MODEL_"),
        "source_run_id": model.source_run_id,
        "creation_timestamp": created_ms,
        "creation_time": created_ms,
        "last_updated_timestamp": updated_ms,
        "last_updated_time": updated_ms,
    }


ROUTES: list[HTTPRouteHandler] = [search]
