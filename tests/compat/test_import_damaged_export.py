"""``seafloor import`` of exports that somebody wrote by hand or damaged: the rest of them comes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet
import pytest

from export_world import filled, seafloor
from live_server import LiveServer
from seafloor.domain.errors import SourceError
from seafloor.sdk.client import Client
from seafloor.sdk.exports.exporter import ExportOptions, export
from seafloor.sdk.exports.manifest import TableFile, read_manifest
from seafloor.sdk.imports.importer import Importer, ImportOptions
from seafloor.sdk.imports.records import run_id_of
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.seafloor.source import ExportSource

pytestmark = pytest.mark.timeout(900)

RUN = {
    "params": {"p": "1"},
    "tags": {},
    "points": {0: [("loss", 1, 1, 0.5)]},
    "state": "succeeded",
    "deleted": False,
    "text": "t",
}


@pytest.fixture(scope="module")
def whole(module_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of two runs with something of every kind."""
    client = Client(module_server.url, "")
    for name in ("a", "b"):
        filled(client, "default", "e", {**RUN, "name": name, "file": name.encode()})
    folder = tmp_path_factory.mktemp("export") / "whole"
    export(client, folder, ExportOptions(experiments=("e",)), lambda _: None)
    return folder


def written(folder: Path, table: str, column: str, value: Any, *, row: int = 0) -> None:
    """Write another value into a table, as somebody does who keeps the manifest right."""
    path = folder / f"{table}.parquet"
    found = pyarrow.parquet.read_table(path)
    place = found.schema.get_field_index(column)
    values = found.column(column).to_pylist()
    values[row] = value
    kind = found.schema.field(place)
    changed = found.set_column(place, kind, pyarrow.array(values, kind.type))
    pyarrow.parquet.write_table(changed, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = read_manifest(folder)
    told = TableFile(changed.num_rows, path.stat().st_size, digest)
    files = {**manifest.files, path.name: told}
    changed_manifest = msgspec.structs.replace(manifest, files=files)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(changed_manifest))


def test_import__of_an_export_with_damaged_parts__names_each_and_brings_the_rest(
    make_server: Callable[..., LiveServer], whole: Path, tmp_path: Path
) -> None:
    """One bad row ended the import with a traceback, or read a device of this machine for ever."""
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder)
    traces = pyarrow.parquet.read_table(folder / "traces.parquet").column("trace_id").to_pylist()
    runs = pyarrow.parquet.read_table(folder / "runs.parquet").column("run_id").to_pylist()
    table = pyarrow.parquet.read_table(folder / "models.parquet")
    models = table.column("model_id").to_pylist()
    source = table.column("source_run_id").to_pylist()[1]  # of one time, so in no order of runs
    files = pyarrow.parquet.read_table(folder / "files.parquet").to_pylist()
    at = next(
        number
        for number, file in enumerate(files)
        if (file["run_id"], file["kind"]) == (runs[0], "artifact")
    )
    written(folder, "files", "sha256", "../../../../../../../../dev/zero", row=at)
    written(folder, "traces", "trace_id", "tr-" + "a" * 100_000)
    written(folder, "models", "state", "odd")
    written(folder, "media", "content", "{bad", row=-1)
    for damaged in ("inputs", "trace_files"):
        path = folder / f"{damaged}.parquet"
        path.write_bytes(path.read_bytes()[:-40])

    other = make_server("other")
    report = tmp_path / "report.json"
    found = seafloor(other, "import", "seafloor", str(folder), "--report", str(report))
    assert found.returncode == 1, found.stderr
    assert "Traceback" not in found.stderr
    assert max(map(len, found.stderr.splitlines())) < 1000
    failures = {
        one["name"][:60]: one["reason"] for one in json.loads(report.read_bytes())["failures"]
    }
    assert "inputs.parquet" in failures[f"run {runs[0]}"]
    assert "inputs.parquet" in failures[f"run {runs[1]}"]
    assert "odd" in failures[f"model {models[0]}"]
    assert "trace id" in failures["trace tr-" + "a" * (60 - len("trace tr-"))]
    assert "trace_files.parquet" in failures[f"trace {traces[1]}"]
    assert source in failures[f"model {models[1]}"]  # of no run it could not become one of a run
    assert len(failures) == 6, failures
    there = Client(other.url, "")

    # The lists of inputs come, and so do the runs but for what is damaged of them.
    shutil.copy(whole / "inputs.parquet", folder)
    found = seafloor(other, "import", "seafloor", str(folder), "--report", str(report))
    assert found.returncode == 1, found.stderr
    failures = {
        one["name"][:60]: one["reason"] for one in json.loads(report.read_bytes())["failures"]
    }
    assert "no sha256" in failures[f"file {files[at]['path']} of run {runs[0]}"]
    assert "media.parquet" in failures[f"run {runs[1]}"]
    assert there.runs.get(runs[0]).state == "succeeded"
    assert there.runs.get(runs[0]).metrics["loss"].points == 1

    assert there.models.get(models[1]).source_run_id == source

    # The whole one brings what was missing.
    found = seafloor(other, "import", "seafloor", str(whole))
    assert found.returncode == 0, found.stderr
    assert [there.runs.get(run_id).state for run_id in runs] == ["succeeded"] * 2
    assert [there.traces.get(trace_id).trace.id for trace_id in traces] == traces
    assert {file.path for file in there.artifacts.iterate(runs[0])} >= {files[at]["path"]}


@pytest.mark.parametrize("name", ["../../x", "r" * 100_000])
def test_import__of_a_run_whose_id_is_none_of_ours__brings_it_under_another(
    module_server: LiveServer, whole: Path, tmp_path: Path, name: str
) -> None:
    """Its points went to an address made of it: no run's, or a line too long for any server."""
    folder = tmp_path / "odd"
    shutil.copytree(whole, folder)
    written(folder, "runs", "run_id", name)
    report = Report(source="seafloor", server="")
    source = ExportSource(folder, report, project=f"odd-{len(name)}")
    client = Client(module_server.url, "")
    Importer(client, source, report, ImportOptions(), lambda _: None).bring_all()
    assert [one for one in report.failures if one.name.startswith("run")] == []
    assert report.runs == 1
    assert client.runs.get(run_id_of("seafloor", name)).metrics["loss"].points == 1


def folder_for_file(folder: Path) -> None:
    (folder / "experiments.parquet").unlink()
    (folder / "experiments.parquet").mkdir()


DAMAGES: list[tuple[str, Callable[[Path], Any]]] = [
    ("manifest.json", lambda folder: (folder / "manifest.json").write_text("[" * 100_000)),
    ("experiments.parquet", folder_for_file),
    ("runs.parquet", lambda folder: (folder / "runs.parquet").write_bytes(b"PAR1")),
    ("runs.parquet", lambda folder: written(folder, "runs", "params", -1)),
    ("runs.parquet", lambda folder: written(folder, "runs", "params", 10**9)),
    ("experiments.parquet", lambda folder: written(folder, "experiments", "runs", 99)),
    ("traces.parquet", lambda folder: written(folder, "traces", "experiment_id", 12345)),
]


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_import__of_an_export_that_nothing_can_be_read_of__is_refused_with_its_name(
    whole: Path, tmp_path: Path, number: int
) -> None:
    """Counts that are not those of the rows gave a run the rows of another, or a traceback."""
    named, damage = DAMAGES[number]
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder)
    damage(folder)
    with pytest.raises(SourceError) as refused:
        ExportSource(folder, Report(source="seafloor", server=""))
    assert f"{folder}/{named}" in refused.value.message
    assert len(refused.value.message) < 600
