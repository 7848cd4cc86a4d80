"""Servers killed while volumes are attached, kept and restored: what they hold is old or new."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live_server import LiveServer, wait_for

FILES = 400
KILLS = int(os.environ.get("SEAFLOOR_VOLUME_KILLS", "2"))
"""How often each is killed."""

VOLUME = "/api/v1/volumes/data"


@pytest.fixture
def seed() -> int:
    """Of everything that a test draws; give it back in VOLUMES_SEED to repeat one."""
    found = int(os.environ.get("VOLUMES_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"VOLUMES_SEED={found}")
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server of its own with one volume."""
    made = LiveServer(tmp_path / "data").start()
    assert made.request("POST", "/api/v1/volumes", {"name": "data"})[0] == 201
    yield made
    made.stop()


def volume(server: LiveServer) -> Any:
    """What the server says of it."""
    return server.request("GET", VOLUME)[1]


def fill(folder: Path, drawn: random.Random) -> str:
    """Give a folder another content; return its digest."""
    for number in range(FILES):
        path = folder / f"inner-{number % 7}" / str(number)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(drawn.randbytes(drawn.randrange(60_000)))
    return digest(folder)


def digest(folder: Path) -> str:
    """What a folder amounts to."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        whole.update(f"{path.relative_to(folder)}\n".encode())
        if path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()


def begin(server: LiveServer, what: str, body: Any = None) -> None:
    """Begin something with it; a server that has only just started asks to have it repeated."""

    def look() -> tuple[int, Any] | None:
        answer = server.request("POST", f"{VOLUME}/{what}", body)
        return None if answer[0] == 503 else answer

    status, said = wait_for(look, what=f"{what} to be taken")
    assert status == 202, said


def idle(server: LiveServer) -> Any:
    """Wait until nothing is under way."""
    return wait_for(
        lambda: None if (seen := volume(server))["under_way"] else seen,
        timeout_s=120,
        what="the end of what is under way",
    )


def test_kill__while_a_run_has_it__holder_stays_until_the_run_ends(server: LiveServer) -> None:
    attached = [{"volume": "data", "path": "/tmp/seafloor-volume-of-a-test"}]
    spec = {"name": "holding", "command": "sleep 600", "volumes": attached}
    run = server.request("POST", "/api/v1/runs", {"spec": spec})[1]["id"]
    path = f"/api/v1/runs/{run}"
    for state in (("queued", "preparing", "running"), ("running",)):
        wait_for(
            lambda state=state: server.request("GET", path)[1]["state"] in state, what="its state"
        )
        server.kill()
        server.start()
        status, refused = server.request("POST", "/api/v1/runs", {"spec": spec})
        assert (status, run in refused["message"]) == (409, True)
    server.request("POST", f"{path}/stop")
    wait_for(lambda: not volume(server)["holders"], timeout_s=120, what="its end")
    status, taken = server.request("POST", "/api/v1/runs", {"spec": spec})
    assert status == 201
    server.request("POST", f"/api/v1/runs/{taken['id']}/stop")
    wait_for(lambda: not volume(server)["holders"], timeout_s=120, what="its end")


def test_kill__while_a_snapshot_is_made__there_is_a_whole_one_or_none(
    server: LiveServer, seed: int
) -> None:
    drawn = random.Random(seed)
    folder = Path(volume(server)["path"])
    fill(folder, drawn)
    objects = server.data / "objects/volumes" / volume(server)["id"] / "snapshots"
    for _ in range(KILLS):
        begin(server, "snapshots")
        at_bytes = drawn.randrange(8_000_000)
        wait_for(lambda at=at_bytes: _staged(server) >= at or _is_idle(server), what="the middle")
        server.kill()
        server.start()
        idle(server)
        kept = server.request("GET", f"{VOLUME}/snapshots")[1]["items"]
        numbers = {str(one["number"]) for one in kept}
        wait_for(lambda told=numbers: _names(objects) == told, what="what counts for nothing to go")
        for one in kept:
            content = (objects / str(one["number"])).read_bytes()
            assert hashlib.sha256(content).hexdigest() == one["sha256"]
    begin(server, "snapshots")
    assert idle(server)["problem"] == ""


def test_kill__while_a_snapshot_is_restored__content_is_old_or_new(
    server: LiveServer, seed: int
) -> None:
    drawn = random.Random(seed)
    new = fill(Path(volume(server)["path"]), drawn)
    begin(server, "snapshots")
    assert idle(server)["problem"] == ""
    for _ in range(KILLS):
        before = Path(volume(server)["path"])
        old = fill(before, drawn)
        begin(server, "restore", {"snapshot": 1})
        files = drawn.randrange(FILES)
        wait_for(
            lambda before=before, files=files: _restored(before) >= files or _is_idle(server),
            what="the middle",
        )
        server.kill()
        server.start()
        seen = idle(server)
        now = Path(seen["path"])
        assert digest(now) == (old if now == before else new)
        wait_for(lambda now=now: list(now.parent.iterdir()) == [now], what="the half to go")
    begin(server, "restore", {"snapshot": 1})
    assert idle(server)["problem"] == ""
    assert digest(Path(volume(server)["path"])) == new


def _is_idle(server: LiveServer) -> bool:
    return volume(server)["under_way"] is None


def _staged(server: LiveServer) -> int:
    """Bytes of an object that is not whole yet."""
    found = 0
    for path in (server.data / "objects/.seafloor-tmp").glob("*"):
        try:
            found += path.stat().st_size
        except FileNotFoundError:
            continue
    return found


def _restored(before: Path) -> int:
    """Files of a content that is not whole yet."""
    others = [one for one in before.parent.iterdir() if one != before]
    return sum(len(names) for one in others for _, _, names in os.walk(one))


def _names(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()} if folder.is_dir() else set()
