"""A disk that fills up: what was acknowledged stays, what is refused says why, runs go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client_process import Client
from live_server import LiveServer, wait_for
from seafloor.testing.small_disk import SmallDisk, small_disk
from untouched import assert_no_traceback

_FULL = (503, 507)
# Prints a line every 20 ms until it may end.
_TICKS = (
    "i=0; while [ ! -e {gate} ]; do i=$((i+1)); echo line $i; sleep 0.02; done; "
    "echo $i > {count}; echo last line"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_bytes=48 << 20) as found:
        yield found


@pytest.fixture
def full_server(disk: SmallDisk, make_server: Callable[..., LiveServer]) -> Iterator[LiveServer]:
    """A server whose data folder is on the small disk; it has ended before that is unmounted."""
    yield make_server("disk/data")
    disk.free()


def _points(first: int, count: int) -> dict[str, Any]:
    return {"points": [["loss", float(step), step, step] for step in range(first, first + count)]}


def _refused(server: LiveServer, method: str, path: str, body: Any) -> dict[str, Any]:
    status, answer = server.request(method, path, body)
    assert status in _FULL, (path, status, answer)
    assert "space" in answer["message"], answer
    return answer


def test_disk_full__while_a_run_goes_on__refused_with_reason_and_nothing_acknowledged_lost(
    full_server: LiveServer, disk: SmallDisk, tmp_path: Path
) -> None:
    gate, count = tmp_path / "gate", tmp_path / "count"
    run = full_server.launch(_TICKS.format(gate=gate, count=count))
    path = f"/api/v1/runs/{run['id']}"
    full_server.wait_state(run["id"], "running")
    wait_for(lambda: len(full_server.log_lines(run["id"])) > 5, what="lines")
    full_server.post(f"{path}/metrics", _points(0, 100))
    status, _ = full_server.request("PUT", f"{path}/artifacts/model.bin", b"m" * 100_000)
    assert status in (200, 201)

    disk.fill()
    acknowledged, refused = 100, False
    while not refused:  # what the journal already holds on disk is still filled
        status, answer = full_server.request("POST", f"{path}/metrics", _points(acknowledged, 1000))
        if status in (200, 201):
            acknowledged += 1000
        else:
            assert status in _FULL, answer
            assert "space" in answer["message"], answer
            refused = True
    _refused(full_server, "PUT", f"{path}/artifacts/large.bin", b"l" * (4 << 20))
    _refused(full_server, "PUT", f"/api/v1/snapshots/{'0' * 64}", b"s" * (1 << 20))
    _refused(full_server, "POST", "/api/v1/runs", {"spec": {"name": "x" * 200, "command": "true"}})
    assert full_server.get(path)["state"] == "running"
    assert full_server.get(f"{path}/metrics")["items"]["loss"]["points"] >= acknowledged
    assert full_server.log_lines(run["id"])

    disk.free()
    full_server.post(f"{path}/metrics", _points(acknowledged, 10))
    gate.touch()
    ended = full_server.wait_state(run["id"], "succeeded", "failed", "lost", timeout_s=120)
    assert ended["state"] == "succeeded", ended
    summary = full_server.get(f"{path}/metrics")["items"]["loss"]
    assert summary["points"] >= acknowledged + 10
    names = [file["path"] for file in full_server.get(f"{path}/artifacts")["items"]]
    assert names == ["model.bin"]
    lines = full_server.log_lines(run["id"], stream="out")
    printed = [line["text"] for line in lines]
    assert printed[-1] == "last line"
    missing = full_server.get(f"{path}/logs?limit=1")["lines_missing"]
    assert len(printed) + missing == int(count.read_text()) + 1
    assert_no_traceback(full_server)


def test_disk_full__server_starts__says_so_and_leaves_nothing(
    disk: SmallDisk, tmp_path: Path
) -> None:
    disk.fill()
    client = Client(tmp_path / "home")
    for detach in ((), ("--detach",)):
        done = client.cli("up", *detach, "--data", str(disk.path / "data"), "--port", "0")
        assert done.returncode in (2, 8), done
        (line,) = done.stderr.splitlines()
        assert "space" in line.lower(), line
    disk.free()


def test_disk_full__server_is_killed_and_starts_again__all_acknowledged_is_there(
    full_server: LiveServer, disk: SmallDisk
) -> None:
    run = full_server.post("/api/v1/runs", {"experiment": "kept"})
    path = f"/api/v1/runs/{run['id']}"
    full_server.post(f"{path}/metrics", _points(0, 500))
    disk.fill()
    full_server.kill()
    disk.free()
    full_server.start()
    assert full_server.get(f"{path}/metrics")["items"]["loss"]["points"] == 500


def test_disk_full__seafloor_run__one_line_and_exit_code(
    full_server: LiveServer, disk: SmallDisk, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "data.bin").write_bytes(bytes(range(256)) * 8000)
    disk.fill()
    client = Client(tmp_path / "home", full_server.url)
    done = client.cli("run", "--", "true", cwd=folder)
    assert done.returncode in (5, 8), done
    assert "space" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    disk.free()
    found = full_server.get("/api/v1/runs?limit=10")["items"]
    assert found == [], json.dumps(found)
    assert_no_traceback(full_server, done.stderr)
