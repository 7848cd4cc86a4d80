"""The example by itself: its environment from our own lock and build, no server anywhere."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from pip_lock import lock_pip
from seafloor.domain.specs import ExperimentSpec, parse_spec
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.requirements import parse_requirements

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"


def requirements() -> list[str]:
    return (EXAMPLE / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_spec__of_the_example__is_accepted() -> None:
    spec = parse_spec(yaml.safe_load((EXAMPLE / "seafloor.yaml").read_text(encoding="utf-8")))
    assert isinstance(spec, ExperimentSpec)
    assert spec.environment == "digits"
    assert spec.timeout_s == 600


def test_requirements__of_the_example__are_pinned() -> None:
    lines = requirements()
    assert all("==" in line for line in parse_requirements(lines))
    assert lines == sorted(lines, key=str.lower)


@pytest.mark.slow
@pytest.mark.timeout(1500)
async def test_train__without_seafloor__keeps_everything_and_warns_of_nothing(
    tmp_path: Path,
) -> None:
    cache = EnvironmentCache(tmp_path / "environments")
    lock = await lock_pip(
        python=None, pip=requirements(), cache_dir=cache.uv_cache_dir, timeout_s=600
    )
    built = await cache.get(lock)
    work = tmp_path / "work"
    work.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    ended = subprocess.run(
        [built.python_path, EXAMPLE / "train.py", "--epochs", "2"],
        check=False,
        cwd=work,
        env={
            **clean,
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "MLFLOW_TRACKING_URI": str(work / "mlruns"),
            "SEAFLOOR_EVENTS_DIR": str(work / "events"),
            "SEAFLOOR_OUTPUT_DIR": str(work / "kept"),
            "MPLCONFIGDIR": str(tmp_path / "matplotlib"),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr
    assert "warning" not in ended.stderr.lower()
    assert "epoch 2/2" in ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("done: val accuracy ")
    report = json.loads((work / "kept" / "report.json").read_text(encoding="utf-8"))
    assert report["accuracy"] > 0.5
    assert (work / "kept" / "weights.npz").stat().st_size > 10_000
    (metrics,) = work.glob("mlruns/0/*/metrics")
    points = {
        str(path.relative_to(metrics)): len(path.read_text(encoding="utf-8").splitlines())
        for path in metrics.rglob("*")
        if path.is_file()
    }
    assert points == {"train/loss": 90, "val/loss": 2, "val/accuracy": 2, "epoch": 2}
    assert len(list(work.glob("mlruns/0/*/artifacts/plots/confusion.png"))) == 1
    assert len(list(work.glob("mlruns/0/models/*/artifacts/model.skops"))) == 1
    (events,) = (work / "events").iterdir()
    assert events.read_bytes().count(b"tb/loss") == 90
