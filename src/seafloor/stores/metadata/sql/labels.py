"""Params and tags in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy import delete as delete_from

from seafloor.domain.errors import Conflict, NoSuchTag, nearest
from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.protocol import Labels
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.prepared import PreparedIn, PreparedRows, bounded
from seafloor.stores.metadata.sql.rows import check_workload
from seafloor.stores.metadata.sql.tables import param, tag, workload


def _known_of(table: Table) -> PreparedIn:
    return PreparedIn(
        lambda asked: select(table.c.key, table.c.value).where(
            table.c.workload_id == bindparam("owner"), asked(table.c.key)
        )
    )


def _all_of(table: Table) -> PreparedIn:
    columns = table.c.workload_id, table.c.key, table.c.value
    return PreparedIn(lambda asked: bounded(select(*columns).where(asked(table.c.workload_id))))


@lru_cache(maxsize=64)
def _some_of(table: Table, count: int) -> PreparedIn:
    """As ``_all_of``, of so many keys."""
    columns = table.c.workload_id, table.c.key, table.c.value
    keys: list[Any] = [bindparam(f"asked_{at}") for at in range(count)]
    of_key = table.c.key.in_(keys)
    return PreparedIn(
        lambda asked: bounded(select(*columns).where(asked(table.c.workload_id), of_key))
    )


_KNOWN = {table: _known_of(table) for table in (param, tag)}
_ALL = {table: _all_of(table) for table in (param, tag)}
_THERE = PreparedIn(lambda asked: select(workload.c.id).where(asked(workload.c.id)))
_ROWS = {table: PreparedRows(table) for table in (param, tag)}


class SqlLabels:
    """``LabelRecords`` in SQL."""

    _database: Database

    async def labels_get(
        self,
        workload_ids: Sequence[WorkloadId],
        *,
        params: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        most: int | None = None,
    ) -> dict[WorkloadId, Labels]:
        """See ``LabelRecords``."""

        def read(connection: Connection) -> dict[WorkloadId, Labels]:
            found_params = _values(connection, param, workload_ids, params, most)
            found_tags = _values(connection, tag, workload_ids, tags, most)
            return _labels(connection, workload_ids, found_params, found_tags)

        return await self._database.read(read)

    async def params_log(self, workload_id: WorkloadId, params: Mapping[str, str]) -> None:
        """See ``LabelRecords``."""

        def write(connection: Connection) -> None:
            check_workload(connection, workload_id)
            log_params(connection, workload_id, params)

        await self._database.write(write)

    async def tags_change(
        self, workload_id: WorkloadId, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """See ``LabelRecords``."""

        def write(connection: Connection) -> None:
            check_workload(connection, workload_id)
            change_tags(connection, workload_id, set_=set_, delete=delete)

        await self._database.write(write)


def log_params(connection: Connection, workload_id: WorkloadId, params: Mapping[str, str]) -> None:
    """Add params to a workload that is there; Conflict when one has another value already."""
    known = _known(connection, param, workload_id, params)
    for key, old in known.items():
        if params[key] != old:
            # The words that MLflow's clients know.
            raise Conflict(
                "Changing param values is not allowed. Param with "
                f"key='{key}' was already logged with value='{old}' for run "
                f"ID='{workload_id}'. Attempted logging new value '{params[key]}'.",
                field=key,
            )
    new = {key: value for key, value in params.items() if key not in known}
    add_labels(connection, param, workload_id, new)


def change_tags(
    connection: Connection,
    workload_id: WorkloadId,
    *,
    set_: Mapping[str, str],
    delete: Sequence[str] = (),
) -> None:
    """Set and delete tags of a workload that is there; NoSuchTag when one to delete is missing."""
    known = _known(connection, tag, workload_id, [*set_, *delete])
    _delete_tags(connection, workload_id, known, delete)
    kept = known.keys() - set(delete)
    changed = {key: value for key, value in set_.items() if key in kept and value != known[key]}
    _ROWS[tag].replace(connection, _rows(workload_id, changed))
    new = {key: value for key, value in set_.items() if key not in kept}
    add_labels(connection, tag, workload_id, new)


def add_labels(
    connection: Connection, table: Table, workload_id: WorkloadId, labels: Mapping[str, str]
) -> None:
    """Insert params or tags that are not there yet."""
    _ROWS[table].insert(connection, _rows(workload_id, labels))


def _rows(workload_id: WorkloadId, labels: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"workload_id": workload_id, "key": key, "value": value} for key, value in labels.items()
    ]


def _labels(
    connection: Connection,
    ids: Sequence[WorkloadId],
    found_params: Mapping[str, dict[str, str]],
    found_tags: Mapping[str, dict[str, str]],
) -> dict[WorkloadId, Labels]:
    # What has labels is there; only of the others it is asked.
    bare = [one for one in ids if one not in found_params and one not in found_tags]
    known = {one for (one,) in _THERE.rows(connection, {}, bare)} if bare else ()
    return {
        one: Labels(found_params.get(one) or {}, found_tags.get(one) or {})
        for one in ids
        if one in found_params or one in found_tags or one in known
    }


def _values(
    connection: Connection,
    table: Table,
    ids: Sequence[WorkloadId],
    keys: Sequence[str] | None,
    most: int | None,
) -> dict[str, dict[str, str]]:
    """The values by key, by run. A page has ten thousand, so nothing is done twice for one."""
    if keys is None:
        rows = _ALL[table].rows_within(connection, {}, ids, most=most)
    elif keys:
        asked = {f"asked_{at}": key for at, key in enumerate(keys)}
        rows = _some_of(table, len(keys)).rows_within(connection, asked, ids, most=most)
    else:
        rows = ()
    made: dict[str, dict[str, str]] = {}
    for owner, key, value in rows:
        labels = made.get(owner)
        if labels is None:
            made[owner] = {key: value}
        else:
            labels[key] = value
    return made


def _known(
    connection: Connection,
    table: Table,
    workload_id: WorkloadId,
    keys: Mapping[str, str] | Sequence[str],
) -> dict[str, str]:
    """Those of some labels that are there."""
    return dict(_KNOWN[table].rows(connection, {"owner": workload_id}, list(keys)))


def _delete_tags(
    connection: Connection, workload_id: WorkloadId, known: Mapping[str, str], keys: Sequence[str]
) -> None:
    if not keys:
        return
    for key in keys:
        if key not in known:
            all_of_it = select(tag.c.key).where(tag.c.workload_id == workload_id)
            near = nearest(key, connection.execute(all_of_it).scalars())
            raise NoSuchTag(
                f"No tag with name: {key} in run with id {workload_id}.{near}", field=key
            )
    connection.execute(
        delete_from(tag).where(tag.c.workload_id == workload_id, tag.c.key.in_(keys))
    )
