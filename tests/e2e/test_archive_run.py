"""Runs whose code is an archive, from the spec to the receipt."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services._service import Service

from archive_world import ArchiveServer, Served, make_archive, sha256_of
from client_process import Client
from live_server import LiveServer
from seafloor.launch.local.code_mounts import CodeMounts
from seafloor.stores.objects.open import open_objects

TRAIN = {
    "train.py": b"import os, pathlib\n"
    b"print('from', pathlib.Path(__file__).parent.name, os.listdir('.') and 'here')\n"
    b"print('code dir', os.environ['SEAFLOOR_CODE_DIR'] == os.getcwd())\n",
}


@pytest.fixture(scope="module")
def world(
    service: Callable[[str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("archives"), env=service("s3").env)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def web() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        yield server


class User:
    """Somebody with a spec."""

    def __init__(self, world: LiveServer, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.client = Client(folder / "home", world.url)

    def run(self, command: str, *words: str, **code: object) -> Any:
        spec = {"name": "archived", "command": command, "code": code}
        file = self.folder / "spec.yaml"
        file.write_text(json.dumps({"experiment": spec}))
        return self.client.cli("run", "-f", str(file), *words)

    def newest(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The newest run and its attempt."""
        run = self.world.get("/api/v1/runs?limit=1")["items"][0]
        return run, self.world.get(f"/api/v1/runs/{run['id']}/attempts")["items"][-1]


@pytest.fixture
def user(world: LiveServer, tmp_path: Path) -> User:
    return User(world, tmp_path)


async def test_run__archive_in_a_bucket__is_localised_with_a_receipt(
    user: User, service: Callable[[str], Service]
) -> None:
    content = make_archive("tar.gz", TRAIN)
    place = f"{service('s3').url}/{uuid.uuid4().hex}"
    store = open_objects(place, service("s3").env)
    await store.put("trainer.tar.gz", content)
    await store.close()

    ran = user.run("python trainer/train.py", sync_mode="s3", url=f"{place}/trainer.tar.gz")

    assert ran.returncode == 0, ran
    assert "from trainer here" in ran.stdout
    assert "code dir True" in ran.stdout
    run, attempt = user.newest()
    assert run["code"]["kind"] == "archive"
    assert run["code"]["size_bytes"] == len(content)
    receipt = attempt["receipts"]["trainer"]
    assert receipt["sha256"] == sha256_of(content)
    assert receipt["etag"] == run["code"]["etag"]
    assert receipt["localizer"]
    shown = user.client.cli("runs", "show", run["id"])
    assert f"sha256 {sha256_of(content)}" in shown.stdout
    assert "2 files" in shown.stdout


def test_run__archive_that_changes_after_submission__fails_with_both_values(
    user: User, web: ArchiveServer
) -> None:
    url = f"{web.url}/a.zip"
    served = web.files["/a.zip"] = Served(make_archive("zip", TRAIN))
    asked: list[None] = []

    def replaced_once_it_was_looked_at() -> None:
        asked.append(None)
        if len(asked) > 1:
            served.content, served.etag = make_archive("zip", {"x": b"y"}), '"second"'

    served.before = replaced_once_it_was_looked_at

    ran = user.run("true", sync_mode="http", url=url)

    assert ran.returncode not in {0, 70}, ran
    run, _ = user.newest()
    reason = run["ending"]["reason"]
    assert "has changed since the run was submitted" in reason
    assert '"first"' in reason
    assert '"second"' in reason
    assert url in reason
    said = user.client.cli("reproduce", run["id"])
    assert "has changed since, and no sha256 was given" in " ".join(said.stdout.split())


def test_rerun__archive__is_the_one_that_was_submitted(user: User, web: ArchiveServer) -> None:
    web.files["/c.zip"] = Served(make_archive("zip", TRAIN))
    assert user.run("ls c", sync_mode="http", url=f"{web.url}/c.zip").returncode == 0
    first, _ = user.newest()

    again = user.client.cli("rerun", first["id"])

    assert again.returncode == 0, again
    second, _ = user.newest()
    assert second["id"] != first["id"]
    assert second["code"] == first["code"]
    assert user.client.cli("reproduce", first["id"]).stdout.count("is unchanged") == 1


def test_run__archive_beside_the_spec__is_found_from_there(user: User) -> None:
    (user.folder / "mine.tar").write_bytes(make_archive("tar", TRAIN))

    ran = user.run("python mine/train.py", sync_mode="file", url="mine.tar")

    assert ran.returncode == 0, ran
    assert user.newest()[0]["code"]["url"] == (user.folder / "mine.tar").as_uri()


