"""A server whose database was brought back from a backup that is older than some of its runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.databases import migrated_sqlite

from client_process import Client
from live_server import wait_for

UNTIL = (
    'echo begun; echo kept > "$SEAFLOOR_OUTPUT_DIR/file"; echo $$ > "$1"; '
    'until [ -e "$0" ]; do sleep 0.1; done; echo ended > "$2"'
)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Client]:
    """A user whose server, if he started one, is stopped after."""
    (tmp_path / "project").mkdir()
    (tmp_path / "home" / "data").mkdir(parents=True)
    migrated_sqlite(tmp_path / "home" / "data" / "seafloor.db")
    user = Client(tmp_path / "home")
    yield user
    user.cli("down")


def backup(user: Client, to: Path) -> None:
    """As docs/how-to/back-up.md has it; no server runs."""
    to.mkdir()
    for file in (user.home / "data").glob("seafloor.db*"):
        shutil.copy2(file, to / file.name)


def bring_back(user: Client, backup: Path) -> None:
    for file in (user.home / "data").glob("seafloor.db*"):
        file.unlink()
    for file in backup.iterdir():
        shutil.copy2(file, user.home / "data" / file.name)


def said_of_strangers(user: Client) -> list[dict[str, str]]:
    log = (user.home / "data" / "server.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith("a task is left alone")]


@pytest.mark.parametrize("ends", [True, False])
def test_up__database_of_before_a_run__the_run_is_left_alone_until_a_newer_one_or_a_word(
    user: Client, tmp_path: Path, *, ends: bool
) -> None:
    """Its command was ended, and what it had written was removed."""
    assert user.cli("up", "--detach", "--port", "0").returncode == 0
    assert user.cli("down").returncode == 0
    backup(user, tmp_path / "yesterday")
    assert user.cli("up", "--detach").returncode == 0
    gate, pid, end = (tmp_path / name for name in ("gate", "pid", "end"))
    words = ("sh", "-c", UNTIL, str(gate), str(pid), str(end))
    assert user.cli("run", "--detach", "--", *words, cwd=tmp_path / "project").returncode == 0
    run_id = user.json("runs", "show", "@last")["run"]["id"]
    wait_for(lambda: state_of(user, run_id) == "running", what="the command to begin")
    wait_for(lambda: pid.exists() and pid.read_text(), what="its number")
    assert user.cli("down").returncode == 0
    backup(user, tmp_path / "today")

    bring_back(user, tmp_path / "yesterday")
    assert user.cli("up", "--detach").returncode == 0
    root = user.home / "data" / "work" / run_id / "1"
    wait_for(lambda: said_of_strangers(user), what="the log to say it")
    if ends:
        gate.touch()
        wait_for((root / "tasks" / "main" / "exit.json").exists, what="the command to end")
        wait_for((root / "tasks" / "main" / "done.json").exists, what="its agent to end")
    doctor = user.json("doctor", code=0)
    (check,) = [one for one in doctor["items"] if one["name"] == "unknown runs"]
    assert check["state"] == "warn"
    assert check["said"].endswith(f": {root}")
    (said,) = said_of_strangers(user)
    assert (said["run_id"], said["where"]) == (run_id, str(root))
    assert end.exists() == ends  # ended by itself, or not at all
    assert Path("/proc", pid.read_text().strip()).exists() != ends
    assert (root / "output" / "file").read_text() == "kept\n"

    if not ends:  # the administrator gives it up
        (touch,) = [word for word in check["fix"].split("`") if word.startswith("touch ")]
        Path(touch.removeprefix("touch ")).touch()
        wait_for(lambda: not root.exists(), what="the server to end and remove it")
        assert not Path("/proc", pid.read_text().strip()).exists()
        assert not end.exists()
        return
    assert user.cli("down").returncode == 0
    bring_back(user, tmp_path / "today")
    assert user.cli("up", "--detach").returncode == 0
    wait_for(lambda: state_of(user, run_id) == "succeeded", what="the run to end")
    (file,) = user.json("artifacts", "list", run_id)["items"]
    assert file["path"] == "file"


def state_of(user: Client, run_id: str) -> str:
    return str(user.json("runs", "show", run_id)["run"]["state"])
