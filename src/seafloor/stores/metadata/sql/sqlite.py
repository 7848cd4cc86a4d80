"""All that is said to SQLite and to no other database."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, FromClause, create_engine, event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from seafloor.domain.errors import (
    InvalidValue,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from seafloor.domain.search import json_at
from seafloor.stores.metadata.comparisons import fold
from seafloor.stores.metadata.sql.backend import LOCK_TIMEOUT_S
from seafloor.stores.metadata.sql.prepared import say

CACHE_KIB = 32_000
LOG_BYTES_MAX = 64 * 1024 * 1024
"""A longer log is written back and cut, for which readers of before are waited for."""
_CUT_TIMEOUT_MS = 1_000
_CUT_AGAIN_S = 60.0
_LOOK_EVERY_S = 1.0
"""Between two looks at how long it is: not for each commit, of which there are thousands in it."""
_SWITCH_PAUSE_S = 0.01

_PRIMARY_MASK = 0xFF  # an extended code holds its primary one in the low byte
_FULL = frozenset(
    {
        sqlite3.SQLITE_FULL,
        # A quota that is used up, and a shared-memory file that cannot grow.
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    }
)
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DISK = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})


class Sqlite:
    """A database in a file. Its folder is made, the file at the first connection.

    Args:
        url: ``sqlite:///<path>``.
        connections: How many are open at once, at most.

    Raises:
        InvalidValue: the URL names no file: every connection would have a database of its own.
    """

    is_remote = False

    def __init__(self, url: URL, *, connections: int) -> None:
        path = url.database
        if not path or path == ":memory:" or url.host:
            raise InvalidValue("The database needs a file: give sqlite:///<path>.", field="url")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._log = Path(f"{path}-wal")
        self._look_due_s = 0.0
        self.engine: Engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_use_lifo=True,
            # The driver would begin a transaction by itself, too late and never for reading.
            isolation_level="AUTOCOMMIT",
            # A connection is used by one thread at a time, not always by the same one.
            connect_args={"check_same_thread": False, "timeout": LOCK_TIMEOUT_S},
        )
        self.engine.dialect.statement_compiler = _Compiler
        event.listen(self.engine, "connect", _prepare)

    def begin_read(self, connection: Connection) -> None:
        """See ``Backend``: readers see the last commit while a writer goes on (WAL)."""
        say(connection, "BEGIN")

    def begin_write(self, connection: Connection) -> None:
        """See ``Backend``. A transaction that reads first could not get the lock later."""
        say(connection, "BEGIN IMMEDIATE")

    def tend(self, connection: Connection) -> None:
        """See ``Backend``: cut the log when it is long.

        SQLite begins it anew by itself, but only when no reader is in it: where one comes before
        another leaves, all day, it grows for ever. One that stays longer than a second, another
        program perhaps, is not waited for; a minute later it is tried again.
        """
        now_s = time.monotonic()
        if now_s < self._look_due_s:
            return
        is_long = self._is_log_long()
        self._look_due_s = now_s + (_CUT_AGAIN_S if is_long else _LOOK_EVERY_S)
        if not is_long:
            return
        say(connection, f"PRAGMA busy_timeout={_CUT_TIMEOUT_MS}")
        try:
            # It says whether it was kept from it, rather than fail.
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
        finally:
            say(connection, f"PRAGMA busy_timeout={LOCK_TIMEOUT_S * 1_000}")

    def _is_log_long(self) -> bool:
        try:
            return self._log.stat().st_size > LOG_BYTES_MAX
        except FileNotFoundError:
            return False

    @contextmanager
    def migrating(self, connection: Connection) -> Generator[None]:
        """See ``Backend``: schemas change within transactions."""
        self.begin_write(connection)
        yield
        connection.exec_driver_sql("COMMIT")


class _Compiler(SQLiteCompiler):
    """SQLAlchemy's, which forgets what index a table is to be looked up by."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:  # noqa: ARG002  # SQLAlchemy calls it so
        return text


def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    """Set a new connection up: durable at every commit, foreign keys held."""
    _keep_a_log(connection)
    for statement in (
        "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",
        f"PRAGMA cache_size=-{CACHE_KIB}",
        # LIKE follows the case of what is written; ILIKE folds it explicitly.
        "PRAGMA case_sensitive_like=ON",
    ):
        connection.execute(statement).close()
    # SQLite's own `lower` knows ASCII only.
    connection.create_function("fold", 1, _fold, deterministic=True)
    connection.create_function("seafloor_json_at", 2, _json_at, deterministic=True)


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """Have a new file keep its log beside it; SQLite does not wait for who does so at once."""
    due_s = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & _PRIMARY_MASK in _BUSY
            if not is_busy or time.monotonic() >= due_s:
                raise
            time.sleep(_SWITCH_PAUSE_S)
        else:
            return


def _fold(text: str | float | bytes | None) -> str | float | bytes | None:
    return fold(text) if isinstance(text, str) else text


def _json_at(document: str | float | bytes | None, path: str) -> str | None:
    return json_at(document, tuple(json.loads(path))) if isinstance(document, str) else None


def meaning(error: BaseException, detail: str) -> SeafloorError:
    """What an error of the driver means, by its code."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return StoreError("The database refused a statement.", detail=detail)
    primary = code & _PRIMARY_MASK
    if code in _FULL:
        return StoreFull(
            "No space is left for the database: free some; nothing was written.",
            detail=detail,
            retry_after_s=5.0,
        )
    if primary in _CORRUPT:
        return StoreCorrupt(
            "The database file is damaged or is not one: restore it from a backup.", detail=detail
        )
    if primary in _BUSY:
        return StoreUnavailable(
            "Another program holds the database: repeat the request.",
            detail=detail,
            retry_after_s=1.0,
        )
    if primary in _DISK:
        return StoreUnavailable(
            "The database file cannot be read or written: check its disk and permissions.",
            detail=detail,
            retry_after_s=5.0,
        )
    return StoreError("The database refused a statement.", detail=detail)
