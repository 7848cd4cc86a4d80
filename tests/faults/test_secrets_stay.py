"""The server's token and key stay with the server; a task's token is good for its own run only."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from client_process import Client
from live_server import LiveServer, wait_for
from seafloor.app.tokens import Tokens
from seafloor.domain.errors import Unauthenticated
from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import Workload, WorkloadKind, WorkloadState
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.stores.metadata.protocol import Labels, NewEvent

SECRET = "the-servers-own-token-5b1c"
BEARER = {"Authorization": f"Bearer {SECRET}"}
_HOUR_NS = 3600 * 1_000_000_000
# Prints its variables and waits until it may end.
_WAITS = "env; touch $SEAFLOOR_OUTPUT_DIR/began; while [ ! -e {gate} ]; do sleep 0.05; done"


class Guarded:
    """A server that asks for a token, with a run that goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = folder / "gate"
        self.server = LiveServer(folder / "data", env={"SEAFLOOR_SERVER__TOKEN": SECRET}).start()
        self.run = self.ask(
            "POST",
            "/api/v1/runs",
            {"spec": {"name": "tests", "command": _WAITS.format(gate=self.gate)}},
        )
        self.work = self.server.data / "work" / self.run["id"] / "1"
        wait_for((self.work / "output" / "began").exists, what="the task to begin")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask as the administrator what must be answered."""
        status, answer = self.server.request(method, path, body, headers=BEARER)
        assert status in (200, 201), (path, status, answer)
        return answer

    @property
    def task(self) -> dict[str, Any]:
        return json.loads((self.work / "tasks" / "main" / "task.json").read_bytes())

    def as_task(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask with the token of the task."""
        headers = {"Authorization": f"Bearer {self.task['token']}"}
        return self.server.request(method, path, body, headers=headers)

    def close(self) -> None:
        self.gate.touch()
        path = f"/api/v1/runs/{self.run['id']}"
        wait_for(lambda: self.ask("GET", path)["state"] == "succeeded", what="the run to end")
        self.server.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    yield made
    made.close()


def test_task__on_a_guarded_server__gets_a_token_of_its_own(guarded: Guarded) -> None:
    variables = guarded.task["env"]
    assert guarded.task["token"].startswith("sfw1.")
    assert variables["SEAFLOOR_TOKEN"] == variables["MLFLOW_TRACKING_TOKEN"]
    assert variables["SEAFLOOR_TOKEN"] == guarded.task["token"]


def _files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """What is in a folder that a server works in: some of it is gone again when it is read."""
    for parent, _, names in os.walk(folder):
        for file in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                if file.is_file():
                    yield file, file.read_bytes()


def test_token__of_the_server__is_in_no_file_but_where_it_was_given(guarded: Guarded) -> None:
    for file, content in _files(guarded.server.data):
        assert SECRET.encode() not in content or file.name == "seafloor.toml", file
    key = (guarded.server.data / "token.key").read_bytes()
    holders = [file for file, content in _files(guarded.server.data) if key in content]
    # Servers that share a database share the key of the tokens they give to tasks.
    assert {file.name for file in holders} <= {"token.key", "seafloor.db", "seafloor.db-wal"}
    assert guarded.server.data.stat().st_mode & 0o077 == 0


def test_token__of_the_server__is_in_no_variable_of_a_task_and_on_no_command_line(
    guarded: Guarded,
) -> None:
    agent = psutil.Process(
        json.loads((guarded.work / "tasks" / "main" / "agent.json").read_bytes())["pid"]
    )
    assert SECRET not in str(agent.environ())
    for process in agent.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a child may end at any moment
            assert SECRET not in str(process.environ()), process
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        assert SECRET not in line
        assert guarded.task["token"] not in line


def test_token__of_server_and_task__is_in_no_answer(guarded: Guarded) -> None:
    run = f"/api/v1/runs/{guarded.run['id']}"
    paths = [
        "/api/v1/server",
        "/api/v1/runs",
        run,
        f"{run}/attempts",
        f"{run}/events",
        "/api/v1/experiments",
        f"/api/2.0/mlflow/runs/get?run_id={guarded.run['id']}",
    ]
    for path in paths:
        said = json.dumps(guarded.ask("GET", path))
        assert SECRET not in said, path
        assert "sfw1." not in said, path
    settings = guarded.ask("GET", "/api/v1/server")["settings"]
    assert settings["server.token"]["value"] == "<set>"


def test_config_show__with_tokens__says_only_that_they_are_set(
    guarded: Guarded, tmp_path: Path
) -> None:
    client = Client(tmp_path / "home", guarded.server.url)
    for arguments in (("config", "show"), ("config", "show", "--json"), ("doctor",)):
        done = client.cli(*arguments, SEAFLOOR_TOKEN=SECRET, SEAFLOOR_SERVER__TOKEN=SECRET)
        assert SECRET not in done.stdout + done.stderr, arguments
    done = client.cli("runs", "list", SEAFLOOR_TOKEN="wrong")
    assert done.returncode == 7, done
    assert "token" in done.stderr
    done = client.cli("runs", "list")
    assert done.returncode == 7, done
    assert "SEAFLOOR_TOKEN" in done.stderr


