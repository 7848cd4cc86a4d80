"""The gate of a server without authentication, and which addresses it may listen on."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.services._service import free_port

from http_world import TOKEN, Answer, ask, check_envelope
from live_server import LiveServer, wait_for

Call = Callable[..., Answer]
EXIT_FORBIDDEN = 7


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "127.0.0.1.evil.example.com",
        "localhost.evil.example.com:7340",
        "evil.example.com@localhost.example",
        "192.168.1.5:7340",
        "0.0.0.0",
        "[::2]:7340",
        "",
    ],
)
def test_request__addressed_to_another_name__is_refused(call: Call, host: str) -> None:
    """DNS rebinding: a page's own name that points to this machine."""
    for path in ("/api/v1/runs", "/api/2.0/mlflow/experiments/search", "/health", "/"):
        assert call("GET", path, Host=host).status in (400, 403), host


@pytest.mark.parametrize("host", ["[::1", "a b", "%zz", "[]", "http://x"])
def test_request__with_a_host_that_is_none__is_refused(call: Call, host: str) -> None:
    assert call("GET", "/api/v1/runs", Host=host).status in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1234", "[::1]:7340", "LOCALHOST"])
def test_request__addressed_to_this_machine__is_let_in(call: Call, host: str) -> None:
    assert call("GET", "/api/v1/runs", Host=host).status == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example.com", "null", "", "http://localhost:1", "https://localhost", "file://"],
)
def test_request__from_another_sites_page__is_refused(call: Call, origin: str) -> None:
    for method, path in (
        ("GET", "/api/v1/runs"),
        ("POST", "/api/v1/runs"),
        ("DELETE", f"/api/v1/runs/{'0' * 32}"),
    ):
        check_envelope(call(method, path, Origin=origin), code="forbidden", status=403)
    answer = call("POST", "/api/2.0/mlflow/runs/create", {}, Origin=origin)
    assert (answer.status, answer.json["error_code"]) == (403, "PERMISSION_DENIED")


def test_request__from_its_own_page__is_let_in(call: Call, shared_server: LiveServer) -> None:
    assert call("GET", "/api/v1/runs", Origin=shared_server.url).status == 200
    port = shared_server.url.rsplit(":", 1)[1]
    own = f"localhost:{port}"
    assert call("GET", "/api/v1/runs", Host=own, Origin=f"http://{own}").status == 200


def test_server__on_every_address_without_a_token__does_not_start(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "seafloor.boot", "up", "--data", tmp_path / "data"),
            *("--host", "0.0.0.0", "--port", "0"),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert ended.returncode == EXIT_FORBIDDEN
    assert ended.stdout == ""
    assert "listens on loopback only, not on 0.0.0.0" in ended.stderr
    assert "SEAFLOOR_SERVER__TOKEN" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "data" / "seafloor.db").exists()


def test_server__on_every_address_with_a_token__asks_for_it(tmp_path: Path) -> None:
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    env = {"SEAFLOOR_SERVER__TOKEN": TOKEN, "SEAFLOOR_SERVER__URL": here}
    server = LiveServer(tmp_path / "data", env=env)
    server.start("--host", "0.0.0.0", "--port", str(port))
    try:
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert ask(here, "GET", "/api/v1/runs").status == 401
        assert ask(here, "GET", "/api/v1/runs", headers=good).status == 200
        named = {**good, "Host": "any.name.example"}
        assert ask(here, "GET", "/api/v1/runs", headers=named).status == 200
        proxied = {**named, "Origin": here}
        assert ask(here, "GET", "/api/v1/runs", headers=proxied).status == 200
        other = {**good, "Origin": "http://evil.example"}
        assert ask(here, "GET", "/api/v1/runs", headers=other).status == 403
    finally:
        server.stop()


def test_log__of_requests__has_a_line_for_each_at_level_info_only(tmp_path: Path) -> None:
    for level, count in (("info", 1), ("warning", 0)):
        env = {"SEAFLOOR_SERVER__LOG_LEVEL": level}
        server = LiveServer(tmp_path / level, env=env).start()
        try:
            answer = ask(server.url, "GET", "/api/v1/nothing")
        finally:
            server.stop()
        log = (server.data / "server.log").read_text().splitlines()
        lines = [one for one in map(json.loads, log) if one.get("path") == "/api/v1/nothing"]
        noted = [(one["event"], one["status"], one["request_id"]) for one in lines]
        assert noted == [("request", 404, answer.headers["x-request-id"])] * count


def _left_unanswered(server: LiveServer, path: str) -> int:
    """How many requests the log has whose sender went away."""
    lines = (server.data / "server.log").read_text(errors="replace").splitlines()
    return sum(f'"path":"{path}","status":499' in line for line in lines)


@pytest.mark.parametrize(
    "path",
    [
        *(f"/api/2.0/mlflow/runs/{name}" for name in ("create", "log-batch", "update", "search")),
        "/api/v1/runs",
        f"/api/v1/runs/{'0' * 32}/metrics",
        f"/api/v1/runs/{'0' * 32}/metrics/batches",
        "/v1/traces",
    ],
)
def test_request__whose_sender_goes_away__is_no_bug(shared_server: LiveServer, path: str) -> None:
    before = _left_unanswered(shared_server, path)
    where = urlsplit(shared_server.url)
    kind = "application/x-protobuf" if path == "/v1/traces" else "application/json"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        "Content-Length: 50\r\nx-mlflow-experiment-id: 0\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port or 80), timeout=60) as connection:
        connection.sendall(head.encode() + b'{"x"')
    wait_for(lambda: _left_unanswered(shared_server, path) > before, what="its line in the log")
    log = (shared_server.data / "server.log").read_text(errors="replace")
    assert "disconnected prematurely" not in log
