"""Exports of neptune-exporter are imported field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_world import files_of, imported, left_out, points_of, run_import, runs_of
from live_server import LiveServer
from neptune_export import T0, attribute, series, write_run
from seafloor.domain.media import Histogram, Image, Text
from seafloor.sdk.client import Client
from seafloor.sdk.pictures import picture_of

PROJECT = "space/vision"
T0_MS = int(T0.timestamp() * 1000)


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    made = Client(server.url)
    yield made
    made.close()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Two runs: one with something of everything, one that failed with steps between the whole."""
    data, files = tmp_path / "data", tmp_path / "files"
    below = files / "space_vision" / "RUN-1"
    (below / "set").mkdir(parents=True)
    (below / "model.pt").write_bytes(b"model")
    (below / "set" / "a.txt").write_bytes(b"a")
    _, _, png = picture_of(np.array([[0, 255], [255, 0]], dtype=np.uint8))
    (below / "picture_1.png").write_bytes(png)
    (below / "table_2.csv").write_bytes(b"1,2")
    at = "space_vision/RUN-1"
    histogram = {"type": "COUNTING", "edges": [0.0, 1.0, 2.0], "values": [3.0, 4.0]}
    rows = [
        attribute("sys/name", "string", "first"),
        attribute("sys/owner", "string", "ann"),
        attribute("sys/creation_time", "datetime", T0),
        attribute("sys/ping_time", "datetime", T0 + timedelta(hours=1)),
        attribute("sys/failed", "bool", False),
        attribute("sys/tags", "string_set", ["b", "a"]),
        attribute("sys/description", "string", "words"),
        attribute("config/lr", "float", 0.1),
        attribute("config/layers", "int", 3),
        attribute("config/opt", "string", "adam"),
        attribute("config/on", "bool", True),
        attribute("config/when", "datetime", T0),
        attribute("config/set", "string_set", ["y", "x"]),
        attribute("config/unset", "float", None),
        *(series("loss", "float_series", str(step), 1 / (step + 1)) for step in range(30)),
        series("odd", "float_series", "0", None),
        series("odd", "float_series", "1", float("inf")),
        series("notes", "string_series", "4", "a note"),
        *(series("monitoring/ab/stdout", "string_series", str(n), f"line {n}") for n in range(3)),
        series("weights", "histogram_series", "5", histogram),
        series("pictures", "file_series", "1", {"path": f"{at}/picture_1.png"}),
        series("tables", "file_series", "2", {"path": f"{at}/table_2.csv"}),
        {**attribute("model", "file", {"path": f"{at}/model.pt"})},
        {
            "attribute_path": "source",
            "attribute_type": "file_set",
            "file_value": {"path": f"{at}/set"},
        },
        attribute("gone", "file", {"path": f"{at}/gone.bin"}),
        attribute("evil", "file", {"path": "../../evil"}),
        {"attribute_path": "git", "attribute_type": "git_ref"},
    ]
    write_run(data, PROJECT, "RUN-1", rows, parts=3)
    failed = [
        attribute("sys/failed", "bool", True),
        attribute("sys/trashed", "bool", False),
        attribute("sys/creation_time", "datetime", T0),
        series("loss", "float_series", "0.25", 1.0),
        series("loss", "float_series", "1.5", 2.0),
    ]
    write_run(data, PROJECT, "RUN-2", failed)
    write_run(data, "space/other", "RUN-1", [attribute("a", "int", 1)])
    return data


def test_import__of_an_export__has_every_field(
    export: Path, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    report = imported(server, "neptune", str(export))
    assert (report["runs"], report["failures"]) == (3, [])
    assert set(runs_of(client, "space/other")) == {"RUN-1"}
    runs = runs_of(client, PROJECT)
    run = runs["first"]
    assert (run.state, run.user) == ("succeeded", "ann")
    assert (run.started_ns, run.ended_ns) == (T0_MS * 10**6, (T0_MS + 3_600_000) * 10**6)
    assert run.params == {
        "config/lr": "0.1",
        "config/layers": "3",
        "config/opt": "adam",
        "config/on": "True",
        "config/when": "2025-03-01T12:00:00.125000+00:00",
        "config/set": '["x", "y"]',
    }
    assert run.tags["neptune.runId"] == "RUN-1"
    assert run.tags["neptune.tags"] == '["a", "b"]'
    assert run.tags["mlflow.note.content"] == "words"
    assert points_of(client, run) == {
        "loss": [(step, repr(1 / (step + 1)), T0_MS + step * 1000) for step in range(30)],
        "odd": [(0, "nan", T0_MS), (1, "inf", T0_MS + 1000)],
    }
    media = {
        series.key: [(r.step, r.content) for r in client.media.iterate(run.id, series.key)]
        for series in client.media.keys(run.id)
    }
    assert media == {
        "notes": [(4, Text("a note"))],
        "weights": [(5, Histogram((0.0, 1.0, 2.0), (3.0, 4.0)))],
        "pictures": [(1, Image(2, 2))],
    }
    files = files_of(client, run, tmp_path)
    assert files == {
        "model.pt": b"model",
        "source/a.txt": b"a",
        "tables/step_2.csv": b"1,2",
        "monitoring/ab/stdout.log": b"line 0\nline 1\nline 2\n",
    }
    other = runs["RUN-2"]
    assert other.state == "failed"
    assert other.tags["neptune.stepMultiplier"] == "100"
    assert points_of(client, other) == {
        "loss": [(25, "1.0", T0_MS + 250), (150, "2.0", T0_MS + 1500)]
    }
    assert left_out(report)["file that is not in the export"] == 2
    assert left_out(report)["attribute of the type git_ref: no value in the export"] == 1
    again = imported(server, "neptune", str(export))
    assert (again["runs"], again["runs_known"], again["points"]) == (0, 3, 0)


def test_import__of_a_damaged_file__brings_the_others_and_names_it(
    export: Path, server: LiveServer, client: Client
) -> None:
    (bad,) = export.glob("*other*/*.parquet")
    bad.write_bytes(bad.read_bytes()[:-20])
    report = imported(server, "neptune", str(export), code=1)
    (failure,) = report["failures"]
    assert failure["name"] == str(bad)
    assert "cannot be read as Parquet" in failure["reason"]
    assert set(runs_of(client, PROJECT)) == {"first", "RUN-2"}


@pytest.mark.parametrize(
    ("place", "says"),
    [("nowhere", "no folder"), ("empty", "--data-path"), ("other", "it has no column")],
)
def test_import__from_what_is_none__is_one_line_with_the_fix(
    shared_server: LiveServer, tmp_path: Path, place: str, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other" / "a.parquet")
    done = run_import(shared_server, "neptune", place, cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_import__without_pyarrow__says_how_to_install_it(
    shared_server: LiveServer, export: Path, tmp_path: Path
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pyarrow.py").write_text("raise ImportError('hidden')")
    done = run_import(shared_server, "neptune", str(export), PYTHONPATH=str(tmp_path / "hidden"))
    assert done.returncode == 8, done.stderr
    (line,) = done.stderr.splitlines()
    assert "pip install" in line
    assert json.dumps("seafloor[parquet]")[1:-1] in line