def test_files__with_secrets__are_closed_to_others(guarded: Guarded) -> None:
    data = guarded.server.data
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for file in (data / "token.key", guarded.work / "tasks" / "main" / "task.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((guarded.work / "tasks" / "main").stat().st_mode) == 0o700


def test_task_token__own_run__may_be_written(guarded: Guarded) -> None:
    run = f"/api/v1/runs/{guarded.run['id']}"
    assert guarded.as_task("GET", run)[0] == 200
    assert guarded.as_task("PATCH", run, {"params": {"lr": "1"}})[0] == 200
    assert guarded.as_task("POST", f"{run}/metrics", {"points": [["a", 1.0, 0, 0]]})[0] in (
        200,
        201,
    )
    status, made = guarded.as_task("POST", "/api/v1/runs", {"experiment": "nested"})
    assert status == 201, made
    assert guarded.as_task("PATCH", f"/api/v1/runs/{made['id']}", {"tags": {"a": "b"}})[0] == 200


def test_task_token__anything_else__is_refused(guarded: Guarded) -> None:
    other = guarded.ask("POST", "/api/v1/runs", {"experiment": "others"})
    theirs = f"/api/v1/runs/{other['id']}"
    mlflow = "/api/2.0/mlflow"
    before = _still(guarded.ask("GET", theirs))
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/api/v1/server", None),
        ("POST", "/api/v1/runs", {"spec": {"name": "x", "command": "true"}}),
        ("DELETE", theirs, None),
        ("DELETE", f"{theirs}?purge=true", None),
        ("DELETE", f"/api/v1/runs/{guarded.run['id']}", None),
        ("PATCH", theirs, {"params": {"lr": "1"}}),
        ("POST", f"{theirs}/stop", None),
        ("POST", f"{theirs}/metrics", {"points": [["a", 1.0, 0, 0]]}),
        ("PUT", f"{theirs}/artifacts/a", b"x"),
        ("POST", f"{theirs}/attempts/1/tasks/main/logs?offset=0", b"x"),
        ("POST", f"{theirs}/attempts/1/event-files?path=a.tfevents&offset=0", b"x"),
        ("POST", "/api/v1/environments", {"spec": {"name": "x"}}),
        ("POST", "/api/v1/projects", {"name": "x"}),
        ("PUT", f"/api/v1/snapshots/{'0' * 64}", b"x"),
        ("POST", f"{mlflow}/runs/delete", {"run_id": other["id"]}),
        ("POST", f"{mlflow}/experiments/delete", {"experiment_id": "0"}),
        ("POST", f"{mlflow}/runs/log-metric", {
            "run_id": other["id"], "key": "a", "value": 1, "timestamp": 0, "step": 0
        }),
        ("POST", f"{mlflow}/runs/set-tag", {"run_id": other["id"], "key": "a", "value": "b"}),
    ]  # fmt: skip
    for method, path, body in asked:
        status, answer = guarded.as_task(method, path, body)
        assert status == 403, (method, path, status, answer)
        assert answer["message"]
    assert _still(guarded.ask("GET", theirs)) == before


def _still(run: dict[str, Any]) -> dict[str, Any]:
    """A run without what grows by itself."""
    return {name: value for name, value in run.items() if name != "duration_s"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token.replace(".1.", ".2."),
        lambda token: "sfw1." + "0" * 32 + token[37:],
        lambda token: token + ".x",
        lambda _: "sfw1.",
        lambda _: SECRET + "x",
        lambda _: "",
    ],
)
def test_token__forged__is_refused(guarded: Guarded, spoil: Any) -> None:
    headers = {"Authorization": f"Bearer {spoil(guarded.task['token'])}"}
    path = f"/api/v1/runs/{guarded.run['id']}"
    status, answer = guarded.server.request("GET", path, headers=headers)
    assert status == 401, answer


class SetClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time_ns = 1_800_000_000_000_000_000

    def now_ns(self) -> int:
        return self.time_ns


async def test_task_token__an_hour_after_its_attempt_ended__is_refused() -> None:
    clock = SetClock()
    store = MemoryMetadataStore()
    tokens = Tokens(b"k" * 32, store, clock)
    run = Workload(
        id=WorkloadId("0190f5d2c0007a000000000000000001"),
        kind=WorkloadKind.RUN,
        project="default",
        experiment_id=0,
        name="a",
        user="",
        state=WorkloadState.SUCCEEDED,
        origin="launched",
        created_ns=clock.time_ns,
        updated_ns=clock.time_ns,
        started_ns=clock.time_ns,
        ended_ns=clock.time_ns,
        spec={"name": "a", "command": "true"},
        attempt=1,
    )
    await store.workload_create(
        run,
        labels=Labels({}, {}),
        event=NewEvent(clock.time_ns, "user", "Made.", kind="state"),
        idempotency_key=None,
    )
    token = tokens.issue(run.id, 1)
    assert (await tokens.check(token)).workload_id == run.id
    clock.time_ns += _HOUR_NS
    assert (await tokens.check(token)).workload_id == run.id
    clock.time_ns += 1
    with pytest.raises(Unauthenticated, match="ended"):
        await tokens.check(token)
    with pytest.raises(Unauthenticated):
        await Tokens(b"other" * 8, store, clock).check(token)
