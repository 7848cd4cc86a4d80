"""What takes long and is done here, not by the database: the server answers others meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from seafloor.domain.traces import SpanBatch
from seafloor.http.mlflow import matching, otlp_spans

API = "/api/2.0/mlflow"
WAIT_S = 20


SEARCHES: list[tuple[str, dict[str, Any]]] = [
    ("/experiments/search", {"filter": "name LIKE 'Def%'"}),
    ("/logged-models/search", {"experiment_ids": ["0"], "filter": "name LIKE 'mod%'"}),
]


@pytest.mark.parametrize(("path", "body"), SEARCHES, ids=[path for path, _ in SEARCHES])
async def test_search__that_takes_long__others_are_answered_meanwhile(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    made = await client.post(f"{API}/logged-models", json={"experiment_id": "0", "name": "model"})
    assert made.status_code == 200, made.text
    begun, answered = threading.Event(), threading.Event()
    like = matching.like

    def slow(value: str, pattern: str, *, fold: bool) -> bool:
        begun.set()
        assert answered.wait(WAIT_S), "nothing else was answered while it searched"
        return like(value, pattern, fold=fold)

    monkeypatch.setattr(matching, "like", slow)
    searching = asyncio.create_task(client.post(API + path, json=body))
    assert await asyncio.to_thread(begun.wait, WAIT_S)
    other = await client.get("/health")
    answered.set()
    assert other.status_code == 200
    found = await searching
    assert found.status_code == 200, found.text
    assert len(next(iter(found.json().values()))) == 1


@pytest.mark.parametrize(("path", "body"), SEARCHES, ids=[path for path, _ in SEARCHES])
async def test_search__of_more_comparisons_than_any_is_for__is_refused(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    for count, status in ((200, 200), (201, 400)):
        filter_ = " AND ".join(["name LIKE 'x'"] * count)
        answer = await client.post(API + path, json={**body, "filter": filter_})
        assert answer.status_code == status, answer.text
    assert "at most 200 comparisons" in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "body", "one"),
    [
        ("/experiments/search", {}, "tags.a{}"),
        ("/logged-models/search", {"experiment_ids": ["0"]}, {"field_name": "metrics.a{}"}),
    ],
)
async def test_search__by_more_orders_than_any_is_for__is_refused(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], one: Any
) -> None:
    for count, status in ((14, 200), (17, 400)):
        text = json.dumps(one)
        orders = [json.loads(text.replace("{}", str(number))) for number in range(count)]
        answer = await client.post(API + path, json={**body, "order_by": orders})
        assert answer.status_code == status, answer.text
    assert "orders by at most 16 keys" in answer.json()["message"]


async def test_export_of_spans__that_takes_long_to_read__others_are_answered_meanwhile(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = threading.Event(), threading.Event()
    read = otlp_spans.read_spans

    def slow(raw: bytes, *, is_json: bool, experiment_id: int) -> list[SpanBatch]:
        begun.set()
        assert answered.wait(WAIT_S), "nothing else was answered while it read"
        return read(raw, is_json=is_json, experiment_id=experiment_id)

    monkeypatch.setattr(otlp_spans, "read_spans", slow)
    span = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "s", "startTimeUnixNano": "1"}
    exporting = asyncio.create_task(
        client.post(
            "/v1/traces",
            json={"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]},
            headers={"x-mlflow-experiment-id": "0"},
        )
    )
    assert await asyncio.to_thread(begun.wait, WAIT_S)
    other = await client.get("/health")
    answered.set()
    assert other.status_code == 200
    assert (await exporting).status_code == 200
