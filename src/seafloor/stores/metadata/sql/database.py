"""The database: one writer that commits for many, and a few readers beside it.

A commit waits for the disk. So all writes go through one thread, which takes everything that
waits, runs it piece by piece and commits once (group commit): one fsync acknowledges many. When a
piece fails, the group is run again with a savepoint around each, so that it fails alone. Of
several servers on one database one writes at a time (``Backend.begin_write``), so what a piece
reads stays true until it is committed. Readers have connections of their own and see the last
commit without waiting.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

import structlog
from sqlalchemy import Connection

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.metadata.sql.driver_errors import (
    DRIVER_ERRORS,
    driver_errors,
    is_lost,
    is_undone,
    store_error,
)
from seafloor.stores.metadata.sql.flow import Flow
from seafloor.stores.metadata.sql.open import open_backend, parse_url
from seafloor.stores.metadata.sql.prepared import say
from seafloor.stores.metadata.sql.texts import refuse_odd_texts

_log = structlog.get_logger(__name__)

READERS = 4
GROUP_MAX = 256
TRIES = 4
"""How often a transaction is run of which nothing took effect."""
PAUSE_S = 0.05
"""Before the second try; each further pause is three times as long."""

_T = TypeVar("_T")
_P = TypeVar("_P")


class Unprepared(Exception):
    """A piece of writing lacks what no transaction should wait for, such as an object.

    ``Database.write`` undoes the piece, has it prepared, and runs it again.

    Args:
        prepare: Fetches what is lacking to where the piece finds it.
    """

    def __init__(self, prepare: Callable[[], Awaitable[None]]) -> None:
        super().__init__("A piece of writing was not prepared.")
        self.prepare = prepare


Joined = Callable[[Connection, Sequence[_P]], Sequence[_T]]
"""Writes several pieces with fewer statements than one by one; of each what came of it."""


@dataclass(frozen=True)
class _Piece(Generic[_P, _T]):
    """A piece of writing that can be written together with others of its kind."""

    write: Joined[_P, _T]
    given: _P

    def __call__(self, connection: Connection) -> _T:
        """Write it alone."""
        return self.write(connection, [self.given])[0]


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


@dataclass
class _Going:
    """How far a transaction is.

    Args:
        committing: It may have taken effect.
    """

    committing: bool = False


_Run = Callable[[Connection, list[_Write[Any]]], None]


class Database:
    """Connections to one database.

    Args:
        url: ``sqlite:///<path>``, ``postgresql://``, ``mariadb://`` or ``mysql://`` followed by
            ``user[:password]@host[:port]/database``.

    Raises:
        InvalidValue: it is no URL, or names no file or database. Its password is never shown.
        NotSupported: a database that Seafloor does not speak to.

    Attributes:
        commits: How many there were.
        losses: How often a connection was lost. Behind it may be another database by now, a
            replica that took over without what was committed last: what is remembered of rows by
            their numbers is to be looked up anew when this has changed.
    """

    def __init__(self, url: str) -> None:
        parsed = parse_url(url)
        self.shown_url = parsed.render_as_string(hide_password=True)
        self._backend = open_backend(parsed, connections=READERS + 1)
        self.engine = self._backend.engine
        refuse_odd_texts(self.engine)
        self.commits = 0
        self.losses = 0
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._writer: threading.Thread | None = None
        self._lock = threading.Lock()
        self._reads, self._writes = Flow(at_once=READERS), Flow(at_once=1)
        # None ends it. A queue and a thread of our own: an executor takes 10 µs to pass a piece on.
        self._waiting: SimpleQueue[_Write[Any] | None] = SimpleQueue()
        self._closed = False
        # Of the writer's thread, and kept: what SQLite has cached of the pages is true for as
        # long as nobody else writes, and a connection of the pool would be another each time.
        self._writing_to: Connection | None = None

    def __repr__(self) -> str:
        return f"Database({self.shown_url!r})"

    async def migrate(self) -> None:
        """Bring the schema up to date; safe to repeat, and with several servers at once.

        Raises:
            Conflict: the database is of a newer version of Seafloor.
        """
        # Imported late: it is needed once.
        from seafloor.stores.metadata.sql.migrations.run import migrate

        self._check_open()
        await asyncio.to_thread(migrate, self._backend)

    async def read(self, do: Callable[[Connection], _T]) -> _T:
        """Run a function in a transaction that sees one state of the database.

        It is run again when the connection is lost, so it must keep nothing from one run to the
        next.

        Raises:
            StoreUnavailable: also when no reader has come to an end for long; then it was not run.
            StoreError: in the words of ``driver_errors``; what ``do`` raises passes through.
        """
        self._check_open()
        self._reads.enter()
        reading = self._readers.submit(self._read, do, self._reads.now_s())
        # Also of one whose caller left before it began: that is never run.
        reading.add_done_callback(lambda _: self._reads.leave())
        return await asyncio.wrap_future(reading)

    def _read(self, do: Callable[[Connection], _T], asked_s: float) -> _T:
        self._reads.check_turn(asked_s)
        with driver_errors():
            try:
                return self._read_once(do)
            except DRIVER_ERRORS as error:
                self._note(error)
                if not is_undone(error, committing=False):
                    raise
            # The connection was of before a restart of the database; this one is new.
            return self._read_once(do)

    def _read_once(self, do: Callable[[Connection], _T]) -> _T:
        with self.engine.connect() as connection:
            # A transaction even so: all statements of one read see one state. It ends with the
            # connection's return to the pool.
            self._backend.begin_read(connection)
            return do(connection)

    async def write(self, do: Callable[[Connection], _T]) -> _T:
        """Run a function in a transaction; durable when it returns.

        It may be committed together with others; when it raises, only its own changes are
        undone and what it raised passes through. It runs in the writer's thread, even when the
        caller is cancelled while it waits. When the connection is lost before the commit, or the
        database chooses to undo it, it is run again: it must have no effect but through its
        connection, and keep nothing from one run to the next but what ``Unprepared`` prepares.

        Raises:
            StoreUnavailable: the database is away or hangs, or the commit failed; unknown whether
                it took effect. Repeat it.
            StoreFull: no space is left; nothing was written, neither by those it was to be
                committed with.
        """
        while True:
            try:
                return await self._write(do)
            except Unprepared as lacking:
                await lacking.prepare()

    async def write_joined(self, piece: _P, write: Joined[_P, _T]) -> _T:
        """Write a piece as ``write`` does, with the pieces beside it in as many statements as one.

        To a database on another machine each statement is a trip, and one transaction is open at
        a time: a hundred clients that log a point each would wait for four hundred trips. SQLite's
        statements are no trips, and those for one piece are quicker.

        Args:
            write: The same each time, a function or a method of one object. The pieces are of one
                transaction and have no order. What it raises may be of any: each is then written
                alone, and fails alone.
        """
        if self._backend.is_remote:
            return await self.write(_Piece(write, piece))
        return await self.write(lambda connection: write(connection, [piece])[0])

    async def _write(self, do: Callable[[Connection], _T]) -> _T:
        loop = asyncio.get_running_loop()
        write = _Write(do, loop, loop.create_future())
        with self._lock:  # so that nothing comes after what ends it
            self._check_open()
            if self._writer is None:
                writer = threading.Thread(
                    target=self._write_all, name="database-writer", daemon=True
                )
                writer.start()  # it may be refused, and is tried again by the next
                self._writer = writer
            self._writes.enter()
            self._waiting.put(write)
        return await write.told

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The server is stopping: repeat the request.", retry_after_s=1.0)

    def _write_all(self) -> None:
        """Write what waits, again and again, until the database is closed."""
        while self._write_group():
            pass

    def _write_group(self) -> bool:
        """Write what waits; False: nothing comes after it.

        A frame of its own: what a group holds must not stay until there is another.
        """
        group, closing = self._next_group()
        try:
            if group:
                self._commit(group)
        except BaseException as error:  # noqa: BLE001  # edge: background task; all are told
            failure = _in_our_words(error)
            for write in group:
                write.failed = failure
        self._writes.leave(len(group))
        _tell(group)
        if not closing:
            self._tend()
        return not closing

    def _tend(self) -> None:
        """Let the database do what it leaves undone; nobody waits for it but the next group."""
        connection = self._writing_to
        if connection is None:
            return
        try:
            self._backend.tend(connection)
        except DRIVER_ERRORS as error:
            self._forget(connection)
            _log.warning("the database could not be tended", reason=store_error(error).message)

    def _next_group(self) -> tuple[list[_Write[Any]], bool]:
        """Wait for a piece and take all that wait beside it; say whether they are the last."""
        first = self._waiting.get()
        if first is None:
            return [], True
        group = [first]
        with suppress(Empty):
            while len(group) < GROUP_MAX:
                write = self._waiting.get_nowait()
                if write is None:
                    return group, True
                group.append(write)
        return group, False

    def _commit(self, group: list[_Write[Any]]) -> None:
        """Run a group in one transaction; what it raises is true of all of them."""
        try:
            self._try(group, _run_together)
        except _Spoiled:
            self._try(group, _run_apart)

    def _try(self, group: list[_Write[Any]], run: _Run) -> None:
        for tried in range(1, TRIES + 1):
            going = _Going()
            try:
                self._commit_once(group, run, going)
            except DRIVER_ERRORS as error:
                if tried == TRIES or not is_undone(error, committing=going.committing):
                    raise
                time.sleep(PAUSE_S * 3 ** (tried - 1))
            else:
                self.commits += 1
                return

    def _commit_once(self, group: list[_Write[Any]], run: _Run, going: _Going) -> None:
        """Try it once."""
        if self._writing_to is None:
            self._writing_to = self.engine.connect()
        connection = self._writing_to
        try:
            self._backend.begin_write(connection)
            run(connection, group)
            going.committing = True
            say(connection, "COMMIT")
        except DRIVER_ERRORS as error:
            self._note(error)
            self._forget(connection)
            raise
        except BaseException:
            try:
                say(connection, "ROLLBACK")  # SQLAlchemy was not told that it began
            except DRIVER_ERRORS:
                self._forget(connection)
            raise

    def _note(self, error: BaseException) -> None:
        if is_lost(error):
            self.losses += 1

    def _forget(self, connection: Connection) -> None:
        """Undo what is left of a transaction by ending its connection; the next begins afresh."""
        self._writing_to = None
        connection.invalidate()
        connection.close()

    async def close(self) -> None:
        """Finish what waits and close every connection. Safe to repeat."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        if self._writer is not None:
            self._writer.join()
        self._readers.shutdown(wait=True)
        if self._writing_to is not None:
            self._writing_to.close()
        self.engine.dispose()


