"""``/api/v1/volumes``, with runs that have them."""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from http_world import Answer, check_envelope
from live_server import LiveServer, wait_for

Call = Callable[..., Answer]
NUMBERS = itertools.count()
PATH = "/tmp/seafloor-volume-of-the-tests"
"""Where a run sees one. Not at the top: there root would make it for real."""


@pytest.fixture
def volume(call: Call) -> str:
    """A volume of its own."""
    name = f"v-{next(NUMBERS)}"
    assert call("POST", "/api/v1/volumes", {"name": name}).status == 201
    return name


def launch(call: Call, command: str, volume: str, **more: Any) -> Answer:
    """Submit a run with a volume."""
    attached = {"volume": volume, "path": PATH, **more}
    spec = {"name": "volumes", "command": command, "volumes": [attached]}
    return call("POST", "/api/v1/runs", {"spec": spec})


def ended(call: Call, run_id: str) -> Any:
    """Wait for the end of a run."""
    path = f"/api/v1/runs/{run_id}"
    finals = ("succeeded", "failed", "stopped", "lost")
    return wait_for(
        lambda: found if (found := call("GET", path).json)["state"] in finals else None,
        timeout_s=120,
        what="its end",
    )


def idle(call: Call, volume: str) -> Any:
    """Wait until nothing is under way."""
    path = f"/api/v1/volumes/{volume}"
    return wait_for(
        lambda: None if (found := call("GET", path).json)["under_way"] else found,
        timeout_s=60,
        what="the end of what is under way",
    )


def begin(call: Call, volume: str, what: str, body: Any = None) -> None:
    """Begin something with it; a server that has only just started asks to have it repeated."""

    def look() -> Answer | None:
        answer = call("POST", f"/api/v1/volumes/{volume}/{what}", body)
        return None if answer.status == 503 else answer

    begun = wait_for(look, what=f"{what} to be taken")
    assert begun.status == 202, begun


def snapshotted(call: Call, volume: str) -> Any:
    """Make a snapshot."""
    begin(call, volume, "snapshots")
    assert idle(call, volume)["problem"] == ""
    return call("GET", f"/api/v1/volumes/{volume}/snapshots").json["items"][-1]


def test_volume__created__is_an_empty_folder_that_nobody_has(call: Call, volume: str) -> None:
    found = call("GET", f"/api/v1/volumes/{volume}").json
    assert (found["access_mode"], found["size_bytes"], found["holders"]) == ("RWO", None, [])
    assert list(Path(found["path"]).iterdir()) == []
    usage = call("GET", f"/api/v1/volumes/{volume}/usage").json
    assert usage == {"files": 0, "content_bytes": 0, "disk_bytes": 0}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"name": "Team Data"}, "invalid_value", "name"),
        ({"name": "a.b"}, "invalid_value", "name"),
        ({"name": "x" * 64}, "limit_exceeded", "name"),
        ({"name": "x", "size": "20GB"}, "invalid_value", "size"),
        ({"name": "x", "size": "2000000Ti"}, "limit_exceeded", "size"),
        ({"name": "x", "storage_class": "Fast!"}, "invalid_value", "storage_class"),
        ({"name": "x", "project": "nowhere"}, "not_found", "project"),
    ],
)
def test_volume__that_cannot_be__is_refused_by_its_field(
    call: Call, body: dict[str, Any], code: str, field: str
) -> None:
    answer = call("POST", "/api/v1/volumes", body)
    assert answer.json["code"] == code, answer
    assert answer.json["field"] == field


