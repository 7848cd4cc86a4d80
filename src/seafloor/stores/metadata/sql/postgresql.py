"""All that is said to PostgreSQL and to no other database."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from seafloor.domain.errors import (
    InvalidValue,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from seafloor.stores.metadata.sql.backend import (
    CONNECT_TIMEOUT_S,
    IDLE_READER_S,
    IDLE_WRITER_S,
    LOCK_TIMEOUT_S,
)
from seafloor.stores.metadata.sql.prepared import say

WRITER_LOCK = 0x5EAF_100B
"""The advisory lock that the writer holds; known within one database only."""

_SILENCE_MS = 15_000
_SETTINGS = f"""
SET idle_in_transaction_session_timeout = '{IDLE_WRITER_S}s';
SET lock_timeout = '{LOCK_TIMEOUT_S}s';
SET tcp_user_timeout = {_SILENCE_MS};
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'
"""
_BEGIN_READ = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_READER_S}s'"
)
_BEGIN_WRITE = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({WRITER_LOCK})"

_AGAIN = "The database gave up on this for now: repeat the request."
_UNAVAILABLE = {
    "25006": "The database takes no writes at present: repeat the request.",
    "40001": _AGAIN,
    "40P01": _AGAIN,
    "53200": "The database is out of memory: repeat the request.",
    "53300": "The database takes no more connections: repeat the request, or raise its limit.",
    "55P03": "Other writers held the database for too long: repeat the request.",
    "57014": _AGAIN,
    "58030": "The database cannot read or write its disk: see its log.",
}
_AWAY = "The database does not answer: repeat the request."
_AWAY_CLASSES = ("08", "57P", "25P03", "25P04")
_INVALID = {
    "22001": "A text is too long for the database.",
    "22003": "A whole number is out of bounds: it must fit 64 bits.",
    "22021": "A text holds a character that the database cannot keep.",
    "54000": "A value is too large for the database.",
}
_OPERATOR = {
    "28000": "The database refuses the user: check the URL.",
    "28P01": "The database refuses the password: check the URL.",
    "3D000": "There is no such database: create it, or check the URL.",
    "42501": "The user of the database lacks rights: make it the owner of the database and of all "
    "tables there.",
    "42P01": "A table of Seafloor's is missing: start the server, which makes it, or restore a "
    "backup.",
    "53400": "A limit in the settings of the database was reached: its log says which.",
}
CERTAINLY_UNDONE = frozenset({"40001", "40P01"})
"""Whoever sees these may run the transaction again: nothing of it was committed."""


class PostgreSQL:
    """A database of a PostgreSQL server.

    Args:
        url: ``postgresql://user[:password]@host[:port]/database[?...]`` with what libpq takes.
        connections: How many are open at once, at most.
    """

    is_remote = True

    def __init__(self, url: URL, *, connections: int) -> None:
        self.engine: Engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=connections,
            max_overflow=0,
            isolation_level="AUTOCOMMIT",
            # A statement in a log has no values: they are the users'.
            hide_parameters=True,
            connect_args={
                **_unless_given(url, "connect_timeout", CONNECT_TIMEOUT_S),
                **_unless_given(url, "application_name", "seafloor"),
                # A server that is cut off is noticed by this side too.
                **_unless_given(url, "tcp_user_timeout", _SILENCE_MS),
                **_unless_given(url, "keepalives_idle", 10),
                **_unless_given(url, "keepalives_interval", 5),
                **_unless_given(url, "keepalives_count", 3),
            },
        )
        event.listen(self.engine, "do_connect", _connect)
        event.listen(self.engine, "connect", _prepare)

    def begin_read(self, connection: Connection) -> None:
        """See ``Backend``."""
        connection.exec_driver_sql(_BEGIN_READ)

    def begin_write(self, connection: Connection) -> None:
        """See ``Backend``: the lock ends with the transaction, however that ends.

        Each statement sees what was committed before it, so the first after the lock sees what
        the writer before committed.
        """
        say(connection, _BEGIN_WRITE)

    def tend(self, connection: Connection) -> None:
        """See ``Backend``: there is nothing to do."""

    @contextmanager
    def migrating(self, connection: Connection) -> Generator[None]:
        """See ``Backend``: schemas change within transactions; writers wait meanwhile."""
        self.begin_write(connection)
        # What is one statement here may take long on a large table.
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '60s'")
        driver: Any = connection.connection.driver_connection
        patience_s, driver.answer_timeout_s = driver.answer_timeout_s, None
        try:
            yield
            connection.exec_driver_sql("COMMIT")
        finally:
            driver.answer_timeout_s = patience_s


def _unless_given(url: URL, name: str, value: object) -> dict[str, object]:
    return {} if name in url.query else {name: value}


def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    # Imported late: who has another database needs no driver of this one.
    from seafloor.stores.metadata.sql.postgresql_connection import PatientConnection

    return PatientConnection.connect(*arguments, **options)


def _prepare(connection: Any, _: ConnectionPoolEntry) -> None:
    """Set a new connection up: durable at every commit, and given up when we fall silent."""
    connection.execute(_SETTINGS)


def meaning(error: BaseException, detail: str) -> SeafloorError:
    """What an error of the driver means, by its SQLSTATE; without one there is no connection."""
    state = getattr(error, "sqlstate", None)
    if state is None:
        if type(error).__name__ == "DataError":
            return InvalidValue("A value has no form in the database.")
        return StoreUnavailable(_AWAY, detail=detail, retry_after_s=2.0)
    if state in _UNAVAILABLE:
        return StoreUnavailable(_UNAVAILABLE[state], detail=detail, retry_after_s=1.0)
    if state.startswith(_AWAY_CLASSES):
        return StoreUnavailable(_AWAY, detail=detail, retry_after_s=2.0)
    if state == "53100":
        return StoreFull(
            "No space is left for the database: free some; nothing was written.",
            detail=detail,
            retry_after_s=5.0,
        )
    if state.startswith("XX00") and state != "XX000":
        return StoreCorrupt(
            "The database says that its data is damaged: restore it from a backup.", detail=detail
        )
    if state in _INVALID:
        return InvalidValue(_INVALID[state])
    said = _OPERATOR.get(state, "The database refused a statement.")
    return StoreError(said, detail=detail)
