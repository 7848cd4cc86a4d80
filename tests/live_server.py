"""A real server in a process of its own, for tests that cross processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import urllib3
from tests.databases import migrated_sqlite

T = TypeVar("T")

PATIENCE_S = 120.0
"""For what takes moments, on a machine that does many other things."""


def wait_for(look: Callable[[], T | None], *, timeout_s: float = PATIENCE_S, what: str = "it") -> T:
    """Look again and again until there is something to see; fail with the last thing seen.

    Less often when it takes long: to look takes the processor from what is waited for.
    """
    begun = time.monotonic()
    while True:
        seen = look()
        if seen:
            return seen
        waited_s = time.monotonic() - begun
        if waited_s > timeout_s:
            raise AssertionError(f"waited {timeout_s:g} s for {what}; last seen: {seen!r}")
        time.sleep(min(max(0.02, waited_s / 50), 0.1))


class LiveServer:
    """``python -m seafloor.boot up`` on a data folder of its own and a free port."""

    def __init__(self, data: Path, *, env: dict[str, str] | None = None) -> None:
        self.data = data
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self._env = env or {}
        self._pool = urllib3.PoolManager(retries=False, timeout=PATIENCE_S, maxsize=4)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the server's process."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SEAFLOOR_", "MLFLOW_"))}
        return {**kept, **self._env}

    def start(self, *arguments: str) -> LiveServer:
        """Start and wait until it answers; the first time on a free port, later on the same."""
        first = not (self.data / "server.json").exists()
        self.data.mkdir(parents=True, exist_ok=True)
        if not any(self.data.iterdir()) and not self._has_database_elsewhere(arguments):
            # To make the tables takes as long as to start.
            migrated_sqlite(self.data / "seafloor.db")
        command = [sys.executable, "-m", "seafloor.boot", "up", "--data", str(self.data)]
        if first and "--port" not in arguments:
            command += ["--port", str(self._hold_port())]
        (self.data / "server.json").unlink(missing_ok=True) if first else None
        started_ns = time.time_ns()
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.data,
            )
        self.url = wait_for(
            lambda: self._address(started_ns),
            timeout_s=PATIENCE_S,  # its first start on a busy machine compiles and migrates
            what=f"the server ({self.data}/server.log)",
        )
        wait_for(self._is_well, what=f"/health ({self.data}/server.log)")
        return self

    def _has_database_elsewhere(self, arguments: Sequence[str]) -> bool:
        return "--metadata" in arguments or "SEAFLOOR_STORES__METADATA" in self._env

    def _hold_port(self) -> int:
        """Find a port that nobody else is given, also while the server is down.

        A socket that does not listen keeps it from others, and not from a server, which reuses it.
        """
        held = socket.socket()
        weakref.finalize(self, held.close)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

    def _address(self, started_ns: int) -> str | None:
        assert self.process is not None
        if self.process.poll() is not None:
            log = (self.data / "server.log").read_text(errors="replace")
            raise AssertionError(f"the server ended with {self.process.returncode}: {log[-3000:]}")
        try:
            found = json.loads((self.data / "server.json").read_bytes())
        except FileNotFoundError:
            return None
        return found["url"] if found["pid"] == self.process.pid else None

    def _is_well(self) -> bool:
        try:
            return self._pool.request("GET", f"{self.url}/health").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def kill(self) -> None:
        """``kill -9``."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> int:
        """Ask it to end, and wait."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=PATIENCE_S)
        self.process = None
        return code

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Make a request; a dict or list is sent as JSON, JSON answers are decoded."""
        sent = dict(headers or {})
        if isinstance(body, dict | list):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        answer = self._pool.request(method, self.url + path, body=body, headers=sent)
        if answer.headers.get("content-type", "").startswith("application/json"):
            return answer.status, json.loads(answer.data)
        return answer.status, answer.data

    def get(self, path: str) -> Any:
        """GET what must be there."""
        status, answer = self.request("GET", path)
        assert status == 200, (path, status, answer)
        return answer

    def post(self, path: str, body: Any = None) -> Any:
        """POST what must be accepted."""
        status, answer = self.request("POST", path, body)
        assert status in (200, 201), (path, status, answer)
        return answer

    def launch(self, command: str | list[str], **spec: Any) -> dict[str, Any]:
        """Create a run without code."""
        body = {"name": "tests", "command": command, **spec}
        return self.post("/api/v1/runs", {"spec": body})

    def wait_state(
        self, run_id: str, *states: str, timeout_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """Wait until a run is in one of some states."""

        def look() -> dict[str, Any] | None:
            run = self.get(f"/api/v1/runs/{run_id}")
            return run if run["state"] in states else None

        return wait_for(look, timeout_s=timeout_s, what=f"run {run_id} to be {states}")

    def log_lines(self, run_id: str, **query: Any) -> list[dict[str, Any]]:
        """Every line of a log."""
        lines: list[dict[str, Any]] = []
        at = 1
        extra = "".join(f"&{key}={value}" for key, value in query.items())
        while True:
            page = self.get(f"/api/v1/runs/{run_id}/logs?from_line={at}&limit=10000{extra}")
            lines += page["lines"]
            if page["finished"] or not page["lines"]:
                return lines
            at = page["next_line"]
