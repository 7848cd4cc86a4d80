"""An object store that has lost what a row names: said instead of an answer, not in its middle."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from export_world import PNG, filled
from http_world import Answer, ask, check_envelope
from live_server import LiveServer, wait_for
from seafloor.sdk.client import Client

DIGEST = hashlib.sha256(PNG).hexdigest()
SNAPSHOT = b"of a folder"


@pytest.fixture
def run_id(server: LiveServer, tmp_path: Path) -> str:
    """A run with a file, tf.events and a picture; beside it a snapshot."""
    client = Client(server.url, "")
    run = {"name": "r", "params": {}, "tags": {}, "points": {}, "text": "t"}
    made = filled(
        client, "default", "e", {**run, "state": "failed", "deleted": False, "file": b"abc" * 10**6}
    )
    (tmp_path / "code").write_bytes(SNAPSHOT)
    client.snapshots.put(hashlib.sha256(SNAPSHOT).hexdigest(), tmp_path / "code")
    return made


def paths_of(run_id: str) -> dict[str, str]:
    """Where the bytes of each are asked for."""
    run = f"/api/v1/runs/{run_id}"
    return {
        "file": f"{run}/artifacts/gr%C3%B6%C3%9Fe/file.bin",
        "range": f"{run}/artifacts/gr%C3%B6%C3%9Fe/file.bin",
        "event file": f"{run}/event-files/0/events.out.tfevents.1",
        "blob": f"{run}/media/blobs/{DIGEST}.png",
        "snapshot": f"/api/v1/snapshots/{hashlib.sha256(SNAPSHOT).hexdigest()}",
    }


def asked(server: LiveServer, name: str, path: str) -> Answer:
    headers = {"Range": "bytes=7-8"} if name == "range" else {}
    return ask(server.url, "GET", path, headers=headers)


def test_download__of_what_the_store_has_lost__is_refused_with_the_reason(
    server: LiveServer, run_id: str
) -> None:
    paths = paths_of(run_id)
    assert {asked(server, *one).status for one in paths.items()} == {200, 206}
    objects = server.data / "objects"
    events = objects / "runs" / run_id / "events"
    wait_for(lambda: [*events.rglob("*")], what="the event file to be stored")
    server.stop()
    for folder in (f"runs/{run_id}", "code"):
        for path in (objects / folder).rglob("*"):
            if path.is_file():
                path.unlink()
    server.start()
    codes: dict[str, int] = {}
    for name, path in paths.items():
        answer = asked(server, name, path)
        codes[name] = answer.status
        if answer.status != 404:
            check_envelope(answer, code="store_corrupt", status=500)
        assert "content-disposition" not in answer.headers
    assert codes == {"file": 500, "range": 500, "event file": 500, "blob": 500, "snapshot": 404}
