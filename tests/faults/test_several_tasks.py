"""Distributed runs on one machine: tasks that meet over TCP, and what is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent_world import is_alive
from git_world import Repository
from live_server import LiveServer, wait_for
from seafloor.code.git import resolve_git
from seafloor.domain.code import GitCode

# What torch's rendezvous is for: the first gathers a number of each, and sends the sum to all.
# Programs as they are: the port is opened by the first whenever it comes to it.
MEET = """
import json, os, socket, sys, time

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))

def line(stream):
    return json.loads(stream.readline())

def say(stream, value):
    stream.write(json.dumps(value) + "\\n")
    stream.flush()

if rank == 0:
    with socket.create_server(address) as server:
        streams = [server.accept()[0].makefile("rw") for _ in range(size - 1)]
    total = 1 + sum(line(stream) for stream in streams)
    for stream in streams:
        say(stream, total)
else:
    deadline = time.monotonic() + 60
    while True:
        try:
            stream = socket.create_connection(address).makefile("rw")
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    say(stream, rank + 1)
    total = line(stream)
print(address[1])
print("sum", total, flush=True)
with open(os.path.join(os.environ["SEAFLOOR_OUTPUT_DIR"], "sum.txt"), "w") as file:
    file.write(f"{rank} of {total}")
"""

# Goes on when a file is there; first it says that it is there, by a line and then by a file, which
# has all of its attempts whenever it is seen: another task may end this one as soon as it is there.
WAIT = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
name = os.environ["SEAFLOOR_TASK"]
print("began", flush=True)
file = folder / f"began-{name}"
before = file.read_text() if file.exists() else ""
part = folder / f"{name}.part"
part.write_text(before + os.environ["SEAFLOOR_ATTEMPT"] + " ")
part.replace(file)
while not (folder / "go-on").exists():
    time.sleep(0.02)
print("went on", flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server; whoever kills it starts it again."""
    made = LiveServer(tmp_path_factory.mktemp("several") / "data").start()
    yield made
    made.stop()


def program(folder: Path, content: str) -> str:
    """A command that runs a program."""
    file = folder / "program.py"
    file.write_text(content)
    return f"{sys.executable} {file}"


def launch(
    server: LiveServer, tasks: dict[str, Any], code: GitCode | None = None, **spec: Any
) -> str:
    """Create a run of several tasks."""
    body = {"name": "gangs", "tasks": tasks, **spec}
    if code is None:
        return server.post("/api/v1/runs", {"spec": body})["id"]
    body["code"] = {"sync_mode": "git", "url": code.url, "ref": code.ref}
    return server.post("/api/v1/runs", {"spec": body, "code": msgspec.to_builtins(code)})["id"]


def over(server: LiveServer, run_id: str) -> dict[str, Any]:
    """Wait for the end of a run."""
    return server.wait_state(run_id, "succeeded", "failed", "lost", "stopped", timeout_s=100)


def tasks_of(server: LiveServer, run_id: str, attempt: int = 1) -> dict[str, dict[str, Any]]:
    """What is known of each task of an attempt."""
    listed = server.get(f"/api/v1/runs/{run_id}/attempts")["tasks"]
    return {one["name"]: one for one in listed if one["attempt"] == attempt}


def states_of(server: LiveServer, run_id: str, attempt: int = 1) -> dict[str, str]:
    return {name: one["state"] for name, one in tasks_of(server, run_id, attempt).items()}


def printed(server: LiveServer, run_id: str, task: str, **query: Any) -> list[str]:
    lines = server.log_lines(run_id, stream="out", task=task, **query)
    return [line["text"] for line in lines]


def document(server: LiveServer, run_id: str, task: str, name: str) -> dict[str, Any]:
    """A document in the folder of an agent of the first attempt."""
    file = server.data / "work" / run_id / "1" / "tasks" / task / name
    return json.loads(file.read_bytes())


def began(folder: Path, *names: str) -> bool:
    """Whether the commands of tasks have said that they are there."""
    return all((folder / f"began-{name}").exists() for name in names)


