"""Brings a database up to date."""

from __future__ import annotations

import importlib
import pkgutil

from sqlalchemy import Connection

from seafloor.domain.errors import Conflict
from seafloor.stores.metadata.sql.backend import Backend
from seafloor.stores.metadata.sql.driver_errors import driver_errors
from seafloor.stores.metadata.sql.migrations import versions

VERSION_TABLE = "alembic_version"


def revisions() -> dict[str, str]:
    """The known revisions, oldest first, with the modules of ``versions`` that make them."""
    modules = sorted(module.name for module in pkgutil.iter_modules(versions.__path__))
    return {name[1:5]: f"{versions.__name__}.{name}" for name in modules}


def migrate(backend: Backend) -> None:
    """Apply what is missing, each revision by itself.

    A crash leaves the database at one revision or the next; where changes of the schema cannot be
    undone, in the middle of one, with which the next start goes on. Whoever comes second waits
    for the first and then finds it done.

    Raises:
        Conflict: the database is of a newer version of Seafloor. Nothing was changed.
    """
    with driver_errors(), backend.engine.connect() as connection:
        known = revisions()
        current = current_revision(connection)
        newest = max(known)
        if current == newest:
            return
        if current is not None and current not in known:
            raise Conflict(
                f"The database was written by a newer version of Seafloor (schema {current}, "
                f"this version knows {newest}): install that version, or give another database."
            )
        for revision, module in known.items():
            _upgrade(backend, connection, revision, module)


def current_revision(connection: Connection) -> str | None:
    """The revision of a database; None for an empty one."""
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    # Two of them: the newer one was being noted.
    return connection.exec_driver_sql(f"SELECT max(version_num) FROM {VERSION_TABLE}").scalar()  # noqa: S608  # our own name


def _upgrade(backend: Backend, connection: Connection, revision: str, module: str) -> None:
    # Imported here: a start that finds the schema up to date does without.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    with backend.migrating(connection):
        current = current_revision(connection)
        if current is None or current < revision:
            with Operations.context(MigrationContext.configure(connection)):
                importlib.import_module(module).upgrade()
            _record(connection, revision)


def _record(connection: Connection, revision: str) -> None:
    table = VERSION_TABLE
    connection.exec_driver_sql(
        f"CREATE TABLE IF NOT EXISTS {table} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    )
    connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('{revision}')")  # noqa: S608  # ours
    connection.exec_driver_sql(f"DELETE FROM {table} WHERE version_num <> '{revision}'")  # noqa: S608  # ours
