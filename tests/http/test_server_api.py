"""``/health``, ``/api/v1/server``, plans, the page, and what every answer has in common."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import urllib3

from http_world import Answer, check_envelope
from live_server import LiveServer, wait_for

Call = Callable[..., Answer]


def test_health__of_a_server_that_is_well__names_its_parts(call: Call) -> None:
    found = call("GET", "/health")
    assert found.status == 200
    assert found.json["status"] == "ok"
    parts = ("metadata", "objects", "reconciler", "sealer")
    assert found.json["parts"] == dict.fromkeys(parts, "ok")


def test_server__describes_itself(call: Call, shared_server: LiveServer) -> None:
    found = call("GET", "/api/v1/server").json
    assert found["url"] == shared_server.url
    assert found["data_dir"] == str(shared_server.data)
    assert found["authentication"] == "none"
    assert found["settings"]["server.port"]["origin"] == "command line"


def test_plan__says_what_would_happen_and_creates_nothing(call: Call) -> None:
    name = f"planned {uuid.uuid4().hex}"
    spec = {"name": name, "command": "python x.py", "env": {"A": "1"}, "timeout": "30m"}
    plan = call("POST", "/api/v1/plans", {"spec": spec}).json
    assert plan["experiment_exists"] is False
    assert plan["variables"]["A"] == "1"
    assert plan["limits"]["timeout"] == "1800 s"
    assert "SEAFLOOR_TOKEN" not in plan["variables"]
    names = [found["name"] for found in call("GET", "/api/v1/experiments").json["items"]]
    assert name not in names


def test_later_kinds__are_empty_lists(call: Call) -> None:
    for kind in ("notebooks", "servings"):
        assert call("GET", f"/api/v1/{kind}").json == {"items": [], "next": None}
        answer = call("POST", f"/api/v1/{kind}", {})
        check_envelope(answer, code="not_supported", status=405)
        assert "GET" in answer.headers["allow"]


def test_every_answer__has_safe_headers_and_an_id(call: Call) -> None:
    for path in ("/health", "/api/v1/runs", "/api/v1/nothing", "/", "/runs/x", "/api/2.0/mlflow/x"):
        answer = call("GET", path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert len(answer.headers["x-request-id"]) == 32
        assert "server" not in answer.headers


def test_unknown_address__of_the_api__is_told_in_its_words(call: Call) -> None:
    for path in ("/api/v1/nothing", "/api/nothing", "/api/v2/runs"):
        error = check_envelope(call("GET", path), code="not_found", status=404)
        assert path in error["message"]
    answer = call("PUT", "/api/v1/runs")
    check_envelope(answer, code="not_supported", status=405)
    assert "POST" in answer.headers["allow"]
    for path in ("/api/2.0/mlflow/nothing", "/ajax-api/2.0/x", "/api/3.0/mlflow/scorers/list"):
        answer = call("POST", path, {})
        assert (answer.status, answer.json["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["/../../../etc/passwd", "/assets/../../../pyproject.toml", "/%2e%2e/%2e%2e/server.py"]
)
def test_page__asked_for_a_file_elsewhere__never_gives_it(call: Call, path: str) -> None:
    answer = call("GET", path)
    assert answer.status in (200, 404)
    assert b"root:" not in answer.body
    assert b"[project]" not in answer.body
    assert b"import" not in answer.body[:200]


def test_kept_connection__answers_without_waiting_for_acknowledgements(
    shared_server: LiveServer,
) -> None:
    """A server that does not set TCP_NODELAY takes 40 ms for each answer on a kept connection."""
    pool = urllib3.PoolManager(num_pools=1, maxsize=1)
    took_ms: list[float] = []
    for _ in range(50):
        begun = time.perf_counter()
        assert pool.request("GET", f"{shared_server.url}/version").status == 200
        took_ms.append((time.perf_counter() - begun) * 1000)
    (connections,) = [pool.pools[key].num_connections for key in pool.pools.keys()]  # noqa: SIM118
    pool.clear()
    assert connections == 1
    # Of the later ones, which none is spared; a busy machine does not hold up every one.
    assert min(took_ms[25:]) < 30


def test_health__a_row_of_one_run_is_damaged__is_said_and_all_else_is_served(
    server: LiveServer,
) -> None:
    """It was 503 from then on: Kubernetes sent nobody there, and ``seafloor export`` refused."""
    run_id = server.post("/api/v1/runs", {"experiment": "damaged"})["id"]
    for step in range(300):  # so many that they are sealed
        some = [["loss", 0.5, step, 1]]
        server.post(f"/api/v1/runs/{run_id}/metrics", {"points": some})
        if step == 0:
            with closing(sqlite3.connect(server.data / "seafloor.db", timeout=30)) as database:
                database.execute("UPDATE metric_journal SET payload = x'00'")
                database.commit()

    def said() -> Any:
        status, body = server.request("GET", "/health")
        return (status, body) if body["status"] != "ok" else None

    status, body = wait_for(said, what="the damage to be told")
    assert (status, body["status"]) == (200, "degraded")
    assert run_id in body["parts"]["sealer"]
    assert server.get("/api/v1/runs")["items"]
