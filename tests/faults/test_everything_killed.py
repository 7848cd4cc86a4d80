"""The server, the agent, the task and all of them at once are killed: what is known stays known."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboardX import SummaryWriter  # noqa: F401  # the scripts below need it to be there

from agent_world import is_alive
from live_server import LiveServer, wait_for

LINES = 3000
POINTS = 300

# Prints, logs by the SDK and by a SummaryWriter, and pauses on the way until it is told to go on,
# so that it is in the middle when something is killed.
SCRIPT = f"""
import os, sys, time
import seafloor
from tensorboardX import SummaryWriter

go_on = sys.argv[1]
seafloor.start_run()
writer = SummaryWriter(os.environ["SEAFLOOR_EVENTS_DIR"])
for number in range({LINES}):
    print(f"line {{number}}")
    if number % {LINES // POINTS} == 0:
        step = number // {LINES // POINTS}
        seafloor.log_metrics({{"sdk": float(step)}}, step=step)
        writer.add_scalar("tb", float(step), step)
    if number == {LINES // 2}:
        print("half", file=sys.stderr, flush=True)
        deadline = time.monotonic() + 120
        while not os.path.exists(go_on) and time.monotonic() < deadline:
            time.sleep(0.01)
writer.close()
with open(os.path.join(os.environ["SEAFLOOR_OUTPUT_DIR"], "result.txt"), "w") as stream:
    stream.write("done")
seafloor.end_run()
print("end")
"""


@pytest.fixture
def server(module_server: LiveServer) -> LiveServer:
    """One for all: whoever kills it starts it again."""
    return module_server


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    return file


def _start(server: LiveServer, script: Path, go_on: Path, **spec: Any) -> str:
    run = server.launch(["python", str(script), str(go_on)], **spec)
    run_id: str = run["id"]

    def is_half_way() -> bool:
        lines = server.get(f"/api/v1/runs/{run_id}/logs?from_line=-5")["lines"]
        return any(line["text"] == "half" for line in lines)

    wait_for(is_half_way, what="the script to be half way")
    return run_id


def _check_everything_once(server: LiveServer, run_id: str) -> None:
    lines = [line["text"] for line in server.log_lines(run_id, stream="out")]
    assert lines == [*(f"line {number}" for number in range(LINES)), "end"]
    said = [line["text"] for line in server.log_lines(run_id, stream="err")]
    # The client library may have said that it could not reach the server; nothing else is there.
    assert [text for text in said if not text.startswith("seafloor: ")] == ["half"]
    for key in ("sdk", "tb"):
        series = server.get(f"/api/v1/runs/{run_id}/metrics/series?key={key}&limit=50000")
        assert [(point[0], point[2]) for point in series["points"]] == [
            (step, float(step)) for step in range(POINTS)
        ], key
    status, content = server.request("GET", f"/api/v1/runs/{run_id}/artifacts/result.txt")
    assert (status, content) == (200, b"done")


def _agent(server: LiveServer, run_id: str) -> dict[str, Any]:
    file = server.data / "work" / run_id / "1" / "tasks" / "main" / "agent.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_server__killed_in_the_middle__run_goes_on_and_everything_is_there_once(
    server: LiveServer, script: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    run_id = _start(server, script, go_on)
    url = server.url
    server.kill()
    go_on.touch()
    done = server.data / "work" / run_id / "1" / "tasks" / "main" / "exit.json"
    wait_for(done.exists, what="the command to end while no server is there")
    server.start()
    assert server.url == url
    ended = server.wait_state(run_id, "succeeded", "failed", "lost")
    assert ended["state"] == "succeeded"
    _check_everything_once(server, run_id)


def test_server__killed_again_and_again__everything_is_there_once(
    server: LiveServer, script: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    run_id = _start(server, script, go_on)
    for round_ in range(5):
        server.kill()
        server.start()
        if round_ == 2:
            go_on.touch()
    assert server.wait_state(run_id, "succeeded", "failed", "lost")["state"] == "succeeded"
    _check_everything_once(server, run_id)


def test_agent__killed__run_is_lost_with_the_count_of_what_is_known(
    server: LiveServer, script: Path, tmp_path: Path
) -> None:
    run_id = _start(server, script, tmp_path / "never")
    agent = _agent(server, run_id)
    os.kill(agent["pid"], signal.SIGKILL)
    ended = server.wait_state(run_id, "succeeded", "failed", "lost")
    assert ended["state"] == "lost"
    lines = [line["text"] for line in server.log_lines(run_id, stream="out")]
    assert lines[: LINES // 2] == [f"line {number}" for number in range(LINES // 2)]
    kept = len(server.log_lines(run_id))
    last = server.get(f"/api/v1/runs/{run_id}/events")["items"][-1]["message"]
    assert f"{kept:,} lines were kept" in last, last
    wait_for(lambda: not is_alive(agent["command_pid"]), what="the command to be ended too")


def test_task__killed__run_failed_and_the_signal_is_shown(
    server: LiveServer, script: Path, tmp_path: Path
) -> None:
    run_id = _start(server, script, tmp_path / "never")
    os.kill(_agent(server, run_id)["command_pid"], signal.SIGKILL)
    ended = server.wait_state(run_id, "succeeded", "failed", "lost")
    assert ended["state"] == "failed"
    assert ended["ending"]["signal"] == "SIGKILL"
    assert "SIGKILL" in server.get(f"/api/v1/runs/{run_id}/events")["items"][-1]["message"]


def test_machine__all_processes_killed__run_is_lost_and_what_was_printed_is_there(
    server: LiveServer, script: Path, tmp_path: Path
) -> None:
    run_id = _start(server, script, tmp_path / "never")
    agent = _agent(server, run_id)
    server.kill()
    os.kill(agent["pid"], signal.SIGKILL)
    wait_for(lambda: not is_alive(agent["command_pid"]), what="the command to end with its agent")
    server.start()
    assert server.wait_state(run_id, "succeeded", "failed", "lost")["state"] == "lost"
    lines = [line["text"] for line in server.log_lines(run_id, stream="out")]
    assert lines[: LINES // 2] == [f"line {number}" for number in range(LINES // 2)]


def test_retries__agent_killed__a_further_attempt_succeeds(
    server: LiveServer, script: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    run_id = _start(server, script, go_on, retries=1)
    os.kill(_agent(server, run_id)["pid"], signal.SIGKILL)
    go_on.touch()
    assert server.wait_state(run_id, "succeeded")["attempt"] == 2
    states = [one["state"] for one in server.get(f"/api/v1/runs/{run_id}/attempts")["items"]]
    assert states == ["lost", "succeeded"]


def test_queued_runs__server_killed_while_it_prepares__all_of_them_run(
    make_server: Callable[..., LiveServer],
) -> None:
    server = make_server()
    runs = [server.launch(["python", "-c", "print('ran')"]) for _ in range(8)]
    server.kill()
    server.start()
    for run in runs:
        assert server.wait_state(run["id"], "succeeded", "failed", "lost")["state"] == "succeeded"
        assert [line["text"] for line in server.log_lines(run["id"], stream="out")] == ["ran"]
