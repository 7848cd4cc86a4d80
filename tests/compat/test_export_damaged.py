"""``seafloor export`` from a server that has lost something: it is named, and all else is there."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from export_world import batch, command, filled, seafloor
from exported import query
from kept_log import keep_lines
from live_server import LiveServer, wait_for
from seafloor.domain.errors import StoreUnavailable
from seafloor.domain.media import BlobName
from seafloor.domain.metrics import POINTS_PER_APPEND_MAX, STEP_MAX
from seafloor.sdk.client import Client
from seafloor.sdk.exports.exporter import ExportOptions, export
from seafloor.sdk.exports.manifest import read_manifest
from seafloor.sdk.transport import TransportOptions
from seafloor.wire.runs import RunCreate

pytestmark = pytest.mark.timeout(900)


def test_export__of_a_series_with_damaged_points__names_them_and_has_all_others(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """One damaged segment of one run was in the way of every other run, however often repeated."""
    server = make_server()
    client = Client(server.url, "")
    run_id = client.runs.create(RunCreate(experiment="e", name="r")).id
    count = POINTS_PER_APPEND_MAX
    for begin in range(0, 8 * count, count):
        # Values that do not pack: the segment is large, and read in part.
        points = [("loss", begin + at, begin + at, random.random()) for at in range(count)]
        client.metrics.append_columns(run_id, batch(points, 0))
    other = client.runs.create(RunCreate(experiment="e", name="other")).id
    client.metrics.append_columns(other, batch([("loss", 1, 1, 0.5)], 0))
    metrics = server.data / "objects" / "runs" / run_id / "metrics"
    wait_for(lambda: list(metrics.glob("*.index")), what="a segment")
    server.stop()
    damaged = max(metrics.glob("*.parquet"), key=lambda path: path.stat().st_size)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    server.start()
    manifest, done = export(client, tmp_path / "made", ExportOptions(), lambda _: None)
    (said,) = manifest.missing
    assert f"points of metric loss of run {run_id} from step " in said
    assert damaged.name in said
    begin, end = (
        int(number.replace(",", "")) for number in re.findall(r"step ([\d,]+)", said.split(":")[0])
    )
    assert 0 < begin < end < 8 * count
    wanted = [(step,) for step in range(8 * count) if not begin <= step <= end]
    found = query(
        tmp_path / "made",
        "SELECT step FROM {metrics} JOIN {runs} USING (run_id) WHERE name = 'r' ORDER BY step",
    )
    assert found == wanted
    assert query(tmp_path / "made", "SELECT count(*) FROM {metrics}") == [(len(wanted) + 1,)]
    assert done.points == len(wanted) + 1

    damaged.unlink()  # all that it has is behind the journal's, or before it
    manifest, done = export(client, tmp_path / "gone", ExportOptions(), lambda _: None)
    assert [damaged.name in said for said in manifest.missing] == [True]
    assert 1 <= done.points < len(wanted)


def test_export__of_a_series_that_is_cut__goes_on_behind_its_last_point(
    make_server: Callable[..., LiveServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that broke off once in the middle of an export was the end of it."""
    client = Client(make_server().url, "")
    run_id = client.runs.create(RunCreate(experiment="e", name="r")).id
    # Four points a step: it is cut in the midst of one.
    for begin in range(0, 200_000, 50_000):
        points = [("loss", (begin + at) // 4, begin + at, at / 7) for at in range(50_000)]
        client.metrics.append_columns(run_id, batch(points, 0))
    whole = client.metrics.open_arrow
    cuts = [0]

    @contextlib.contextmanager
    def cut(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with whole(*args, **kwargs) as response:
            cuts[0] += 1
            yield io.BytesIO(response.read()[: -1_000_003 if cuts[0] < 3 else None])

    monkeypatch.setattr(client.metrics, "open_arrow", cut)
    manifest, _ = export(client, tmp_path / "made", ExportOptions(), lambda _: None)
    assert manifest.missing == ()
    assert cuts[0] == 3
    times = query(tmp_path / "made", "SELECT epoch_ms(time) FROM {metrics}")
    assert times == [(at,) for at in range(200_000)]


def test_export__of_what_is_lost_of_any_kind__names_it_and_has_the_rest(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """An event file, a picture, a log, the code or a file of a trace ended the whole export."""
    server = make_server("here")
    client = Client(server.url, "")
    run = {"name": "r", "params": {}, "tags": {}, "points": {}, "state": "failed", "text": "t"}
    lost = filled(client, "default", "lost", {**run, "deleted": False, "file": b"abc"})
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.py").write_text("for at in range(3000): print('line', at)")
    made, env = command(server, "run")
    made += ["--", sys.executable, "train.py"]
    subprocess.run(made, env=env, cwd=tmp_path / "work", check=True, timeout=250)
    (launched,) = [one.id for one in client.runs.iterate() if one.origin == "launched"]
    server.stop()
    objects, spool = server.data / "objects", server.data / "spool" / "logs" / launched
    for pattern in (f"runs/{lost}/events/0/*", f"runs/{lost}/media/*", "traces/*/artifacts/*/*"):
        for path in objects.glob(pattern):
            path.unlink()
    for path in objects.glob("code/*"):
        path.unlink()
    (log,) = spool.glob("*/main.log")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    server.start()
    done = seafloor(server, "export", str(tmp_path / "made"))
    assert done.returncode == 1, done.stderr
    named = read_manifest(tmp_path / "made").missing
    for name in (
        f"event file events.out.tfevents.1 of attempt 0 of run {lost}: ",
        f"image pictures at step {STEP_MAX} of run {lost}: ",
        "file attachments/größe.bin of trace tr-",
        f"code of run {launched}: ",
        f"log main of attempt 1 of run {launched}, ",
    ):
        assert any(one.startswith(name) for one in named), named
        assert name in done.stderr
    assert query(tmp_path / "made", "SELECT key FROM {media}") == [("words",)]
    kinds = query(tmp_path / "made", "SELECT kind, path FROM {files} ORDER BY kind")
    assert kinds == [("artifact", "größe/file.bin"), ("log", "main.log")]
    lines = query(tmp_path / "made", "SELECT text FROM {log_lines} WHERE stream = 'out'")
    assert 1000 < len(lines) < 2000
    assert lines == [(f"line {at}",) for at in range(len(lines))]
    there = make_server("there")
    report = json.loads(
        seafloor(there, "import", "seafloor", str(tmp_path / "made"), "--json").stdout
    )
    assert (report["runs"], report["failures"]) == (2, [])
    (told,) = [one for one in report["left_out"] if "lost before" in one["what"]]
    assert told["count"] == len(named)


def test_export__where_the_server_goes_away__is_not_whole(
    make_server: Callable[..., LiveServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for while there is no server is not lost: the export stops, to be repeated."""
    server = make_server()
    client = Client(server.url, "", options=TransportOptions(repeat_s=0.5))
    run = {"name": "r", "params": {}, "tags": {}, "points": {}, "state": "failed", "text": "t"}
    filled(client, "default", "e", {**run, "deleted": False, "file": b"abc"})
    get_blob = client.media.get_blob

    def get(run_id: str, name: BlobName, target: Path) -> int:
        server.kill()
        return get_blob(run_id, name, target)

    monkeypatch.setattr(client.media, "get_blob", get)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        export(client, tmp_path / "made", ExportOptions(), lambda _: None)
    monkeypatch.undo()
    assert not (tmp_path / "made" / "manifest.json").exists()
    server.start()
    manifest, _ = export(client, tmp_path / "made", ExportOptions(), lambda _: None)
    assert (manifest.missing, manifest.counts["media"]) == ((), 2)


def test_export__of_files_that_the_server_has_lost__names_them_and_has_the_rest(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    """One file of one run was in the way of all others, and the error did not say of which."""
    server = make_server("here")
    client = Client(server.url, "")
    run_id = client.runs.create(RunCreate(experiment="e", name="r")).id
    for name in ("gone.bin", "damaged.bin", "whole.bin"):
        (tmp_path / name).write_text(name)
        client.artifacts.put(run_id, name, tmp_path / name)
    files = server.data / "objects" / "runs" / run_id / "artifacts"
    (files / "gone.bin").unlink()
    (files / "damaged.bin").write_text("damaged!bin")
    done = seafloor(server, "export", str(tmp_path / "made"))
    assert done.returncode == 1, done.stderr
    for name in ("gone.bin", "damaged.bin"):
        assert f"file {name} of run {run_id}" in done.stderr
    assert len(read_manifest(tmp_path / "made").missing) == 2
    assert query(tmp_path / "made", "SELECT path FROM {files}") == [("whole.bin",)]
    there = make_server("there")
    imported = json.loads(
        seafloor(there, "import", "seafloor", str(tmp_path / "made"), "--json").stdout
    )
    (lost,) = [one for one in imported["left_out"] if "lost before" in one["what"]]
    assert (lost["count"], imported["files"], imported["failures"]) == (2, 1, [])


def test_export__of_a_log_with_lines_missing__has_all_others(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    """Lines whose numbers were above how many there are were left out, without a word."""
    run_id = shared_server.launch(["true"], run_name="gaps")["id"]
    shared_server.wait_state(run_id, "succeeded")
    numbers = [*range(1, 1501), *range(100_001, 102_501)]
    keep_lines(shared_server, run_id, "main@git-localize", {at: f"line {at}" for at in numbers})
    client = Client(shared_server.url, "")
    export(client, tmp_path / "made", ExportOptions(runs=(run_id,)), lambda _: None)
    found = query(tmp_path / "made", "SELECT number FROM {log_lines} WHERE task != 'main'")
    assert found == [(at,) for at in numbers]
