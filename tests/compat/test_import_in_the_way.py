"""What stands in the way of an import: nothing is lost for good, and nothing of others touched."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from import_world import RunsFolder, failures, files_of, imported, left_out, points_of, runs_of
from live_server import LiveServer
from seafloor.sdk.client import Client
from seafloor.sdk.imports.importer import DELETED_TAG
from seafloor.sdk.imports.traces import UNFINISHED_KEY
from seafloor.sdk.imports.transfer import MISSING_TAG
from seafloor.sdk.runs import RunQuery
from seafloor.wire.experiments import ExperimentCreate
from seafloor.wire.runs import RunCreate

T0_MS = 1_700_000_000_000


@pytest.fixture
def client(shared_server: LiveServer) -> Iterator[Client]:
    client = Client(shared_server.url)
    yield client
    client.close()


class Folder(RunsFolder):
    """One with runs as these tests want them."""

    def run(self, name: str, *files: str) -> Path:
        """Write a run with a point, a param and some files."""
        folder = self.experiment / uuid.uuid4().hex
        self.meta(
            folder,
            run_id=folder.name,
            run_name=name,
            status=3,
            start_time=T0_MS,
            end_time=T0_MS + 1,
            artifact_uri=(folder / "artifacts").as_uri(),
        )
        wanted = {"metrics/loss": f"{T0_MS} 0.5 1\n", "params/lr": "0.1"}
        for path, content in (wanted | {f"artifacts/{file}": file for file in files}).items():
            self.text(folder / path, content)
        return folder


def test_import__of_what_may_not_be_read__names_it_and_brings_it_when_it_may(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    metric = folder.run("metric", "a.txt") / "metrics" / "loss"
    params = folder.run("params", "a.txt") / "params"
    file = folder.run("file", "a.txt", "b.txt", "c.txt") / "artifacts" / "b.txt"
    below = folder.run("below", "a.txt", "sub/b.txt", "z.txt") / "artifacts" / "sub"
    folder.run("good", "a.txt")
    other = folder.experiment.parent / "2"
    folder.meta(other, name=f"{folder.name} 2", lifecycle_stage="active")
    locked = (metric, params, file, below, other)
    for path in locked:
        path.chmod(0)
    said = imported(shared_server, "mlflow", folder.root, code=1)
    assert said["whole"]
    for path in locked:
        assert str(path) in failures(said)
    assert len(said["failures"]) == len(locked)
    found = runs_of(client, folder.name)
    assert found.keys() == {"metric", "file", "below", "good"}
    assert {name: run.state for name, run in found.items() if run.state != "succeeded"} == {
        "metric": "running"
    }
    assert {name for name, run in found.items() if MISSING_TAG in run.tags} == {
        *("file", "below", "metric")
    }
    assert files_of(client, found["file"], tmp_path).keys() == {"a.txt", "c.txt"}
    assert files_of(client, found["below"], tmp_path).keys() == {"a.txt", "z.txt"}
    again = imported(shared_server, "mlflow", folder.root, code=1)
    assert failures(again) == failures(said)
    for path in locked:
        path.chmod(0o755)
    mended = imported(shared_server, "mlflow", folder.root)
    assert (mended["runs"], mended["runs_known"], mended["failures"]) == (4, 1, [])
    found = runs_of(client, folder.name)
    assert {name: run.state for name, run in found.items()} == dict.fromkeys(
        ("metric", "params", "file", "below", "good"), "succeeded"
    )
    for run in found.values():
        assert run.params == {"lr": "0.1"}
        assert points_of(client, run) == {"loss": [(1, "0.5", T0_MS)]}
        assert MISSING_TAG not in run.tags
    assert files_of(client, found["file"], tmp_path) == {
        name: name.encode() for name in ("a.txt", "b.txt", "c.txt")
    }
    assert files_of(client, found["below"], tmp_path) == {
        name: name.encode() for name in ("a.txt", "sub/b.txt", "z.txt")
    }
    last = imported(shared_server, "mlflow", folder.root)
    assert (last["runs"], last["runs_known"], last["files"]) == (0, 5, 0)


def test_import__of_a_folder_with_what_is_no_file__says_what_was_left_out(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    artifacts = folder.run("odd", "a.txt") / "artifacts"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "big.bin").write_bytes(b"big")
    (artifacts / "to-a-folder").symlink_to(tmp_path / "elsewhere")
    (artifacts / "to-a-file").symlink_to(tmp_path / "elsewhere" / "big.bin")
    (artifacts / "to-nothing").symlink_to(tmp_path / "nothing")
    (artifacts / "to-itself").symlink_to(artifacts / "to-itself")
    os.mkfifo(artifacts / "pipe")
    report = imported(shared_server, "mlflow", folder.root)
    odd = "link to a folder or to nothing, pipe or device among files: left out"
    assert left_out(report)[odd] == 4
    found = files_of(client, runs_of(client, folder.name)["odd"], tmp_path)
    assert found == {"a.txt": b"a.txt", "to-a-file": b"big"}


def test_import__without_files_and_then_with_them__brings_the_files(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    folder.run("with", "a.txt")
    folder.run("without")
    model = folder.experiment / "models" / f"m-{uuid.uuid4().hex}"
    folder.meta(
        model, model_id=model.name, name="net", status=2, artifact_location=str(model / "artifacts")
    )
    (model / "artifacts").mkdir()
    (model / "artifacts" / "weights").write_text("weights")
    assert imported(shared_server, "mlflow", folder.root, "--no-files")["files"] == 0
    assert client.models.get(model.name).state == "ready"
    found = runs_of(client, folder.name)
    assert {name: MISSING_TAG in run.tags for name, run in found.items()} == {
        "with": True,
        "without": False,
    }
    again = imported(shared_server, "mlflow", folder.root, "--no-files")
    assert (again["runs"], again["runs_known"], again["models"]) == (0, 2, 0)
    report = imported(shared_server, "mlflow", folder.root)
    assert (report["runs"], report["runs_known"]) == (1, 1)
    assert (report["models"], report["files"]) == (1, 2)
    found = runs_of(client, folder.name)
    assert files_of(client, found["with"], tmp_path) == {"a.txt": b"a.txt"}
    assert dict(client.models.files(model.name)) == {"weights": 7}
    assert all(MISSING_TAG not in run.tags for run in found.values())
    assert MISSING_TAG not in client.models.get(model.name).tags
    last = imported(shared_server, "mlflow", folder.root)
    assert (last["runs"], last["models"], last["files"]) == (0, 0, 0)


def test_import__of_a_models_file_that_may_not_be_read__brings_it_when_it_may(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    model = folder.experiment / "models" / f"m-{uuid.uuid4().hex}"
    folder.meta(
        model, model_id=model.name, name="net", status=2, artifact_location=str(model / "artifacts")
    )
    (model / "artifacts").mkdir()
    for name in ("a", "b", "c"):
        (model / "artifacts" / name).write_text(name)
    (model / "artifacts" / "b").chmod(0)
    report = imported(shared_server, "mlflow", folder.root, code=1)
    assert "file b of model" in failures(report)
    assert dict(client.models.files(model.name)) == {"a": 1, "c": 1}
    assert MISSING_TAG in client.models.get(model.name).tags
    (model / "artifacts" / "b").chmod(0o644)
    assert imported(shared_server, "mlflow", folder.root)["models"] == 1
    assert dict(client.models.files(model.name)) == {"a": 1, "b": 1, "c": 1}
    assert MISSING_TAG not in client.models.get(model.name).tags
    assert imported(shared_server, "mlflow", folder.root)["models"] == 0


def test_import__of_a_model_that_is_pending__brings_what_an_earlier_import_did_not(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    """A model is pending here as long as its import lasts: one that was killed looked whole."""
    folder = Folder(tmp_path)
    model = folder.experiment / "models" / f"m-{uuid.uuid4().hex}"
    folder.meta(
        model, model_id=model.name, name="net", status=1, artifact_location=str(model / "artifacts")
    )
    (model / "artifacts").mkdir()
    for name in ("a", "b"):
        (model / "artifacts" / name).write_text(name)
        imported(shared_server, "mlflow", folder.root)
    assert dict(client.models.files(model.name)) == {"a": 1, "b": 1}
    assert client.models.get(model.name).state == "pending"


def test_import__of_a_traces_file_that_may_not_be_read__brings_it_when_it_may(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    trace = folder.experiment / "traces" / f"tr-{uuid.uuid4().hex}"
    folder.meta(
        trace,
        "trace_info.yaml",
        trace_id=trace.name,
        request_time="2023-11-14T22:13:20Z",
        execution_duration="1s",
        state="OK",
    )
    (trace / "artifacts").mkdir()
    (trace / "artifacts" / "a").write_text("a")
    (trace / "artifacts" / "b").write_text("b")
    (trace / "artifacts" / "b").chmod(0)
    report = imported(shared_server, "mlflow", folder.root, code=1)
    assert "file b of trace" in failures(report)
    assert UNFINISHED_KEY in client.traces.get(trace.name).trace.metadata
    (trace / "artifacts" / "b").chmod(0o644)
    assert imported(shared_server, "mlflow", folder.root)["traces"] == 1
    assert dict(client.traces.files(trace.name)) == {"a": 1, "b": 1}
    assert UNFINISHED_KEY not in client.traces.get(trace.name).trace.metadata
    last = imported(shared_server, "mlflow", folder.root)
    assert (last["traces"], last["traces_known"]) == (0, 1)


def test_import__of_a_deleted_experiment_named_as_one_that_lives_here__leaves_that_alone(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    """It took the living one's name for its own: brought its runs into it, and deleted it."""
    folder = Folder(tmp_path, stage="deleted")
    folder.run("old", "a.txt")
    mine = client.experiments.create(ExperimentCreate(folder.name))
    client.runs.create(RunCreate(id=uuid.uuid4().hex, experiment=folder.name, name="mine"))
    report = imported(shared_server, "mlflow", folder.root, code=1)
    assert "lives here" in failures(report)
    assert client.experiments.get(mine.id) == mine
    assert runs_of(client, folder.name).keys() == {"mine"}
    project = f"old-{uuid.uuid4().hex[:8]}"
    client.projects.create(project)
    for runs, known in ((1, 0), (0, 1)):
        report = imported(shared_server, "mlflow", folder.root, "--project", project)
        assert (report["runs"], report["runs_known"], report["failures"]) == (runs, known, [])
    (found,) = client.experiments.list(project=project, deleted="all").items
    assert found.deleted_ns is not None
    assert DELETED_TAG not in found.tags
    query = RunQuery(experiment_id=found.id, deleted=None)
    assert [run.name for run in client.runs.iterate(query)] == ["old"]


