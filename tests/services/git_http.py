"""A git repository over HTTP with a password: ``git http-backend`` behind a small server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from git_world import GitServer, Repository

USER, PASSWORD = "ann", "secret"


@contextmanager
def service() -> Iterator[tuple[str, str]]:
    """Serve one repository."""
    with tempfile.TemporaryDirectory(prefix="seafloor-git-") as name:
        repository = Repository.create(Path(name) / "training")
        repository.commit({"train.py": "print('hello')\n"})
        with GitServer(Path(name), user=USER, password=PASSWORD) as server:
            yield "git over http", f"{server.url}/training (user {USER}, password {PASSWORD})"
