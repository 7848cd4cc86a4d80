"""``seafloor export`` and back: what a server shows is what another one shows after it."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import math
import os
import random
import secrets
import shutil
import signal
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.databases import fresh_database
from tests.services._service import Service

from export_world import T0_NS, batch, command, filled, seafloor
from exported import bits, content, query
from installation_world import build
from kept_log import keep_log
from live_server import LiveServer, wait_for
from seafloor.domain.errors import CallerError, InvalidValue, NotFound
from seafloor.domain.metrics import STEP_MAX, STEP_MIN, TIME_MS_MAX
from seafloor.domain.names import check_name
from seafloor.sdk.client import Client
from seafloor.sdk.exports.exporter import Exported, ExportOptions, export
from seafloor.sdk.exports.folder import GROUP_ROWS, opened
from seafloor.sdk.exports.manifest import Manifest
from seafloor.sdk.imports.fitting import is_key
from seafloor.sdk.imports.importer import Importer, ImportOptions
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.seafloor.source import ExportSource
from seafloor.wire.experiments import ExperimentCreate
from seafloor.wire.models import RunInputs
from seafloor.wire.runs import RunCreate

# Commands are begun again and again, each a new Python: on a busy machine that takes minutes.
pytestmark = pytest.mark.timeout(900)


def done(server: LiveServer, *arguments: str) -> dict[str, Any]:
    found = seafloor(server, *arguments, "--json")
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def brought(client: Client, folder: Path, project: str | None = None) -> Report:
    report = Report(source="seafloor", server=client.url)
    source = ExportSource(folder, report, project=project)
    Importer(client, source, report, ImportOptions(), lambda _: None).bring_all()
    assert report.whole
    assert report.failures == []
    return report


# Content of any kind.


def is_name(text: str) -> bool:
    try:
        return check_name(text) == text
    except CallerError:
        return False


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f"),
    min_size=1,
    max_size=12,
).filter(is_name)
KEYS = st.text(
    st.characters(categories=["L", "Nd"], include_characters="_-.:/ "), min_size=1, max_size=12
).filter(is_key)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)
VALUES = st.one_of(
    st.floats(allow_nan=False),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]),
)
STEPS = st.one_of(st.integers(-3, 3), st.sampled_from([STEP_MIN, STEP_MAX, 0]))
TIMES = st.one_of(st.integers(0, 2 * 10**12), st.sampled_from([0, TIME_MS_MAX]))
POINTS = st.lists(st.tuples(KEYS, STEPS, TIMES, VALUES), max_size=12)
RUNS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "params": st.dictionaries(KEYS, TEXTS, max_size=3),
        "tags": st.dictionaries(KEYS, TEXTS, max_size=3),
        "points": st.dictionaries(st.sampled_from([0, 1, 2, 1 << 30]), POINTS, max_size=3),
        "state": st.sampled_from([None, "succeeded", "failed", "stopped"]),
        "deleted": st.booleans(),
        "model_deleted": st.booleans(),
        "text": TEXTS.filter(bool),
        "file": st.binary(max_size=40),
    }
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(
    request: pytest.FixtureRequest,
    service: Callable[[str], Service],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LiveServer, LiveServer]]:
    """Two installations."""
    with contextlib.ExitStack() as stack:
        made: list[LiveServer] = []
        for name in ("a", "b"):
            env: dict[str, str] = {}
            if request.param == "postgresql":
                url = stack.enter_context(fresh_database(service("postgresql"), migrated=False))
                env = {"SEAFLOOR_STORES__METADATA": url}
            server = LiveServer(tmp_path_factory.mktemp(name) / "data", env=env).start()
            stack.callback(server.stop)
            made.append(server)
        yield made[0], made[1]


@settings(max_examples=6)
@given(
    runs=st.lists(RUNS, min_size=1, max_size=3),
    name=NAMES,
    tags=st.dictionaries(KEYS, TEXTS, max_size=3),
)
def test_export__of_any_content_brought_to_another_server__is_the_same_there(
    pair: tuple[LiveServer, LiveServer], runs: list[dict[str, Any]], name: str, tags: dict[str, str]
) -> None:
    here, there = Client(pair[0].url, ""), Client(pair[1].url, "")
    project = f"p{uuid.uuid4().hex[:12]}"
    here.projects.create(project)
    made = here.experiments.create(ExperimentCreate(name, project, tags, created_ns=T0_NS))
    for run in runs:
        filled(here, project, name, run)
    here.experiments.create(ExperimentCreate(f"{name} gone", project, created_ns=T0_NS))
    filled(here, project, f"{name} gone", {**runs[0], "deleted": False})
    here.experiments.delete(made.id + 1)
    options = ExportOptions(project=project)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first"), Path(folder, "second")
        export(here, first, options, lambda _: None)
        wanted = content(first)
        points = {
            (key, attempt, step, at, struct.pack("<d", value).hex())
            for run in (*runs, runs[0])
            for attempt, some in run["points"].items()
            for key, step, at, value in some
        }
        assert {row[1:] for row in wanted["metrics"] if row[1] != "scalar"} == points
        brought(there, first)
        export(there, second, options, lambda _: None)
        found = content(second)
        for table in wanted:
            assert found[table] == wanted[table], table
        again = brought(there, first)
        running = sum(run["state"] is None and not run["deleted"] for run in runs)
        assert again.runs == running
        assert (again.traces, again.traces_known) == (0, len(runs) + 1)


def test_export__of_a_whole_installation__comes_back_with_what_has_no_place_as_files(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    here, there = make_server("here"), make_server("there")
    build(here, tmp_path)
    setup = next(
        run["id"] for run in here.get("/api/v1/runs")["items"] if run["origin"] == "launched"
    )
    keep_log(here, setup, "main@git-localize", "Cloning", "HEAD is at 1234")
    first, second = tmp_path / "first", tmp_path / "second"
    manifest = done(here, "export", str(first))
    assert manifest["counts"]["runs"] == 6
    (launched, *_) = query(first, "SELECT run_id FROM {runs} WHERE origin = 'launched'")
    with pytest.raises(InvalidValue, match="has had"):
        Client(here.url, "").metrics.append_columns(launched[0], batch([("x", 0, 0, 1.0)], 99))
    report = done(there, "import", "seafloor", str(first))
    assert report["failures"] == []
    done(there, "export", str(second))
    wanted, found = content(first), content(second)
    for table in ("params", "tags", "inputs", "metrics", "models", "model_metrics", "model_files"):
        assert found[table] == wanted[table], table
    assert found["media"] == wanted["media"]
    kept = query(second, "SELECT run_id, path, sha256 FROM {files} WHERE kind = 'artifact'")
    for run_id, kind, attempt, path, sha256 in query(
        first, "SELECT run_id, kind, attempt, path, sha256 FROM {files}"
    ):
        here_as = {
            "log": f"seafloor-import/attempt-{attempt}/{path}",
            "event_file": f"seafloor-import/attempt-{attempt}/events/{path}",
            "code": f"seafloor-import/{path}",
        }.get(kind, path)
        assert (run_id, here_as, sha256) in kept
    lines = query(first, "SELECT count(*) FROM {log_lines} WHERE text LIKE 'line 399 größe'")
    assert lines == [(3,)]  # two runs, one of them twice
    lines = query(first, "SELECT run_id, text FROM {log_lines} WHERE task = 'main@git-localize'")
    assert lines == [(setup, "Cloning"), (setup, "HEAD is at 1234")]
    kept_as = "seafloor-import/attempt-1/main@git-localize.log"
    assert any((run_id, path) == (setup, kept_as) for run_id, path, _ in kept)
    (rest,) = query(second, "SELECT count(*) FROM {files} WHERE path = 'seafloor-import.json'")
    assert rest == (2,)


def test_export__of_several_tasks__has_the_log_of_each(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    tasks = {"worker": {"replicas": 2, "command": "echo I am $SEAFLOOR_TASK"}}
    spec = {"name": "several", "tasks": tasks, "params": {"lr": "0.1"}}
    run_id = shared_server.post("/api/v1/runs", {"spec": spec})["id"]
    shared_server.wait_state(run_id, "succeeded", timeout_s=100)
    folder = tmp_path / "export"
    done(shared_server, "export", str(folder), "--experiment", "several")
    lines = query(folder, "SELECT task, text FROM {log_lines} WHERE stream = 'out' ORDER BY task")
    assert lines == [("worker-0", "I am worker-0"), ("worker-1", "I am worker-1")]
    logs = query(folder, "SELECT path FROM {files} WHERE kind = 'log' ORDER BY path")
    assert logs == [("worker-0.log",), ("worker-1.log",)]
    assert query(folder, "SELECT run_id, key, value FROM {params}") == [(run_id, "lr", "0.1")]
    ((record,),) = query(folder, "SELECT record FROM {attempts}")
    ends = {one["name"]: one["ending"]["exit_code"] for one in json.loads(record)["tasks"]}
    assert ends == {"worker-0": 0, "worker-1": 0}


def test_export__of_a_run_that_is_not_given_whole__fails_and_does_not_call_it_gone(
    shared_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = shared_server.post("/api/v1/runs", {"experiment": "half given"})["id"]
    client = Client(shared_server.url, "")

    def refuse(run_id: str) -> RunInputs:
        raise NotFound(f"There are no inputs of {run_id}.")

    # As of a server that does not know the route: there is no such one to be started.
    monkeypatch.setattr(client.models, "inputs", refuse)
    options = ExportOptions(experiments=("half given",))
    with pytest.raises(NotFound, match=run_id):
        export(client, tmp_path / "export", options, lambda _: None)


def test_export__of_runs_that_are_deleted_and_restored_meanwhile__has_each_once(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    """The living were read first: one deleted behind it came twice, one restored not at all."""
    client = Client(shared_server.url, "")
    project = f"p{uuid.uuid4().hex[:12]}"
    client.projects.create(project)
    run_ids = [
        client.runs.create(RunCreate(project=project, experiment="e", name=f"r{at}")).id
        for at in range(4)
    ]
    for run_id in run_ids:
        client.metrics.append_columns(run_id, batch([("loss", 1, 7, 0.5)], 0))
    client.runs.delete(run_ids[0])
    client.runs.delete(run_ids[3])
    changed = False

    def meanwhile(_: Exported) -> None:
        nonlocal changed
        if not changed:
            for run_id in run_ids[1:3]:
                client.runs.delete(run_id)
            for run_id in (run_ids[0], run_ids[3]):
                client.runs.restore(run_id)
        changed = True

    export(client, tmp_path / "made", ExportOptions(project=project), meanwhile)
    exported = query(tmp_path / "made", "SELECT run_id FROM {runs} ORDER BY run_id")
    assert exported == [(run_id,) for run_id in sorted(run_ids)]
    assert query(tmp_path / "made", "SELECT count(*) FROM {metrics}") == [(4,)]


def test_table__of_an_export_that_failed__is_let_go_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever exported was shown a traceback below the one line that says what is wrong."""

    def fail() -> None:
        with opened(tmp_path / "made", {}) as folder:
            for number in range(GROUP_ROWS + 1):
                folder["projects"].add(f"p{number}", number)
            raise NotFound("in the middle")

    with pytest.raises(NotFound, match="in the middle"):
        fail()
    gc.collect()
    assert capfd.readouterr().err == ""
    assert not (tmp_path / "made" / "projects.parquet").exists()


