"""What agents deliver: ``/api/v1/runs/{run}/attempts/{n}/…``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from http_world import Answer, check_envelope
from live_server import LiveServer

Call = Callable[..., Answer]


@pytest.fixture(scope="module")
def ended_run(shared_server: LiveServer) -> str:
    run = shared_server.launch(["sh", "-c", "echo one; echo two >&2"])
    shared_server.wait_state(run["id"], "succeeded")
    return run["id"]


def test_append__beyond_the_end__says_where_to_go_on(call: Call, ended_run: str) -> None:
    path = f"/api/v1/runs/{ended_run}/attempts/1/tasks/other/logs"
    error = check_envelope(call("POST", f"{path}?offset=10", b"x"), code="out_of_order", status=409)
    assert error["next_offset"] == 0


def test_append__to_a_finished_log__is_closed_and_a_repeat_harmless(
    call: Call, ended_run: str
) -> None:
    path = f"/api/v1/runs/{ended_run}/attempts/1/tasks/main/logs"
    repeated = call("POST", f"{path}?offset=0", b"x")
    assert repeated.status == 200, repeated
    at = repeated.json["next_offset"]
    assert at > 0
    check_envelope(call("POST", f"{path}?offset={at}", b"more"), code="closed", status=409)


def test_append__of_too_much__is_refused(call: Call, ended_run: str) -> None:
    path = f"/api/v1/runs/{ended_run}/attempts/1/tasks/other/logs?offset=0"
    check_envelope(call("POST", path, b"x" * (8 * 2**20 + 1)), code="limit_exceeded", status=413)


@pytest.mark.parametrize(
    ("place", "code", "status"),
    [
        ("attempts/2/tasks/main/logs?offset=0", "not_found", 404),
        ("attempts/0/tasks/main/logs?offset=0", "invalid_value", 400),
        (f"attempts/{2**40}/tasks/main/logs?offset=0", "invalid_value", 400),
        ("attempts/1/tasks/../logs?offset=0", "invalid_value", 400),
        ("attempts/1/tasks/a%2F..%2Fb/logs?offset=0", "not_found", 404),
        ("attempts/1/tasks/Main/logs?offset=0", "invalid_value", 400),
        ("attempts/1/tasks/main/logs?offset=-1", "invalid_value", 400),
        ("attempts/1/tasks/main/logs", "invalid_value", 400),
        (f"attempts/1/tasks/main/logs?offset={2**63}", "invalid_value", 400),
        ("attempts/1/event-files?path=../x&offset=0", "invalid_value", 400),
        ("attempts/1/event-files?path=/x&offset=0", "invalid_value", 400),
        ("attempts/1/event-files?path=&offset=0", "invalid_value", 400),
        ("attempts/1/event-files?path=a%00b&offset=0", "invalid_value", 400),
        ("attempts/9/event-files?path=a&offset=0", "not_found", 404),
    ],
)
def test_append__to_an_odd_place__is_refused(
    call: Call, ended_run: str, place: str, code: str, status: int
) -> None:
    answer = call("POST", f"/api/v1/runs/{ended_run}/{place}", b"x")
    check_envelope(answer, code=code, status=status)


def test_reports__repeated_after_the_end__change_nothing(call: Call, ended_run: str) -> None:
    before = call("GET", f"/api/v1/runs/{ended_run}").json
    path = f"/api/v1/runs/{ended_run}/attempts/1/tasks/main"
    assert call("POST", f"{path}/start", {"time_ns": 1}).json == {"state": "succeeded"}
    ending = {"time_ns": 1, "ending": {"exit_code": 9}}
    assert call("POST", f"{path}/end", ending).json == {"state": "succeeded"}
    assert call("GET", f"/api/v1/runs/{ended_run}").json == before
    for body in ({"time_ns": 2**63}, {"time_ns": -1}, {}, {"time_ns": 1, "host": 5}):
        answer = call("POST", f"{path}/start", body)
        check_envelope(answer, code="invalid_value", status=400)


def test_end__of_more_outputs_not_kept_than_are_named__tells_how_many(
    shared_server: LiveServer,
) -> None:
    command = "cd $SEAFLOOR_OUTPUT_DIR; for i in $(seq 1000 2199); do ln -s / $i; done"
    run = shared_server.launch(["sh", "-c", command])
    shared_server.wait_state(run["id"], "succeeded")
    events = shared_server.get(f"/api/v1/runs/{run['id']}/events")["items"]
    said = "Not kept of the output folder: 1,200 files (1000, 1001, 1002, 1003, 1004); "
    assert f"{said}the log says why." in [event["message"] for event in events]
