"""Ids of experiments: who keeps one must never meet another experiment under it.

PostgreSQL and MariaDB give each number once. SQLite gives the next free one, so the id of a newest
experiment that is gone for good, with its project, would be that of the next. What was given is
remembered, on each database: a copy of one may be of another kind.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select, text

from seafloor.stores.metadata.sql.tables import experiment, installation

_GONE = "experiment_id_gone"
_is_it = installation.c.name == _GONE


def note_gone(connection: Connection, project: str) -> None:
    """Remember the ids of a project's experiments, which are about to go for good."""
    own = select(func.max(experiment.c.id)).where(experiment.c.project == project)
    greatest = connection.execute(own).scalar()
    if (greatest or 0) > greatest_gone(connection):
        connection.execute(delete(installation).where(_is_it))
        content = str(greatest).encode()
        connection.execute(insert(installation).values(name=_GONE, content=content))


def greatest_gone(connection: Connection) -> int:
    """The greatest id that an experiment had that is gone for good, or 0."""
    return int(connection.execute(select(installation.c.content).where(_is_it)).scalar() or 0)


def next_id(connection: Connection) -> int | None:
    """The id of the next experiment; None: the database finds it by itself."""
    if connection.dialect.name != "sqlite":
        return None
    greatest = connection.execute(select(func.max(experiment.c.id))).scalar() or 0
    return max(greatest, greatest_gone(connection)) + 1


def skip_gone(connection: Connection) -> None:
    """Have a database that holds a copy give no id that the original gave."""
    gone = greatest_gone(connection)
    if not gone:
        return
    if connection.dialect.name == "postgresql":
        sequence = "pg_get_serial_sequence('experiment', 'id')"
        connection.execute(
            text(f"SELECT setval({sequence}, greatest(nextval({sequence}) - 1, :gone))"),
            {"gone": gone},
        )
    elif connection.dialect.name != "sqlite":
        # One that is not above those that are there changes nothing.
        connection.exec_driver_sql(f"ALTER TABLE experiment AUTO_INCREMENT = {gone + 1}")
