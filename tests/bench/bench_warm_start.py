"""Seconds from ``seafloor run`` to the command's first statement, environment and code being warm.

The floors beside it: the same Python started directly, and ``git clone`` of the same repository.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.bench_start import running, seafloor
from tests.bench.measuring import alternate, table

SCRIPT = "import time\nprint(time.time())\n"


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.com", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def _repository(folder: Path) -> Path:
    made = folder / "training"
    made.mkdir()
    (made / "train.py").write_text(SCRIPT)
    _git(made, "init", "--quiet")
    _git(made, "add", "--all")
    _git(made, "commit", "--quiet", "--message", "a script")
    return made


def _seafloor(url: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "seafloor.cli", *arguments],
        env={**os.environ, "SEAFLOOR_URL": url},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def run() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name, running(seafloor) as (url, _, _):
        folder = Path(name)
        repository = _repository(folder)
        spec = folder / "environment.txt"
        spec.write_text("six==1.17.0\n")
        _seafloor(url, "env", "create", "warm", "-r", str(spec))

        def measure_run() -> float:
            begun = time.time()
            _seafloor(
                url, "run", "--git", str(repository), "--env", "warm", "--no-follow",
                "--", "python", "training/train.py",
            )  # fmt: skip
            log = json.loads(_seafloor(url, "--json", "logs", "@last").splitlines()[-1])
            return float(log["text"]) - begun

        def measure_python() -> float:
            begun = time.time()
            done = subprocess.run(
                [sys.executable, str(repository / "train.py")],
                check=True,
                capture_output=True,
                text=True,
            )
            return float(done.stdout) - begun

        def measure_clone() -> float:
            begun = time.time()
            target = folder / f"clone-{time.time_ns()}"
            _git(folder, "clone", "--quiet", str(repository), str(target))
            return time.time() - begun

        found = alternate(
            {"seafloor run": measure_run, "python": measure_python, "git clone": measure_clone},
            rounds=7,
        )
    table("until the command's first statement", "s", found, base="seafloor run")
