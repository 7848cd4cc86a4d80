"""``/metrics``: the text that Prometheus reads, and who may read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from http_world import TOKEN, Answer, ask
from live_server import LiveServer
from seafloor.http.meter import RequestMeter

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/prometheus.md"
METRICS_TOKEN = "of-prometheus-only"
_SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? ([0-9.e+-]+|[+-]Inf)\Z")

Samples = dict[tuple[str, str], float]


def samples(answer: Answer) -> Samples:
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for line in answer.body.decode().splitlines():
        if not line.startswith("#"):
            match = _SAMPLE.match(line)
            assert match is not None, line
            key = (match[1], match[2] or "")
            assert key not in found
            found[key] = float(match[3])
    return found


def test_metrics__of_requests__are_counted_by_api_and_status(
    make_server: Callable[..., LiveServer],
) -> None:
    server = make_server()
    before = samples(ask(server.url, "GET", "/metrics"))
    for _ in range(3):
        ask(server.url, "GET", "/api/v1/runs")
    ask(server.url, "GET", "/api/v1/runs/0123")
    ask(server.url, "GET", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0")
    ask(server.url, "GET", "/api/v1/experiments/a-name-of-somebody")
    answer = ask(server.url, "GET", "/metrics")
    after = samples(answer)

    name = "seafloor_requests_total"
    assert after[name, 'api="native",method="GET",status="200"'] == 3
    assert after[name, 'api="mlflow",method="GET",status="200"'] == 1
    assert after[name, 'api="probe",method="GET",status="200"'] >= 2
    assert after["seafloor_requests_running", ""] == 1
    assert b"somebody" not in answer.body
    buckets = [
        value
        for (name, labels), value in after.items()
        if name == "seafloor_request_duration_seconds_bucket" and 'api="native"' in labels
    ]
    assert buckets == sorted(buckets)
    count = after["seafloor_request_duration_seconds_count", 'api="native"']
    assert buckets[-1] == count >= 5
    assert after["process_cpu_seconds_total", ""] >= before["process_cpu_seconds_total", ""] > 0
    assert after["process_resident_memory_bytes", ""] > 1e7
    assert {value for (name, _), value in after.items() if name == "seafloor_part_well"} == {1}
    assert after["seafloor_runs", 'state="queued"'] == 0


def test_metrics__their_names__are_those_of_the_page(shared_server: LiveServer) -> None:
    ask(shared_server.url, "GET", "/api/v1/runs")
    text = ask(shared_server.url, "GET", "/metrics").body.decode()
    told = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    table = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert told == {name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[LiveServer]:
    tokens = {"SEAFLOOR_SERVER__TOKEN": TOKEN, "SEAFLOOR_SERVER__METRICS_TOKEN": METRICS_TOKEN}
    server = LiveServer(tmp_path / "data", env=tokens).start()
    yield server
    server.stop()


def test_metrics__to_a_stranger_and_with_their_own_token__open_nothing_else(
    guarded: LiveServer,
) -> None:
    def status(path: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return ask(guarded.url, "GET", path, headers=headers).status

    assert status("/metrics", METRICS_TOKEN) == 200
    assert status("/metrics", TOKEN) == 200
    for token in ("", "wrong", METRICS_TOKEN[:-1]):
        assert status("/metrics", token) == 401
    assert status("/api/v1/runs", METRICS_TOKEN) == 401
    assert status("/api/v1/server", METRICS_TOKEN) == 401
    answer = ask(guarded.url, "GET", "/api/v1/server", headers={"Authorization": f"Bearer {TOKEN}"})
    assert METRICS_TOKEN not in answer.body.decode()


@pytest.mark.parametrize("method", ["BREW", "X" * 1000])
def test_meter__of_what_callers_write__makes_no_labels(method: str) -> None:
    meter = RequestMeter()
    for number in range(50):
        meter.note(f"/api/v1/{number}", method, 404, 0.1 * number)
    assert meter.answered == {("native", "other", 404): 50}
    assert sum(meter.durations["native"].counts) == 50
    assert meter.durations["native"].counts[0] == 1