def test_tasks__of_two_runs_at_once__meet_and_sum(
    server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = Test\nemail = test@example.com\n")
    repository = Repository.create(tmp_path / "job")
    commit = repository.commit({"meet.py": MEET})
    command = f'{sys.executable} "$SEAFLOOR_CODE_DIR/job/meet.py"'
    tasks = {"worker": {"replicas": 2, "command": command}, "chief": {"command": command}}
    code = resolve_git(str(repository.path), ref="main")
    runs = [launch(server, tasks, code) for _ in range(2)]
    names = {"chief-0": 0, "worker-0": 1, "worker-1": 2}
    asked: list[str] = []
    for run_id in runs:
        assert over(server, run_id)["state"] == "succeeded"
        found = tasks_of(server, run_id)
        assert list(found) == list(names)
        for name, rank in names.items():
            assert found[name]["state"] == "succeeded"
            assert found[name]["ending"] == {"exit_code": 0}
            assert found[name]["receipts"]["job"]["commit"] == commit
            assert found[name]["started_ns"] <= found[name]["ended_ns"]
            port, said = printed(server, run_id, name)
            assert said == "sum 6"
            status, content = server.request(
                "GET", f"/api/v1/runs/{run_id}/artifacts/{name}/sum.txt"
            )
            assert (status, content) == (200, f"{rank} of 6".encode())
            asked += [port] if rank == 0 else []
        (attempt,) = server.get(f"/api/v1/runs/{run_id}/attempts")["items"]
        assert attempt["receipts"]["job"]["commit"] == commit
    assert len(set(asked)) == 2, "each run has a port of its own"
    wait_for(lambda: not any((server.data / "work" / one).exists() for one in runs), what="release")


def test_task__fails__others_are_stopped_and_the_next_attempt_starts_all_anew(
    server: LiveServer, tmp_path: Path
) -> None:
    wait = program(tmp_path, WAIT)
    fails = f"while ! [ -e {tmp_path}/began-worker-0 ]; do sleep 0.05; done; exit 3"
    command = f"[ $RANK = 1 ] && [ $SEAFLOOR_ATTEMPT = 1 ] && {{ {fails}; }}; {wait} {tmp_path}"
    run_id = launch(server, {"worker": {"replicas": 2, "command": command}}, retries=1)
    wait_for(lambda: began(tmp_path, "worker-0", "worker-1"), what="the second attempt")
    (tmp_path / "go-on").touch()
    ended = over(server, run_id)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
    first, second = server.get(f"/api/v1/runs/{run_id}/attempts")["items"]
    assert (first["state"], second["state"]) == ("failed", "succeeded")
    assert first["ending"]["exit_code"] == 3
    reason = "worker-1 ended with exit code 3. The other tasks were stopped."
    assert first["ending"]["reason"] == reason
    assert states_of(server, run_id) == {"worker-0": "stopped", "worker-1": "failed"}
    assert states_of(server, run_id, 2) == {"worker-0": "succeeded", "worker-1": "succeeded"}
    assert printed(server, run_id, "worker-0", attempt=1) == ["began"]
    assert (tmp_path / "began-worker-0").read_text() == "1 2 "
    assert (tmp_path / "began-worker-1").read_text() == "2 "


def test_chief__succeeds__those_that_serve_are_stopped(server: LiveServer, tmp_path: Path) -> None:
    serve = f"{program(tmp_path, WAIT)} {tmp_path}"
    chief = f'while ! [ -e {tmp_path}/began-ps-0 ]; do sleep 0.05; done; echo "$TF_CONFIG"'
    run_id = launch(server, {"ps": {"command": serve}, "chief": {"command": chief}})
    assert over(server, run_id)["state"] == "succeeded"
    assert states_of(server, run_id) == {"chief-0": "succeeded", "ps-0": "stopped"}
    (said,) = printed(server, run_id, "chief-0")
    config = json.loads(said)
    assert config["task"] == {"type": "chief", "index": 0}
    hosts = [host for (host,) in config["cluster"].values()]
    assert len(set(hosts)) == 2
    assert all(host.startswith("127.0.0.1:") for host in hosts)


def test_stop__ends_every_task_after_its_grace(server: LiveServer, tmp_path: Path) -> None:
    wait = f"{program(tmp_path, WAIT)} {tmp_path}"
    gentle = f"trap 'echo told; exit 0' TERM; {wait} & wait"
    run_id = launch(server, {"a": {"command": gentle}, "b": {"command": wait}})
    wait_for(lambda: began(tmp_path, "a-0", "b-0"), what="both")
    server.post(f"/api/v1/runs/{run_id}/stop")
    assert over(server, run_id)["state"] == "stopped"
    assert set(states_of(server, run_id).values()) <= {"stopped", "succeeded"}
    assert printed(server, run_id, "a-0") == ["began", "told"]
    assert tasks_of(server, run_id)["b-0"]["ending"]["signal"] == "SIGTERM"


def test_server__killed_again_and_again__no_task_runs_twice(
    server: LiveServer, tmp_path: Path
) -> None:
    wait, names = f"{program(tmp_path, WAIT)} {tmp_path}", ("worker-0", "worker-1", "worker-2")
    run_id = launch(server, {"worker": {"replicas": 3, "command": wait}})
    starting = server.data / "work" / run_id / "1" / "tasks"
    # When it has started the first agent, then when the commands have begun.
    wait_for(lambda: list(starting.glob("*/agent.json")), what="an agent")
    server.kill()
    server.start()
    wait_for(lambda: began(tmp_path, *names), timeout_s=100, what="the commands")
    server.kill()
    (tmp_path / "go-on").touch()
    server.start()
    assert over(server, run_id)["state"] == "succeeded"
    for name in names:
        assert (tmp_path / f"began-{name}").read_text() == "1 "
        assert printed(server, run_id, name) == ["began", "went on"]
    assert states_of(server, run_id) == dict.fromkeys(names, "succeeded")


def test_agent__killed__run_is_lost_and_nothing_of_it_lives(
    server: LiveServer, tmp_path: Path
) -> None:
    wait = f"{program(tmp_path, WAIT)} {tmp_path}"
    run_id = launch(server, {"worker": {"replicas": 3, "command": wait}})
    names = ("worker-0", "worker-1", "worker-2")
    wait_for(lambda: began(tmp_path, *names), what="all")
    agents = {name: document(server, run_id, name, "agent.json") for name in names}
    wait_for(lambda: len(printed(server, run_id, "worker-1")) == 1, what="its line")
    os.kill(agents["worker-1"]["pid"], signal.SIGKILL)
    ended = over(server, run_id)
    assert ended["state"] == "lost"
    assert "worker-1: The agent that watched the command disappeared" in ended["ending"]["reason"]
    states = states_of(server, run_id)
    assert states == {"worker-0": "stopped", "worker-1": "lost", "worker-2": "stopped"}
    for agent in agents.values():
        wait_for(lambda pid=agent["command_pid"]: not is_alive(pid), what="its command to end")
