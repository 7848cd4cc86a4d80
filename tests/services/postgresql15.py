"""PostgreSQL, the oldest that Seafloor is tested on: Debian's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services._postgresql import postgresql
from tests.services._service import Missing, Service

PROGRAMS = Path("/usr/lib/postgresql/15/bin")


@contextmanager
def service() -> Iterator[Service]:
    """Serve PostgreSQL 15; it keeps what it acknowledged."""
    if not PROGRAMS.is_dir():
        raise Missing("apt-get install postgresql-15")
    with postgresql(PROGRAMS) as server:
        yield Service(name="PostgreSQL 15", url=server.url)
