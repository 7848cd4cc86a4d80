"""What cannot be accepted: one line that names the field and the fix, and nothing is left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client_process import Client
from git_world import GitServer, Repository, copy_as_served, git
from live_server import LiveServer, wait_for
from untouched import assert_no_traceback, files_below, held_by

LONG = "x" * 300


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that has one environment and one run."""
    server = LiveServer(tmp_path_factory.mktemp("bad-input") / "data").start()
    server.post("/api/v1/environments", {"spec": {"name": "base", "pip": []}})
    run = server.launch("true")
    server.wait_state(run["id"], "succeeded")
    wait_for(lambda: not any((server.data / "work").iterdir()), what="its folder to be released")
    yield server
    server.stop()


class Refusals:
    """A user whose every command is refused."""

    def __init__(self, server: LiveServer, folder: Path) -> None:
        self.server = server
        self.folder = folder / "project"
        self.temporary = folder / "tmp"
        self.client = Client(folder / "home", server.url)
        for made in (self.folder, self.temporary):
            made.mkdir()
        # Of its own, so that a snapshot that was sent would be seen on the server.
        (self.folder / "train.py").write_text(f"print({str(folder)!r})\n")

    def refused(self, *arguments: str, code: int, cwd: Path | None = None) -> str:
        """Run a command that must be refused; return the one line that says why."""
        before = held_by(self.server)
        done = self.client.cli(
            *arguments, cwd=cwd or self.folder, TMPDIR=str(self.temporary), GIT_TERMINAL_PROMPT="0"
        )
        assert done.returncode == code, done
        assert done.stdout == ""
        assert_no_traceback(self.server, done.stderr)
        assert held_by(self.server) == before
        assert files_below(self.temporary) == []
        assert not (self.client.home / "crashes").exists()
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        return line

    def spec(self, text: str) -> str:
        """Write a spec; return its path."""
        file = self.folder / "spec.yaml"
        file.write_text(text)
        return str(file)


