"""The database: one writer that commits for many, and a few readers beside it.

SQLite allows one writer at a time and makes it wait for the disk at every commit. So all writes
go through one thread, which takes everything that waits, runs each piece in a savepoint of its own
and commits once (group commit): one fsync acknowledges many. Readers have connections of their
own and see the last commit without waiting (WAL).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.metadata.sql.driver_errors import DRIVER_ERRORS, driver_errors, store_error
from seafloor.stores.metadata.sql.sqlite import BEGIN_READ, BEGIN_WRITE, make_engine

READERS = 4
GROUP_MAX = 256

_T = TypeVar("_T")


@dataclass
class _Write(Generic[_T]):
    """A piece of writing that somebody waits for; afterwards with how it went."""

    do: Callable[[Connection], _T]
    loop: asyncio.AbstractEventLoop
    told: asyncio.Future[_T]
    result: _T | None = None
    failed: BaseException | None = None

    def tell(self) -> None:
        """Wake who waits; in its own loop. One who was cancelled has left: it took effect."""
        if self.told.done():
            return
        if self.failed is not None:
            self.told.set_exception(self.failed)
        else:
            self.told.set_result(self.result)  # pyright: ignore[reportArgumentType]  # set by now


class Database:
    """Connections to one database.

    Args:
        url: ``sqlite:///<path>``.

    Raises:
        InvalidValue: the URL names no file.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url, connections=READERS + 1)
        self.commits = 0
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="database-writer")
        self._lock = threading.Lock()
        self._waiting: deque[_Write[Any]] = deque()
        self._writing = False
        self._closed = False

    async def migrate(self) -> None:
        """Bring the schema up to date; safe to repeat, and with several servers at once.

        Raises:
            Conflict: the database is of a newer version of Seafloor.
        """
        # Imported late: it is needed once.
        from seafloor.stores.metadata.sql.migrations.run import migrate

        self._check_open()
        await asyncio.get_running_loop().run_in_executor(self._writer, migrate, self.engine)

    async def read(self, do: Callable[[Connection], _T]) -> _T:
        """Run a function in a transaction that sees one state of the database.

        Raises:
            StoreError: in the words of ``driver_errors``; what ``do`` raises passes through.
        """
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, do)

    def _read(self, do: Callable[[Connection], _T]) -> _T:
        with driver_errors(), self.engine.connect() as connection:
            # A transaction even so: all statements of one read see one state. It ends with the
            # connection's return to the pool.
            connection.exec_driver_sql(BEGIN_READ)
            return do(connection)

    async def write(self, do: Callable[[Connection], _T]) -> _T:
        """Run a function in a transaction; durable when it returns.

        It may be committed together with others; when it raises, only its own changes are
        undone and what it raised passes through. It runs once, in the writer's thread, even when
        the caller is cancelled while it waits.

        Raises:
            StoreUnavailable: the commit failed; unknown whether it took effect. Repeat it.
            StoreFull: no space is left; nothing was written, neither by those it was to be
                committed with.
        """
        loop = asyncio.get_running_loop()
        write = _Write(do, loop, loop.create_future())
        with self._lock:
            self._check_open()
            self._waiting.append(write)
            if not self._writing:
                self._writing = True
                self._writer.submit(self._write_waiting)
        return await write.told

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The server is stopping: repeat the request.", retry_after_s=1.0)

    def _write_waiting(self) -> None:
        while True:
            with self._lock:
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_MAX))]
                if not group:
                    self._writing = False
                    return
            try:
                self._commit(group)
            except Exception as error:  # noqa: BLE001  # edge: background task; all are told
                failure = _in_our_words(error)
                for write in group:
                    write.failed = failure
            _tell(group)

    def _commit(self, group: list[_Write[Any]]) -> None:
        """Run a group in one transaction; what it raises is true of all of them."""
        with self.engine.connect() as connection:
            try:
                connection.exec_driver_sql(BEGIN_WRITE)
                if len(group) == 1:
                    # It has nobody to spare, so no savepoint is needed.
                    group[0].result = group[0].do(connection)
                else:
                    for write in group:
                        _run_in_savepoint(connection, write)
                connection.exec_driver_sql("COMMIT")
            except DRIVER_ERRORS:
                # Also undoes what is left of the transaction, and the next begins afresh.
                connection.invalidate()
                raise
            self.commits += 1

    async def close(self) -> None:
        """Finish what waits and close every connection. Safe to repeat."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self.engine.dispose()


def _run_in_savepoint(connection: Connection, write: _Write[Any]) -> None:
    """Run a piece; when it fails undo it alone.

    Some errors (a full disk) end the whole transaction; then that one is raised.
    """
    connection.exec_driver_sql("SAVEPOINT piece")
    try:
        write.result = write.do(connection)
    except Exception as error:  # noqa: BLE001  # edge: background task; it is told to the caller
        try:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT piece")
        except DRIVER_ERRORS:
            raise error from None
        write.failed = _in_our_words(error)
    connection.exec_driver_sql("RELEASE SAVEPOINT piece")


def _in_our_words(error: Exception) -> Exception:
    if not isinstance(error, DRIVER_ERRORS):
        return error
    translated = store_error(error)
    translated.__cause__ = error
    return translated


def _tell(group: list[_Write[Any]]) -> None:
    """Wake all who wait, each loop once."""
    for loop in {write.loop for write in group}:
        mine = [write for write in group if write.loop is loop]
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_tell_all, mine)


def _tell_all(group: list[_Write[Any]]) -> None:
    for write in group:
        write.tell()