class _Spoiled(Exception):
    """A piece failed, and with it the transaction of those beside it."""


def _run_together(connection: Connection, group: list[_Write[Any]]) -> None:
    """Run pieces without savepoints, of which each would take two statements.

    Raises:
        _Spoiled: one of several failed. What a piece alone raises passes through.
    """
    if len(group) == 1:
        group[0].result = group[0].do(connection)
        return
    try:
        for writes in _by_kind(group):
            _run_kind(connection, writes)
    except Exception as error:  # edge: background task; it is raised again or told
        if is_undone(error, committing=False):
            raise
        raise _Spoiled from error


def _by_kind(group: list[_Write[Any]]) -> list[list[_Write[Any]]]:
    """Pieces that can be written together, together; every other by itself."""
    made: list[list[_Write[Any]]] = []
    of_kind: dict[object, list[_Write[Any]]] = {}
    for write in group:
        kind = _kind(write)
        if kind in of_kind:
            of_kind[kind].append(write)
            continue
        made.append([write])
        if kind is not None:
            of_kind[kind] = made[-1]
    return made


def _kind(write: _Write[Any]) -> Joined[Any, Any] | None:
    do: object = write.do
    return cast(_Piece[Any, Any], do).write if isinstance(do, _Piece) else None


def _run_kind(connection: Connection, writes: list[_Write[Any]]) -> None:
    joined = _kind(writes[0])
    if joined is None or len(writes) == 1:
        writes[0].result = writes[0].do(connection)
        return
    given = [cast(_Piece[Any, Any], write.do).given for write in writes]
    for write, result in zip(writes, joined(connection, given), strict=True):
        write.result = result


def _run_apart(connection: Connection, group: list[_Write[Any]]) -> None:
    """Run pieces with a savepoint each: one that fails does so alone."""
    for write in group:
        _run_in_savepoint(connection, write)


def _run_in_savepoint(connection: Connection, write: _Write[Any]) -> None:
    """Run a piece; when it fails undo it alone.

    Some errors (a full disk, a lost connection) end the whole transaction; then that one is raised.
    """
    write.failed = None  # of an earlier try
    say(connection, "SAVEPOINT piece")
    try:
        write.result = write.do(connection)
    except Exception as error:  # edge: background task; it is told to the caller
        if is_undone(error, committing=False):
            raise
        try:
            say(connection, "ROLLBACK TO SAVEPOINT piece")
        except DRIVER_ERRORS:
            raise error from None
        write.failed = _in_our_words(error)
    say(connection, "RELEASE SAVEPOINT piece")


def _in_our_words(error: BaseException) -> BaseException:
    if isinstance(error, StopIteration):  # no future takes it
        translated = RuntimeError("A piece of writing raised StopIteration.")
        translated.__cause__ = error
        return translated
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
