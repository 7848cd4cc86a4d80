"""The process that starts real servers for tests: shared, lazy, and gone with its session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
from tests.services._service import Missing
from tests.services._supervisor import Supervisor, ask

from live_server import wait_for


def test_a_server_is_started_once_and_stopped_with_the_session() -> None:
    supervisor = Supervisor()
    try:
        supervisor.wait_ready()
        first = ask(supervisor.socket, "seafloor_server")
        again = ask(supervisor.socket, "seafloor_server")
        assert first == again
        assert urllib3.request("GET", f"{first.url}/health").status == 200
    finally:
        supervisor.close()
    assert not _answers(first.url)


def test_an_unknown_server_is_a_failure_that_names_it() -> None:
    supervisor = Supervisor()
    try:
        supervisor.wait_ready()
        with pytest.raises(RuntimeError, match="no_such"):
            ask(supervisor.socket, "no_such")
    finally:
        supervisor.close()


def test_a_server_that_cannot_run_here_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.services import _supervisor

    services = _supervisor.Services()
    monkeypatch.setattr(services, "_start", lambda _: _supervisor._Answer(missing="no Java"))
    assert services.get("hdfs").missing == "no Java"
    with pytest.raises(Missing, match="no Java"):
        raise Missing(services.get("hdfs").missing)


_SESSION = """
from tests.services._supervisor import Supervisor, ask
supervisor = Supervisor()
supervisor.wait_ready()
print(ask(supervisor.socket, "seafloor_server").url, flush=True)
input()
"""


def test_it_ends_when_its_session_was_killed() -> None:
    root = Path(__file__).resolve().parents[2]
    session = subprocess.Popen(
        [sys.executable, "-c", _SESSION],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with session:
        assert session.stdout is not None
        url = session.stdout.readline().decode().strip()
        assert urllib3.request("GET", f"{url}/health").status == 200
        session.kill()
    wait_for(lambda: not _answers(url), what="the end of what the session started")


def _answers(url: str) -> bool:
    try:
        urllib3.request("GET", f"{url}/health", retries=False, timeout=2.0)
    except urllib3.exceptions.HTTPError:
        return False
    return True
