"""What MLflow keeps, written by hand: changed between two imports, and damaged."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from import_world import RunsFolder, failures, files_of, imported, points_of, runs_of
from live_server import LiveServer
from mlflow_sqlite_traces import trace_id_of, write_traces
from seafloor.sdk.client import Client

RUNNING, FINISHED = 1, 3
T0_MS = 1_700_000_000_000


@pytest.fixture
def client(shared_server: LiveServer) -> Iterator[Client]:
    client = Client(shared_server.url)
    yield client
    client.close()


class Folder(RunsFolder):
    """One with runs as these tests want them."""

    def run(self, name: str, *, status: int = FINISHED) -> Path:
        """Write a run, or what it has become, with a metric and a tag."""
        run_id = uuid.uuid5(uuid.NAMESPACE_OID, self.name + name).hex
        folder = self.experiment / run_id
        self.meta(
            folder,
            run_id=run_id,
            run_name=name,
            status=status,
            start_time=T0_MS,
            artifact_uri=(folder / "artifacts").as_uri(),
        )
        self.text(folder / "metrics" / "loss", f"{T0_MS} 0.5 1\n")
        self.text(folder / "tags" / "kind", "good")
        return folder


def test_import__of_a_file_that_changed_and_kept_its_size__brings_it_again(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    run = folder.run("grows", status=RUNNING)
    folder.text(run / "artifacts" / "model.bin", "OLD-CONTENT")
    folder.text(run / "artifacts" / "same.bin", "the same")
    assert imported(shared_server, "mlflow", folder.root)["files"] == 2
    folder.run("grows", status=FINISHED)
    folder.text(run / "artifacts" / "model.bin", "NEW-CONTENT")
    report = imported(shared_server, "mlflow", folder.root)
    assert (report["failures"], report["files"]) == ([], 1)
    found = runs_of(client, folder.name)["grows"]
    assert found.state == "succeeded"
    assert files_of(client, found, tmp_path) == {
        "model.bin": b"NEW-CONTENT",
        "same.bin": b"the same",
    }


@pytest.mark.parametrize("has_files", [True, False])
def test_import__of_a_run_that_names_no_place_of_its_files__brings_its_own_alone(
    shared_server: LiveServer, client: Client, tmp_path: Path, has_files: bool
) -> None:
    folder = Folder(tmp_path)
    run = folder.run("placeless")
    meta = json.loads((run / "meta.yaml").read_text())
    folder.meta(run, **{key: value for key, value in meta.items() if key != "artifact_uri"})
    folder.text(tmp_path / "somebody's.txt", "beside the folder of runs")
    if has_files:
        folder.text(run / "artifacts" / "model.bin", "weights")
    report = imported(shared_server, "mlflow", folder.root)
    assert report["failures"] == []
    found = files_of(client, runs_of(client, folder.name)["placeless"], tmp_path)
    assert found == ({"model.bin": b"weights"} if has_files else {})


def test_import__of_a_models_file_that_changed_and_kept_its_size__brings_it_again(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    model_id = f"m-{uuid.uuid4().hex}"
    model = folder.experiment / "models" / model_id
    for status, content in ((1, "OLD-CONTENT"), (2, "NEW-CONTENT")):
        folder.meta(
            model,
            model_id=model_id,
            name="cnn",
            status=status,
            creation_timestamp=T0_MS,
            artifact_location=(model / "artifacts").as_uri(),
        )
        folder.text(model / "artifacts" / "weights.bin", content)
        assert imported(shared_server, "mlflow", folder.root)["failures"] == []
    assert client.models.get(model_id).state == "ready"
    client.models.get_file(model_id, "weights.bin", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_text() == "NEW-CONTENT"


def test_import__of_a_folder_with_damaged_files__names_them_and_brings_the_rest(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    run = folder.run("bad")
    folder.text(run / "tags" / "broken", b"caf\xe9")
    folder.text(run / "metrics" / "accuracy", b"%d 0.5 1\n%d 0.75\xe9 2\n" % (T0_MS, T0_MS))
    folder.meta(run / "inputs" / "1", source_type="DATASET", source_id="missing")
    folder.meta(run / "inputs" / "2", source_type="MODEL")
    folder.meta(run / "outputs" / "1", source_id="m-1", step="many")
    other = folder.run("other")
    folder.meta(other, run_id=other.name, run_name="other", status=3, end_time="never")
    folder.run("good")
    (folder.experiment.parent / "2").mkdir()
    folder.text(folder.experiment.parent / "2" / "meta.yaml", "{")
    folder.text(folder.experiment / "models" / "m-bad" / "meta.yaml", b"\xff")
    report = imported(shared_server, "mlflow", folder.root, code=1)
    assert report["whole"]
    said = failures(report)
    parts = ("broken", "metric accuracy", "input 1", "input 2", "output 1", other.name, "m-bad")
    for part in (*parts, str(folder.experiment.parent / "2")):
        assert part in said
    assert len(report["failures"]) == 8
    found = runs_of(client, folder.name)
    assert found.keys() == {"bad", "good"}
    assert found["bad"].state == found["good"].state == "succeeded"
    assert found["bad"].tags["kind"] == "good"
    assert "broken" not in found["bad"].tags
    points = points_of(client, found["bad"])
    assert points["accuracy"] == [(1, "0.5", T0_MS)]
    assert points["loss"] == [(1, "0.5", T0_MS)]


def database(path: Path, name: str, run_ids: tuple[str, ...]) -> sqlite3.Connection:
    """A database with the tables that every version of MLflow has."""
    made = sqlite3.connect(path)
    made.executescript("""
        CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT,
            lifecycle_stage TEXT);
        CREATE TABLE runs (run_uuid TEXT, name TEXT, user_id TEXT, status TEXT, start_time BIGINT,
            end_time BIGINT, lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER);
        CREATE TABLE metrics (key TEXT, value DOUBLE, timestamp BIGINT, run_uuid TEXT, step BIGINT,
            is_nan BOOLEAN);
        CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
        CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
    """)
    made.execute("INSERT INTO experiments VALUES (1, ?, 's3://b/1', 'active')", (name,))
    for run_id in run_ids:
        made.execute(
            "INSERT INTO runs VALUES (?, ?, 'ann', 'FINISHED', ?, ?, 'active', 's3://b/1/a', 1)",
            (run_id, run_id[:8], T0_MS, T0_MS + 1),
        )
        made.execute("INSERT INTO metrics VALUES ('loss', 0.5, ?, ?, 1, 0)", (T0_MS, run_id))
        made.execute("INSERT INTO params VALUES ('lr', '0.1', ?)", (run_id,))
    return made


def test_import__of_a_database_with_damaged_rows__names_them_and_brings_the_rest(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    name = f"by hand {uuid.uuid4().hex}"
    bad, odd, good = ids = tuple(uuid.uuid4().hex for _ in range(3))
    with database(tmp_path / "mlflow.db", name, ids) as made:
        for key, value, step in (("null", None, 1), ("text", "much", 1), ("stepless", 0.5, None)):
            row = (key, value, T0_MS, bad, step)
            made.execute("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, 0)", row)
        made.execute("INSERT INTO params VALUES ('broken', CAST(x'636166e9' AS TEXT), ?)", (bad,))
        made.execute("UPDATE runs SET end_time = 'never' WHERE run_uuid = ?", (odd,))
    made.close()
    report = imported(shared_server, "mlflow", str(tmp_path / "mlflow.db"), code=1)
    assert report["whole"]
    said = failures(report)
    for part in ("metric null", "metric text", "metric stepless", "broken", odd):
        assert part in said
    assert len(report["failures"]) == 5
    found = runs_of(client, name)
    assert found.keys() == {bad[:8], good[:8]}
    for run in found.values():
        assert (run.state, run.params) == ("succeeded", {"lr": "0.1"})
        assert points_of(client, run) == {"loss": [(1, "0.5", T0_MS)]}


def models_database(path: Path, name: str, run_ids: tuple[str, ...]) -> sqlite3.Connection:
    """One with logged models and datasets, too."""
    made = database(path, name, run_ids)
    made.executescript("""
        CREATE TABLE logged_models (model_id TEXT, experiment_id INTEGER, name TEXT,
            artifact_location TEXT, creation_timestamp_ms BIGINT, status INTEGER,
            lifecycle_stage TEXT, model_type TEXT, source_run_id TEXT, status_message TEXT);
        CREATE TABLE logged_model_metrics (model_id TEXT, metric_name TEXT, metric_value DOUBLE,
            metric_timestamp_ms BIGINT, metric_step BIGINT, run_id TEXT, dataset_name TEXT,
            dataset_digest TEXT);
        CREATE TABLE datasets (dataset_uuid TEXT, name TEXT, digest TEXT, dataset_source_type TEXT,
            dataset_source TEXT, dataset_schema TEXT, dataset_profile TEXT);
        CREATE TABLE inputs (input_uuid TEXT, source_type TEXT, source_id TEXT,
            destination_type TEXT, destination_id TEXT);
        CREATE TABLE input_tags (input_uuid TEXT, name TEXT, value TEXT);
    """)
    return made


def add_model(
    made: sqlite3.Connection,
    experiment_id: int,
    *metrics: tuple[object, ...],
    place: str = "s3://b",
) -> str:
    """Add a model that is ready, with metric values: name, value, time, step, run."""
    model_id = f"m-{uuid.uuid4().hex}"
    made.execute(
        "INSERT INTO logged_models VALUES (?, ?, 'net', ?, ?, 2, 'active', ?, NULL, NULL)",
        (model_id, experiment_id, place, T0_MS, "a\0b"),
    )
    for metric in metrics:
        made.execute(
            "INSERT INTO logged_model_metrics VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
            (model_id, *metric),
        )
    return model_id


def test_import__of_models_and_datasets_with_damaged_rows__names_them_and_brings_the_rest(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    """Each of these ended the whole import, with a traceback, or cost the run."""
    name = f"by hand {uuid.uuid4().hex}"
    run_id = uuid.uuid4().hex
    with models_database(tmp_path / "mlflow.db", name, (run_id,)) as made:
        model_id = add_model(
            made,
            1,
            ("good", 0.5, T0_MS, 1, run_id),
            ("stepless", 0.5, T0_MS, None, run_id),
            ("timeless", 0.5, None, 1, run_id),
            ("text", "much", T0_MS, 1, run_id),
            (None, 0.5, T0_MS, 1, run_id),
            ("nobody's", 0.5, T0_MS, 1, None),
            place="a\0b",
        )
        made.execute("UPDATE runs SET artifact_uri = 'file://[x'")
        made.execute("INSERT INTO tags VALUES ('nul', ?, ?)", ("a\0b", run_id))
        for uuid_, dataset in (("d1", "plain"), ("d2", None), ("d3", "c\0d")):
            row = (uuid_, dataset, "abc", "local", "{}", "{bad", None)
            made.execute("INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            row = (f"i{uuid_}", "DATASET", uuid_, "RUN", run_id)
            made.execute("INSERT INTO inputs VALUES (?, ?, ?, ?, ?)", row)
        made.executemany(
            "INSERT INTO input_tags VALUES ('id1', ?, ?)", [("a", None), (None, "b"), ("c", "d")]
        )
    made.close()
    report = imported(shared_server, "mlflow", str(tmp_path / "mlflow.db"), code=1)
    assert report["whole"]
    said = failures(report)
    for part in ("stepless", "timeless", "metric text", "metric None", "nobody's", "dataset None"):
        assert part in said
    assert f"files of run {run_id}: their location" in said
    assert f"files of model {model_id}: their location" in said
    assert "param or tag None of dataset plain" in said
    assert len(report["failures"]) == 9
    assert report["kept"]["models"][0]["type of a model"] == {"model_type": "a\0b"}

    (run,) = runs_of(client, name).values()
    assert run.state == "succeeded"
    assert run.tags["nul"] == "a␀b"
    found = client.models.inputs(run.id).datasets
    assert {one.name: dict(one.tags) for one in found} == {"plain": {"a": "", "c": "d"}, "c␀d": {}}
    model = client.models.get(model_id)
    assert (model.model_type, [one.key for one in model.metrics]) == ("a␀b", ["good"])


def test_import__of_a_model_with_values_of_a_run_of_a_later_experiment__has_them(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    """The model did not come, with all its files: its run was not here yet."""
    name, later = (f"by hand {uuid.uuid4().hex}" for _ in range(2))
    mine, other, gone = (uuid.uuid4().hex for _ in range(3))
    with models_database(tmp_path / "mlflow.db", name, (mine, other)) as made:
        made.execute("INSERT INTO experiments VALUES (2, ?, 's3://b/2', 'active')", (later,))
        made.execute("UPDATE runs SET experiment_id = 2 WHERE run_uuid = ?", (other,))
        values = [(key, 0.5, T0_MS, 1, run) for key, run in (("here", other), ("gone", gone))]
        model_id = add_model(made, 1, *values)
    made.close()
    report = imported(shared_server, "mlflow", str(tmp_path / "mlflow.db"))
    assert report["failures"] == []
    (metric,) = client.models.get(model_id).metrics
    assert (metric.key, metric.run_id) == ("here", other)
    (told,) = [one for one in report["left_out"] if "by a run that is not here" in one["what"]]
    assert told["count"] == 1
    (kept,) = [one for one in report["kept"]["models"] if "points" in one]
    assert (kept["id"], kept["points"][0]["run_id"]) == (model_id, gone)


def test_import__of_what_is_of_no_experiment__names_it(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    """Nothing told of it: a run was looked for by its experiment alone."""
    name = f"by hand {uuid.uuid4().hex}"
    good, lost, nowhere = (uuid.uuid4().hex for _ in range(3))
    with models_database(tmp_path / "mlflow.db", name, (good, lost, nowhere)) as made:
        made.execute("UPDATE runs SET experiment_id = 77 WHERE run_uuid = ?", (lost,))
        made.execute("UPDATE runs SET experiment_id = NULL WHERE run_uuid = ?", (nowhere,))
        model_id = add_model(made, 78)
    made.close()
    report = imported(shared_server, "mlflow", str(tmp_path / "mlflow.db"))
    assert runs_of(client, name).keys() == {good[:8]}
    of = "of an experiment that the database does not have: left out"
    told = {one["what"]: sorted(one["names"]) for one in report["left_out"]}
    assert told[f"run {of}"] == sorted((lost, nowhere))
    assert told[f"logged model {of}"] == [model_id]


def test_import__of_an_experiment_that_is_refused__names_it_and_brings_the_others(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    """The whole import ended there."""
    name, refused = (f"by hand {uuid.uuid4().hex}" for _ in range(2))
    run_id = uuid.uuid4().hex
    with models_database(tmp_path / "mlflow.db", name, (run_id,)) as made:
        made.execute("ALTER TABLE experiments ADD COLUMN workspace TEXT DEFAULT 'default'")
        row = (0, refused, "s3://b/0", "active", "no such name!")
        made.execute("INSERT INTO experiments VALUES (?, ?, ?, ?, ?)", row)
    made.close()
    report = imported(shared_server, "mlflow", str(tmp_path / "mlflow.db"), code=1)
    assert report["whole"]
    (failure,) = report["failures"]
    assert failure["name"] == f"experiment {refused}"
    assert runs_of(client, name).keys() == {run_id[:8]}


def test_import__of_traces_with_damaged_assessments__names_them_and_brings_the_rest(
    server: LiveServer, tmp_path: Path
) -> None:
    """JSON without an end of brackets, or a time that is none, ended it with a traceback."""
    write_traces(tmp_path, traces=5, spans=1)
    damage = ("value = '{bad'", "value = ?", "created_timestamp = NULL", "source_type = NULL")
    with sqlite3.connect(tmp_path / "mlflow.db") as made:
        for number, change in enumerate(damage):
            values = ("[" * 100_000,) if "?" in change else ()
            made.execute(
                f"UPDATE assessments SET {change} WHERE trace_id = ?",  # noqa: S608 - our words
                (*values, trace_id_of(number)),
            )
    made.close()
    report = imported(server, "mlflow", str(tmp_path / "mlflow.db"), "--no-files", code=1)
    assert report["whole"]
    assert [one["name"] for one in report["failures"]] == [
        f"assessment a-{number} of trace {trace_id_of(number)}" for number in range(len(damage))
    ]
    assert (report["traces"], report["assessments"]) == (5, 1)


def test_import__of_numbers_of_more_than_64_bits__keeps_them_in_the_runs_file(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    run = folder.run("far")
    folder.text(run / "metrics" / "far", f"{T0_MS} 0.5 {10**30}\n")
    far = {"status": FINISHED, "start_time": 10**17, "artifact_uri": str(run / "artifacts")}
    folder.meta(run, run_id=run.name, run_name="far", **far)
    assert imported(shared_server, "mlflow", folder.root)["failures"] == []
    found = runs_of(client, folder.name)["far"]
    (rest,) = [
        content
        for path, content in files_of(client, found, tmp_path).items()
        if path == "seafloor-import.json"
    ]
    assert json.loads(rest)["points"] == [["far", 0.5, str(10**30), T0_MS]]
    assert json.loads(rest)["times"] == {"start of a run": str(10**23)}
