"""What is said of a task whose command put other things in the place of its documents."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from seafloor.agent.folder import TaskFolder
from seafloor.launch.local.agents import end_leftovers
from seafloor.launch.local.observation import has_begun, observe_ended, why_undelivered
from seafloor.launch.protocol import TaskLost

FILES = ("agent.json", "exit.json", "done.json", "log.spool", "shipped", "agent.err")


def bound(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as made:
        before = os.open(".", os.O_RDONLY)
        os.chdir(path.parent)  # an address has 107 bytes at most
        try:
            made.bind(path.name)
        finally:
            os.fchdir(before)
            os.close(before)


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, bound], ids=["pipe", "folder", "socket"])
@pytest.mark.parametrize("name", FILES)
def test_observe__something_else_in_the_place_of_a_file__is_told_of_and_nobody_waits(
    tmp_path: Path, put: Callable[[Path], None], name: str
) -> None:
    for other in ("agent.json", "shipped"):
        if other != name:
            TaskFolder(str(tmp_path)).write(other, {"command_pid": 1})
    put(tmp_path / name)
    found: list[object] = []

    def look() -> None:
        found.append(observe_ended(tmp_path))
        found.append((has_begun(tmp_path), why_undelivered(tmp_path), end_leftovers(tmp_path)))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(60)
    observed, (begun, why, ended) = found
    assert isinstance(observed, TaskLost)
    assert (begun, why, ended) == (True, "", 0)
