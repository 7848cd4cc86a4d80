"""Large artifacts do not pass the server where the object store gives URLs.

What hurts users of others: https://github.com/mlflow/mlflow/issues/7564 (504 at 800 MB),
https://github.com/mlflow/mlflow/issues/10331 (a download fills the server's disk).
"""

from __future__ import annotations

import hashlib
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.services._service import Service

from http_world import ask
from live_server import LiveServer
from seafloor.sdk.client import Client

SIZE_BYTES = 48 * 1024 * 1024


@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_get__of_a_large_file__comes_while_the_server_stands_still(
    kind: str, service: Callable[[str], Service], tmp_path: Path
) -> None:
    bucket = service(kind)
    server = LiveServer(tmp_path / "data", env=bucket.env)
    server.start("--objects", f"{bucket.url}/{uuid.uuid4().hex}")
    process = server.process
    assert process is not None
    source = tmp_path / "weights"
    source.write_bytes(os.urandom(1024 * 1024) * (SIZE_BYTES // (1024 * 1024)))
    client = Client(server.url, "")
    try:
        run = server.post("/api/v1/runs", {"experiment": "direct"})["id"]
        client.artifacts.put(run, "model/weights", source)
        came = 0

        def stop_the_server(size_bytes: int) -> None:
            nonlocal came
            if not came:
                os.kill(process.pid, signal.SIGSTOP)
            came += size_bytes

        client.artifacts.get(run, "model/weights", tmp_path / "back", progress=stop_the_server)
        os.kill(process.pid, signal.SIGCONT)
        assert came == SIZE_BYTES
        digests = [
            hashlib.sha256(file.read_bytes()).digest() for file in (source, tmp_path / "back")
        ]
        assert digests[0] == digests[1]

        # Who does not ask for it is given the bytes by the server, and so is who asks for a few.
        place = f"/api/v1/runs/{run}/artifacts/"
        whole = ask(server.url, "GET", f"{place}model/weights")
        assert (whole.status, len(whole.body)) == (200, SIZE_BYTES)
        told = ask(server.url, "GET", f"{place}model/weights?direct=true")
        assert (told.status, told.body) == (307, b"")
        assert told.headers["x-content-sha256"] == digests[0].hex()
        assert ask(server.url, "PUT", f"{place}small", body=b"few").status == 200
        small = ask(server.url, "GET", f"{place}small?direct=true")
        assert (small.status, small.body) == (200, b"few")
    finally:
        os.kill(process.pid, signal.SIGCONT)
        client.close()
        server.stop()
    log = (tmp_path / "data" / "server.log").read_text()
    assert "X-Amz-Signature" not in log
    assert "sig=" not in log
