"""Processes of users: scripts that log, and the command line, each with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXIT_WAIT_S = 150
"""How long a script waits for what it logged to be sent: a busy machine may need more than 10 s."""
_PATIENCE_S = 600
"""For a command, which may build an environment; the time limit of a test is less."""


@dataclass(frozen=True)
class Client:
    """A user on this machine.

    Args:
        home: His ``SEAFLOOR_HOME``.
        url: His ``SEAFLOOR_URL``; None: not set.
    """

    home: Path
    url: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SEAFLOOR_", "MLFLOW_"))}
        kept["SEAFLOOR_HOME"] = str(self.home)
        if self.url is not None:
            kept["SEAFLOOR_URL"] = self.url
        return kept

    def script(self, code: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a Python script, with more patience at its end than a user's."""
        waits = {"SEAFLOOR_EXIT_WAIT_S": str(EXIT_WAIT_S)}
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **waits, **env},
        )

    def run_script(
        self, code: str, *arguments: str, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python script to its end."""
        process = self.script(code, *arguments, **env)
        out, err = process.communicate(timeout=_PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def cli(
        self, *arguments: str, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of seafloor."""
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "seafloor.cli", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            cwd=cwd,
            env={**self.environment, **env},
            check=False,
        )

    def json(self, *arguments: str, code: int = 0, cwd: Path | None = None) -> Any:
        """Run a command with ``--json``: exactly one document on standard output."""
        done = self.cli("--json", *arguments, cwd=cwd)
        assert done.returncode == code, (arguments, done)
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)

    @property
    def waiting(self) -> list[Path]:
        """Write-ahead files that wait."""
        return sorted(self.home.glob("spool/*/*.wal"))
