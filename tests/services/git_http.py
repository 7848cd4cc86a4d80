"""A git repository over HTTP with a password: ``git http-backend`` behind a small server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services._service import Service

from git_world import GitServer, Repository

USER, PASSWORD = "ann", "secret"


@contextmanager
def service() -> Iterator[Service]:
    """Serve one repository."""
    with tempfile.TemporaryDirectory(prefix="seafloor-git-") as name:
        repository = Repository.create(Path(name) / "training")
        repository.commit({"train.py": "print('hello')\n"})
        with GitServer(Path(name), user=USER, password=PASSWORD) as server:
            yield Service(
                name="git http-backend",
                url=f"{server.url}/training",
                note=f"user {USER}, password {PASSWORD}",
            )
