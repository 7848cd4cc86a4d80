"""An import that is killed again and again brings each run and each point once."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from import_world import files_of, import_command, imported, points_of, runs_of
from live_server import LiveServer, wait_for
from mlflow_sqlite_traces import RUN_ID, START_MS, span_content, trace_id_of, write_traces
from seafloor.sdk.client import Client
from seafloor.sdk.imports.mlflow.traces import document_of
from seafloor.wire.traces import TraceView
from wandb_file import T0_S, history_record, write_run

RUNS = 30
STEPS = 200
KILLS = 4


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    made = Client(server.url)
    yield made
    made.close()


def test_import__killed_at_random_moments__brings_each_run_and_point_once(
    server: LiveServer, client: Client, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for number in range(RUNS):
        records = [
            history_record(step, {"loss": number + step / 8, "words": f"step {step}"})
            for step in range(STEPS)
        ]
        log = write_run(tmp_path / "wandb", f"run{number:02}", records)
        (log.parent / "files").mkdir()
        (log.parent / "files" / "model.bin").write_bytes(b"%d" % number * 1000)
    command = import_command(server, "wandb", str(tmp_path / "wandb"))
    environment = {**server.environment, "SEAFLOOR_HOME": str(tmp_path / "home")}
    for _ in range(KILLS):
        there = len(list(client.runs.iterate()))
        wanted = there + chance.randint(1, RUNS // KILLS - 2)
        with (tmp_path / "import.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(lambda w=wanted: len(list(client.runs.iterate())) >= w, what="some runs")
        finally:
            process.kill()
        assert process.wait() == -9
    report = imported(server, "wandb", str(tmp_path / "wandb"))
    assert report["failures"] == []
    assert 0 < report["runs"] < RUNS
    assert report["runs"] + report["runs_known"] == RUNS
    runs = runs_of(client, "made")
    assert sorted(runs) == [f"run{number:02}" for number in range(RUNS)]
    for number in range(RUNS):
        run = runs[f"run{number:02}"]
        assert run.state == "succeeded"
        assert points_of(client, run) == {
            "loss": [(step, repr(number + step / 8), (T0_S + step) * 1000) for step in range(STEPS)]
        }
        words = [record.content for record in client.media.iterate(run.id, "words")]
        assert [getattr(one, "text", None) for one in words] == [f"step {s}" for s in range(STEPS)]
        assert files_of(client, run, tmp_path) == {"model.bin": b"%d" % number * 1000}


TRACES = 40
SPANS = 5


def test_import_of_traces__killed_at_random_moments__brings_each_whole(
    server: LiveServer, client: Client, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    write_traces(tmp_path, traces=TRACES, spans=SPANS)
    what = ("mlflow", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts", str(tmp_path / "artifacts"))
    environment = {**server.environment, "SEAFLOOR_HOME": str(tmp_path / "home")}

    def there() -> list[TraceView]:
        found = [one.id for one in client.experiments.list().items if one.name == "traced"]
        return [view for one in found for view in client.traces.iterate(one)]

    for _ in range(KILLS):
        wanted = len(there()) + chance.randint(1, TRACES // KILLS - 2)
        with (tmp_path / "import.log").open("wb") as log:
            process = subprocess.Popen(
                import_command(server, *what), env=environment, stdout=log, stderr=log
            )
        try:
            wait_for(lambda w=wanted: len(there()) >= w, what="some traces")
        finally:
            process.kill()
        assert process.wait() == -9
    report = imported(server, *what)
    assert report["failures"] == []
    assert report["traces"] + report["traces_known"] == TRACES
    assert 0 < report["traces"] < TRACES
    views = {view.trace.id: view for view in there()}
    assert sorted(views) == [trace_id_of(number) for number in range(TRACES)]
    for number in range(TRACES):
        view = views[trace_id_of(number)]
        assert (view.spans, view.runs) == (SPANS, (RUN_ID,))
        assert (view.trace.time_ms, view.trace.duration_ms) == (START_MS + number, number)
        assert view.trace.metadata == {"m": "ü"}
        assert view.trace.tags["number"] == str(number)
        (said,) = view.trace.assessments
        assert (said.id, said.value, said.rationale) == (f"a-{number}", {"a": [1, None]}, "weil")
        documents = sorted(client.traces.spans(view.trace.id))
        wanted_documents = [document_of(span_content(number, span)) for span in range(SPANS)]
        assert documents == sorted(wanted_documents)
        files = dict(client.traces.files(view.trace.id))
        assert files == ({"attachments/a.bin": number} if number % 3 == 0 else {})
    again = imported(server, *what)
    assert (again["traces"], again["traces_known"], again["spans"]) == (0, TRACES, 0)
