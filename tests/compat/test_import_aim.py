"""A repository of a real Aim is imported, and every field is compared with what was tracked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from import_world import files_of, imported, left_out, points_of, run_import, runs_of
from live_server import LiveServer
from mlflow_world import python_with
from seafloor.domain.media import Audio, Histogram, Image, Text
from seafloor.sdk.client import Client

# The peer's environment may have to be fetched and built first.
pytestmark = pytest.mark.timeout(1800)

HERE = Path(__file__).parent
STEPS = 30


def aim_python() -> str:
    return str(python_with(HERE / "aim.txt"))


def track(folder: Path, *names: str, code: int = 0) -> None:
    script = str(HERE.parent / "aim_script.py")
    done = subprocess.run(
        [aim_python(), "-W", "ignore", script, str(folder), *names],
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr[-3000:]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aim")
    track(folder, "whole")
    track(folder, "killed", code=9)
    an_hour_ago = time.time() - 3600
    for path in folder.rglob("*"):
        os.utime(path, (an_hour_ago, an_hour_ago))
    return folder


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    made = Client(server.url)
    yield made
    made.close()


def bring(server: LiveServer, world: Path, code: int = 0) -> dict[str, Any]:
    return imported(server, "aim", str(world), "--python", aim_python(), code=code)


def test_import__of_a_repository__has_every_field(
    world: Path, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    report = bring(server, world)
    assert (report["runs"], report["failures"]) == (2, [])
    runs = runs_of(client, "vision")
    run = runs["first run"]
    assert run.state == "succeeded"
    assert run.started_ns is not None
    assert run.ended_ns is not None
    assert time.time_ns() - 10**12 * 3 < run.started_ns < run.ended_ns < time.time_ns()
    assert run.params == {
        "hparams.lr": "0.1",
        "hparams.layers": "[1, 2]",
        "hparams.opt": "ädam",
        "hparams.flag": "True",
        "hparams.none": "None",
        "hparams.nested.a.b": "1",
    }
    assert run.tags == {
        "aim.hash": json.loads((world / "tracked.json").read_bytes())["whole"],
        "aim.tags": '["best, so far"]',
        "mlflow.note.content": "some words",
    }
    points = points_of(client, run)
    assert {key: [p[:2] for p in found] for key, found in points.items()} == {
        "loss/subset:train": [(step, repr(1 / (step + 1))) for step in range(STEPS)],
        "loss/subset:val": [(step, repr(2 / (step + 1))) for step in range(STEPS)],
        "odd": [(0, "nan"), (1, "inf")],
        "count": [(5, "3.0")],
        "epoch": [(step, repr(float(step // 10))) for step in range(STEPS)],
    }
    began_ms, ended_ms = run.started_ns // 10**6, run.ended_ns // 10**6 + 1
    assert all(began_ms <= p[2] <= ended_ms for found in points.values() for p in found)
    media = {
        series.key: [(r.step, r.place, r.content) for r in client.media.iterate(run.id, series.key)]
        for series in client.media.keys(run.id)
    }
    assert media == {
        "weights": [(1, 0, Histogram((0.0, 1.0, 2.0, 3.0), (1.0, 0.0, 2.0)))],
        "words": [(2, 0, Text("hello"))],
        "pics": [(3, 0, Image(5, 4)), (3, 1, Image(5, 4))],
        "pics.caption": [(3, 0, Text("one")), (3, 1, Text("two"))],
        "sound": [(4, 0, Audio(8000, 1, 10))],
        "sound.caption": [(4, 0, Text("beep"))],
    }
    assert files_of(client, run, tmp_path) == {"weights.bin": b"model"}
    killed = runs["killed"]
    assert killed.state == "failed"
    assert [p[:2] for p in points_of(client, killed)["loss"]] == [
        (step, repr(float(step))) for step in range(STEPS)
    ]
    assert any("without an end" in what for what in left_out(report))
    again = bring(server, world)
    assert (again["runs"], again["runs_known"], again["points"]) == (0, 2, 0)


def test_import__of_a_damaged_run__brings_the_others_and_names_it(
    world: Path, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    shutil.copytree(world, tmp_path / "world")
    whole = json.loads((world / "tracked.json").read_bytes())["whole"]
    for part in ("meta", "seqs"):
        (tmp_path / "world" / ".aim" / part / "chunks" / whole / "CURRENT").write_text("nothing")
    report = bring(server, tmp_path / "world", code=1)
    (failure,) = report["failures"]
    assert failure["name"] == f"run {whole}"
    assert set(runs_of(client, "vision")) == {"killed"}


@pytest.mark.parametrize(
    ("place", "python", "code", "says"),
    [
        ("nowhere", None, 6, "holds no folder .aim"),
        ("here", None, 8, "pip install aim"),
        ("here", "/nowhere/python", 8, "--python"),
        ("here", "aim", 6, "holds no run"),
    ],
)
def test_import__from_what_is_none__is_one_line_with_the_fix(
    shared_server: LiveServer, tmp_path: Path, place: str, python: str | None, code: int, says: str
) -> None:
    (tmp_path / "here" / ".aim").mkdir(parents=True)
    which = ["--python", aim_python() if python == "aim" else python] if python else []
    done = run_import(shared_server, "aim", place, *which, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
