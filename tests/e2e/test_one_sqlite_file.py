"""Two servers that name one SQLite file."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from client_process import Client


@pytest.fixture
def users(tmp_path: Path) -> Iterator[tuple[Client, Client]]:
    """Two data folders; their servers, if there are any, are stopped after."""
    with ExitStack() as stack:
        users = (Client(tmp_path / "one"), Client(tmp_path / "two"))
        for user in users:
            stack.callback(user.cli, "down")
        yield users


def test_up__the_sqlite_file_of_a_server_that_runs__is_refused(
    users: tuple[Client, Client], tmp_path: Path
) -> None:
    """It began, and showed the runs of the first with empty logs."""
    one, two = users
    (tmp_path / "link.db").symlink_to(tmp_path / "seafloor.db")
    file, link = (
        ("--metadata", f"sqlite:///{tmp_path / name}") for name in ("seafloor.db", "link.db")
    )
    assert one.cli("up", "--detach", "--port", "0", *file).returncode == 0

    for refused in (two.cli("up", "--detach", "--port", "0", *link), two.cli("up", *file)):
        assert (refused.returncode, refused.stdout) == (4, ""), refused
        assert f"{tmp_path / 'seafloor.db'} is open by another server" in refused.stderr
        assert str(one.home / "data") in refused.stderr
    assert one.cli("doctor", *file).returncode == 0  # only looks, and only servers exclude another

    pid = json.loads((one.home / "data" / "server.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    taken = two.cli("up", "--detach", "--port", "0", *file)
    assert taken.returncode == 0, taken
