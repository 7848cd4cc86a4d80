"""``seafloor copy``: the copy of an installation is the installation."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.databases import fresh_database
from tests.services._service import Service

from client_process import Client
from installation_world import build, differences, put, seen
from live_server import LiveServer
from seafloor.testing.event_records import scalar_file
from seafloor.testing.log_spools import numbered

MakeServer = Callable[..., LiveServer]
GetService = Callable[[str], Service]


@pytest.fixture
def user(tmp_path: Path) -> Client:
    return Client(tmp_path / "home")


def content_of(folder: Path) -> dict[str, str]:
    """Every file below a folder, by its digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


@contextmanager
def target_of(kind: str, service: GetService) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The options that name a kind of target, and the variables that its clients need."""
    if kind == "local":
        yield [], {}
        return
    metadata, objects = kind.split("+")
    store = service(objects)
    with fresh_database(service(metadata), migrated=False) as url:
        place = f"{store.url}/{uuid.uuid4().hex}"
        yield ["--metadata", url, "--objects", place], store.env


@pytest.mark.parametrize(
    "kind", ["local", pytest.param("postgresql+s3", marks=pytest.mark.slow), "mariadb+azure"]
)
def test_copy__of_an_installation__shows_the_same_to_everyone(
    kind: str, make_server: MakeServer, service: GetService, user: Client, tmp_path: Path
) -> None:
    source = make_server("source")
    build(source, tmp_path)
    before = seen(source)
    source.stop()
    # What a pod's containers printed before the command, as a cluster's launcher keeps it.
    prepared = next((source.data / "spool" / "logs").glob("*/1/main.log"))
    prepared.with_name("main@git-localize.log").write_bytes(numbered(3))
    untouched = content_of(source.data)
    with target_of(kind, service) as (options, env):
        command = ["copy", "--from", str(source.data), "--to", str(tmp_path / "target"), *options]
        done = user.cli(*command, **env)
        assert done.returncode == 0, done
        assert "digests agree" in done.stdout
        assert content_of(source.data) == untouched

        # The URLs are in its settings now.
        target = make_server("target", **env)
        assert differences(seen(target), before) == []
        run = prepared.parts[-3]
        assert len(target.log_lines(run, attempt=1, setup="git-localize")) == 3
        settings = tmp_path / "target" / "seafloor.toml"
        if options:
            stores = tomllib.loads(settings.read_text())["stores"]
            assert stores == {"metadata": options[1], "objects": options[3]}
            assert stat.S_IMODE(settings.stat().st_mode) == 0o600
        assert_lives(target)
        target.stop()

        # And back.
        again = user.cli("copy", "--from", str(target.data), "--to", str(tmp_path / "back"), **env)
        assert again.returncode == 0, again
    back = make_server("back")
    found = seen(back)
    for run_id, run in before["runs"].items():
        assert differences(found["runs"][run_id], run) == []


def assert_lives(server: LiveServer) -> None:
    """New things get ids of their own, and old runs take more."""
    made = server.post("/api/v1/experiments", {"name": "made after the copy"})
    known = [one["id"] for one in server.get("/api/v1/experiments?deleted=all")["items"]]
    assert len(known) == len(set(known))
    assert made["id"] == max(known)
    run = server.post("/api/v1/runs", {"experiment": "made after the copy", "name": "new"})
    points = [["loss", 0.5, 1, 1_700_000_000_000]]
    server.post(f"/api/v1/runs/{run['id']}/metrics", {"points": points})
    put(server, run["id"], "new.bin", b"new")
    launched = server.launch("echo still works")
    server.wait_state(launched["id"], "succeeded")
    assert server.log_lines(launched["id"], stream="out")[0]["text"] == "still works"


def small(server: LiveServer) -> str:
    """An installation of one run."""
    run = server.post("/api/v1/runs", {"experiment": "small", "name": "one"})
    put(server, run["id"], "file.bin", b"content")
    return run["id"]


def copied(user: Client, source: Path, target: Path, *more: str, code: int = 0) -> Any:
    """Copy; give what is said."""
    done = user.cli("--json", "copy", "--from", str(source), "--to", str(target), *more)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_copy__with_settings_at_the_target__keeps_them(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    small(server)
    server.stop()
    target = tmp_path / "target"
    target.mkdir()
    toml = target / "seafloor.toml"
    toml.write_text(
        '# mine\n[server]\nlog_level = "debug"\n\n[stores]\nmetadata = "sqlite:////x"\n'
    )
    objects = (tmp_path / "elsewhere").as_uri()
    database = f"sqlite:///{tmp_path}/elsewhere.db"
    result = copied(user, server.data, target, "--metadata", database, "--objects", objects)
    assert (result["files"], result["runs"], result["damaged"]) == (1, 1, [])
    assert toml.read_text().startswith("# mine\n")
    assert tomllib.loads(toml.read_text()) == {
        "server": {"log_level": "debug"},
        "stores": {"metadata": database, "objects": objects},
    }


def test_copy__while_a_server_has_the_source__is_refused(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    small(server)
    said = copied(user, server.data, tmp_path / "target", code=4)
    assert "seafloor down" in said
    assert server.get("/health")


def test_copy__with_a_run_under_way__is_refused_with_its_name(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    run = server.launch("sleep 100", run_name="long one")
    server.wait_state(run["id"], "running")
    server.stop()
    said = copied(user, server.data, tmp_path / "target", code=4)
    assert "long one" in said
    assert not (tmp_path / "target" / "objects" / "seafloor-copy.json").exists()
    server.start()


def test_copy__to_another_installation__is_refused_and_changes_nothing(
    make_server: MakeServer, user: Client, tmp_path: Path
) -> None:
    source, other = make_server("source"), make_server("other")
    small(source)
    small(other)
    source.stop()
    other.stop()
    untouched = content_of(other.data)
    assert "give another folder" in copied(user, source.data, other.data, code=4)
    objects = (other.data / "objects").as_uri()
    said = copied(user, source.data, tmp_path / "target", "--objects", objects, code=4)
    assert "another installation" in said
    database = f"sqlite:///{other.data}/seafloor.db"
    said = copied(user, source.data, tmp_path / "third", "--metadata", database, code=4)
    assert "not empty" in said
    assert content_of(other.data) == untouched
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "photo.jpg").write_bytes(b"mine")
    said = copied(user, source.data, tmp_path / "fourth", "--objects", odd.as_uri(), code=4)
    assert "photo.jpg" in said


def test_copy__of_what_is_none__is_refused(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    small(server)
    server.stop()
    assert "no server" in copied(user, tmp_path / "nothing", tmp_path / "target", code=2)
    assert "one folder" in copied(user, server.data, server.data, code=2)
    copied(user, server.data, tmp_path / "target")
    said = copied(user, server.data, tmp_path / "target", code=4)
    assert "holds this installation already" in said


def test_copy__to_what_cannot_be__is_one_line_that_names_it(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    small(server)
    server.stop()
    target = tmp_path / "target"
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    assert "not UTF-8" in copied(user, server.data, odd, code=2)
    for option, known in (("--metadata", "postgresql"), ("--objects", "s3")):
        said = copied(user, server.data, target, option, "foo://x", code=2)
        assert (said.count("foo://"), said.count(known)) == (1, 1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}"
        url = f"postgresql://user:secret@{place}/db"
        said = copied(user, server.data, target, "--metadata", url, code=5)
    assert "target" in said
    assert place in said
    assert "secret" not in said


def test_copy__unfinished__no_server_starts_on_it(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    run_id = small(server)
    server.stop()
    file = server.data / "objects" / "runs" / run_id / "artifacts" / "file.bin"
    file.write_bytes(b"damaged")
    said = copied(user, server.data, tmp_path / "target", code=8)
    assert "file.bin" in said
    assert "--skip-damaged" in said
    starting = user.cli("up", "--data", str(tmp_path / "target"), "--port", "0", "--detach")
    assert starting.returncode == 4
    assert "seafloor copy" in starting.stderr

    file.write_bytes(b"content")
    assert copied(user, server.data, tmp_path / "target")["damaged"] == []
    target = LiveServer(tmp_path / "target").start()
    try:
        assert target.request("GET", f"/api/v1/runs/{run_id}/artifacts/file.bin")[1] == b"content"
    finally:
        target.stop()


def test_copy__of_a_damaged_file__can_be_ended_without_it(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    run_id = small(server)
    put(server, run_id, "good.bin", b"good")
    server.stop()
    (server.data / "objects" / "runs" / run_id / "artifacts" / "file.bin").unlink()
    result = copied(user, server.data, tmp_path / "target", "--skip-damaged")
    assert len(result["damaged"]) == 1
    target = LiveServer(tmp_path / "target").start()
    try:
        files = target.get(f"/api/v1/runs/{run_id}/artifacts?recursive=true")["items"]
        assert [file["path"] for file in files] == ["good.bin"]
    finally:
        target.stop()


def with_event_file(server: LiveServer, folder: Path) -> tuple[str, Path]:
    """A launched run with an event file of 49 scalars; its id, and its object's file."""
    events = folder / "events.out.tfevents.1"
    events.write_bytes(scalar_file(49))
    run = server.launch(["sh", "-c", f'echo said; cp "{events}" "$SEAFLOOR_EVENTS_DIR"/'])
    server.wait_state(run["id"], "succeeded")
    server.stop()
    return run["id"], server.data / "objects" / "runs" / run["id"] / "events" / "1" / events.name


