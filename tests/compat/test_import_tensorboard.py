"""Folders of event files are imported, and compared with what TensorBoard itself reads of them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX import SummaryWriter

from import_world import imported, left_out, points_of, run_import, runs_of
from live_server import LiveServer
from mlflow_world import python_with
from seafloor.domain.media import Audio, Image, Text
from seafloor.sdk.client import Client
from seafloor.stores.events.tfrecord import encode_frame
from seafloor.testing.event_records import event, event_file, scalar
from seafloor.wire.runs import RunView

# The peer's environment may have to be fetched and built first.
pytestmark = pytest.mark.timeout(1800)

HERE = Path(__file__).parent


def tensorboard(action: str, folder: Path) -> str:
    command = [str(python_with(HERE / "tensorboard.txt")), "-W", "ignore"]
    script = str(HERE.parent / "tensorboard_script.py")
    done = subprocess.run(
        [*command, script, action, str(folder)], capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.decode()


def write_old(folder: Path) -> None:
    """What torch's writer makes: old kinds of summaries, and hparams in a folder of their own."""
    with SummaryWriter(str(folder)) as writer:
        for step in range(30):
            writer.add_scalar("loss/train", 1 / (step + 1), step)
            writer.add_scalar("accuracy (%)", step, step)
        writer.add_histogram("weights", np.arange(100.0), 3)
        writer.add_text("words", "some *words*", 3)
        writer.add_pr_curve("curve", np.array([0, 1]), np.array([0.1, 0.9]), 3)
        writer.add_hparams({"lr": 0.5, "opt": "sgd", "on": True}, {"best": 0.75}, name="trial")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "logs"
    tensorboard("write", folder)
    write_old(folder / "old")
    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar("root", 1.5, 7)
    (folder / "old" / "model.ckpt").write_bytes(b"no event file")
    an_hour_ago = time.time() - 3600
    for path in folder.rglob("*tfevents*"):
        os.utime(path, (an_hour_ago, an_hour_ago))
    return folder


@pytest.fixture(scope="module")
def truth(world: Path) -> dict[str, Any]:
    read = json.loads(tensorboard("read", world))
    (world / "loop").symlink_to(world)  # TensorBoard itself would go round and round
    return read


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    made = Client(server.url)
    yield made
    made.close()


def scalars(client: Client, run: RunView) -> dict[str, list[list[Any]]]:
    return {key: [list(p) for p in found] for key, found in points_of(client, run).items()}


def test_import__of_a_folder__has_the_runs_and_scalars_that_tensorboard_shows(
    world: Path, truth: dict[str, Any], server: LiveServer, client: Client
) -> None:
    report = imported(server, "tensorboard", str(world))
    assert report["failures"] == []
    runs = runs_of(client, "logs")
    assert set(runs) == set(truth) == {".", "old", "old/trial", "tf2", "tf2/validation"}
    for name, tags in truth.items():
        wanted = {
            "accuracy ___-6485cd" if tag == "accuracy (%)" else tag: [
                [step, value, round(time_s * 1000)] for step, value, time_s in points
            ]
            for tag, points in tags.items()
        }
        assert scalars(client, runs[name]) == wanted
    assert report["points"] == sum(len(p) for tags in truth.values() for p in tags.values())
    assert runs["old/trial"].params == {"lr": "0.5", "opt": "sgd", "on": "True"}
    assert runs["tf2"].params == {"lr": "0.001", "layers": "3", "bias": "True", "opt": "adam"}
    assert {run.state for run in runs.values()} == {"succeeded"}
    for run in runs.values():
        assert run.started_ns is not None
        assert run.ended_ns is not None
        assert time.time() - 3600 < run.started_ns / 1e9 <= run.ended_ns / 1e9 < time.time()
    assert left_out(report) == {
        "graph: in its event file only": 2,
        "value of the plugin pr_curves: in its event file only": 1,
        "description of an experiment by the plugin hparams: in its event file only": 1,
        "run that does not say how it ended, as event files do not: succeeded here": 4,
        "file that is no event file: of no run": 1,
    }


