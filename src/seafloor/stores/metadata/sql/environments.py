"""Environments in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from seafloor.domain.environments import Environment
from seafloor.domain.errors import NotFound, nearest
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import dump, load
from seafloor.stores.metadata.sql.projects import check_project


class SqlEnvironments:
    """``EnvironmentRecords`` in SQL."""

    _database: Database

    async def environment_create(self, environment: Environment) -> Environment:
        """See ``EnvironmentRecords``."""
        table = tables.environment

        def write(connection: Connection) -> Environment:
            check_project(connection, environment.project)
            named = (table.c.project == environment.project) & (table.c.name == environment.name)
            newest = connection.execute(
                select(table)
                .where(named, table.c.deleted_ns.is_(None))
                .order_by(table.c.version.desc())
                .limit(1)
            ).first()
            if newest is not None:
                found = _environment(newest)
                if _wanted(found) == _wanted(environment):
                    return found
            last = connection.execute(select(func.max(table.c.version)).where(named)).scalar()
            version = (last or 0) + 1
            connection.execute(insert(table).values(**_values(environment, version)))
            row = connection.execute(select(table).where(named, table.c.version == version)).one()
            return _environment(row)

        return await self._database.write(write)

    async def environment_get(
        self, project: str, name: str, *, version: int | None = None
    ) -> Environment:
        """See ``EnvironmentRecords``."""
        table = tables.environment
        wanted = select(table).where(table.c.project == project, table.c.name == name)
        if version is None:
            wanted = wanted.where(table.c.deleted_ns.is_(None)).order_by(table.c.version.desc())
        else:
            wanted = wanted.where(table.c.version == version)

        def read(connection: Connection) -> Environment:
            found = connection.execute(wanted.limit(1)).first()
            if found is None:
                raise _missing(connection, project, name, version)
            return _environment(found)

        return await self._database.read(read)

    async def environment_list(self, *, project: str | None) -> tuple[Environment, ...]:
        """See ``EnvironmentRecords``."""
        table = tables.environment
        wanted = select(table).where(table.c.deleted_ns.is_(None))
        if project is not None:
            wanted = wanted.where(table.c.project == project)
        wanted = wanted.order_by(table.c.project, table.c.name, table.c.version)
        return await self._database.read(
            lambda connection: tuple(_environment(row) for row in connection.execute(wanted))
        )

    async def environment_delete(
        self, project: str, name: str, *, version: int | None, deleted_ns: int
    ) -> int:
        """See ``EnvironmentRecords``."""
        table = tables.environment
        change = update(table).where(
            table.c.project == project, table.c.name == name, table.c.deleted_ns.is_(None)
        )
        if version is not None:
            change = change.where(table.c.version == version)

        def write(connection: Connection) -> int:
            count = connection.execute(change.values(deleted_ns=deleted_ns)).rowcount
            if not count:
                raise _missing(connection, project, name, version)
            return count

        return await self._database.write(write)


def _missing(connection: Connection, project: str, name: str, version: int | None) -> NotFound:
    table = tables.environment
    living = (table.c.project == project) & table.c.deleted_ns.is_(None)
    names = connection.execute(select(table.c.name).where(living).distinct().limit(1000)).scalars()
    known = list(names)
    if name in known and version is not None:
        return NotFound(
            f'The environment "{name}" has no version {version}: see `seafloor env list`.',
            field="environment",
        )
    how = nearest(name, known) or " Create one with `seafloor env create`."
    return NotFound(f'There is no environment "{name}".{how}', field="environment")


def _wanted(environment: Environment) -> tuple[object, ...]:
    """What makes two versions one: what was asked for, and what it was locked to."""
    return (
        environment.digest,
        environment.pip,
        environment.conda_channels,
        environment.conda_packages,
        environment.image,
        environment.description,
    )


def _values(environment: Environment, version: int) -> dict[str, object]:
    return {
        "project": environment.project,
        "name": environment.name,
        "version": version,
        "python": environment.python,
        "pip": dump(environment.pip),
        "conda_channels": dump(environment.conda_channels),
        "conda_packages": dump(environment.conda_packages),
        "image": environment.image,
        "description": environment.description,
        "lock": environment.lock,
        "digest": environment.digest,
        "created_ns": environment.created_ns,
    }


def _environment(row: Row[Any]) -> Environment:
    return Environment(
        project=row.project,
        name=row.name,
        version=row.version,
        python=row.python,
        pip=load(row.pip, tuple[str, ...]),
        conda_channels=load(row.conda_channels, tuple[str, ...]),
        conda_packages=load(row.conda_packages, tuple[str, ...]),
        image=row.image,
        description=row.description,
        lock=row.lock,
        digest=row.digest,
        created_ns=row.created_ns,
        deleted_ns=row.deleted_ns,
    )
