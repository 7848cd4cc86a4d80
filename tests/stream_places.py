"""Folders whose shared stores stand on real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from tests.databases import database_in
from tests.services._service import Service

from seafloor.testing.stream_worlds import use_objects

KINDS = {
    "sqlite": ("sqlite", "local"),
    "postgresql": ("postgresql", "s3"),
    "mariadb": ("mariadb", "local"),
}
"""Database and object store that go together in tests."""


@contextmanager
def stream_place(folder: Path, kind: str, service: Callable[[str], Service]) -> Generator[None]:
    """Have the stores over a folder use a fresh database and object store of a kind."""
    folder.mkdir(parents=True, exist_ok=True)
    database, objects = KINDS[kind]
    if objects != "local":
        server = service(objects)
        use_objects(folder, f"{server.url}/{uuid.uuid4().hex}", server.env)
    with database_in(folder, database, service):
        yield


def run_module(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start ``python -m module`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
