"""Brings a database up to date."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from seafloor.domain.errors import Conflict
from seafloor.stores.metadata.sql.driver_errors import driver_errors
from seafloor.stores.metadata.sql.migrations import versions

if TYPE_CHECKING:
    from seafloor.stores.metadata.sql.database import Database

VERSION_TABLE = "alembic_version"


def revisions() -> tuple[str, ...]:
    """The known revisions, oldest first: the names of the modules in ``versions``."""
    return tuple(sorted(module.name[1:5] for module in pkgutil.iter_modules(versions.__path__)))


def migrate(database: Database) -> None:
    """Apply what is missing, each revision in a transaction of its own.

    Raises:
        Conflict: the database is of a newer version of Seafloor.
    """
    with driver_errors(), database.engine.connect() as connection:
        known = revisions()
        current = current_revision(connection)
        if current == known[-1]:
            return
        if current is not None and current not in known:
            raise Conflict(
                f"The database was written by a newer version of Seafloor (schema {current}, "
                f"this version knows {known[-1]}): install that version, or give another database."
            )
        _upgrade(connection, known)


def current_revision(connection: Connection) -> str | None:
    """The revision of a database; None for an empty one."""
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608


def _upgrade(connection: Connection, known: tuple[str, ...]) -> None:
    # Imported here: a start that finds the schema up to date does without.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    modules = {
        module.name[1:5]: importlib.import_module(f"{versions.__name__}.{module.name}")
        for module in pkgutil.iter_modules(versions.__path__)
    }
    for revision in known:
        # Whoever comes second waits here, and then finds it done.
        connection.execute(text("BEGIN IMMEDIATE"))
        current = current_revision(connection)
        if current is not None and current >= revision:
            connection.execute(text("ROLLBACK"))
            continue
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            modules[revision].upgrade()
        _record(connection, revision)
        connection.execute(text("COMMIT"))


def _record(connection: Connection, revision: str) -> None:
    connection.execute(
        text(f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL)")
    )
    connection.execute(text(f"DELETE FROM {VERSION_TABLE}"))  # noqa: S608
    connection.execute(
        text(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:revision)"),  # noqa: S608
        {"revision": revision},
    )
