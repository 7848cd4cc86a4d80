"""What a kind of database has to offer; ``sqlite``, ``postgresql`` and ``mariadb`` keep to it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection, Engine


class Backend(Protocol):
    """One database, and all that is said to it and not to every other.

    Its connections are in autocommit mode: what begins a transaction is said here, ``COMMIT`` by
    whoever began it; a connection that returns to the pool rolls back what it left open.
    """

    is_remote: bool
    """Whether each statement is a trip to another process, or machine."""

    @property
    def engine(self) -> Engine:
        """Where connections come from."""
        ...

    def begin_read(self, connection: Connection) -> None:
        """Begin a transaction whose statements all see one state, and that waits for nobody."""
        ...

    def begin_write(self, connection: Connection) -> None:
        """Begin a transaction as the one writer of this database, of all servers' writers.

        It sees what the writer before it committed. Who holds the place and falls silent for
        ``IDLE_WRITER_S`` loses it, with all that it did not commit.
        """
        ...

    def tend(self, connection: Connection) -> None:
        """Do what the database itself leaves undone; between two transactions of the writer."""
        ...

    def migrating(self, connection: Connection) -> AbstractContextManager[None]:
        """Hold other migrations off; what was done within is committed at the end.

        Where the database commits each change of the schema by itself, a step that was done
        already is passed over, so that a migration can be gone on with after a crash.
        """
        ...


CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 60
"""A database that says nothing for so long has its connection ended."""
IDLE_WRITER_S = 5
"""A server that is paused while it holds the writer's place blocks the others no longer."""
IDLE_READER_S = 60
LOCK_TIMEOUT_S = 10
"""How long a writer waits for its turn."""
