"""Seafloor itself, on an empty data folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services._service import Service

from live_server import LiveServer


@contextmanager
def service() -> Iterator[Service]:
    """Run a server."""
    with tempfile.TemporaryDirectory(prefix="seafloor-server-") as name:
        server = LiveServer(Path(name) / "data").start()
        try:
            yield Service(name="seafloor", url=server.url)
        finally:
            server.stop()
