"""What is known of event files, as rows of the metadata database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.stores.events.protocol import EventFile, EventFileKey
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import event_file, workload

_column = event_file.c
_OF_KEY = (
    _column.workload_id == bindparam("of_workload"),
    _column.attempt == bindparam("of_attempt"),
    _column.path == bindparam("of_path"),
)
_GET = select(event_file).where(*_OF_KEY)
_UPDATE = update(event_file).where(*_OF_KEY)
_WORKLOAD = select(workload.c.id).where(workload.c.id == bindparam("of_workload"))


def _named(key: EventFileKey) -> dict[str, str | int]:
    return {"of_workload": key.workload_id, "of_attempt": key.attempt, "of_path": key.path}


def _file(row: Row[Any]) -> EventFile:
    return EventFile(
        path=row.path,
        attempt=row.attempt,
        size_bytes=row.size_bytes,
        decoded_bytes=row.decoded_bytes,
        records=row.records,
        scalars=row.scalars,
        problem=row.problem,
    )


class EventFileRecords:
    """Rows of event files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: EventFileKey) -> EventFile | None:
        """What is known of a file; None when nothing is."""

        def read(connection: Connection) -> EventFile | None:
            row = connection.execute(_GET, _named(key)).first()
            return None if row is None else _file(row)

        return await self._database.read(read)

    async def create(self, key: EventFileKey) -> EventFile:
        """Note a file that has no bytes yet, unless it is noted.

        Raises:
            NotFound: no such workload.
        """

        def write(connection: Connection) -> EventFile:
            row = connection.execute(_GET, _named(key)).first()
            if row is not None:
                return _file(row)
            if connection.execute(_WORKLOAD, {"of_workload": key.workload_id}).first() is None:
                raise NotFound("There is no such workload.", field="workload_id")
            fresh = EventFile(key.path, key.attempt, 0, 0, 0, 0)
            connection.execute(insert(event_file), {"workload_id": key.workload_id, **_row(fresh)})
            return fresh

        return await self._database.write(write)

    async def update(self, workload_id: WorkloadId, file: EventFile) -> None:
        """Note how a file stands."""
        key = EventFileKey(workload_id, file.attempt, file.path)
        await self._database.write(
            lambda connection: connection.execute(_UPDATE, _named(key) | _row(file))
        )

    async def list(self, workload_id: WorkloadId) -> tuple[EventFile, ...]:
        """The files of a workload by attempt and path."""
        wanted = select(event_file).where(_column.workload_id == workload_id)

        def read(connection: Connection) -> tuple[EventFile, ...]:
            found = [_file(row) for row in connection.execute(wanted)]
            return tuple(sorted(found, key=lambda file: (file.attempt, file.path)))

        return await self._database.read(read)

    async def delete(self, workload_id: WorkloadId) -> None:
        """Forget the files of a workload."""
        await self._database.write(
            lambda connection: connection.execute(
                delete(event_file).where(_column.workload_id == workload_id)
            )
        )


def _row(file: EventFile) -> dict[str, str | int | None]:
    return {
        "attempt": file.attempt,
        "path": file.path,
        "size_bytes": file.size_bytes,
        "decoded_bytes": file.decoded_bytes,
        "records": file.records,
        "scalars": file.scalars,
        "problem": file.problem,
    }
