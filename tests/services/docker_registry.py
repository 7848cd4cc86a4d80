"""A registry of docker images: Debian's docker-registry, which strangers may read and write."""

from __future__ import annotations

import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services._service import Missing, Service, daemon, free_port


@contextmanager
def service() -> Iterator[Service]:
    """Serve an empty registry."""
    program = shutil.which("docker-registry")
    if program is None:
        raise Missing("apt-get install docker-registry")
    with tempfile.TemporaryDirectory(prefix="seafloor-registry-") as name:
        folder = Path(name)
        port = free_port()
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\n"
            "log: {level: warn}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
        )
        with daemon([program, "serve", str(config)], folder / "log") as server:
            server.wait_until(lambda: _answers(port))
            yield Service(name="docker-registry", url=f"127.0.0.1:{port}")


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
