"""The database: one writer that commits for many, and a few readers beside it.

SQLite allows one writer at a time and makes it wait for the disk at every commit. So all writes
go through one thread, which takes everything that waits, runs each piece in a savepoint of its own
and commits once (group commit): one fsync acknowledges many. Readers have connections of their
own and see the last commit without waiting (WAL).
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.metadata.sql.driver_errors import driver_errors, store_error

READERS = 4
GROUP_MAX = 256
BUSY_TIMEOUT_MS = 10_000

_T = TypeVar("_T")


@dataclass
class _Write(Generic[_T]):
    do: Callable[[Connection], _T]
    done: Future[_T]


class Database:
    """Connections to one database.

    Args:
        url: ``sqlite:///<path>``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._waiting: queue.SimpleQueue[_Write[Any] | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()
        self.commits = 0

    async def migrate(self) -> None:
        """Bring the schema up to date; safe to repeat, and with several servers at once.

        Raises:
            Conflict: the database is of a newer version of Seafloor.
        """
        # Imported late: most starts find the schema up to date and need no migration library.
        from seafloor.stores.metadata.sql.migrations.run import migrate

        await asyncio.get_running_loop().run_in_executor(self._readers, migrate, self)

    async def read(self, do: Callable[[Connection], _T]) -> _T:
        """Run a function in a transaction that sees one state of the database.

        Raises:
            StoreError: in the words of ``driver_errors``; what ``do`` raises passes through.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, do)

    def _read(self, do: Callable[[Connection], _T]) -> _T:
        with driver_errors(), self.engine.connect() as connection:
            # A transaction even so: all statements of one read see one state.
            connection.execute(text("BEGIN"))
            try:
                return do(connection)
            finally:
                connection.execute(text("ROLLBACK"))

    async def write(self, do: Callable[[Connection], _T]) -> _T:
        """Run a function in a transaction; durable when it returns.

        It may be committed together with others; when it raises, only its own changes are
        undone and what it raised passes through.

        Raises:
            StoreUnavailable: the commit failed; unknown whether it took effect. Repeat it.
        """
        done: Future[_T] = Future()
        with self._lock:
            if self._closed:
                raise StoreUnavailable("The server is stopping: repeat the request.")
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name="database-writer")
                self._writer.start()
            self._waiting.put(_Write(do, done))
        return await asyncio.wrap_future(done)

    def _write_all(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                return
            group: list[_Write[Any]] = [first]
            ending = False
            while len(group) < GROUP_MAX and not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    ending = True
                    break
                group.append(more)
            self._commit(group)
            if ending:
                return

    def _commit(self, group: list[_Write[Any]]) -> None:
        """Run a group in one transaction and tell each how it went, after the commit."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("BEGIN IMMEDIATE"))
                outcomes = [(write, *_in_savepoint(connection, write.do)) for write in group]
                connection.execute(text("COMMIT"))
                self.commits += 1
        except Exception as error:  # noqa: BLE001  # edge: background task
            failure = store_error(error)
            for write in group:
                _tell(write, None, failure)
            return
        for write, result, failed in outcomes:
            _tell(write, result, failed)

    async def close(self) -> None:
        """Finish what waits and close every connection. Safe to repeat."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            writer, self._closed = self._writer, True
            self._writer = None
            if writer is not None:
                self._waiting.put(None)
        if writer is not None:
            writer.join()
        self._readers.shutdown(wait=True)
        self.engine.dispose()


def _in_savepoint(
    connection: Connection, do: Callable[[Connection], Any]
) -> tuple[Any, BaseException | None]:
    connection.execute(text("SAVEPOINT piece"))
    try:
        result = do(connection)
    except Exception as error:  # noqa: BLE001  # edge: background task; it is told to the caller
        connection.execute(text("ROLLBACK TO piece"))
        connection.execute(text("RELEASE piece"))
        return None, _told(error)
    connection.execute(text("RELEASE piece"))
    return result, None


def _told(error: Exception) -> Exception:
    if not isinstance(error, SQLAlchemyError | sqlite3.Error):
        return error
    translated = store_error(error)
    translated.__cause__ = error
    return translated


def _tell(write: _Write[Any], result: object, failed: BaseException | None) -> None:
    if not write.done.set_running_or_notify_cancel():
        return  # the caller was cancelled; the write took effect all the same
    if failed is not None:
        write.done.set_exception(failed)
    else:
        write.done.set_result(result)


def _engine(url: str) -> Engine:
    path = make_url(url).database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=READERS + 1,
        max_overflow=0,
        # We say BEGIN ourselves: the driver's own way begins too late for a writer.
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    """Set a new connection up: durable at every commit, foreign keys held."""
    for statement in (
        f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "PRAGMA foreign_keys=ON",
        "PRAGMA cache_size=-8000",
        # LIKE follows the case of what is written; ILIKE folds it explicitly.
        "PRAGMA case_sensitive_like=ON",
    ):
        connection.execute(statement).close()
    # SQLite's own knows ASCII only.
    connection.create_function("lower", 1, _lower, deterministic=True)


def _lower(text: str | float | bytes | None) -> str | float | bytes | None:
    return text.lower() if isinstance(text, str) else text
