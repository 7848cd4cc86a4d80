"""Offline runs of a real wandb are imported, and every field is compared with what was logged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from import_world import files_of, imported, left_out, points_of, run_import, runs_of
from live_server import LiveServer
from mlflow_world import python_with
from seafloor.domain.media import Audio, Histogram, Image, Table, Text
from seafloor.domain.names import near_key
from seafloor.sdk.client import Client
from seafloor.testing.event_records import field_bytes
from wandb_file import history_record, item, within_a_record, write_run

# The peers' environments may have to be fetched and built first.
pytestmark = pytest.mark.timeout(1800)

HERE = Path(__file__).parent
NEW, OLD = HERE / "wandb.txt", HERE / "wandb-0.17.txt"
ALL = ("whole", "failed", "resumed", "many")


@dataclass
class World:
    """A folder in which a wandb logged runs, and what it logged."""

    folder: Path
    logged: dict[str, Any]

    def log_of(self, run_id: str) -> Path:
        """The file of a run."""
        return next(self.folder.glob(f"wandb/*/run-{run_id}.wandb"))


def peer(requirements: Path, script: str, *arguments: str, cwd: Path) -> str:
    command = [str(python_with(requirements)), "-W", "ignore", str(HERE.parent / script)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SEAFLOOR_"))}
    environment = {**kept, "WANDB_DATA_DIR": str(cwd), "WANDB_CACHE_DIR": str(cwd)}
    done = subprocess.run(
        [*command, *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.decode()


def make_world(folder: Path, requirements: Path, *names: str) -> World:
    peer(requirements, "wandb_script.py", str(folder), *names, cwd=folder)
    return World(folder, json.loads((folder / "logged.json").read_bytes()))


@pytest.fixture(scope="module")
def new_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("wandb"), NEW, *ALL)


@pytest.fixture(scope="module")
def old_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("wandb-old"), OLD, "whole")


@pytest.fixture(params=["new", "old"])
def world(request: pytest.FixtureRequest) -> World:
    return request.getfixturevalue(f"{request.param}_world")


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    made = Client(server.url)
    yield made
    made.close()


def by_value(points: dict[str, list[tuple[int, str, int]]]) -> dict[str, list[list[Any]]]:
    """Points without their times, and without what wandb adds by itself."""
    return {
        key: [[step, value] for step, value, _ in found]
        for key, found in points.items()
        if not key.startswith("system/")
    }


def test_import__of_a_whole_run__has_every_field(
    world: World, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    report = imported(server, "wandb", str(world.folder / "wandb"))
    assert report["failures"] == []
    run = runs_of(client, "vision")["first run"]
    assert run.state == "succeeded"
    assert run.params == {
        "lr": "0.1",
        "layers.n": "3",
        "layers.sizes": "[1, 2]",
        "flag": "True",
        "none": "None",
        "opt": "sgd",
        "a.b": "1",
        near_key("odd key (%)"): "5",
    }
    tags = dict(run.tags)
    assert tags.pop("mlflow.source.name").endswith("wandb_script.py")
    assert tags.pop("wandb.host")
    assert tags == {
        "mlflow.note.content": "Notes\nin two lines",
        "wandb.runId": "whole",
        "wandb.group": "g",
        "wandb.jobType": "train",
        "wandb.tags": '["a", "b,c"]',
        "wandb.summary.word": "fine",
    }
    points = points_of(client, run)
    noted = {near_key(key): found for key, found in world.logged["whole"]["points"].items()}
    last = noted["late"][-1][0]
    wanted = {**noted, "best": [[last, "0.99"]], "loss.min": [[last, noted["loss"][-1][1]]]}
    assert by_value(points) == wanted
    said = json.loads(
        peer(OLD, "wandb_reader.py", str(world.log_of("whole")), cwd=world.folder)
    )  # by wandb itself, with times
    assert {(key, *p) for key, found in points.items() for p in found if key in noted} == {
        (near_key(key), *one)
        for key, *one in said
        if near_key(key) in noted  # not the sizes of media
    }
    system = [key for key in points if key.startswith("system/")]
    assert system
    files = files_of(client, run, tmp_path)
    assert files["weights.bin"] == b"weights"
    assert files["artifacts/model/v0/w/weights.bin"] == b"weights"
    assert b"a line printed" in files["output.log"]
    rest = json.loads(files["seafloor-import.json"])
    # wandb 0.17 calls the disk "\\".
    keys = {made: key for made, key in rest["keys"].items() if not key.startswith("system/")}
    assert keys == {near_key(key): key for key in ("odd key (%)", "acc (%)")}
    assert rest["fields"]["config"] == {"a.b": 2}
    assert rest["fields"]["alerts"][0]["title"] == "title"
    (artifact,) = rest["fields"]["logged_artifacts"]
    assert json.loads(artifact["metadata"]) == {"k": 1}
    assert {entry["path"]: entry["ref"] for entry in artifact["entries"]} == {
        "w/weights.bin": "",
        "far.txt": (world.folder / "far.txt").as_uri(),
    }


def test_import__of_media__keeps_each_as_a_record(
    world: World, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    report = imported(server, "wandb", str(world.folder / "wandb"))
    run = runs_of(client, "vision")["first run"]
    found = {
        (series.key, series.kind): list(client.media.iterate(run.id, series.key, kind=series.kind))
        for series in client.media.keys(run.id)
    }
    contents = {key: [record.content for record in records] for key, records in found.items()}
    assert contents == {
        ("hist", "histogram"): [Histogram((0.0, 1.0, 2.0, 3.0), (1.0, 0.0, 2.0))],
        ("image", "image"): [Image(5, 4)],
        ("image.caption", "text"): [Text("one")],
        ("images", "image"): [Image(5, 4), Image(5, 4)],
        ("images.caption", "text"): [Text("first"), Text("second")],
        ("table", "table"): [Table(("a", "b"), 2)],
        ("sound", "audio"): [Audio(8000, 1, 0)],
        ("sound.caption", "text"): [Text("beep")],
        ("text", "text"): [Text("a text")],
        ("list", "text"): [Text('[1, 2, "x"]')],
        ("html", "text"): contents["html", "text"],
    }
    assert [record.place for record in found["images", "image"]] == [0, 1]
    (table,) = found["table", "table"]
    assert table.blob is not None
    rows = json.loads(client.media.blob(run.id, table.blob.name))
    assert rows == {"columns": ["a", "b"], "data": [[1, "x"], [2.5, None]]}
    (picture,) = found["image", "image"]
    assert picture.blob is not None
    (there,) = world.log_of("whole").parent.glob("files/media/images/image_*")
    assert client.media.blob(run.id, picture.blob.name) == there.read_bytes()
    files = files_of(client, run, tmp_path)
    kept = [path for path in files if path.startswith("media/")]
    assert [Path(path).suffix for path in kept] == [".html"]  # the others are records
    assert left_out(report)["null in a history: no value"] == 1


def test_import__of_many_runs__has_the_points_and_ends_of_each_once(
    new_world: World, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    report = imported(server, "wandb", str(new_world.folder))
    assert (report["runs"], report["failures"]) == (4, [])
    runs = runs_of(client, "vision")
    assert {name: run.state for name, run in runs.items()} == {
        "first run": "succeeded",
        "failed": "failed",
        "many": "succeeded",
        "resumed": "succeeded",
    }
    assert runs["failed"].tags["wandb.exitCode"] == "3"
    noted = new_world.logged
    assert by_value(points_of(client, runs["many"])) == noted["many"]["points"]
    assert len(runs["many"].params["long"]) == 6_000  # the whole of it is in the run's file
    assert by_value(points_of(client, runs["resumed"])) == {"loss": [[0, "10.0"], [0, "11.0"]]}
    assert runs["resumed"].params == {"part0": "0", "part1": "1"}
    pictures = list(client.media.iterate(runs["resumed"].id, "picture"))
    assert len({record.blob for record in pictures}) == 2
    files = files_of(client, runs["resumed"], tmp_path)
    older = [path for path in files if path.startswith("offline-run-")]
    assert [Path(path).name for path in older if "/media/" in path] == []
    assert {Path(path).name for path in older} >= {"requirements.txt"}
    again = imported(server, "wandb", str(new_world.folder))
    assert (again["runs"], again["runs_known"], again["points"]) == (0, 4, 0)


@pytest.mark.parametrize("where", ["folder", "file"])
def test_import__of_one_run__is_that_run(
    new_world: World, server: LiveServer, client: Client, where: str
) -> None:
    log = new_world.log_of("failed")
    report = imported(server, "wandb", str(log.parent if where == "folder" else log))
    assert report["runs"] == 1
    assert set(runs_of(client, "vision")) == {"failed"}


def test_import__of_a_file_that_is_cut__has_what_is_whole_and_says_so(
    new_world: World, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    log = tmp_path / "wandb" / "run-many.wandb"
    shutil.copytree(new_world.log_of("many").parent, log.parent)
    content = log.read_bytes()
    log.write_bytes(content[: within_a_record(content, len(content) * 2 // 3)])
    an_hour_ago = time.time() - 3600
    os.utime(log, (an_hour_ago, an_hour_ago))
    report = imported(server, "wandb", str(tmp_path))
    said = left_out(report)
    assert any("ends within a record" in what for what in said)
    assert any("run without an end" in what for what in said)
    run = runs_of(client, "vision")["many"]
    assert run.state == "failed"
    noted = new_world.logged["many"]["points"]
    for key, found in by_value(points_of(client, run)).items():
        assert 0 < len(found) < len(noted[key])
        assert found == noted[key][: len(found)]


def test_import__of_a_file_that_is_damaged__has_what_is_around_it_and_fails(
    new_world: World, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    log = tmp_path / "wandb" / "run-many.wandb"
    shutil.copytree(new_world.log_of("many").parent, log.parent)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0x55
    log.write_bytes(content)
    report = imported(server, "wandb", str(tmp_path), code=1)
    assert all("some records are lost" in one["reason"] for one in report["failures"])
    run = runs_of(client, "vision")["many"]
    assert run.state == "succeeded"  # its end is behind the damage
    noted = new_world.logged["many"]["points"]
    for key, found in by_value(points_of(client, run)).items():
        assert len(noted[key]) - 300 < len(found) < len(noted[key])  # one block at most is lost
        assert {tuple(p) for p in found} < {tuple(p) for p in noted[key]}


def test_import__of_halves_of_surrogate_pairs__has_question_marks_for_them(
    server: LiveServer, client: Client, tmp_path: Path
) -> None:
    odd = {"odd": "a\ud800b", "nested": {"k\ud800": ["\udc00"]}}
    config = b"".join(field_bytes(1, item(*one)) for one in odd.items())
    write_run(tmp_path, "odd", [field_bytes(5, config), history_record(1, {**odd, "loss": 0.5})])
    write_run(tmp_path, "good", [history_record(1, {"loss": 0.5})])
    report = imported(server, "wandb", str(tmp_path))
    assert report["runs"] == 2
    found = runs_of(client, "made")
    assert found.keys() == {"odd", "good"}
    assert found["odd"].params["odd"] == "a?b"
    (key,) = [key for key in found["odd"].params if key.startswith("nested.")]
    assert (key, found["odd"].params[key]) == (near_key("nested.k?"), '["?"]')
    assert points_of(client, found["odd"])["loss"][0][:2] == (1, "0.5")


def test_import__of_a_run_that_goes_on__is_running_and_grows(
    new_world: World, server: LiveServer, client: Client, tmp_path: Path
) -> None:
    log = tmp_path / "wandb" / "run-many.wandb"
    shutil.copytree(new_world.log_of("many").parent, log.parent)
    content = log.read_bytes()
    log.write_bytes(content[: len(content) // 2])
    imported(server, "wandb", str(tmp_path))
    assert runs_of(client, "vision")["many"].state == "running"
    log.write_bytes(content)
    imported(server, "wandb", str(tmp_path))
    run = runs_of(client, "vision")["many"]
    assert run.state == "succeeded"
    assert by_value(points_of(client, run)) == new_world.logged["many"]["points"]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere", "no folder or file"),
        (".", "holds no run of wandb"),
        ("other.wandb", "does not begin as one"),
        ("empty.wandb", "0 bytes"),
        ("newer.wandb", "update Seafloor"),
        ("early.wandb", "cut off early"),
    ],
)
def test_import__from_what_is_none__is_one_line_with_the_fix(
    shared_server: LiveServer, tmp_path: Path, place: str, says: str
) -> None:
    (tmp_path / "below").mkdir()
    if place.endswith(".wandb"):
        content = {"o": b"no file of wandb", "n": b":W&B\xe1\xbe\x01", "e": b":W&B\xe1\xbe\x00"}
        (tmp_path / place).write_bytes(b"" if place == "empty.wandb" else content[place[0]])
    done = run_import(shared_server, "wandb", place, cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
