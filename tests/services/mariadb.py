"""MariaDB: Debian's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.services import _mariadb
from tests.services._service import Service


@contextmanager
def service(*, buffers_mib: int = 128) -> Iterator[Service]:
    """Serve MariaDB 10.11; it keeps what it acknowledged."""
    with _mariadb.mariadb(buffers_mib=buffers_mib) as server:
        yield Service(
            name="MariaDB 10.11",
            url=server.url,
            note="a superuser without a password; each test makes a database of its own",
        )
