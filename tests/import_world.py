"""``seafloor import`` as a user runs it, and what a server holds of a run afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from live_server import LiveServer
from seafloor.sdk.client import Client
from seafloor.sdk.runs import RunQuery
from seafloor.wire.runs import RunView


def import_command(server: LiveServer, *arguments: str) -> list[str]:
    """The command of an import to a server."""
    return [sys.executable, "-m", "seafloor.cli", "import", *arguments, "--url", server.url]


WITHOUT_RIGHTS = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
"""Before a command that may read what the modes of files let it, as everybody but root."""


def run_import(
    server: LiveServer, *arguments: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run an import to its end, without the rights of root."""
    return subprocess.run(
        [*WITHOUT_RIGHTS, *import_command(server, *arguments)],
        env={**server.environment, "SEAFLOOR_HOME": str(server.data / "home"), **env},
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=1500,
    )


def imported(server: LiveServer, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run an import, and give its report."""
    done = run_import(server, *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def failures(report: dict[str, Any]) -> str:
    """What did not come, and why."""
    return "\n".join(f"{one['name']}: {one['reason']}" for one in report["failures"])


def left_out(report: dict[str, Any]) -> dict[str, int]:
    """What a report says had no place, and how many of it."""
    return {one["what"]: one["count"] for one in report["left_out"]}


class RunsFolder:
    """An ``mlruns`` folder of MLflow's with one experiment, written by hand."""

    def __init__(self, root: Path, stage: str = "active") -> None:
        self.name = f"by hand {uuid.uuid4().hex}"
        self.experiment = root / "mlruns" / "1"
        self.meta(self.experiment, name=self.name, lifecycle_stage=stage)

    @property
    def root(self) -> str:
        """What an import is given."""
        return str(self.experiment.parent)

    def meta(self, folder: Path, file: str = "meta.yaml", **fields: Any) -> None:
        """Write the file that says what a folder is; YAML reads JSON."""
        self.text(folder / file, json.dumps(fields))

    def text(self, path: Path, content: str | bytes) -> None:
        """Write a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def runs_of(client: Client, experiment: str) -> dict[str, RunView]:
    """The runs of an experiment by name."""
    (found,) = [one for one in client.experiments.list().items if one.name == experiment]
    return {run.name: run for run in client.runs.iterate(RunQuery(experiment_id=found.id))}


def points_of(client: Client, run: RunView) -> dict[str, list[tuple[int, str, int]]]:
    """The points of a run by key: step, value as a text, time in milliseconds."""
    return {
        key: [
            (p.step, repr(float(p.value)), p.time_ms) for p in client.metrics.iterate(run.id, key)
        ]
        for key in run.metrics
    }


def files_of(client: Client, run: RunView, folder: Path) -> dict[str, bytes]:
    """The artifacts of a run by path."""
    made: dict[str, bytes] = {}
    for file in client.artifacts.iterate(run.id):
        client.artifacts.get(run.id, file.path, folder / "fetched")
        made[file.path] = (folder / "fetched").read_bytes()
    return made
