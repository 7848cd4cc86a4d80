"""The whole example on real backends: two URLs are changed, and everything is there as before."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.databases import fresh_database
from tests.services._service import Service

from client_process import Client
from live_server import LiveServer
from seafloor.stores.objects.open import open_objects

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
EPOCHS = 10
METRICS = {
    "train/loss": 45 * EPOCHS,
    "tb/loss": 45 * EPOCHS,
    "tb/accuracy": EPOCHS,
    "val/loss": EPOCHS,
    "val/accuracy": EPOCHS,
    "epoch": EPOCHS,
}
"""How many points each has."""


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environments of this machine: the first test builds the one that all run in."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def data(environments: Path, tmp_path: Path) -> Path:
    """The folder of an installation on this machine."""
    folder = tmp_path / "data"
    (folder / "cache").mkdir(parents=True)
    (folder / "cache" / "environments").symlink_to(environments)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository of the example."""
    place = tmp_path / "repositories" / "digits"
    shutil.copytree(EXAMPLE, place)
    who = ("-c", "user.name=Seafloor", "-c", "user.email=tests@example.com")
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        (*who, "commit", "--quiet", "--message", "Train a classifier of handwritten digits"),
    ):
        subprocess.run(["git", "-C", str(place), *arguments], check=True)
    return place


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("database", "objects", "code"),
    [("postgresql", "s3", "git"), ("mariadb", "hdfs", "git"), ("sqlite", "azure", "archive")],
    ids=["postgresql-s3", "mariadb-hdfs", "sqlite-abfs"],
)
def test_digits__by_changing_two_urls__everything_is_there(
    database: str,
    objects: str,
    code: str,
    service: Callable[[str], Service],
    repository: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    store = service(objects)
    server = LiveServer(data, env=store.env)
    urls = ["--objects", f"{store.url.replace('az://', 'abfs://')}/{uuid.uuid4().hex}"]
    with ExitStack() as stack:
        if database != "sqlite":
            made = fresh_database(service(database), migrated=False)
            urls += ["--metadata", stack.enter_context(made)]
        stack.callback(server.stop)
        server.start(*urls)
        user = Client(tmp_path / "home", server.url)
        if code == "git":
            _run(user, repository, "--git", str(repository))
        else:
            _archive(repository, store)
            _run(user, repository)
        (run_id,) = [run["id"] for run in server.get("/api/v1/runs?state=succeeded")["items"]]
        first = _seen(server, run_id)
        # Nothing of it may lie in the process only.
        server.stop()
        server.start(*urls)
        assert _seen(server, run_id) == first


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_rerun__of_the_digits__same_metrics_bit_for_bit(
    repository: Path, data: Path, tmp_path: Path
) -> None:
    server = LiveServer(data)
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        user = Client(tmp_path / "home", server.url)
        _run(user, repository, "--git", str(repository))
        first = user.json("runs", "show", "@last")["run"]
        # What the names mean has changed since; a rerun does not ask what they mean now.
        (repository / "train.py").write_text("raise SystemExit('newer code')\n")
        who = ("-c", "user.name=Seafloor", "-c", "user.email=tests@example.com")
        newer = ["git", "-C", str(repository), *who, "commit", "--quiet", "-am", "Break it"]
        subprocess.run(newer, check=True)
        assert user.cli("env", "create", "digits", "--pip", "six==1.17.0").returncode == 0
        told = user.json("reproduce", "@last")["parts"]
        assert [part["exact"] for part in told] == ["yes", "yes", "yes", "unproven"]
        assert user.cli("rerun", "@last").returncode == 0
        again = user.json("runs", "show", "@last")["run"]
        assert again["id"] != first["id"]
        assert again["environment"] == first["environment"] == "digits@1"
        assert _values(server, again["id"]) == _values(server, first["id"])


def _archive(repository: Path, store: Service) -> None:
    """Put the example into the bucket, and write that into its spec."""
    archive = subprocess.run(
        ["git", "-C", str(repository), "archive", "--format=tar.gz", "HEAD"],
        check=True,
        capture_output=True,
    ).stdout
    name = f"{uuid.uuid4().hex}/digits.tar.gz"
    asyncio.run(_put(store, name, archive))
    url = f"{store.url.replace('az://', 'abfs://')}/{name}"
    spec = (repository / "seafloor.yaml").read_text()
    before, _, after = spec.partition("    sync_mode: git\n")
    rest = after.partition("  command:")[2]
    code = (
        f"    sync_mode: abfs\n    url: {url}\n    sha256: {hashlib.sha256(archive).hexdigest()}\n"
    )
    (repository / "seafloor.yaml").write_text(f"{before}{code}  command:{rest}")


async def _put(store: Service, name: str, content: bytes) -> None:
    objects = open_objects(store.url, store.env)
    await objects.put(name, content)
    await objects.close()


def _run(user: Client, repository: Path, *more: str) -> None:
    """Do as ``make demo`` does."""
    built = user.cli("env", "create", "digits", "-r", str(repository / "requirements.txt"))
    assert built.returncode == 0, built
    ran = user.cli("run", "-f", str(repository / "seafloor.yaml"), *more)
    assert ran.returncode == 0, ran
    assert f"epoch {EPOCHS}: train loss" in ran.stdout


def _values(server: LiveServer, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every metric; JSON gives each float64 exactly."""
    found: dict[str, list[tuple[int, float]]] = {}
    for key, count in METRICS.items():
        series = server.get(f"/api/v1/runs/{run_id}/metrics/series?key={key}")
        found[key] = [(step, value) for step, _, value in series["points"]]
        assert len(found[key]) == count
    return found


def _seen(server: LiveServer, run_id: str) -> dict[str, object]:
    """Look at every product of the run, and check that it is whole."""
    run = server.get(f"/api/v1/runs/{run_id}")
    metrics = server.get(f"/api/v1/runs/{run_id}/metrics")["items"]
    assert {key: metric["points"] for key, metric in metrics.items()} == METRICS
    assert metrics["val/accuracy"]["last"] > 0.9
    files = server.get(f"/api/v1/runs/{run_id}/artifacts?recursive=true&limit=1000")["items"]
    assert {"report.json", "weights.npz", "plots/confusion.png"} <= {one["path"] for one in files}
    for file in files:
        status, content = server.request("GET", f"/api/v1/runs/{run_id}/artifacts/{file['path']}")
        assert status == 200
        if isinstance(content, bytes):  # JSON comes decoded
            assert hashlib.sha256(content).hexdigest() == file["sha256"], file
    lines = [line["text"] for line in server.log_lines(run_id)]
    epochs = [line.split(":")[0] for line in lines if ": train loss" in line]
    assert epochs == [f"epoch {number:2}" for number in range(1, EPOCHS + 1)]
    return {
        "run": {key: value for key, value in run.items() if key != "url"},
        "metrics": metrics,
        "files": files,
        "lines": lines,
        "events": server.get(f"/api/v1/runs/{run_id}/event-files")["items"],
    }
