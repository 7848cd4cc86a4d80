"""A server that is started on a data folder with another database than before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client_process import Client
from live_server import wait_for

UNTIL = 'echo begun; until [ -e "$0" ]; do sleep 0.1; done; echo kept > "$SEAFLOOR_OUTPUT_DIR/file"'


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Client]:
    """A user whose server, if he started one, is stopped after."""
    (tmp_path / "project").mkdir()
    user = Client(tmp_path / "home")
    yield user
    user.cli("down")


@pytest.mark.parametrize("noted", [True, False])
def test_up__another_database_while_runs_go_on__is_refused_and_they_live(
    user: Client, tmp_path: Path, *, noted: bool
) -> None:
    """Their commands were ended, and what they had left was removed."""
    assert user.cli("up", "--detach", "--port", "0").returncode == 0
    gate = tmp_path / "gate"
    command = ("run", "--detach", "--", "sh", "-c", UNTIL, str(gate))
    assert user.cli(*command, cwd=tmp_path / "project").returncode == 0
    run_id = user.json("runs", "show", "@last")["run"]["id"]
    wait_for(lambda: state_of(user, run_id) == "running", what="the command to begin")
    assert user.cli("down").returncode == 0
    if not noted:  # as an older version left it
        (user.home / "data" / "installation.id").unlink()

    other = ("--metadata", f"sqlite:///{tmp_path / 'other.db'}")
    refused = user.cli("up", "--detach", *other)
    assert (refused.returncode, refused.stdout) == (4, ""), refused
    assert f"such as {run_id}" in refused.stderr
    assert user.cli("up", *other).returncode == 4

    gate.touch()
    assert user.cli("up", "--detach").returncode == 0
    wait_for(lambda: state_of(user, run_id) == "succeeded", what="the run to end")
    (file,) = user.json("artifacts", "list", run_id)["items"]
    assert file["path"] == "file"
    work = user.home / "data" / "work"
    wait_for(lambda: not any(work.iterdir()), what="the folder to be removed")
    assert user.cli("down").returncode == 0
    # Nothing is lost by it now.
    assert user.cli("up", "--detach", *other).returncode == 0


def state_of(user: Client, run_id: str) -> str:
    return str(user.json("runs", "show", run_id)["run"]["state"])
