"""A database of its own for each test that wants one, on whichever kind of database."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, create_engine, delete, func, insert, select, text
from sqlalchemy.engine import URL, make_url
from tests.services._service import Service

from seafloor.stores.metadata.sql.backend import Backend
from seafloor.stores.metadata.sql.migrations.run import migrate
from seafloor.stores.metadata.sql.open import open_backend, parse_url
from seafloor.stores.metadata.sql.tables import METADATA
from seafloor.testing.databases import use_database

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
        url = f"sqlite:///{folder}/seafloor.db"
        if migrated:
            _migrate(url)
        yield url


@contextmanager
def database_in(folder: Path, kind: str, service: Callable[[str], Service]) -> Iterator[None]:
    """Have the stores that tests open over a folder use a fresh database of a kind."""
    if kind == "sqlite":  # lies in the folder by itself
        yield
        return
    with fresh_database(service(kind)) as url:
        use_database(folder, url)
        yield


def _new_name() -> str:
    return f"test_{uuid.uuid4().hex}"


@contextmanager
def _at(url: URL) -> Iterator[Connection]:
    """A connection that commits each statement."""
    driver = "psycopg" if url.drivername == "postgresql" else "pymysql"
    engine = create_engine(
        url.set(drivername=f"{url.drivername}+{driver}"), isolation_level="AUTOCOMMIT"
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _migrate(url: str) -> None:
    backend: Backend = open_backend(parse_url(url), connections=1)
    migrate(backend)
    backend.engine.dispose()


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
    _migrate(url.set(database=name).render_as_string(hide_password=False))
    return name


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
        _migrate(url.set(database=name).render_as_string(hide_password=False))
    yield name  # one that a test failed in is not used again
    with _at(url.set(database=name)) as connection:
        _empty(connection)
    free.append(name)


def _empty(connection: Connection) -> None:
    """Leave what a migrated database holds: the first project and experiment."""
    connection.execute(text("SET FOREIGN_KEY_CHECKS = 0"))
    for table in METADATA.tables.values():
        if connection.execute(select(func.count()).select_from(table)).scalar():
            connection.execute(delete(table))
        if table.autoincrement_column is not None:
            connection.execute(text(f"ALTER TABLE `{table.name}` AUTO_INCREMENT = 1"))
    connection.execute(text("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"))
    project, experiment = METADATA.tables["project"], METADATA.tables["experiment"]
    connection.execute(insert(project), {"name": "default", "created_ns": 0})
    first = {"id": 0, "project": "default", "name": "Default", "created_ns": 0, "updated_ns": 0}
    connection.execute(insert(experiment), first)