def test_import__of_a_deleted_experiment_that_was_interrupted__goes_on_and_deletes_it(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path, stage="deleted")
    folder.run("old", "a.txt")
    create = ExperimentCreate(folder.name, tags={DELETED_TAG: "it is being imported"})
    begun = client.experiments.create(create)
    assert imported(shared_server, "mlflow", folder.root)["runs"] == 1
    found = client.experiments.get(begun.id)
    assert found.deleted_ns is not None
    assert DELETED_TAG not in found.tags


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another experiment"])
def test_import__of_a_run_that_goes_on_here_and_came_by_no_import__leaves_it_as_it_is(
    shared_server: LiveServer, client: Client, tmp_path: Path, elsewhere: bool
) -> None:
    """It was taken for one that an import had begun: newer files and tags became the old ones."""
    folder = Folder(tmp_path)
    run = folder.run("mine", "a.txt")
    (run / "tags").mkdir()
    (run / "tags" / "kind").write_text("old")
    client.experiments.create(ExperimentCreate(folder.name))
    create = RunCreate(
        id=run.name, experiment=folder.name + "!" * elsewhere, name="mine", tags={"kind": "new"}
    )
    client.runs.create(create)
    (tmp_path / "newer").write_text("newer")
    client.artifacts.put(run.name, "a.txt", tmp_path / "newer")
    before = client.runs.get(run.name)
    report = imported(shared_server, "mlflow", folder.root)
    assert (report["runs"], report["runs_known"], report["files"]) == (0, 1, 0)
    said = left_out(report)
    assert said["run that is here, goes on and came by no import: not touched"] == 1
    after = client.runs.get(run.name)
    assert (after.tags, after.params, after.metrics) == ({"kind": "new"}, {}, {})
    assert (after.state, after.updated_ns) == ("running", before.updated_ns)
    assert files_of(client, after, tmp_path) == {"a.txt": b"newer"}
