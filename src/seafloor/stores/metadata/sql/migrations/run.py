"""Brings a database up to date."""

from __future__ import annotations

import importlib
import pkgutil

from sqlalchemy import Connection, Engine

from seafloor.domain.errors import Conflict
from seafloor.stores.metadata.sql.driver_errors import driver_errors
from seafloor.stores.metadata.sql.migrations import versions
from seafloor.stores.metadata.sql.sqlite import BEGIN_WRITE

VERSION_TABLE = "alembic_version"


def revisions() -> dict[str, str]:
    """The known revisions, oldest first, with the modules of ``versions`` that make them."""
    modules = sorted(module.name for module in pkgutil.iter_modules(versions.__path__))
    return {name[1:5]: f"{versions.__name__}.{name}" for name in modules}


def migrate(engine: Engine) -> None:
    """Apply what is missing, each revision in a transaction of its own.

    A crash leaves the database at one revision or the next. Whoever comes second waits for the
    database's own write lock and then finds it done.

    Raises:
        Conflict: the database is of a newer version of Seafloor. Nothing was changed.
    """
    with driver_errors(), engine.connect() as connection:
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
            _upgrade(connection, revision, module)


def current_revision(connection: Connection) -> str | None:
    """The revision of a database; None for an empty one."""
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    return connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608  # our own name


def _upgrade(connection: Connection, revision: str, module: str) -> None:
    # Imported here: a start that finds the schema up to date does without.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    connection.exec_driver_sql(BEGIN_WRITE)
    current = current_revision(connection)
    if current is not None and current >= revision:
        connection.exec_driver_sql("ROLLBACK")
        return
    with Operations.context(MigrationContext.configure(connection)):
        importlib.import_module(module).upgrade()
    _record(connection, revision)
    connection.exec_driver_sql("COMMIT")


def _record(connection: Connection, revision: str) -> None:
    table = VERSION_TABLE
    connection.exec_driver_sql(
        f"CREATE TABLE IF NOT EXISTS {table} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    )
    connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608  # our own name
    connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('{revision}')")  # noqa: S608  # ours