def event_bytes(data: Path, run_id: str) -> list[bytes]:
    """The event files of a run, as a server on a data folder gives them."""
    server = LiveServer(data).start()
    try:
        path = f"/api/v1/runs/{run_id}/event-files"
        files = server.get(path)["items"]
        return [server.request("GET", f"{path}/1/{file['path']}")[1] for file in files]
    finally:
        server.stop()


def test_copy__of_event_files_of_a_tracked_run__they_are_finished_as_its_client_ended_it(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    ended, going_on = small(server), small(server)
    content = scalar_file(49)
    for run_id in (ended, going_on):
        path = f"/api/v1/runs/{run_id}/attempts/0/event-files?path=events.out.tfevents.1&offset=0"
        assert server.request("POST", path, content)[0] == 200
    server.request("PATCH", f"/api/v1/runs/{ended}", {"state": "succeeded"})
    server.stop()
    copied(user, server.data, tmp_path / "target")
    for run_id, is_finished in ((ended, True), (going_on, False)):
        for data in (server.data, tmp_path / "target"):
            below = data / "objects" / "runs" / run_id / "events" / "0"
            found = [file.read_bytes() for file in below.glob("*")]
            assert found == ([content] if is_finished else [])


@pytest.mark.parametrize("left_bytes", [1_000, None])
def test_copy__of_a_damaged_event_file__tells_it_and_can_be_ended_without_the_rest(
    server: LiveServer, user: Client, tmp_path: Path, left_bytes: int | None
) -> None:
    run_id, file = with_event_file(server, tmp_path)
    content = file.read_bytes()
    if left_bytes is None:
        file.unlink()
    else:
        file.write_bytes(content[:left_bytes])
    said = copied(user, server.data, tmp_path / "target", code=8)
    assert file.name in said
    assert run_id in said
    assert "--skip-damaged" in said
    result = copied(user, server.data, tmp_path / "target", "--skip-damaged")
    (told,) = result["damaged"]
    assert file.name in told
    left = [] if left_bytes is None else [content[:left_bytes]]
    assert event_bytes(tmp_path / "target", run_id) == left


@pytest.mark.parametrize("left_bytes", [1_000, None])
def test_copy__of_a_damaged_event_file_that_is_brought_back__is_whole(
    server: LiveServer, user: Client, tmp_path: Path, left_bytes: int | None
) -> None:
    run_id, file = with_event_file(server, tmp_path)
    content = file.read_bytes()
    if left_bytes is None:
        file.unlink()
    else:
        file.write_bytes(content[:left_bytes])
    copied(user, server.data, tmp_path / "target", code=8)
    file.write_bytes(content)
    assert copied(user, server.data, tmp_path / "target")["damaged"] == []
    assert event_bytes(tmp_path / "target", run_id) == [content]


def test_copy__of_an_event_file_that_is_lost_between_two_goes__tells_it(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    tracked = server.post("/api/v1/runs", {"experiment": "small", "name": "one"})["id"]
    put(server, tracked, "file.bin", b"content")
    run_id, file = with_event_file(server, tmp_path)
    artifact = server.data / "objects" / "runs" / tracked / "artifacts" / "file.bin"
    content = file.read_bytes()
    log = next((server.data / "spool" / "logs").glob(f"{run_id}/1/main.log"))
    kept = log.read_bytes()
    log.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))  # so that the run is looked at again
    copied(user, server.data, tmp_path / "target", code=8)
    log.write_bytes(kept)
    artifact.unlink()
    file.unlink()
    said = copied(user, server.data, tmp_path / "target", code=8)
    assert file.name in said
    file.write_bytes(content)
    artifact.write_bytes(b"content")
    assert copied(user, server.data, tmp_path / "target")["damaged"] == []
    assert event_bytes(tmp_path / "target", run_id) == [content]


def test_copy__of_a_source_that_changed_meanwhile__is_refused(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    run_id = small(server)
    server.stop()
    file = server.data / "objects" / "runs" / run_id / "artifacts" / "file.bin"
    file.rename(file.with_name("aside"))
    copied(user, server.data, tmp_path / "target", code=8)
    file.with_name("aside").rename(file)
    server.start()
    server.post("/api/v1/runs", {"experiment": "small", "name": "another"})
    server.stop()
    assert "has changed" in copied(user, server.data, tmp_path / "target", code=4)


def test_copy__with_variables_of_a_server__takes_the_urls_of_the_folders(
    server: LiveServer, user: Client, tmp_path: Path
) -> None:
    small(server)
    server.stop()
    done = user.cli(
        *("copy", "--from", str(server.data), "--to", str(tmp_path / "target")),
        SEAFLOOR_STORES__METADATA=f"sqlite:///{tmp_path}/never.db",
    )
    assert done.returncode == 0, done
    assert (tmp_path / "target" / "seafloor.db").exists()
    assert not (tmp_path / "never.db").exists()
    assert (tmp_path / "target" / "objects" / "seafloor.json").exists()