def test_retry__archive_that_changed_meanwhile__has_the_one_that_was_submitted(
    user: User, web: ArchiveServer
) -> None:
    web.files["/b.zip"] = Served(make_archive("zip", TRAIN))
    assert user.run("exit 3", sync_mode="http", url=f"{web.url}/b.zip").returncode == 3
    web.files["/b.zip"] = Served(make_archive("zip", {"x": b"y"}), etag='"second"')
    run, first = user.newest()

    again = user.client.cli("runs", "retry", run["id"], "--follow")

    assert again.returncode == 3
    _, second = user.newest()
    assert second["receipts"]["b"]["cached"]
    assert second["receipts"]["b"]["sha256"] == first["receipts"]["b"]["sha256"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ({"sync_mode": "http", "url": "{web}/missing.zip"}, ("There is nothing at", "404")),
        ({"sync_mode": "http", "url": "{web}/locked.zip"}, ("asks for a password", ".netrc")),
        ({"sync_mode": "http", "url": "http://127.0.0.1:9/a.zip"}, ("cannot be reached",)),
        ({"sync_mode": "http", "url": "{web}/a.zip?token=x"}, ("password or a signature",)),
        ({"sync_mode": "http", "url": "s3://bucket/a.zip"}, ("https:// or http://",)),
        ({"sync_mode": "http", "url": "{web}/a.zip", "sha256": "00"}, ("sha256",)),
        ({"sync_mode": "http", "url": "{web}/plain.zip"}, ("neither an ETag", "sha256")),
        ({"sync_mode": "s3", "url": "s3://no-such-bucket/a.zip"}, ("s3://no-such-bucket/a.zip",)),
        ({"sync_mode": "file", "url": "/no/such/file.zip"}, ("no file", "/no/such/file.zip")),
        ({"sync_mode": "file", "url": "/etc"}, ("is not a file", "sync_mode local")),
        ({"sync_mode": "http", "url": "{web}/"}, ("names no archive",)),
        ({"sync_mode": "http", "url": "{web}/.zip"}, ("no name for the folder", "`name`")),
    ],
)
def test_run__archive_that_cannot_be_had__is_refused_and_nothing_is_created(
    user: User, web: ArchiveServer, code: dict[str, str], words: tuple[str, ...]
) -> None:
    web.files["/locked.zip"] = Served(b"x", login="a:b")
    web.files["/plain.zip"] = Served(b"x", etag=None)
    before = user.world.get("/api/v1/runs?limit=1")["items"]

    said = user.run("true", **{**code, "url": code["url"].replace("{web}", web.url)})

    assert said.returncode not in {0, 1, 70}, said
    for word in words:
        assert word in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert user.world.get("/api/v1/runs?limit=1")["items"] == before


def test_plan__archive__says_where_it_would_be(user: User, web: ArchiveServer) -> None:
    web.files["/trainer-1.2.tar.gz"] = Served(make_archive("tar.gz", TRAIN))
    code = {
        "sync_mode": "http",
        "url": f"{web.url}/trainer-1.2.tar.gz",
        "name": "trainer",
    }
    file = user.folder / "spec.yaml"
    spec = {"name": "planned", "command": "python trainer/train.py", "code": code}
    file.write_text(json.dumps({"experiment": spec}))

    said = user.client.cli("plan", "-f", str(file))

    assert said.returncode == 0, said
    assert f"Unpack {web.url}/trainer-1.2.tar.gz" in said.stdout
    assert "/code/trainer" in said.stdout


def test_run__command_that_names_code__finds_it_there(user: User, web: ArchiveServer) -> None:
    if not CodeMounts(wanted=True).work():
        pytest.skip("this machine allows no mount namespaces; lifted where it does")
    web.files["/trainer.zip"] = Served(make_archive("zip", TRAIN))
    command = "python /code/trainer/train.py && ls /code /code/current"

    ran = user.run(command, sync_mode="http", url=f"{web.url}/trainer.zip")

    assert ran.returncode == 0, ran
    assert "from trainer here" in ran.stdout
    assert "train.py" in ran.stdout
    assert "warning" not in ran.stderr


def test_run__command_that_names_code_where_it_cannot_be__is_told_at_submission(
    tmp_path: Path, web: ArchiveServer
) -> None:
    web.files["/trainer.zip"] = Served(make_archive("zip", TRAIN))
    server = LiveServer(tmp_path / "data", env={"SEAFLOOR_LAUNCH__MOUNT_CODE": "false"})
    server.start()
    try:
        user = User(server, tmp_path)
        code = {"sync_mode": "http", "url": f"{web.url}/trainer.zip"}
        named = user.run("ls /code/trainer", **code)
        other = user.run('ls "$SEAFLOOR_CODE_DIR/trainer"', **code)
        events = server.get(f"/api/v1/runs/{user.newest()[0]['id']}/events")["items"]
    finally:
        server.stop()

    assert "warning: The command names /code" in named.stderr
    assert "$SEAFLOOR_CODE_DIR" in named.stderr
    assert named.returncode != 0
    assert other.returncode == 0
    assert "warning" not in other.stderr
    assert "names /code" not in events[0]["message"]


def test_run__code_of_the_image__is_warned_of_and_marked(user: User, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main.py").write_text("print('from the image')\n")

    ran = user.run("python main.py", sync_mode="image", path=str(tmp_path / "app"))

    assert ran.returncode == 0, ran
    assert "from the image" in ran.stdout
    assert "warning: The code is not localised" in ran.stderr
    assert "Better: sync_mode git" in ran.stderr
    run, attempt = user.newest()
    assert run["code"] == {"kind": "image", "path": str(tmp_path / "app")}
    assert attempt["receipts"] == {}
    first = user.world.get(f"/api/v1/runs/{run['id']}/events")["items"][0]["message"]
    assert "the code that is there already" in first
    assert "nobody can prove which" in first
    shown = user.client.cli("runs", "show", run["id"]).stdout
    assert f"in the image, at {tmp_path / 'app'}" in shown
    proof = user.client.cli("reproduce", run["id"])
    assert proof.returncode == 1
