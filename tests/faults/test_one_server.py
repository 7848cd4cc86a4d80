"""One port, one data folder: who comes second is told by whom it is taken, and breaks nothing."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_process import Client
from live_server import LiveServer, wait_for
from untouched import assert_no_traceback, files_below


@pytest.fixture
def user(tmp_path: Path) -> Client:
    return Client(tmp_path / "home")


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Path]:
    """A data folder for a server that may come up; it is ended after."""
    folder = tmp_path / "second"
    yield folder
    found = folder / "server.json"
    if found.exists():
        Client(tmp_path / "home").cli("down", "--data", str(folder))


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["foreground", "background"])
def test_up__port_in_use__refused_with_the_fix_and_nothing_kept(
    user: Client, second: Path, detach: tuple[str, ...]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = user.cli("up", *detach, "--data", str(second), "--port", str(port))
    assert done.returncode == 4, done
    (line,) = done.stderr.splitlines()
    assert str(port) in line
    assert f"process {os.getpid()}" in line
    assert "use --port" in line
    assert done.stdout == ""
    assert files_below(second) == []  # its log and lock apart
    assert not (second / "seafloor.db").exists()
    assert not (second / "server.json").exists()


def test_up__data_folder_open__second_says_by_whom_and_first_goes_on(
    server: LiveServer, user: Client
) -> None:
    before = (server.data / "server.json").read_bytes()
    assert server.process is not None
    for arguments in (("--port", "0"), ("--port", "0", "--host", "127.0.0.1")):
        done = user.cli("up", "--data", str(server.data), *arguments)
        assert done.returncode == 4, done
        (line,) = done.stderr.splitlines()
        assert f"process {server.process.pid}" in line
        assert server.url in line
        assert "seafloor down" in line
        assert "--data" in line
    assert (server.data / "server.json").read_bytes() == before
    run = server.launch("true")
    server.wait_state(run["id"], "succeeded")
    assert_no_traceback(server)


def test_up__in_the_background_twice__names_the_one_that_runs(
    server: LiveServer, user: Client
) -> None:
    done = user.cli("up", "--detach", "--data", str(server.data))
    assert done.returncode in (0, 4), done
    assert server.url in done.stdout + done.stderr
    assert server.get("/health")


def test_up__first_was_killed__second_takes_over_at_the_same_port(server: LiveServer) -> None:
    run = server.launch("true")
    server.wait_state(run["id"], "succeeded")
    port = server.url.rpartition(":")[2]
    server.kill()
    server.start()
    assert server.url.endswith(f":{port}")
    assert server.get(f"/api/v1/runs/{run['id']}")["state"] == "succeeded"


def test_up__first_is_frozen__second_is_refused_all_the_same(
    server: LiveServer, user: Client
) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        done = user.cli("up", "--data", str(server.data), "--port", "0")
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert done.returncode == 4, done
    assert f"process {server.process.pid}" in done.stderr


@pytest.mark.parametrize("blocked", ["file", "below a file"])
def test_up__data_folder_that_cannot_be__is_refused(
    user: Client, tmp_path: Path, blocked: str
) -> None:
    file = tmp_path / "taken"
    file.write_text("mine")
    data = file if blocked == "file" else file / "data"
    for detach in ((), ("--detach",)):
        done = user.cli("up", *detach, "--data", str(data), "--port", "0")
        assert done.returncode == 2, done
        (line,) = done.stderr.splitlines()
        assert "--data" in line
    assert file.read_text() == "mine"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # to be refused
def test_up__open_to_others_without_a_token__is_refused(
    user: Client, second: Path, host: str
) -> None:
    done = user.cli("up", "--data", str(second), "--host", host, "--port", "0")
    assert done.returncode == 7, done
    assert "SEAFLOOR_SERVER__TOKEN" in done.stderr
    assert not (second / "server.json").exists()


def test_up__folder_that_others_can_read__is_closed_to_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    server = LiveServer(data).start()
    try:
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
    finally:
        server.stop()


def test_up__without_git_and_uv_on_the_path__answers_and_says_what_is_missing(
    tmp_path: Path, user: Client
) -> None:
    nothing = tmp_path / "bin"
    nothing.mkdir()
    server = LiveServer(tmp_path / "data", env={"PATH": str(nothing)}).start()
    try:
        run = server.launch(["/bin/sh", "-c", "echo ran"])
        server.wait_state(run["id"], "succeeded")
        folder = tmp_path / "project"
        folder.mkdir()
        client = Client(tmp_path / "home", server.url)
        done = client.cli("run", "--", "true", cwd=folder, PATH=str(nothing))
        assert done.returncode == 6, done
        assert "git" in done.stderr
        assert "install" in done.stderr.lower()
        assert_no_traceback(server, done.stderr)
    finally:
        server.stop()


def test_down__no_server__says_so(user: Client, tmp_path: Path) -> None:
    done = user.cli("down", "--data", str(tmp_path / "none"))
    assert done.returncode in (0, 1), done
    assert len(done.stderr.splitlines() + done.stdout.splitlines()) == 1


def test_server__log_and_database__are_below_a_closed_folder(server: LiveServer) -> None:
    wait_for((server.data / "token.key").exists, what="the key")
    assert stat.S_IMODE((server.data / "token.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
