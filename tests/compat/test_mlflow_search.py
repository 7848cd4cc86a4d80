"""Searches over experiments, runs and logged models by MLflow's routes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from http_world import Answer, ask
from live_server import LiveServer

Call = Callable[..., Answer]


@pytest.fixture
def call(shared_server: LiveServer) -> Call:
    """Make requests of MLflow's API."""

    def make(path: str, body: Any = None, *, method: str = "POST") -> Answer:
        return ask(shared_server.url, method, "/api/2.0/mlflow" + path, body=body)

    return make


@pytest.fixture
def experiment(call: Call) -> str:
    made = call("/experiments/create", {"name": f"search {uuid.uuid4().hex}"})
    return made.json["experiment_id"]


def pages(call: Call, path: str, body: dict[str, Any], items: str, size: int) -> list[Any]:
    """Every item of a search, page by page."""
    found: list[Any] = []
    token = ""
    while True:
        page = call(path, {**body, "max_results": size, "page_token": token}).json
        found += page.get(items, [])
        assert len(page.get(items, [])) <= size
        token = page.get("next_page_token", "")
        if not token:
            return found


def refused(answer: Answer, words: str) -> None:
    assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer
    assert words in answer.json["message"], answer.json


def test_search_experiments__by_tag_and_name__in_order_page_by_page(call: Call) -> None:
    mark = uuid.uuid4().hex
    ids = [
        call(
            "/experiments/create",
            {"name": f"{mark} {name}", "tags": [{"key": "mark", "value": mark}]},
        ).json["experiment_id"]
        for name in "bca"
    ]

    def found(where: str, *order: str, size: int = 100) -> list[int]:
        body = {"filter": where, "order_by": list(order)}
        items = pages(call, "/experiments/search", body, "experiments", size)
        return [ids.index(one["experiment_id"]) for one in items]

    where = f"tags.mark = '{mark}'"
    assert found(where, "name") == [2, 0, 1]
    assert found(where, "name DESC", size=1) == [1, 0, 2]
    assert found(where, "experiment_id", size=2) == [0, 1, 2]
    assert sorted(found(where)) == [0, 1, 2]
    assert found(f"{where} AND name LIKE '% a'") == [2]
    assert found(f"{where} AND experiment_id IN ('{ids[0]}', '{ids[2]}')", "name") == [2, 0]
    assert found(f"tags.mark IS NOT NULL AND {where} AND creation_time > 0", "name") == [2, 0, 1]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"filter": "name = 'a' OR name = 'b'"}, "Invalid clause(s) in filter string: 'OR'"),
        ({"filter": "metrics.a = 1"}, "Invalid entity type 'metric'. Valid values are"),
        ({"filter": "name IN ('a')"}, "Only ['experiment_id'] attributes support"),
        ({"order_by": ["size"]}, "Invalid attribute key 'size' specified."),
        ({"page_token": "x"}, "Invalid page token"),
        ({"max_results": 0}, "Invalid value 0 for parameter 'max_results'"),
    ],
)
def test_search_experiments__of_what_is_none__is_refused_in_mlflows_words(
    call: Call, body: dict[str, Any], words: str
) -> None:
    refused(call("/experiments/search", body), words)


def test_search_runs__with_equal_values__ties_by_start_then_id(call: Call, experiment: str) -> None:
    starts = [5_000, 7_000, 7_000, 6_000]
    runs = [
        call("/runs/create", {"experiment_id": experiment, "start_time": at}).json["run"]["info"]
        for at in starts
    ]
    ids = [run["run_id"] for run in runs]
    for run in ids[:3]:
        metric = {"run_id": run, "key": "m", "value": 1.0, "timestamp": 1, "step": 0}
        call("/runs/log-metric", metric)
    body = {"experiment_ids": [experiment], "order_by": ["metrics.m DESC"]}
    twins = sorted(ids[1:3])
    for size in (1, 2, 10):
        found = pages(call, "/runs/search", body, "runs", size)
        assert [one["info"]["run_id"] for one in found] == [*twins, ids[0], ids[3]]
    newest = pages(call, "/runs/search", {"experiment_ids": [experiment]}, "runs", 3)
    assert [one["info"]["run_id"] for one in newest] == [*twins, ids[3], ids[0]]
    uri = runs[3]["artifact_uri"]
    body = {"experiment_ids": [experiment], "filter": f"attributes.artifact_uri = '{uri}'"}
    assert [one["info"]["run_id"] for one in pages(call, "/runs/search", body, "runs", 9)] == [
        ids[3]
    ]


