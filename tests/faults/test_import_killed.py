"""An import that is killed again and again brings each run and each point once."""

from __future__ import annotations

import random
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from import_world import files_of, import_command, imported, points_of, runs_of
from live_server import LiveServer, wait_for
from mlflow_sqlite_traces import (
    RUN_ID,
    START_MS,
    add_traces,
    span_content,
    trace_id_of,
    write_traces,
)
from seafloor.sdk.client import Client
from seafloor.sdk.imports.mlflow.traces import document_of
from seafloor.wire.traces import TraceView
from wandb_file import T0_S, history_record, write_run

RUNS = 6
"""That come to the source before each import."""
STEPS = 200
KILLS = 4
TRIES = 20


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    made = Client(server.url)
    yield made
    made.close()


def is_killed(
    command: list[str], environment: dict[str, str], folder: Path, seen: Callable[[], bool]
) -> bool:
    """Kill an import once something is seen; False when it had ended: it was looked at too late."""
    with (folder / "import.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: process.poll() is not None or seen(), what="some of it")
    finally:
        process.kill()
    if process.wait() == -signal.SIGKILL:
        return True
    assert process.returncode == 0, (folder / "import.log").read_text()
    return False


def test_import__killed_at_random_moments__brings_each_run_and_point_once(
    server: LiveServer, client: Client, tmp_path: Path
) -> None:
    seed = secrets.randbits(32)  # `random` itself is seeded alike before each test
    print("seed", seed)
    chance = random.Random(seed)
    written = 0

    def write_runs() -> None:
        nonlocal written
        for number in range(written, written + RUNS):
            records = [
                history_record(step, {"loss": number + step / 8, "words": f"step {step}"})
                for step in range(STEPS)
            ]
            log = write_run(tmp_path / "wandb", f"run{number:02}", records)
            (log.parent / "files").mkdir()
            (log.parent / "files" / "model.bin").write_bytes(b"%d" % number * 1000)
        written += RUNS

    def there() -> int:
        return len(list(client.runs.iterate()))

    command = import_command(server, "wandb", str(tmp_path / "wandb"))
    environment = {**server.environment, "SEAFLOOR_HOME": str(tmp_path / "home")}
    killed = 0
    for _ in range(TRIES):
        write_runs()
        wanted = there() + chance.randint(1, RUNS - 2)
        killed += is_killed(command, environment, tmp_path, lambda w=wanted: there() >= w)
        if killed == KILLS:
            break
    assert killed == KILLS
    write_runs()
    report = imported(server, "wandb", str(tmp_path / "wandb"))
    assert report["failures"] == []
    assert 0 < report["runs"] < written
    assert report["runs"] + report["runs_known"] == written
    runs = runs_of(client, "made")
    assert sorted(runs) == [f"run{number:02}" for number in range(written)]
    for number in range(written):
        run = runs[f"run{number:02}"]
        assert run.state == "succeeded"
        assert points_of(client, run) == {
            "loss": [(step, repr(number + step / 8), (T0_S + step) * 1000) for step in range(STEPS)]
        }
        words = [record.content for record in client.media.iterate(run.id, "words")]
        assert [getattr(one, "text", None) for one in words] == [f"step {s}" for s in range(STEPS)]
        assert files_of(client, run, tmp_path) == {"model.bin": b"%d" % number * 1000}


TRACES = 8
"""That come to the source before each import."""
SPANS = 5


def test_import_of_traces__killed_at_random_moments__brings_each_whole(
    server: LiveServer, client: Client, tmp_path: Path
) -> None:
    seed = secrets.randbits(32)  # `random` itself is seeded alike before each test
    print("seed", seed)
    chance = random.Random(seed)
    write_traces(tmp_path, traces=TRACES, spans=SPANS)
    written = TRACES
    what = ("mlflow", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts", str(tmp_path / "artifacts"))
    environment = {**server.environment, "SEAFLOOR_HOME": str(tmp_path / "home")}

    def there() -> list[TraceView]:
        found = [one.id for one in client.experiments.list().items if one.name == "traced"]
        return [view for one in found for view in client.traces.iterate(one)]

    killed = 0
    for _ in range(TRIES):
        wanted = len(there()) + chance.randint(1, TRACES - 2)
        command = import_command(server, *what)
        killed += is_killed(command, environment, tmp_path, lambda w=wanted: len(there()) >= w)
        add_traces(tmp_path, range(written, written + TRACES), spans=SPANS)
        written += TRACES
        if killed == KILLS:
            break
    assert killed == KILLS
    report = imported(server, *what)
    assert report["failures"] == []
    assert report["traces"] + report["traces_known"] == written
    assert 0 < report["traces"] < written
    views = {view.trace.id: view for view in there()}
    assert sorted(views) == [trace_id_of(number) for number in range(written)]
    for number in range(written):
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
    assert (again["traces"], again["traces_known"], again["spans"]) == (0, written, 0)