@pytest.fixture
def user(world: LiveServer, tmp_path: Path) -> Refusals:
    return Refusals(world, tmp_path)


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ("experiment: {name: x, comand: python a.py}", 2, ('"comand"', 'mean "command"', "yaml:1")),
        ("experiment: {name: x, command: a, code: {sync_mod: git}}", 2, ('mean "sync_mode"',)),
        ("experiment: {name: x, command: a, resources: {memory: 20Mib}}", 2, ("Mi", "memory")),
        ("experiment: {name: x, command: a, timeout: soon}", 2, ("timeout", "30m")),
        ("experiment: {name: x, command: a, env: {1A: b}}", 2, ("env.1A", "letters, digits")),
        ("experiment: {name: x, command: a, environment: bse}", 3, ('mean "base"',)),
        ("experiment: {name: x, command: a, environment: base@9}", 3, ("version 9", "env list")),
        ("experiment: {name: x, command: ''}", 2, ("needs a command",)),
        ("experiment: {name: x, command: []}", 2, ("needs a command",)),
        ("experiment: {name: x, command: a, retries: 101}", 2, ("retries", "0..100")),
        ("experiment: {name: x, command: a, project: Größe 1}", 2, ("project", '"groe-1"')),
        ("experiment: {name: x, command: a, project: nowhere}", 3, ("nowhere",)),
        (f"experiment: {{name: {LONG}, command: a}}", 2, ("256", "300", "shorten")),
        (f"experiment: {{name: x, run_name: {LONG}, command: a}}", 2, ("run_name", "256")),
        (f"experiment: {{name: x, command: a, environment: {LONG}}}", 2, ("environment", "300")),
        (f"experiment: {{name: x, command: a, tags: {{{LONG}: b}}}}", 2, ("tags", "250", "300")),
        ("experiment: {name: x, command: a, code: {sync_mode: s3, url: ftp://b/k}}", 2, ("s3://",)),
        ("experiment: {name: x, command: a, code: {sync_mode: local, path: ../no}}", 2, ("path",)),
        ("experimnt: {name: x, command: a}", 2, ('mean "experiment"',)),
        ("name: x\ncommand: a", 2, ("experiment:",)),
        ("- a\n- b", 2, ("mapping",)),
        ("experiment: {name: x, command: a", 2, ("yaml:",)),
        ("experiment: {name: x, name: y, command: a}", 2, ("name",)),
    ],
)
def test_run__spec_that_cannot_be__is_refused_with_field_and_fix(
    user: Refusals, spec: str, code: int, words: tuple[str, ...]
) -> None:
    line = user.refused("run", "-f", user.spec(spec), code=code)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run",), 2, ("What is to be run?",)),
        (("run", "--", ""), 2, ("needs a command",)),
        (("run", "-f", "no.yaml"), 3, ("no.yaml",)),
        (("run", "--env", "bsae", "--", "true"), 3, ('mean "base"',)),
        (("run", "--timeout", "5x", "--", "true"), 2, ("timeout", '"5x"', "30m")),
        (("run", "--retries", "-1", "--", "true"), 2, ("retries", "0..100")),
        (("run", "-e", "A-B=1", "--", "true"), 2, ("env.A-B",)),
        (("run", "-e", "A", "--", "true"), 2, ("-e", "NAME=VALUE")),
        (("run", "--param", "a//b=1", "--", "true"), 2, ("a//b",)),
        (("run", "--param", f"{LONG}=1", "--", "true"), 2, ("250",)),
        (("run", "--name", LONG, "--", "true"), 2, ("run_name", "256")),
        (("run", "--experiment", LONG, "--", "true"), 2, ("256",)),
        (("run", "--ref", "main", "--", "true"), 2, ("--git",)),
        (("env", "create", "Größe", "--pip", "six"), 2, ("name", '"groe"')),
        (("env", "create", LONG, "--pip", "six"), 2, ("256", "300")),
        (("env", "create", "new", "--pip", "no such thing"), 2, ("pip",)),
        (("env", "create", "new", "--pip", "seafloor-no-such-package==9"), 6, ("not found", "pip")),
        (("env", "create", "new", "--python", "2.6", "--pip", "six"), 2, ("python", "2.6", "3.11")),
        (("env", "show", "bas"), 3, ('mean "base"',)),
        (("artifacts", "put", "@last", "train.py", "../up"), 2, ('".."', "path")),
        (("artifacts", "put", "@last", "train.py", "/etc/passwd"), 2, ("absolute",)),
        (("artifacts", "put", "@last", "train.py", LONG), 2, ("255 bytes",)),
        (("artifacts", "put", "@last", "no.txt"), 3, ("no.txt",)),
        (("logs", "no-such-run"), 3, ("no-such-run", "runs list")),
        (("runs", "list", "--filter", "metrcs.loss < 1"), 2, ("metrics",)),
        (("rnus",), 2, ('mean "run',)),
    ],
)
def test_cli__arguments_that_cannot_be__are_refused_with_field_and_fix(
    user: Refusals, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    line = user.refused(*arguments, code=code)
    for word in words:
        assert word in line


def test_run__git_host_that_refuses__is_told(user: Refusals) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/team/training.git"
        line = user.refused("run", "--git", url, "--", "true", code=6)
    assert url in line
    assert "cannot be reached" in line


@pytest.fixture
def training(tmp_path: Path) -> Repository:
    repository = Repository.create(tmp_path / "training")
    git(repository.path, "config", "user.email", "a@b.c")
    git(repository.path, "config", "user.name", "A")
    repository.commit({"train.py": "print('trained')"})
    git(repository.path, "branch", "release")
    return repository


def test_run__private_repository__is_told_and_no_password_asked(
    user: Refusals, training: Repository, tmp_path: Path
) -> None:
    copy_as_served(training, tmp_path / "served", "training.git")
    with GitServer(tmp_path / "served", user="me", password="secret") as host:
        line = user.refused("run", "--git", f"{host.url}/training.git", "--", "true", code=6)
        given = host.url.replace("http://", "http://me:hunter2@")
        within = user.refused("run", "--git", f"{given}/training.git", "--", "true", code=2)
    assert "asks for a password" in line
    assert "hunter2" not in within


def test_run__missing_ref__is_told_with_the_nearest(user: Refusals, training: Repository) -> None:
    line = user.refused("run", "--git", training.url, "--ref", "relase", "--", "true", code=6)
    assert "code.ref" in line
    assert 'mean "release"' in line


def test_run__repository_without_commit__is_told(user: Refusals, tmp_path: Path) -> None:
    empty = Repository.create(tmp_path / "empty")
    line = user.refused("run", "--git", empty.url, "--", "true", code=6)
    assert "no commit" in line


@pytest.mark.parametrize("name", ["nothing", "train.py", "plain"])
def test_run__no_repository__is_told(user: Refusals, name: str) -> None:
    (user.folder / "plain").mkdir()
    line = user.refused("run", "--git", f"./{name}", "--", "true", code=6)
    assert "code.url" in line
    assert name in line


@pytest.mark.parametrize("place", ["/", "home"])
def test_run__in_a_folder_of_the_whole_machine__is_refused_at_once(
    user: Refusals, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = Path("/") if place == "/" else tmp_path
    line = user.refused("run", "--", "true", code=2, cwd=folder)
    assert "code.path" in line
    assert "not that of a project" in line


ESCAPES = ["../up", "/etc/passwd", "a/../../up", "a//b", ".", "..", "a/./b", "C:/x", "a\\b", "a\0b"]


@pytest.mark.parametrize("path", ESCAPES)
def test_api__path_that_escapes__is_refused_everywhere(world: LiveServer, path: str) -> None:
    from urllib.parse import quote

    (run,) = world.get("/api/v1/runs?limit=1&order=created_ns asc")["items"]
    api = f"/api/v1/runs/{run['id']}"
    before = held_by(world)
    quoted = quote(path, safe="")
    answers = {
        "artifact": world.request("PUT", f"{api}/artifacts/{quoted}", b"x"),
        "event file": world.request(
            "POST", f"{api}/attempts/1/event-files?path={quoted}&offset=0", b"x"
        ),
        "list": world.request("GET", f"{api}/artifacts?folder={quoted}"),
        "mlflow": world.request(
            "GET", f"/api/2.0/mlflow/artifacts/list?run_id={run['id']}&path={quoted}"
        ),
    }
    for what, (status, answer) in answers.items():
        assert status in (400, 404, 405), (what, status, answer)
        assert "message" in answer, (what, answer)
    code = {"kind": "snapshot", "sha256": "0" * 64, "size_bytes": 1, "folder": "a", "subfolder": ""}
    for field in ("folder", "subfolder"):
        status, answer = _launch(world, {**code, field: path})
        assert (status, answer["field"]) == (400, f"code.{field}"), answer
    assert held_by(world) == before
    assert_no_traceback(world)


def _launch(server: LiveServer, code: dict[str, Any]) -> tuple[int, Any]:
    spec = {"name": "escapes", "command": "true", "code": {"sync_mode": "local", "path": "."}}
    return server.request("POST", "/api/v1/runs", {"spec": spec, "code": code})


def test_api__snapshot_that_was_not_sent__is_refused_and_no_experiment_made(
    world: LiveServer,
) -> None:
    before = held_by(world)
    code = {"kind": "snapshot", "sha256": "0" * 64, "size_bytes": 1, "folder": "a", "subfolder": ""}
    status, answer = _launch(world, code)
    assert status == 404, answer
    assert held_by(world) == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/runs", {"spec": {"name": "x", "command": "a", "experiment": 1}}),
        (
            "POST",
            "/api/v1/runs",
            {"spec": {"name": "half", "command": "a"}, "params": {"a//b": ""}},
        ),
        ("POST", "/api/v1/runs", {"spec": {"name": "half", "command": "a"}, "name": LONG}),
        ("POST", "/api/v1/runs", {"experiment": "half", "name": LONG}),
        ("POST", "/api/v1/runs", {"experiment": "half", "params": {LONG: "1"}}),
        ("POST", "/api/v1/runs", {"experiment": "half", "id": "nothex"}),
        ("POST", "/api/v1/runs", {"experiment": "half", "user": LONG}),
        ("POST", "/api/v1/experiments", {"name": LONG}),
        ("POST", "/api/v1/runs/{run}/metrics", {"points": [[LONG, 1.0, 0, 0]]}),
        ("POST", "/api/v1/runs/{run}/metrics", {"points": [["ok", 1.0, 0, 0], ["a//b", 1, 0, 0]]}),
        ("PUT", f"/api/v1/runs/{{run}}/artifacts/{LONG}", b"x"),
        ("POST", "/api/2.0/mlflow/experiments/create", {"name": LONG}),
        ("POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "0", "run_name": LONG}),
        (
            "POST",
            "/api/2.0/mlflow/runs/log-parameter",
            {"run_id": "{run}", "key": LONG, "value": "1"},
        ),
    ],
)
def test_api__body_that_cannot_be__is_refused_whole(
    world: LiveServer, method: str, path: str, body: Any
) -> None:
    (run,) = world.get("/api/v1/runs?limit=1&order=created_ns asc")["items"]
    if isinstance(body, dict) and "run_id" in body:
        body = {**body, "run_id": run["id"]}
    before = held_by(world)
    status, answer = world.request(method, path.replace("{run}", run["id"]), body)
    assert status in (400, 413), answer
    assert answer["message"]
    assert held_by(world) == before
    assert world.get(f"/api/v1/runs/{run['id']}")["metrics"] == run["metrics"]
    assert_no_traceback(world)
