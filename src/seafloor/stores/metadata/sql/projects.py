"""Projects in SQL."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select

from seafloor.domain.errors import AlreadyExists, NotFound, nearest
from seafloor.domain.experiments import Project
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.prepared import Prepared
from seafloor.stores.metadata.sql.tables import project

_EXISTS = Prepared(select(project.c.name).where(project.c.name == bindparam("name")))


class SqlProjects:
    """``ProjectRecords`` in SQL."""

    _database: Database

    async def project_create(self, name: str, *, created_ns: int) -> Project:
        """See ``ProjectRecords``."""

        def write(connection: Connection) -> Project:
            if _exists(connection, name):
                raise AlreadyExists(f'There is a project "{name}" already.', field="name")
            connection.execute(insert(project).values(name=name, created_ns=created_ns))
            return Project(name, created_ns)

        return await self._database.write(write)

    async def project_get(self, name: str) -> Project:
        """See ``ProjectRecords``."""

        def read(connection: Connection) -> Project:
            check_project(connection, name)
            row = connection.execute(select(project).where(project.c.name == name)).one()
            return Project(row.name, row.created_ns)

        return await self._database.read(read)

    async def project_list(self) -> tuple[Project, ...]:
        """See ``ProjectRecords``."""

        def read(connection: Connection) -> tuple[Project, ...]:
            rows = connection.execute(select(project).order_by(project.c.name))
            return tuple(Project(row.name, row.created_ns) for row in rows)

        return await self._database.read(read)


def _exists(connection: Connection, name: str) -> bool:
    return bool(_EXISTS.rows(connection, {"name": name}))


def check_project(connection: Connection, name: str) -> None:
    """Refuse a project that does not exist, with the nearest name."""
    if not _exists(connection, name):
        names = connection.execute(select(project.c.name).limit(1000)).scalars()
        raise NotFound(f'There is no project "{name}".{nearest(name, names)}', field="project")