def test_search_models__by_metrics_params_and_datasets__finds_and_orders(
    call: Call, experiment: str
) -> None:
    run = call("/runs/create", {"experiment_id": experiment}).json["run"]["info"]["run_id"]
    models: list[str] = []
    for number, (train, test) in enumerate([(0.5, 0.1), (0.7, None), (0.6, 0.3), (None, None)]):
        made = call(
            "/logged-models",
            {
                "experiment_id": experiment,
                "name": f"m{number}",
                "source_run_id": run,
                "params": [{"key": "depth", "value": str(number)}],
            },
        ).json["model"]["info"]["model_id"]
        models.append(made)
        for value, dataset in ((train, "train"), (test, "test")):
            if value is not None:
                point = {"key": "acc", "value": value, "timestamp": number + 1, "step": 0}
                on = {"model_id": made, "dataset_name": dataset, "dataset_digest": "1"}
                logged = call("/runs/log-metric", {"run_id": run, **point, **on})
                assert logged.status == 200, logged

    def found(size: int = 50, **asked: Any) -> list[int]:
        body = {"experiment_ids": [experiment], **asked}
        items = pages(call, "/logged-models/search", body, "models", size)
        return [models.index(one["info"]["model_id"]) for one in items]

    train = {"dataset_name": "train"}
    by_acc = {"field_name": "metrics.acc", **train}
    assert found(order_by=[{"field_name": "name"}], size=3) == [0, 1, 2, 3]
    assert found(order_by=[by_acc], size=1) == [0, 2, 1, 3]
    assert found(order_by=[{**by_acc, "ascending": False}], size=2) == [1, 2, 0, 3]
    assert set(found(filter="metrics.acc < 0.4")) == {0, 2}
    assert set(found(filter="metrics.acc < 0.6", datasets=[train])) == {0}
    assert set(found(datasets=[{"dataset_name": "test", "dataset_digest": "1"}])) == {0, 2}
    assert set(found(datasets=[{"dataset_name": "test", "dataset_digest": "2"}])) == set()
    assert found(filter="params.depth = '2' AND attributes.status = 'PENDING'") == [2]
    assert found(filter=f"source_run_id = '{run}' AND name IN ('m1')") == [1]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"filter": "name = 'a' OR name = 'b'"}, "Invalid clause(s) in filter string: 'OR'"),
        ({"filter": "metrics.a = 'x'"}, "Expected numeric value type for metric. Found 'x'"),
        ({"filter": "datasets.name = 'x'"}, "Invalid entity type 'dataset'"),
        ({"order_by": [{"field_name": "params.a"}]}, "Invalid order by field name: params, only"),
        ({"order_by": [{"field_name": "size"}]}, "Invalid order by field name: size."),
        ({"order_by": [{}]}, "`field_name` in the `order_by` clause must be specified."),
        (
            {"order_by": [{"field_name": "name", "dataset_digest": "1"}]},
            "`dataset_digest` can only be specified if",
        ),
        ({"datasets": [{}]}, "`dataset_name` must be specified."),
        ({"page_token": "x"}, "Invalid page token"),
    ],
)
def test_search_models__of_what_is_none__is_refused_in_mlflows_words(
    call: Call, experiment: str, body: dict[str, Any], words: str
) -> None:
    refused(call("/logged-models/search", {"experiment_ids": [experiment], **body}), words)