def test_resize__of_a_folder__is_another_note(call: Call, volume: str) -> None:
    path = f"/api/v1/volumes/{volume}/resize"
    for size, noted in (("2Gi", 2 << 30), (1024, 1024), ("2Gi", 2 << 30)):
        answer = call("POST", path, {"size": size})
        assert (answer.status, answer.json["size_bytes"]) == (200, noted)
    assert call("GET", f"/api/v1/volumes/{volume}").json["size_bytes"] == 2 << 30
    for wrong, code in (("much", "invalid_value"), ("2000000Ti", "limit_exceeded")):
        answer = call("POST", path, {"size": wrong})
        assert (answer.json["code"], answer.json["field"]) == (code, "size")
    check_envelope(
        call("POST", "/api/v1/volumes/no-such/resize", {"size": "1Gi"}),
        code="not_found",
        status=404,
    )


def test_volume__twice__is_refused(call: Call, volume: str) -> None:
    answer = call("POST", "/api/v1/volumes", {"name": volume})
    check_envelope(answer, code="already_exists", status=409)


def test_list__in_pages__has_each_once(call: Call) -> None:
    project = f"pages-{next(NUMBERS)}"
    call("POST", "/api/v1/projects", {"name": project})
    for name in ("c", "a", "b"):
        call("POST", "/api/v1/volumes", {"name": name, "project": project})
    names: list[str] = []
    path = f"/api/v1/volumes?project={project}&limit=2"
    page = call("GET", path).json
    names += [one["name"] for one in page["items"]]
    assert len(names) == 2
    page = call("GET", f"{path}&cursor={page['next']}").json
    assert [*names, *(one["name"] for one in page["items"])] == ["a", "b", "c"]
    assert page["next"] is None
    check_envelope(call("GET", f"{path}&cursor=x"), code="invalid_value", status=400)


def test_run__with_a_volume__writes_to_it_and_the_next_reads_it(call: Call, volume: str) -> None:
    said = 'echo kept > "$SEAFLOOR_VOLUME_{}/file"'.format(volume.upper().replace("-", "_"))
    first = launch(call, said, volume)
    assert first.status == 201, first
    assert ended(call, first.json["id"])["state"] == "succeeded"
    path = Path(call("GET", f"/api/v1/volumes/{volume}").json["path"])
    assert (path / "file").read_text() == "kept\n"
    second = launch(call, said.replace("echo kept >", "grep kept"), volume, read_only=True)
    assert ended(call, second.json["id"])["state"] == "succeeded"


def test_run__volume_that_is_not_there__is_refused_with_what_to_do(call: Call) -> None:
    answer = launch(call, "true", "no-such-volume")
    error = check_envelope(answer, code="not_found", status=404)
    assert "seafloor volume create no-such-volume" in error["message"]


@pytest.mark.parametrize("path", ["data", "/etc/data", "/code", "/", "/a/../b", "/usr"])
def test_run__path_that_is_the_systems__is_refused(call: Call, volume: str, path: str) -> None:
    error = check_envelope(
        launch(call, "true", volume, path=path), code="invalid_value", status=400
    )
    assert error["field"] == "volumes[0].path"


def test_plan__volume_cannot_be_at_its_path__warns_as_the_submission_does(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "data", env={"SEAFLOOR_LAUNCH__MOUNT_CODE": "false"}).start()
    try:
        server.post("/api/v1/volumes", {"name": "aside"})
        attached = {"volume": "aside", "path": PATH}
        spec = {"name": "volumes", "command": "true", "volumes": [attached]}
        planned = server.post("/api/v1/plans", {"spec": spec})
        submitted = server.post("/api/v1/runs", {"spec": spec})
    finally:
        server.stop()
    assert planned["warnings"] == submitted["warnings"]
    assert "launch.mount_code is off" in planned["warnings"][0]


def test_run__second_writer__is_refused_with_the_holder(call: Call, volume: str) -> None:
    first = launch(call, "sleep 600", volume).json
    error = check_envelope(launch(call, "true", volume), code="conflict", status=409)
    assert first["id"] in error["message"]
    assert first["name"] in error["message"]
    for method, path, body in (
        ("POST", f"/api/v1/volumes/{volume}/snapshots", None),
        ("DELETE", f"/api/v1/volumes/{volume}", None),
    ):
        refused = check_envelope(call(method, path, body), code="conflict", status=409)
        assert first["id"] in refused["message"]
    (holder,) = call("GET", f"/api/v1/volumes/{volume}").json["holders"]
    assert (holder["workload_id"], holder["read_only"]) == (first["id"], False)
    call("POST", f"/api/v1/runs/{first['id']}/stop")
    ended(call, first["id"])
    again = launch(call, "true", volume)
    assert again.status == 201
    assert ended(call, again.json["id"])["state"] == "succeeded"


