"""What a pod's init container does: a stored environment, from a server into a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from live_server import LiveServer, wait_for


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    made = LiveServer(tmp_path / "data").start()
    yield made
    made.stop()


def fetch(server: LiveServer, digest: str, to: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEAFLOOR_")}
    command = [sys.executable, "-m", "seafloor.boot", "fetch-environment"]
    return subprocess.run(
        [*command, "--digest", digest, "--to", str(to)],
        env={**kept, "SEAFLOOR_URL": server.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def stored(server: LiveServer) -> str:
    """The digest of an environment that the server has built and stored."""
    spec = {"name": "empty", "pip": []}
    server.post("/api/v1/environments", {"spec": spec})
    run_id = server.launch("true", environment="empty")["id"]
    server.wait_state(run_id, "succeeded")
    (attempt,) = server.get(f"/api/v1/runs/{run_id}/attempts")["items"]
    digest: str = attempt["environment_digest"]
    record = f"/api/v1/environment-archives/{digest}/environment.json"
    wait_for(lambda: server.request("GET", record)[0] == 200, what="its archive")
    return digest


def test_fetch__of_a_stored_environment__is_one_that_can_be_used_there(
    server: LiveServer, tmp_path: Path
) -> None:
    digest = stored(server)
    to = tmp_path / "pod" / "environment"
    done = fetch(server, digest, to)
    assert done.returncode == 0, done.stderr
    python = str(to / digest / "bin" / "python")
    asked = [python, "-c", "import sys; print(sys.prefix)"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(to / digest)
    assert not (to / ".fetched").exists()
    assert fetch(server, digest, to).returncode == 0


def test_fetch__server_away_and_back__is_waited_for(server: LiveServer, tmp_path: Path) -> None:
    digest = stored(server)
    server.kill()
    done: list[subprocess.CompletedProcess[str]] = []
    work = threading.Thread(
        target=lambda: done.append(fetch(server, digest, tmp_path / "environment"))
    )
    work.start()
    server.start()
    work.join()
    assert done[0].returncode == 0, done[0].stderr


def test_fetch__of_one_that_is_not_stored__says_so(server: LiveServer, tmp_path: Path) -> None:
    done = fetch(server, "0" * 64, tmp_path / "environment")
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")


def test_fetch__of_a_damaged_archive__is_withdrawn_and_says_so(
    server: LiveServer, tmp_path: Path
) -> None:
    digest = stored(server)
    (archive,) = (tmp_path / "data" / "objects" / "environments" / digest).glob("*.frames")
    archive.write_bytes(archive.read_bytes()[:-1] + b"?")
    done = fetch(server, digest, tmp_path / "environment")
    assert done.returncode == 3, done.stderr
    assert "was damaged and was withdrawn: start the run again" in done.stderr
    record = f"/api/v1/environment-archives/{digest}/environment.json"
    assert server.request("GET", record)[0] == 404
