"""What a real MLflow keeps is imported, and both servers are asked for every field of it.

``SEAFLOOR_IMPORT_RUNS`` says how many runs there are.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import import_world
from live_server import LiveServer
from mlflow_answers import all_answers
from mlflow_world import mlflow_server, server_python
from seafloor.sdk.imports.transfer import MISSING_TAG

# The peer's environment may have to be fetched and built first.
pytestmark = pytest.mark.timeout(1800)

RUNS = int(os.environ.get("SEAFLOOR_IMPORT_RUNS", "60"))
NAMES = {"Default", "vision", "größe / λ", "gone", "gone with runs"}
REST_FILE = "seafloor-import.json"


@dataclass
class World:
    """A database that MLflow made, a server on it, and what that server answers."""

    folder: Path
    url: str
    answers: dict[str, Any]


def fill(folder: Path, runs: int, *more: str) -> None:
    script = Path(__file__).parents[1] / "mlflow_database.py"
    command = [str(server_python()), "-W", "ignore", str(script), str(folder), str(runs), *more]
    subprocess.run(command, check=True, capture_output=True, timeout=1500, cwd=folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("mlflow")
    fill(folder, RUNS)
    with mlflow_server(folder) as url:
        yield World(folder, url, all_answers(url, NAMES))


def imported(server: LiveServer, *arguments: str) -> dict[str, Any]:
    return import_world.imported(server, "mlflow", *arguments)


def as_here(answers: dict[str, Any]) -> dict[str, Any]:
    """What MLflow answers, as it is to stand here: with what the report says is changed."""
    made = json.loads(json.dumps(answers))
    made["Default"]["created"] = 0  # it is here since ever
    for experiment in made.values():
        for run in experiment["runs"].values():
            info = run["info"]
            info["run_name"] = info["run_name"].strip()
            run["tags"]["mlflow.runName"] = info["run_name"]
            run["tags"].setdefault("mlflow.user", info["user_id"])
    return made


def without_rest(answers: dict[str, Any]) -> dict[str, Any]:
    """What Seafloor answers, without the files in which it keeps what has no place.

    Nor with the tag of runs that go on at the source, which they alone have.
    """
    made = json.loads(json.dumps(answers))
    for experiment in made.values():
        experiment["tags"].pop("seafloor.source.artifactLocation", None)
        for run in experiment["runs"].values():
            run["files"].pop(REST_FILE, None)
            is_living = run["info"]["lifecycle_stage"] == "active"
            goes_on = run["info"]["status"] == "RUNNING" and (
                is_living or experiment["lifecycle"] == "deleted"
            )
            assert (run["tags"].pop(MISSING_TAG, None) is not None) == goes_on
    return made


def once(answers: dict[str, Any]) -> dict[str, Any]:
    """What MLflow answers, with each point once, and what its files say of expectations."""
    for experiment in answers.values():
        for trace in experiment["traces"].values():
            for assessment in trace["assessments"].values():
                assessment.setdefault("valid", True)
        for run in experiment["runs"].values():
            run["points"] = [list(p) for p in sorted({tuple(p) for p in run["points"]})]
    return answers


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare piece by piece: a whole comparison that fails cannot be read."""
    assert found.keys() == wanted.keys()
    for name, experiment in wanted.items():
        for part in experiment:
            if part not in ("runs", "models", "traces"):
                assert found[name][part] == experiment[part], (name, part)
                continue
            assert found[name][part].keys() == experiment[part].keys(), (name, part)
            for one, fields in experiment[part].items():
                for field in fields:
                    assert found[name][part][one][field] == fields[field], (name, one, field)


def test_import__of_a_database__answers_as_the_server_that_made_it(
    world: World, server: LiveServer
) -> None:
    place = f"sqlite:///{world.folder}/mlflow.db"
    report = imported(server, place, "--artifacts", str(world.folder / "artifacts"))
    assert report["runs"] == RUNS
    assert report["whole"]
    assert report["failures"] == []
    spans = [one["spans"] for e in world.answers.values() for one in e["traces"].values()]
    assert (report["traces"], report["spans"]) == (60, sum(map(len, spans)))
    assert report["assessments"] > 30
    assert_same(without_rest(all_answers(server.url, NAMES)), as_here(world.answers))
    assert {one["name"] for one in report["kept"]["registered_models"]} == {"digits"}
    before = all_answers(server.url, NAMES)
    again = imported(server, place, "--artifacts", str(world.folder / "artifacts"))
    running = sum(
        run["info"]["status"] == "RUNNING" and run["info"]["lifecycle_stage"] == "active"
        for experiment in before.values()
        for run in experiment["runs"].values()
    )
    assert (again["runs"], again["runs_known"]) == (running, RUNS - running)
    assert (again["traces"], again["traces_known"], again["spans"]) == (0, 60, 0)
    assert all_answers(server.url, NAMES) == before


def test_import__from_a_server__answers_as_that_server(world: World, server: LiveServer) -> None:
    report = imported(server, world.url)
    assert report["runs"] == RUNS
    assert report["failures"] == []
    assert_same(without_rest(all_answers(server.url, NAMES)), as_here(world.answers))
    assert {one["name"] for one in report["kept"]["registered-models"]} == {"digits"}


def test_import__of_a_folder_of_files__answers_as_the_server_on_it(
    server: LiveServer, tmp_path: Path
) -> None:
    fill(tmp_path, 26, "files")
    with mlflow_server(tmp_path, store=str(tmp_path / "mlruns")) as url:
        wanted = all_answers(url, NAMES, files=False)
    report = imported(server, str(tmp_path / "mlruns"))
    assert report["runs"] == 26
    assert report["failures"] == []
    below = (tmp_path / "mlruns").rglob("*")
    kept = [path for path in below if path.is_file() and "artifacts" in path.parts]
    assert report["files"] == len(kept) > 0
    assert report["file_bytes"] == sum(path.stat().st_size for path in kept)
    found = without_rest(all_answers(server.url, NAMES, files=False))
    assert_same(found, once(as_here(wanted)))
    (twice,) = [one for one in report["left_out"] if "bit for bit" in one["what"]]
    assert twice["count"] == 26  # a folder keeps the point that each run logs twice


@pytest.mark.parametrize(
    ("place", "code", "says"),
    [
        ("sqlite:///nowhere.db", 6, "no file"),
        ("sqlite:///text.db", 6, "cannot be read as an SQLite database"),
        ("sqlite:///other.db", 6, "mlflow db upgrade"),
        ("nowhere", 6, "no file"),
        (".", 6, "mlruns"),
        ("postgresql://u:secret@h/db", 6, "mlflow server --backend-store-uri"),
        ("http://127.0.0.1:9", 5, "does not answer"),
        ("{server}/nothing", 6, "MLflow"),
    ],
)
def test_import__from_what_is_none__is_one_line_with_the_fix(
    shared_server: LiveServer, tmp_path: Path, place: str, code: int, says: str
) -> None:
    (tmp_path / "text.db").write_text("no database" * 100)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE runs (run_uuid TEXT)")
    place = place.replace("{server}", shared_server.url)
    done = import_world.run_import(shared_server, "mlflow", place, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert "secret" not in line
