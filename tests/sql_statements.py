"""What is said to a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import Connection, event

from seafloor.stores.metadata.sql import prepared
from seafloor.stores.metadata.sql.database import Database


@contextmanager
def statements_of(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Collect what is said to the database."""
    said: list[tuple[str, Any]] = []

    def listen(_connection, _cursor, statement, parameters, _context, _many) -> None:
        said.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", listen)
    try:
        yield said
    finally:
        event.remove(database.engine, "before_cursor_execute", listen)


@contextmanager
def every_statement_of(database: Database) -> Iterator[list[str]]:
    """Collect also what goes past SQLAlchemy, whose events do not hear it; of all databases."""
    past: list[str] = []

    class Heard(prepared._Driver):
        def __init__(self, connection: Connection, text: str) -> None:
            past.append(text)
            super().__init__(connection, text)

    with mock.patch.object(prepared, "_Driver", Heard), statements_of(database) as said:
        yield past
        past += [text for text, _ in said]
