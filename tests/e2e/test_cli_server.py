"""``seafloor up``, ``down``, ``doctor``, ``config``: the server of this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_process import Client
from live_server import PATIENCE_S, wait_for


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Client]:
    """A user whose server, if he started one, is stopped after."""
    user = Client(tmp_path / "home")
    yield user
    user.cli("down")


def test_up__detached__answers_and_is_found_by_other_commands(user: Client) -> None:
    done = user.cli("up", "--detach", "--port", "0")
    assert done.returncode == 0, done.stderr
    url = done.stdout.strip()
    assert user.cli("config", "show", "--url-only").stdout.strip() == url
    again = user.cli("up", "--detach")
    assert (again.returncode, again.stdout.strip()) == (0, url)
    assert "runs already" in again.stderr
    assert user.json("version")["server"] is not None
    down = user.cli("down")
    assert down.returncode == 0
    assert "has ended" in down.stderr
    again = user.cli("down")
    assert (again.returncode, again.stdout) == (0, "")
    assert "No server runs" in again.stderr
    assert user.cli("runs", "list").returncode == 5


def test_up__detached_behind_a_proxy_that_is_not_there_yet__starts(user: Client) -> None:
    """It was waited for at the proxy's address for a minute, and ended though it was well."""
    done = user.cli(
        "up", "--detach", "--port", "0", SEAFLOOR_SERVER__URL="https://seafloor.invalid"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "https://seafloor.invalid"), done.stderr
    again = user.cli("up", "--detach")
    assert "runs already" in again.stderr
    assert user.cli("down").returncode == 0


def test_up__in_the_foreground__ends_on_ctrl_c(user: Client) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "seafloor.cli", "up", "--port", "0"],
        env=user.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    file = user.home / "data" / "server.json"
    wait_for(lambda: file.exists() and user.cli("runs", "list").returncode == 0, what="the server")
    # The server took the place of the command: no process stands between.
    assert json.loads(file.read_bytes())["pid"] == process.pid
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) in (0, 130, -signal.SIGINT)


def test_up__the_port_is_in_use__names_the_process_and_another_port(user: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for how in ([], ["--detach"]):
            done = user.cli("up", *how, "--port", str(port))
            assert done.returncode == 4
            (line,) = done.stderr.splitlines()
            assert line.startswith("error: ")
            assert f"process {os.getpid()}" in line
            assert "--port " in line


def test_up__the_data_folder_cannot_be_made__says_so_in_one_line(
    user: Client, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = user.cli("up", "--detach", "--data", str(tmp_path / "file" / "data"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--data" in done.stderr


def test_up__another_address_without_a_token__is_refused_with_the_servers_words(
    user: Client,
) -> None:
    everywhere = "0.0.0.0"
    done = user.cli("up", "--detach", "--host", everywhere, "--port", "0")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "loopback" in done.stderr


def test_config__with_a_data_folder__names_that_server_and_hides_the_token(user: Client) -> None:
    user.cli("up", "--detach", "--port", "0")
    shown = user.json("config", "show", "--data", str(user.home / "data"))
    assert shown["server_url"].startswith("http://127.0.0.1:")
    assert shown["client"]["data"] == {"value": str(user.home / "data"), "origin": "--data"}
    done = user.cli("config", "show", "--origin", "--token", "very-secret")
    assert "very-secret" not in done.stdout
    assert "SEAFLOOR_HOME" in done.stdout


def test_doctor__without_and_with_a_server__says_what_to_do(user: Client) -> None:
    checks = {check["name"]: check for check in user.json("doctor")["items"]}
    assert checks["reachable"]["state"] == "warn"
    assert checks["reachable"]["fix"] == "seafloor up --detach"
    assert {"python", "git", "uv", "disk", "data folder", "port", "spool", "/code"} <= set(checks)
    user.cli("up", "--detach", "--port", "0")
    checks = {check["name"]: check for check in user.json("doctor")["items"]}
    assert checks["reachable"]["state"] == "ok"
    assert "page" in checks
    assert "clock" in checks


def test_doctor__settings_that_are_variables__tries_what_they_name_as_in_a_servers_pod(
    user: Client, tmp_path: Path
) -> None:
    objects = tmp_path / "elsewhere"
    settings = {
        "SEAFLOOR_STORES__OBJECTS": f"file://{objects}",
        "SEAFLOOR_SERVER__TOKEN": "of-the-test",
    }
    assert user.cli("up", "--detach", "--port", "0", **settings).returncode == 0
    done = user.cli("--json", "doctor", **settings)
    checks = {check["name"]: check for check in json.loads(done.stdout)["items"]}
    assert checks["reachable"]["state"] == "ok"
    assert str(objects) in checks["objects"]["said"]
    assert done.returncode == 0


def test_doctor__code_mounts_turned_off__says_so_and_what_commands_use(user: Client) -> None:
    (user.home / "data").mkdir(parents=True)
    (user.home / "data" / "seafloor.toml").write_text("[launch]\nmount_code = false\n")

    (found,) = [check for check in user.json("doctor")["items"] if check["name"] == "/code"]

    assert found["state"] == "ok"
    assert "launch.mount_code is off" in found["said"]
    assert "$SEAFLOOR_CODE_DIR" in found["said"]


def test_doctor__a_server_that_is_dead__fails(user: Client) -> None:
    dead = Client(user.home, "http://127.0.0.1:9")
    items = dead.json("doctor", code=1)["items"]
    assert [check["name"] for check in items if check["state"] == "fail"] == ["reachable"]


def test_any_command__an_address_that_is_none__names_the_variable(user: Client) -> None:
    done = Client(user.home, "localhost:1").cli("runs", "list")
    assert done.returncode == 2
    assert done.stderr.startswith("error: SEAFLOOR_URL: ")
