"""Params and tags in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, insert, select

from seafloor.domain.errors import Conflict, NotFound, nearest
from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.protocol import Labels
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.rows import get_workload
from seafloor.stores.metadata.sql.tables import param, tag

# SQLite takes so many values in one statement.
IDS_AT_ONCE = 10_000


class SqlLabels:
    """``LabelRecords`` in SQL."""

    _database: Database

    async def labels_get(self, workload_ids: Sequence[WorkloadId]) -> dict[WorkloadId, Labels]:
        """See ``LabelRecords``."""

        def read(connection: Connection) -> dict[WorkloadId, Labels]:
            made: dict[WorkloadId, Labels] = {}
            for begin in range(0, len(workload_ids), IDS_AT_ONCE):
                _add_labels(connection, workload_ids[begin : begin + IDS_AT_ONCE], made)
            return made

        return await self._database.read(read)

    async def params_log(self, workload_id: WorkloadId, params: Mapping[str, str]) -> None:
        """See ``LabelRecords``."""

        def write(connection: Connection) -> None:
            get_workload(connection, workload_id)
            rows = connection.execute(
                select(param.c.key, param.c.value).where(
                    param.c.workload_id == workload_id, param.c.key.in_(params)
                )
            )
            known = {row.key: row.value for row in rows}
            for key, old in known.items():
                if params[key] != old:
                    raise Conflict(
                        "Changing param values is not allowed. Param with "
                        f"key='{key}' was already logged with value='{old}' for run "
                        f"ID='{workload_id}'. Attempted logging new value '{params[key]}'.",
                        field=key,
                    )
            new = [
                {"workload_id": workload_id, "key": key, "value": value}
                for key, value in params.items()
                if key not in known
            ]
            if new:
                connection.execute(insert(param), new)

        await self._database.write(write)

    async def tags_change(
        self, workload_id: WorkloadId, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """See ``LabelRecords``."""
        await self._database.write(
            lambda connection: _change_tags(connection, workload_id, set_, delete)
        )


def _add_labels(
    connection: Connection, ids: Sequence[WorkloadId], made: dict[WorkloadId, Labels]
) -> None:
    from_ids = {workload_id: Labels({}, {}) for workload_id in ids}
    found: set[WorkloadId] = set()
    for row in connection.execute(select(param).where(param.c.workload_id.in_(ids))):
        from_ids[row.workload_id].params[row.key] = row.value
        found.add(row.workload_id)
    for row in connection.execute(select(tag).where(tag.c.workload_id.in_(ids))):
        from_ids[row.workload_id].tags[row.key] = row.value
        found.add(row.workload_id)
    made.update({workload_id: from_ids[workload_id] for workload_id in ids if workload_id in found})


def _change_tags(
    connection: Connection,
    workload_id: WorkloadId,
    set_: Mapping[str, str],
    gone: Sequence[str],
) -> None:
    get_workload(connection, workload_id)
    this = tag.c.workload_id == workload_id
    known = set(connection.execute(select(tag.c.key).where(this)).scalars())
    for key in gone:
        if key not in known:
            raise NotFound(
                f"No tag with name: {key} in run with id {workload_id}.{nearest(key, known)}",
                field=key,
            )
    replaced = [*gone, *(known & set_.keys())]
    if replaced:
        connection.execute(delete(tag).where(this, tag.c.key.in_(replaced)))
    if set_:
        connection.execute(
            insert(tag),
            [
                {"workload_id": workload_id, "key": key, "value": value}
                for key, value in set_.items()
            ],
        )