def test_run__many_at_once__one_has_it_and_the_others_are_told_which(
    call: Call, volume: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: launch(call, "sleep 600", volume), range(8)))
    (winner,) = [one.json["id"] for one in answers if one.status == 201]
    for answer in answers:
        if answer.status != 201:
            assert winner in check_envelope(answer, code="conflict", status=409)["message"]
    call("POST", f"/api/v1/runs/{winner}/stop")
    ended(call, winner)


def test_restore__after_changes__is_as_it_was(call: Call, volume: str) -> None:
    path = Path(call("GET", f"/api/v1/volumes/{volume}").json["path"])
    (path / "inner").mkdir(mode=0o750)
    (path / "inner/tool").write_bytes(os.urandom(3_000_000))
    (path / "inner/tool").chmod(0o640)
    (path / "link").symlink_to("inner/tool")
    content = (path / "inner/tool").read_bytes()
    made = snapshotted(call, volume)
    assert (made["number"], made["files"], made["content_bytes"]) == (1, 2, 3_000_000)
    (path / "inner/tool").write_bytes(b"other")
    (path / "later").touch()

    begin(call, volume, "restore", {"snapshot": 1})

    found = idle(call, volume)
    assert found["problem"] == ""
    now = Path(found["path"])
    assert {one.name for one in now.iterdir()} == {"inner", "link"}
    assert (now / "link").read_bytes() == content
    assert (now / "link").is_symlink()
    assert stat.S_IMODE((now / "inner/tool").stat().st_mode) == 0o640
    assert stat.S_IMODE((now / "inner").stat().st_mode) == 0o750
    wait_for(lambda: not path.exists(), what="the old content to go")
    missing = call("POST", f"/api/v1/volumes/{volume}/restore", {"snapshot": 2})
    check_envelope(missing, code="not_found", status=404)


def test_restore__altered_object__is_refused_and_the_volume_as_it_was(
    call: Call, volume: str
) -> None:
    found = call("GET", f"/api/v1/volumes/{volume}").json
    path = Path(found["path"])
    (path / "file").write_text("kept")
    snapshotted(call, volume)
    kept = path.parents[2] / "objects/volumes" / found["id"] / "snapshots/1"
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    (path / "file").write_text("newer")

    begin(call, volume, "restore", {"snapshot": 1})

    after = idle(call, volume)
    assert "altered" in after["problem"]
    assert after["path"] == str(path)
    assert (path / "file").read_text() == "newer"
    wait_for(lambda: len(list(path.parent.iterdir())) == 1, what="the half to go")


def test_remove__with_snapshots__leaves_nothing(call: Call, volume: str) -> None:
    found = call("GET", f"/api/v1/volumes/{volume}").json
    path = Path(found["path"])
    (path / "locked").mkdir()
    (path / "locked/file").touch()
    (path / "locked").chmod(0o500)
    snapshotted(call, volume)
    error = check_envelope(call("DELETE", f"/api/v1/volumes/{volume}"), code="conflict", status=409)
    assert "--with-snapshots" in error["message"]
    answer = call("DELETE", f"/api/v1/volumes/{volume}?with_snapshots=true")
    assert answer.status == 200, answer
    assert json.loads(answer.body) == {"name": volume}
    assert not path.parent.exists()
    assert not (path.parents[2] / "objects/volumes" / found["id"]).exists()
    check_envelope(call("GET", f"/api/v1/volumes/{volume}"), code="not_found", status=404)