def test_import__of_a_folder__keeps_media_and_the_bytes_of_the_files(
    world: Path, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    imported(server, "tensorboard", str(world))
    run = runs_of(client, "logs")["tf2"]
    media = {
        series.kind: [r.content for r in client.media.iterate(run.id, series.key)]
        for series in client.media.keys(run.id)
    }
    assert media["image"] == [Image(5, 4)]
    assert media["text"] == [Text("a *text*")]
    assert media["audio"] == [Audio(8000, 1, 10)]
    assert len(media["histogram"]) == 1
    (file,) = client.artifacts.event_files(run.id).items
    client.artifacts.get_event_file(run.id, 0, file.path, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (world / "tf2" / file.path).read_bytes()


def test_import__again__touches_nothing_and_of_a_run_that_goes_on_brings_the_rest(
    server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    write_old(folder)
    (path,) = folder.glob("*tfevents*")
    content = path.read_bytes()
    path.write_bytes(content[:1500])
    first = imported(server, "tensorboard", str(folder))
    assert any("ends within a record" in what for what in left_out(first))
    run = runs_of(client, "logs")["."]
    assert run.state == "running"
    half = scalars(client, run)["loss/train"]
    path.write_bytes(content)
    imported(server, "tensorboard", str(folder))
    assert 0 < len(half) < len(scalars(client, run)["loss/train"]) == 30
    for each in folder.rglob("*tfevents*"):
        os.utime(each, (1, 1))
    whole = imported(server, "tensorboard", str(folder))
    assert (whole["runs"], whole["runs_known"]) == (2, 0)
    again = imported(server, "tensorboard", str(folder))
    assert (again["runs"], again["runs_known"]) == (0, 2)
    assert scalars(client, run)["loss/train"][: len(half)] == half


def test_import__of_a_damaged_file__keeps_it_and_says_where(
    server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    with SummaryWriter(str(folder / "a")) as writer:
        for step in range(30):
            writer.add_scalar("loss", 0.5, step)
    (path,) = (folder / "a").iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    (folder / "b").mkdir()
    (folder / "b" / "events.out.tfevents.9").write_bytes(b"nothing of the kind" * 9)
    for each in folder.rglob("*tfevents*"):
        os.utime(each, (1, 1))
    report = imported(server, "tensorboard", str(folder), code=1)
    assert sorted(one["name"].split(" of run")[0] for one in report["failures"]) == [
        f"event file {path.name}",
        "event file events.out.tfevents.9",
    ]
    assert all("damaged" in one["reason"] for one in report["failures"])
    found = scalars(client, runs_of(client, "logs")["a"])["loss"]
    assert [step for step, _, _ in found] == list(range(len(found)))
    assert 0 < len(found) < 30


def test_import__of_times_that_are_none__brings_the_run_and_says_so(
    server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    for name, time_s in (("far", 1e300), ("early", -1e300)):
        record = encode_frame(event(3, scalar("loss", 0.5), wall_time_s=time_s))
        (folder / name).mkdir(parents=True)
        (folder / name / "events.out.tfevents.1").write_bytes(event_file([record]))
    for each in folder.rglob("*tfevents*"):
        os.utime(each, (1, 1))
    report = imported(server, "tensorboard", str(folder))
    told = {what: n for what, n in left_out(report).items() if "before 1970 or after 2262" in what}
    assert sorted(told.values()) == [1, 1]  # a start and an end: the first record has a good time
    found = runs_of(client, "logs")
    assert found.keys() == {"far", "early"}
    for run in found.values():
        assert run.state == "succeeded"
        assert [step for step, _, _ in scalars(client, run)["loss"]] == [3]


@pytest.mark.parametrize(
    ("place", "says"), [("nowhere", "no folder or file"), (".", "--logdir"), ("a.txt", "--logdir")]
)
def test_import__from_what_is_none__is_one_line_with_the_fix(
    shared_server: LiveServer, tmp_path: Path, place: str, says: str
) -> None:
    (tmp_path / "a.txt").write_text("text")
    done = run_import(shared_server, "tensorboard", place, cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
