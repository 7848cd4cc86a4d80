"""Params and tags in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy import delete as delete_from

from seafloor.domain.errors import Conflict, NoSuchTag, nearest
from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.protocol import Labels
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.prepared import (
    PreparedIn,
    PreparedPairs,
    PreparedRows,
    bounded,
)
from seafloor.stores.metadata.sql.rows import check_workload
from seafloor.stores.metadata.sql.tables import param, tag, workload


def _known_of(table: Table) -> PreparedIn:
    return PreparedIn(
        lambda asked: select(table.c.key, table.c.value).where(
            table.c.workload_id == bindparam("owner"), asked(table.c.key)
        )
    )


def _known_pairs_of(table: Table) -> PreparedPairs:
    columns = table.c.workload_id, table.c.key, table.c.value
    return PreparedPairs(
        lambda asked: select(*columns).where(asked(table.c.workload_id, table.c.key))
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
_KNOWN_PAIRS = {table: _known_pairs_of(table) for table in (param, tag)}
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
            log_params(connection, [(workload_id, params)])

        await self._database.write(write)

    async def tags_change(
        self, workload_id: WorkloadId, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """See ``LabelRecords``."""

        def write(connection: Connection) -> None:
            check_workload(connection, workload_id)
            change_tags(connection, workload_id, set_=set_, delete=delete)

        await self._database.write(write)


Given = Sequence[tuple[WorkloadId, Mapping[str, str]]]
"""Labels of workloads that are there; of one several times is as one after the other."""


def log_params(connection: Connection, given: Given) -> None:
    """Add params; Conflict when one has another value already."""
    known = _known(connection, param, given)
    new: list[dict[str, str]] = []
    for workload_id, params in given:
        there = known.setdefault(workload_id, {})
        for key, value in params.items():
            old = there.get(key)
            if old is None:
                there[key] = value
                new.append({"workload_id": workload_id, "key": key, "value": value})
            elif old != value:
                # The words that MLflow's clients know.
                raise Conflict(
                    "Changing param values is not allowed. Param with "
                    f"key='{key}' was already logged with value='{old}' for run "
                    f"ID='{workload_id}'. Attempted logging new value '{value}'.",
                    field=key,
                )
    _ROWS[param].insert(connection, new)


def set_tags(connection: Connection, given: Given) -> None:
    """Set tags, whatever they were."""
    known = _known(connection, tag, given)
    changed: dict[tuple[str, str], str] = {}
    for workload_id, tags in given:
        changed |= {(workload_id, key): value for key, value in tags.items()}
    _put_tags(connection, known, changed)


def change_tags(
    connection: Connection,
    workload_id: WorkloadId,
    *,
    set_: Mapping[str, str],
    delete: Sequence[str] = (),
) -> None:
    """Set and delete tags of a workload that is there; NoSuchTag when one to delete is missing."""
    known = _known(connection, tag, [(workload_id, [*set_, *delete])])
    there = known.get(workload_id, {})
    _delete_tags(connection, workload_id, there, delete)
    for key in delete:
        there.pop(key, None)
    _put_tags(connection, known, {(workload_id, key): value for key, value in set_.items()})


def _put_tags(
    connection: Connection,
    known: Mapping[str, Mapping[str, str]],
    values: Mapping[tuple[str, str], str],
) -> None:
    changed: list[dict[str, str]] = []
    new: list[dict[str, str]] = []
    for (workload_id, key), value in values.items():
        old = known.get(workload_id, {}).get(key)
        if old != value:
            row = {"workload_id": workload_id, "key": key, "value": value}
            (new if old is None else changed).append(row)
    _ROWS[tag].replace(connection, changed)
    _ROWS[tag].insert(connection, new)


def add_labels(connection: Connection, table: Table, given: Given) -> None:
    """Insert params or tags of workloads that have none yet."""
    rows = [
        {"workload_id": workload_id, "key": key, "value": value}
        for workload_id, labels in given
        for key, value in labels.items()
    ]
    _ROWS[table].insert(connection, rows)


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
    connection: Connection, table: Table, asked: Sequence[tuple[WorkloadId, Collection[str]]]
) -> dict[str, dict[str, str]]:
    """Those of some labels that are there, by workload."""
    if len(asked) == 1:
        ((workload_id, keys),) = asked
        return {
            workload_id: dict(_KNOWN[table].rows(connection, {"owner": workload_id}, list(keys)))
        }
    # Each pair once: of several pieces of one run many have the same keys.
    pairs = dict.fromkeys((workload_id, key) for workload_id, keys in asked for key in keys)
    found: dict[str, dict[str, str]] = {}
    for workload_id, key, value in _KNOWN_PAIRS[table].rows(connection, list(pairs)):
        found.setdefault(workload_id, {})[key] = value
    return found


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
