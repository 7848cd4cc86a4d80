"""A run of three tasks that a server starts on a real node: they meet, and what each leaves is its.

Where the clock says how long, it is only how long somebody is waited for.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.kube.cluster.launched_world import Launching, said, wait_state

from live_server import LiveServer

pytestmark = pytest.mark.timeout(900)

MEET = """
import json, os, socket, time, urllib.request
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    listening = socket.create_server(("0.0.0.0", address[1]))
    met = [listening.accept()[0] for _ in range(size - 1)]
    ranks = sorted([0, *(int(one.recv(10)) for one in met)])
    for one in met:
        one.sendall(json.dumps(ranks).encode())
        one.close()
else:
    deadline = time.monotonic() + 150
    while True:
        try:
            with socket.create_connection(address, 10) as master:
                master.settimeout(150)
                master.sendall(str(rank).encode())
                ranks = json.loads(master.recv(100))
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
print("met", ranks, flush=True)
with open(os.path.join(os.environ["SEAFLOOR_OUTPUT_DIR"], "rank"), "w") as stream:
    stream.write(str(rank))
metric = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": f"rank-{rank}", "value": rank}
metric = {**metric, "timestamp": 1, "step": 0}
urllib.request.urlopen(urllib.request.Request(
    os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric",
    json.dumps(metric).encode(), {"Content-Type": "application/json"},
), timeout=60).close()
"""

# Both know each other by name: the one fails when the other is sure to be there.
SERVE = """
import os, signal, socket, sys
def leave(*_):
    print("bye", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("here", flush=True)
with socket.create_server(("0.0.0.0", int(os.environ["MASTER_PORT"]))) as listening:
    while True:
        listening.accept()[0].close()
"""
FAIL = """
import os, socket, sys, time
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
deadline = time.monotonic() + 150
while True:
    try:
        socket.create_connection(address, 10).close()
        sys.exit(3)
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.2)
"""


def printed(server: LiveServer, run_id: str, task: str) -> list[str]:
    found = server.get(f"/api/v1/runs/{run_id}/logs?task={task}&stream=out")
    return [line["text"] for line in found["lines"]]


def submit(server: LiveServer, **tasks: dict[str, Any]) -> str:
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
    codes = {name: task["ending"]["exit_code"] for name, task in tasks_of(server, well).items()}
    assert codes == dict.fromkeys(names, 0)
    assert "All 3 tasks ended with exit code 0." in said(server, well)

    ending = wait_state(server, failing, "failed")["ending"]
    assert ending["exit_code"] == 3
    assert ending["reason"] == "client-0 ended with exit code 3. The other tasks were stopped."
    assert printed(server, failing, "server-0") == ["here", "bye"]
    states = {name: task["state"] for name, task in tasks_of(server, failing).items()}
    assert states == {"client-0": "failed", "server-0": "stopped"}
