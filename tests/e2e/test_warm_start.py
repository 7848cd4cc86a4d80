"""Two runs with one environment build it once, and a warm run starts quickly."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from git_world import Repository
from live_server import LiveServer

# Generous: the machine that runs this may be busy. What it takes on a quiet one is measured by
# `make bench`, and stands in the README.
WARM_START_S = 5.0
WARM_START_COMMANDS = 6
"""Where one command that asks the server takes long already, a start takes a few times as long."""
TRIES = 3
"""The machine may stand still in one start, and not in every one."""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "training")
    made.commit({"train.py": "import time, six\nprint(time.monotonic(), six.__version__)\n"})
    return made


def _run(server: LiveServer, repository: Repository, *arguments: str) -> tuple[float, str]:
    """Run the script by the CLI; give the seconds until the command began, and the run's id."""
    begun = time.monotonic()  # one clock for all processes, which nobody sets
    done = subprocess.run(
        [
            *(sys.executable, "-m", "seafloor.cli", "--json", "run"),
            *("--git", str(repository.path), *arguments),
            *("--", "python", "training/train.py"),
        ],
        env={**server.environment, "SEAFLOOR_URL": server.url},
        cwd=repository.path.parent,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    run: dict[str, Any] = server.get("/api/v1/runs?limit=1")["items"][0]
    (line,) = server.log_lines(run["id"], stream="out")
    return float(line["text"].split()[0]) - begun, run["id"]


def _ask_s(server: LiveServer) -> float:
    """The seconds that a command takes which only asks the server."""
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "seafloor.cli", "--json", "runs", "list"],
        env={**server.environment, "SEAFLOOR_URL": server.url},
        capture_output=True,
        check=True,
    )
    return time.monotonic() - begun


@pytest.mark.slow
def test_runs__two_with_one_environment__build_it_once_and_the_second_starts_quickly(
    server: LiveServer, repository: Repository
) -> None:
    server.post("/api/v1/environments", {"spec": {"name": "one", "pip": ["six==1.17.0"]}})
    _, first = _run(server, repository, "--env", "one")
    record = _only_record(server)
    for left in reversed(range(TRIES)):
        before_s = _ask_s(server)
        began_s, second = _run(server, repository, "--env", "one")
        ask_s = max(before_s, _ask_s(server))
        assert _only_record(server) == record
        attempts = [
            server.get(f"/api/v1/runs/{run_id}/attempts")["items"][0] for run_id in (first, second)
        ]
        assert attempts[0]["environment_digest"] == attempts[1]["environment_digest"]
        cached = [attempt["receipts"]["training"]["cached"] for attempt in attempts]
        assert cached == [False, True]
        if began_s < max(WARM_START_S, WARM_START_COMMANDS * ask_s):
            break
        assert left, (began_s, ask_s)


def _only_record(server: LiveServer) -> tuple[str, Any]:
    """The one record of a built environment: its path, and all it says (when it was built too)."""
    # Not deeper: what the server stores it from comes and goes beside it.
    records = list((server.data / "cache" / "environments").glob("*/seafloor-environment.json"))
    assert len(records) == 1
    record = json.loads(records[0].read_text())
    del record["boot_id"]  # gone as soon as all is on the disk
    return str(records[0]), record
