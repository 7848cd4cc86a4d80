"""Logged models in exports: deleted ones too, those of no run, and exports of before."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow.parquet
import pytest

from export_world import T0_NS
from exported import content, query
from live_server import LiveServer
from seafloor.domain.models import LoggedModelState
from seafloor.domain.traces import Trace
from seafloor.sdk.client import Client
from seafloor.sdk.exports.exporter import Exported, ExportOptions, export
from seafloor.sdk.exports.manifest import TableFile, read_manifest
from seafloor.sdk.imports.importer import Importer, ImportOptions
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.seafloor.source import ExportSource
from seafloor.sdk.transport import Request, Transport
from seafloor.wire.experiments import ExperimentCreate
from seafloor.wire.models import LoggedModelPut, ModelMetricValue
from seafloor.wire.runs import RunCreate
from seafloor.wire.traces import TracePut

pytestmark = pytest.mark.timeout(300)


def a_model(
    client: Client,
    experiment_id: int,
    run_id: str | None,
    *,
    deleted: bool,
    workspace: str = "default",
) -> str:
    """A logged model with a file."""
    model_id = f"m-{uuid.uuid4().hex}"
    model = LoggedModelPut(
        experiment_id=experiment_id, name="net", created_ns=T0_NS, source_run_id=run_id
    )
    client.models.put(model_id, model)
    with tempfile.NamedTemporaryFile() as file:
        file.write(model_id.encode())
        file.flush()
        client.models.put_file(model_id, "model/größe.bin", Path(file.name), workspace=workspace)
    client.models.put(model_id, msgspec.structs.replace(model, state=LoggedModelState.READY))
    if deleted:
        client.models.delete(model_id, workspace=workspace)
    return model_id


def a_trace(client: Client, experiment_id: int, *, workspace: str) -> None:
    """A trace with a file."""
    trace = Trace(id=f"tr-{uuid.uuid4().hex}", experiment_id=experiment_id, time_ms=T0_NS // 10**6)
    client.traces.put(TracePut(trace))
    with tempfile.NamedTemporaryFile() as file:
        file.write(trace.id.encode())
        file.flush()
        client.traces.put_file(trace.id, "a/file.bin", Path(file.name), workspace=workspace)


def brought(client: Client, folder: Path) -> Report:
    report = Report(source="seafloor", server=client.url)
    source = ExportSource(folder, report)
    Importer(client, source, report, ImportOptions(), lambda _: None).bring_all()
    assert report.failures == []
    return report


def test_export__of_deleted_models__has_them_and_they_come_back_deleted(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """Deleted runs came along, and their deleted models did not: nothing said so."""
    here, there = (Client(make_server(name).url, "") for name in ("here", "there"))
    experiment = here.experiments.create(ExperimentCreate("models"))
    runs = [here.runs.create(RunCreate(experiment="models", name="r")).id for _ in range(2)]
    made = {
        a_model(here, experiment.id, run_id, deleted=deleted): (run_id, deleted)
        for run_id in (None, *runs)
        for deleted in (False, True)
    }
    here.runs.delete(runs[1])
    export(here, tmp_path / "all", ExportOptions(experiments=("models",)), lambda _: None)
    columns = "SELECT model_id, source_run_id, deleted IS NOT NULL, files FROM {models}"
    found = query(tmp_path / "all", columns)
    assert {row[0]: row[1:] for row in found} == {
        model_id: (run_id, deleted, 1) for model_id, (run_id, deleted) in made.items()
    }
    export(here, tmp_path / "one", ExportOptions(runs=(runs[0],)), lambda _: None)
    found = query(tmp_path / "one", columns)
    assert sorted(row[1:] for row in found) == [(runs[0], False, 1), (runs[0], True, 1)]

    for repeated in (False, True):
        report = brought(there, tmp_path / "all")
        assert report.models == (0 if repeated else 6)
        for model_id, (run_id, deleted) in made.items():
            model = there.models.get(model_id)
            assert (model.source_run_id, model.deleted_ns is not None) == (run_id, deleted)
            fetched = tmp_path / model_id
            there.models.get_file(model_id, "model/größe.bin", fetched)
            assert fetched.read_text() == model_id


def test_export__of_a_project_that_is_removed_meanwhile__has_the_others_and_names_it(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """It ended: the listing of models knows no experiment that is removed for good."""
    server = make_server(SEAFLOOR_SERVER__WORKSPACES="true")
    client = Client(server.url, "")
    client.projects.create("gone")
    for project in ("gone", "default"):
        for _ in range(2):
            run = client.runs.create(RunCreate(project=project, experiment=project, name="r"))
            if project == "default":
                a_model(client, run.experiment.id, run.id, deleted=False)
    removed: list[str] = []

    def meanwhile(done: Exported) -> None:
        if done.runs == 1 and not removed:
            removed.append("gone")
            call = Request("DELETE", "/api/3.0/mlflow/workspaces/gone", query=[("mode", "CASCADE")])
            Transport(server.url, "").send(call)

    _, done = export(client, tmp_path / "all", ExportOptions(), meanwhile)
    assert removed
    assert "experiment gone" in done.vanished
    assert query(tmp_path / "all", "SELECT count(*) FROM {runs} WHERE project = 'default'") == [
        (2,)
    ]
    assert query(tmp_path / "all", "SELECT count(*) FROM {models}") == [(2,)]
    ExportSource(tmp_path / "all", Report(source="seafloor", server=""))


def test_export__of_files_in_other_workspaces__has_them_and_an_import_brings_them(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """It ended with a 404: files were asked for in the workspace ``default`` alone."""
    here, there = (
        Client(make_server(name, SEAFLOOR_SERVER__WORKSPACES="true").url, "")
        for name in ("here", "there")
    )
    models: list[str] = []
    for project in ("vision", "one_that.mlflow-knows-not", "default"):
        if project != "default":
            here.projects.create(project)
        for deleted in (False, True):
            experiment = here.experiments.create(ExperimentCreate(f"e-{deleted}", project=project))
            models.append(a_model(here, experiment.id, None, deleted=deleted, workspace=project))
            a_trace(here, experiment.id, workspace=project)
    manifest, done = export(here, tmp_path / "all", ExportOptions(), lambda _: None)
    assert (manifest.missing, done.vanished) == ((), [])
    assert query(tmp_path / "all", "SELECT count(*) FROM {model_files}") == [(6,)]
    assert query(tmp_path / "all", "SELECT count(*) FROM {trace_files}") == [(6,)]
    assert brought(there, tmp_path / "all").files == 12
    export(there, tmp_path / "back", ExportOptions(), lambda _: None)
    for table in ("models", "model_files", "traces", "trace_files"):
        assert content(tmp_path / "back")[table] == content(tmp_path / "all")[table]


def test_export__of_models_that_are_removed_meanwhile__leaves_no_value_to_another(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """The values of a model that went in the middle of it were read as those of the next one."""
    server = make_server(SEAFLOOR_SERVER__WORKSPACES="true")
    client = Client(server.url, "")
    client.projects.create("gone")
    run_id = client.runs.create(RunCreate(experiment="default", name="r")).id
    experiments = [
        client.experiments.create(ExperimentCreate("e", project=project))
        for project in ("gone", "default")
    ]
    for experiment in experiments:
        for number in (1, 2):
            value = ModelMetricValue(
                key=experiment.project, value=number, step=0, time_ms=0, run_id=run_id
            )
            put = LoggedModelPut(
                experiment_id=experiment.id, name="net", created_ns=T0_NS, metrics=(value,)
            )
            client.models.put(f"m-{uuid.uuid4().hex}", put)

    def meanwhile(done: Exported) -> None:
        if done.models == 1:
            call = Request("DELETE", "/api/3.0/mlflow/workspaces/gone", query=[("mode", "CASCADE")])
            Transport(server.url, "").send(call)
            done.models += 1  # once

    _, done = export(client, tmp_path / "all", ExportOptions(), meanwhile)
    assert any(name.startswith("model m-") for name in done.vanished)
    source = ExportSource(tmp_path / "all", Report(source="seafloor", server=""))
    found = {
        experiment.project: [
            metric.key
            for model in source.models(experiment, Report(source="seafloor", server=""))
            for metric in model.metrics
        ]
        for experiment in source.experiments()
        if experiment.name == "e"
    }
    assert found == {"gone": ["gone", "gone"], "default": ["default", "default"]}


def test_models_of_an_experiment__more_than_a_page__come_each_once(
    shared_server: LiveServer,
) -> None:
    client = Client(shared_server.url, "")
    experiment = client.experiments.create(ExperimentCreate(uuid.uuid4().hex))
    made = {f"m-{uuid.uuid4().hex}" for _ in range(205)}
    for model_id in made:
        model = LoggedModelPut(experiment_id=experiment.id, name="net", created_ns=T0_NS)
        client.models.put(model_id, model)
    found = [model.id for model in client.models.in_experiment(experiment.id)]
    assert found == sorted(made)


def test_import__of_an_export_without_the_column_of_deletions__brings_its_models(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """The first exports have no deleted models, and no such column."""
    here, there = (Client(make_server(name).url, "") for name in ("here", "there"))
    model_id = a_model(here, 0, None, deleted=False)
    folder = tmp_path / "old"
    export(here, folder, ExportOptions(), lambda _: None)
    path = folder / "models.parquet"
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.drop_columns(["deleted"]), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    told = TableFile(table.num_rows, path.stat().st_size, digest)
    manifest = read_manifest(folder)
    files = {**manifest.files, "models.parquet": told}
    changed = msgspec.structs.replace(manifest, files=files)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(changed))
    brought(there, folder)
    assert there.models.get(model_id).deleted_ns is None
