"""All that is said to SQLite and to no other database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from seafloor.domain.errors import InvalidValue

BEGIN_READ = "BEGIN"
BEGIN_WRITE = "BEGIN IMMEDIATE"
"""Takes the write lock at once: a transaction that reads first could not get it later."""

BUSY_TIMEOUT_MS = 10_000
CACHE_KIB = 8_000


def make_engine(url: str, *, connections: int) -> Engine:
    """Make an engine over a database file; its folder is made, the file at the first connection.

    Args:
        url: ``sqlite:///<path>``.
        connections: How many are open at once, at most.

    Raises:
        InvalidValue: the URL names no file: every connection would have a database of its own.
    """
    path = make_url(url).database
    if not path or path == ":memory:":
        raise InvalidValue("The database needs a file: give sqlite:///<path>.", field="url")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        # The driver would begin a transaction by itself, too late and never for reading, so it is
        # told to begin none; `Database` says BEGIN.
        isolation_level="AUTOCOMMIT",
        # A connection is used by one thread at a time, not always by the same one.
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
    )
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    """Set a new connection up: durable at every commit, foreign keys held."""
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",
        f"PRAGMA cache_size=-{CACHE_KIB}",
        # LIKE follows the case of what is written; ILIKE folds it explicitly.
        "PRAGMA case_sensitive_like=ON",
    ):
        connection.execute(statement).close()
    # SQLite's own knows ASCII only.
    connection.create_function("lower", 1, _lower, deterministic=True)


def _lower(text: str | float | bytes | None) -> str | float | bytes | None:
    return text.lower() if isinstance(text, str) else text
