"""From a URL to the database that it names."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from seafloor.domain.errors import InvalidValue, NotSupported, nearest
from seafloor.stores.metadata.sql.backend import Backend
from seafloor.stores.metadata.sql.mariadb import MariaDB
from seafloor.stores.metadata.sql.postgresql import PostgreSQL
from seafloor.stores.metadata.sql.sqlite import Sqlite

SCHEMES = ("sqlite", "postgresql", "mariadb", "mysql")


def parse_url(url: str) -> URL:
    """Read the URL of a database; shown as text, it hides its password.

    Args:
        url: ``sqlite:///<path>``, ``postgresql://``, ``mariadb://`` or ``mysql://`` followed by
            ``user[:password]@host[:port]/database``.

    Raises:
        InvalidValue: it is no URL. The message does not hold it: it may hold a password.
        NotSupported: an unknown scheme, with the nearest known one.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise InvalidValue(
            "The URL of the database is not one: give sqlite:///<path> or "
            "postgresql://user:password@host:port/database. Characters such as @ and / in a "
            "password are written as %40 and %2F.",
            field="url",
        ) from None
    scheme = parsed.drivername
    if scheme not in SCHEMES:
        raise NotSupported(
            f'No database is known as "{scheme}://".{nearest(scheme, SCHEMES)}',
            field="url",
        )
    return parsed


def open_backend(url: URL, *, connections: int) -> Backend:
    """Make ready to speak to a database; nothing is asked of it yet.

    Args:
        url: Of ``parse_url``.
        connections: How many are open at once, at most.

    Raises:
        InvalidValue: the URL names no file or database.
    """
    if url.drivername == "sqlite":
        return Sqlite(url, connections=connections)
    if url.drivername == "postgresql":
        return PostgreSQL(url, connections=connections)
    return MariaDB(url, connections=connections)
