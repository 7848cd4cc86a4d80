"""How many SQL statements a request takes: the same for one run and for many."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect every statement that any engine executes."""
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement != "BEGIN":
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def add_runs(client: httpx.AsyncClient, count: int) -> list[str]:
    async def add(number: int) -> str:
        body = {"experiment": f"e{number % 3}", "params": {"p": str(number)}, "tags": {"t": "x"}}
        made = await client.post("/api/v1/runs", json=body)
        assert made.status_code == 201, made.text
        run: str = made.json()["id"]
        points = {"points": [[f"m{i}", 1.0, 1, 1] for i in range(3)]}
        answer = await client.post(f"/api/v1/runs/{run}/metrics", json=points)
        assert answer.status_code == 200, answer.text
        return run

    return list(await asyncio.gather(*[add(number) for number in range(count)]))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/runs?limit=1000", None),
        ("GET", "/api/v1/runs?limit=1000&filter=metrics.m1%20%3E%200&order=params.p", None),
        ("POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["0", "1", "2", "3"]}),
        ("GET", "/api/v1/experiments", None),
        ("POST", "/api/2.0/mlflow/experiments/search", {}),
    ],
)
async def test_list__of_one_and_of_fifty__takes_as_many_statements(
    client: httpx.AsyncClient, method: str, path: str, body: object
) -> None:
    await add_runs(client, 3)
    with statements() as few:
        answer = await client.request(method, path, json=body)
    assert answer.status_code == 200, answer.text
    await add_runs(client, 50)
    with statements() as many:
        answer = await client.request(method, path, json=body)
    assert len(answer.content) > 300
    assert len(many) == len(few), "\n".join(many)
    assert len(few) <= 10, "\n".join(few)


async def test_get__of_a_run__takes_as_many_statements_with_many_others(
    client: httpx.AsyncClient,
) -> None:
    (run,) = await add_runs(client, 1)
    with statements() as few:
        await client.get(f"/api/v1/runs/{run}")
    await add_runs(client, 50)
    with statements() as many:
        await client.get(f"/api/v1/runs/{run}")
    assert len(many) == len(few) <= 8, "\n".join(many)