def test_table__of_long_labels__does_not_keep_them_in_memory(tmp_path: Path) -> None:
    """Ten thousand rows waited, however much their tags and metadata were."""
    with opened(tmp_path / "made", {}) as folder:
        for number in range(24):
            row = [number, "p", "e", 0, None, None, None, [("tag", "x" * 1024 * 1024)], None, 0, 0]
            folder["experiments"].add(*row)
        folder.finish(
            lambda files: Manifest(created_ns=0, server={}, only={}, counts={}, files=files)
        )
    file = pyarrow.parquet.ParquetFile(tmp_path / "made" / "experiments.parquet")
    assert (file.metadata.num_rows, file.num_row_groups) == (24, 6)


def test_export__of_named_experiments_and_runs__has_these_alone(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    client = Client(shared_server.url, "")
    name = f"only {uuid.uuid4().hex}"
    run = {"name": "r", "params": {}, "tags": {}, "points": {}, "state": "failed", "text": "t"}
    run |= {"deleted": False, "file": b"abc"}
    one, two = (filled(client, "default", name, run) for _ in range(2))
    export(client, tmp_path / "e", ExportOptions(experiments=(name,)), lambda _: None)
    assert query(tmp_path / "e", "SELECT name, runs, models FROM {experiments}") == [(name, 2, 2)]
    export(client, tmp_path / "r", ExportOptions(runs=(one,)), lambda _: None)
    assert query(tmp_path / "r", "SELECT run_id FROM {runs}") == [(one,)]
    assert query(tmp_path / "r", "SELECT source_run_id FROM {models}") == [(one,)]
    options = ExportOptions(runs=(two,), artifacts=False)
    export(client, tmp_path / "n", options, lambda _: None)
    digest = hashlib.sha256(b"abc").hexdigest()
    assert query(tmp_path / "n", "SELECT sha256 FROM {files}") == [(digest,)]
    assert not (tmp_path / "n" / "blobs" / digest[:2] / digest).exists()
    for arguments in (("--experiment", "no such"), ("--run", "f" * 32), ("--project", "no such")):
        found = seafloor(shared_server, "export", str(tmp_path / "x"), *arguments)
        assert found.returncode == 3, found.stderr
        assert len(found.stderr.splitlines()) == 2


def many_runs(client: Client, count: int) -> list[str]:
    rows = random.Random(4)
    made: list[str] = []
    for number in range(count):
        points = [("loss", step, step, rows.random()) for step in range(300)]
        run = {"name": f"r{number}", "params": {"n": str(number)}, "tags": {}, "text": "t"}
        run |= {"points": {0: points}, "state": "succeeded", "deleted": False}
        run["file"] = str(number).encode()
        made.append(filled(client, "default", "many", run))
    return made


def killed_and_repeated(
    server: LiveServer, seconds: Iterator[float], begun: Callable[[], object], *arguments: str
) -> int:
    """Repeat a command that is killed a while after it has begun, until it ends; how many were.

    Args:
        begun: Something else than before, when the command has begun: what comes before that is
            Python's start, in which nothing can be broken.
    """
    made, env = command(server, *arguments)
    for killed, pause_s in enumerate(seconds):
        before = begun()
        with subprocess.Popen(
            made, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            wait_for(
                lambda before=before, process=process: (
                    process.poll() is not None or begun() != before
                ),
                what="its beginning",
            )
            try:
                process.wait(pause_s)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                continue
            assert process.stderr is not None
            said = process.stderr.read().decode()
            # Killed between its last act and its end, it had done all.
            was_whole = killed > 0 and "whole export already" in said
            assert process.returncode == 0 or was_whole, said
            return killed
    raise AssertionError


def stamp_of(path: Path) -> int:
    """When a file was last written; 0: there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def test_export_and_import__killed_at_any_moment_and_repeated__are_whole(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    here, there = make_server("here"), make_server("there")
    runs = many_runs(Client(here.url, ""), 40)
    seed = secrets.randbits(32)
    print("seed", seed)
    chance = random.Random(seed)

    def pauses() -> Iterator[float]:
        longest_s = 0.1
        while True:
            yield chance.uniform(0, longest_s)
            longest_s *= 2

    first, second = tmp_path / "first", tmp_path / "second"
    mark, report = first / "export.unfinished", tmp_path / "report.json"
    killed = killed_and_repeated(here, pauses(), lambda: stamp_of(mark), "export", str(first))
    assert killed > 2
    assert not mark.exists()
    assert list(first.rglob("*.part")) == []
    assert query(first, "SELECT count(DISTINCT run_id), count(*) FROM {metrics}") == [(40, 12080)]
    arguments = ("import", "seafloor", str(first), "--report", str(report))
    assert killed_and_repeated(there, pauses(), lambda: stamp_of(report), *arguments) > 2
    done(there, "export", str(second))
    wanted, found = content(first), content(second)
    for table in wanted:
        assert found[table] == wanted[table], table
    assert {row[0] for row in query(second, "SELECT run_id FROM {runs}")} == set(runs)


def test_export__of_what_is_in_the_way__is_one_line_and_touches_nothing(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    name = f"whole {uuid.uuid4().hex}"
    Client(shared_server.url, "").experiments.create(ExperimentCreate(name))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    only = ("--experiment", name)
    whole = tmp_path / "whole"
    done(shared_server, "export", str(whole), *only)
    stamps = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    for folder, says in ((tmp_path / "mine", "not empty"), (whole, "whole export already")):
        found = seafloor(shared_server, "export", str(folder), *only)
        assert found.returncode != 0
        assert says in found.stderr.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == stamps
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_import__of_a_damaged_export__says_what_is_damaged(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    server = make_server()
    run_id, *_ = many_runs(Client(server.url, ""), 2)
    whole = tmp_path / "whole"
    done(server, "export", str(whole))

    def says(damage: Callable[[Path], object]) -> str:
        copy = tmp_path / uuid.uuid4().hex
        shutil.copytree(whole, copy)
        damage(copy)
        found = seafloor(server, "import", "seafloor", str(copy))
        assert found.returncode == 6, found.stderr
        (line,) = found.stderr.splitlines()
        assert line.startswith("error: ")
        return line

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    assert "manifest.json" in says(lambda copy: (copy / "manifest.json").unlink())
    assert "manifest" in says(lambda copy: (copy / "manifest.json").write_text("{"))
    assert "is damaged" in says(lambda copy: flip(copy / "experiments.parquet"))
    assert "cannot be read" in says(lambda copy: (copy / "runs.parquet").unlink())

    other = make_server("other")
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    flip(copy / "metrics" / "00000.parquet")
    found = seafloor(other, "import", "seafloor", str(copy))
    assert found.returncode == 1
    assert '00000.parquet" is damaged' in found.stderr
    assert Client(other.url, "").runs.get(run_id).state == "running"
    digest = hashlib.sha256(b"0").hexdigest()
    flip(whole / "blobs" / digest[:2] / digest)
    found = seafloor(other, "import", "seafloor", str(whole))
    assert found.returncode == 1
    assert "is damaged: its sha256 differs" in found.stderr
    assert Client(other.url, "").runs.get(run_id).state == "succeeded"


def test_export__without_pyarrow__names_the_fix(shared_server: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('none')")
    made, env = command(shared_server, "export", str(tmp_path / "x"))
    env["PYTHONPATH"] = str(tmp_path)
    found = subprocess.run(made, env=env, capture_output=True, text=True, check=False, timeout=250)
    assert found.returncode != 0
    assert found.stderr.splitlines()[-1] == (
        "error: Exports are Parquet files, and pyarrow is not installed: "
        "run `pip install 'seafloor[parquet]'`."
    )
    assert not (tmp_path / "x").exists()


def test_export__of_many_points__takes_constant_memory_and_reads_typed(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    client = Client(shared_server.url, "")
    run_id = uuid.uuid4().hex
    client.runs.create(RunCreate(id=run_id, experiment=f"points {run_id}", name="long"))
    points = [("loss", step, 1_700_000_000_000 + step, step / 7) for step in range(50_000)]
    for begin in range(6):
        moved = [(key, step + begin * 50_000, at, value) for key, step, at, value in points]
        client.metrics.append_columns(run_id, batch(moved, 0))
    export(client, tmp_path / "x", ExportOptions(runs=(run_id,)), lambda _: None)
    found = query(
        tmp_path / "x",
        "SELECT typeof(any_value(time)), count(*), min(step), max(step), max(value) "
        "FROM {metrics} JOIN {runs} USING (run_id) WHERE name = 'long'",
    )
    assert found == [("TIMESTAMP WITH TIME ZONE", 300_000, 0, 299_999, 49_999 / 7)]
    groups = query(
        tmp_path / "x",
        "SELECT max(row_group_num_rows) FROM parquet_metadata({metrics})",
    )
    assert groups[0][0] < 200_000  # what is in memory at once
    newest = query(tmp_path / "x", "SELECT * FROM {metrics} ORDER BY step DESC LIMIT 1")
    assert bits(newest)[0][:4] == (run_id, "loss", 0, 299_999)
