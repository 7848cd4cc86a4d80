"""A run of three tasks that a server starts on a real node: they meet, and what each leaves is its.

Where the clock says how long, it is only how long somebody is waited for.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.kube.cluster.gang_programs import FAIL, MEET, SERVE
from tests.kube.cluster.launched_world import Launching, said, wait_state

from live_server import LiveServer

pytestmark = pytest.mark.timeout(900)


def printed(server: LiveServer, run_id: str, task: str) -> list[str]:
    found = server.get(f"/api/v1/runs/{run_id}/logs?task={task}&stream=out")
    return [line["text"] for line in found["lines"]]


def submit(server: LiveServer, /, **tasks: dict[str, Any]) -> str:
    return str(server.post("/api/v1/runs", {"spec": {"name": "gang", "tasks": tasks}})["id"])


def tasks_of(server: LiveServer, run_id: str) -> dict[str, dict[str, Any]]:
    found = server.get(f"/api/v1/runs/{run_id}/attempts")["tasks"]
    return {one["name"]: one for one in found}


def test_runs__of_several_tasks__meet_and_fail_together_and_leave_each_its_own(
    launching: Launching,
) -> None:
    server = launching.start(agent=True)
    well = submit(server, worker={"replicas": 3, "command": ["python3", "-c", MEET]})
    failing = submit(
        server,
        server={"command": ["python3", "-c", SERVE]},
        client={"command": ["python3", "-c", FAIL]},
    )
    names = [f"worker-{rank}" for rank in range(3)]

    wait_state(server, well, "succeeded")
    metrics = server.get(f"/api/v1/runs/{well}/metrics")["items"]
    for rank, name in enumerate(names):
        assert printed(server, well, name) == ["met [0, 1, 2]"], name
        assert metrics[f"rank-{rank}"]["last"] == rank
    files = server.get(f"/api/v1/runs/{well}/artifacts?recursive=true")["items"]
    assert {one["path"] for one in files} == {f"{name}/rank" for name in names}
    events = server.get(f"/api/v1/runs/{well}/event-files")["items"]
    assert {one["path"] for one in events} == {f"{name}/events.out.tfevents.1" for name in names}
    codes = {name: task["ending"]["exit_code"] for name, task in tasks_of(server, well).items()}
    assert codes == dict.fromkeys(names, 0)
    assert "All 3 tasks ended with exit code 0." in said(server, well)

    ending = wait_state(server, failing, "failed")["ending"]
    assert ending["exit_code"] == 3
    assert ending["reason"] == "client-0 ended with exit code 3. The other tasks were stopped."
    assert printed(server, failing, "server-0") == ["here", "bye"]
    states = {name: task["state"] for name, task in tasks_of(server, failing).items()}
    assert states == {"client-0": "failed", "server-0": "stopped"}
