"""A database of its own for each test that wants one, on whichever kind of database."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    create_engine,
    delete,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.engine import URL, make_url
from tests.services._service import Service

from seafloor.stores.metadata.sql.tables import METADATA
from seafloor.testing.databases import migrate_database, migrated_sqlite, use_database

KINDS = ("sqlite", "postgresql", "mariadb")
"""What every test of the metadata database runs on."""

_free: dict[str, list[str]] = {}


@contextmanager
def fresh_database(service: Service, *, migrated: bool = True) -> Iterator[str]:
    """The URL of a database that nobody else uses.

    Args:
        service: ``service("postgresql")`` or ``service("mariadb")``.
        migrated: Whether it has its tables, or nothing at all.
    """
    url = make_url(service.url)
    if url.drivername == "postgresql":
        made = _postgresql(url, migrated=migrated)
    elif migrated:
        made = _mariadb_again(url)
    else:
        made = _mariadb(url)
    with made as name:
        yield url.set(database=name).render_as_string(hide_password=False)


@contextmanager
def fresh_database_of(
    kind: str, service: Callable[[str], Service], *, migrated: bool = True
) -> Iterator[str]:
    """The same by the name of its kind, SQLite included."""
    if kind != "sqlite":
        with fresh_database(service(kind), migrated=migrated) as url:
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="seafloor-sqlite-") as folder:
        file = Path(folder) / "seafloor.db"
        if migrated:
            migrated_sqlite(file)
        yield f"sqlite:///{file}"


@contextmanager
def database_in(folder: Path, kind: str, service: Callable[[str], Service]) -> Iterator[None]:
    """Have the stores that tests open over a folder use a fresh database of a kind."""
    if kind == "sqlite":  # lies in the folder by itself
        migrated_sqlite(folder / "seafloor.db")
        yield
        return
    url = make_url(service(kind).url)
    with _postgresql_again(url) if kind == "postgresql" else _mariadb_again(url) as name:
        use_database(folder, url.set(database=name).render_as_string(hide_password=False))
        yield


def _new_name() -> str:
    return f"test_{uuid.uuid4().hex}"


@contextmanager
def _at(url: URL) -> Iterator[Connection]:
    """A connection that commits each statement."""
    with _engine(url).connect() as connection:
        yield connection


@lru_cache(maxsize=64)
def _engine(url: URL) -> Engine:
    """It holds no connection, but the statements that it has compiled: to do so takes long."""
    driver = "psycopg" if url.drivername == "postgresql" else "pymysql"
    whole = url.set(drivername=f"{url.drivername}+{driver}")
    return create_engine(whole, isolation_level="AUTOCOMMIT", poolclass=NullPool)


@contextmanager
def _postgresql(url: URL, *, migrated: bool) -> Iterator[str]:
    template = _template(url) if migrated else "template1"
    name = _new_name()
    with _at(url) as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield name
    finally:
        with _at(url) as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@cache
def _template(url: URL) -> str:
    """A migrated database to copy; one for each process of tests."""
    name = _new_name()
    with _at(url) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    migrate_database(url.set(database=name).render_as_string(hide_password=False))
    return name


@contextmanager
def _postgresql_again(url: URL) -> Iterator[str]:
    """A copy of the template that is used again: to make and drop one takes half a second.

    Only for tests that write rows, and change neither the schema nor the database's settings.
    """
    free = _free.setdefault(str(url), [])
    if not free:
        made = _new_name()
        with _at(url) as connection:
            connection.execute(text(f"CREATE DATABASE {made} TEMPLATE {_template(url)}"))
        free.append(made)
    name = free.pop()
    yield name
    with _at(url.set(database=name)) as connection:
        connection.execute(_END_OTHERS)
        as_new = not connection.execute(_GROWN).all()
        if as_new:
            _empty(connection)
    if as_new:
        free.append(name)
        return
    with _at(url) as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


_END_OTHERS = text(
    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_GROWN = text(
    # The planner takes a table that was never analyzed for one of ten pages: as long as none has
    # more, and none was, it plans for what was emptied as for what is new.
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    " AND (reltuples >= 0 OR pg_relation_size(oid) > 10 * 8192)"
)


@contextmanager
def _mariadb(url: URL) -> Iterator[str]:
    name = _new_name()
    with _at(url) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield name
    finally:
        with _at(url) as connection:
            connection.execute(text(f"DROP DATABASE {name}"))


@contextmanager
def _mariadb_again(url: URL) -> Iterator[str]:
    """There is nothing to copy from, and making all tables takes long: they are used again."""
    free = _free.setdefault(str(url), [])
    if free:
        name = free.pop()
    else:
        name = _new_name()
        with _at(url) as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        migrate_database(url.set(database=name).render_as_string(hide_password=False))
    yield name  # one that a test failed in is not used again
    with _at(url.set(database=name)) as connection:
        _empty(connection)
    free.append(name)


def _empty(connection: Connection) -> None:
    """Leave what a migrated database holds: the first project and experiment."""
    tables = METADATA.tables
    used = connection.execute(
        select(
            *(select(literal(1)).select_from(t).exists().label(name) for name, t in tables.items())
        )
    ).mappings()
    kind = "postgresql" if connection.dialect.name == "postgresql" else "mariadb"
    for setting in _ROWS_AS_GIVEN[kind]:
        connection.execute(text(setting))
    connection.execute(text("START TRANSACTION"))
    for name, is_used in used.one().items():
        if is_used:
            connection.execute(delete(tables[name]))
    connection.execute(insert(tables["project"]), {"name": "default", "created_ns": 0})
    first = {"id": 0, "project": "default", "name": "Default", "created_ns": 0, "updated_ns": 0}
    connection.execute(insert(tables["experiment"]), first)
    connection.execute(text("COMMIT"))
    for statement in connection.execute(text(_ANEW[kind])).scalars():
        connection.execute(text(statement))


_ROWS_AS_GIVEN = {
    # No row of another table is looked for, a zero is no question for the next number.
    "mariadb": ("SET FOREIGN_KEY_CHECKS = 0", "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"),
    # Likewise; and nobody needs these rows after a crash.
    "postgresql": ("SET session_replication_role = replica", "SET synchronous_commit = off"),
}

# The statements that have numbers begin anew where some were given.
_ANEW = {
    "mariadb": (
        "SELECT CONCAT('ALTER TABLE ', table_name, ' AUTO_INCREMENT = 1')"
        " FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND auto_increment > 1"
    ),
    "postgresql": (
        "SELECT format('ALTER SEQUENCE %I RESTART', sequencename) FROM pg_sequences"
        " WHERE schemaname = 'public' AND last_value IS NOT NULL"
    ),
}
