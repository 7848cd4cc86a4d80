"""Experiments in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Row, bindparam, insert, select, update
from sqlalchemy import delete as delete_from

from seafloor.domain.errors import AlreadyExists, NoSuchTag, NotFound, nearest
from seafloor.domain.experiments import Experiment
from seafloor.domain.search import Lifecycle
from seafloor.stores.metadata.sql import tables
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import dump, load_plain
from seafloor.stores.metadata.sql.experiment_ids import next_id
from seafloor.stores.metadata.sql.prepared import IDS_AT_ONCE, Prepared
from seafloor.stores.metadata.sql.projects import check_project
from seafloor.stores.metadata.sql.tables import experiment_tag, workload

ID_MAX = (1 << 63) - 1
"""Clients may ask for any number; a database knows 64 bits."""


_DELETED_NS = Prepared(
    select(tables.experiment.c.deleted_ns).where(tables.experiment.c.id == bindparam("of_id"))
)


class SqlExperiments:
    """``ExperimentRecords`` in SQL."""

    _database: Database

    async def experiment_create(self, experiment: Experiment) -> Experiment:
        """See ``ExperimentRecords``."""

        def write(connection: Connection) -> Experiment:
            check_project(connection, experiment.project)
            _check_free(connection, experiment.project, experiment.name)
            given = next_id(connection)
            made = connection.execute(
                insert(tables.experiment).values(
                    **({} if given is None else {"id": given}),
                    project=experiment.project,
                    name=experiment.name,
                    spec=None if experiment.spec is None else dump(experiment.spec),
                    artifact_location=experiment.artifact_location,
                    created_ns=experiment.created_ns,
                    updated_ns=experiment.updated_ns,
                )
            )
            (experiment_id,) = made.inserted_primary_key or (None,)
            _set_tags(connection, int(experiment_id or 0), experiment.tags)
            return _get(connection, int(experiment_id or 0))

        return await self._database.write(write)

    async def experiment_get(self, experiment_id: int) -> Experiment:
        """See ``ExperimentRecords``."""
        return await self._database.read(lambda connection: _get(connection, experiment_id))

    async def experiment_get_many(self, ids: Collection[int]) -> dict[int, Experiment]:
        """See ``ExperimentRecords``."""
        asked = [one for one in ids if 0 <= one <= ID_MAX]

        def read(connection: Connection) -> dict[int, Experiment]:
            made: dict[int, Experiment] = {}
            for begin in range(0, len(asked), IDS_AT_ONCE):
                some = asked[begin : begin + IDS_AT_ONCE]
                tags = _tags(connection, some)
                found = select(tables.experiment).where(tables.experiment.c.id.in_(some))
                for row in connection.execute(found):
                    made[row.id] = _experiment(row, tags.get(row.id, {}))
            return made

        return await self._database.read(read)

    async def experiment_get_by_name(self, project: str, name: str) -> Experiment:
        """See ``ExperimentRecords``."""

        def read(connection: Connection) -> Experiment:
            found = connection.execute(
                select(tables.experiment).where(
                    tables.experiment.c.project == project, tables.experiment.c.name == name
                )
            ).first()
            if found is None:
                names = connection.execute(
                    select(tables.experiment.c.name)
                    .where(tables.experiment.c.project == project)
                    .limit(1000)
                ).scalars()
                raise NotFound(f'There is no experiment "{name}".{nearest(name, names)}')
            return _experiment(found, _tags(connection, [found.id]).get(found.id, {}))

        return await self._database.read(read)

    async def experiment_list(
        self, *, project: str | None, lifecycle: Lifecycle
    ) -> tuple[Experiment, ...]:
        """See ``ExperimentRecords``."""
        wanted = select(tables.experiment).order_by(
            tables.experiment.c.created_ns.desc(), tables.experiment.c.id.desc()
        )
        if project is not None:
            wanted = wanted.where(tables.experiment.c.project == project)
        if lifecycle is Lifecycle.ACTIVE:
            wanted = wanted.where(tables.experiment.c.deleted_ns.is_(None))
        elif lifecycle is Lifecycle.DELETED:
            wanted = wanted.where(tables.experiment.c.deleted_ns.is_not(None))

        def read(connection: Connection) -> tuple[Experiment, ...]:
            tags = _tags(connection, None)
            return tuple(
                _experiment(row, tags.get(row.id, {})) for row in connection.execute(wanted)
            )

        return await self._database.read(read)

    async def experiment_update(
        self,
        experiment_id: int,
        *,
        updated_ns: int,
        name: str | None = None,
        spec: dict[str, Any] | None = None,
        set_tags: Mapping[str, str] | None = None,
        delete_tags: Sequence[str] = (),
    ) -> Experiment:
        """See ``ExperimentRecords``."""

        def write(connection: Connection) -> Experiment:
            found = _get(connection, experiment_id)
            values: dict[str, object] = {"updated_ns": updated_ns}
            if name is not None and name != found.name:
                _check_free(connection, found.project, name)
                values["name"] = name
            if spec is not None:
                values["spec"] = dump(spec)
            _update(connection, experiment_id, values)
            _change_tags(connection, found, set_=set_tags or {}, delete=delete_tags)
            return _get(connection, experiment_id)

        return await self._database.write(write)

    async def experiment_tags_change(
        self, experiment_id: int, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """See ``ExperimentRecords``."""

        def write(connection: Connection) -> None:
            found = _get(connection, experiment_id)
            _change_tags(connection, found, set_=set_, delete=delete)

        await self._database.write(write)

    async def experiment_set_deleted(self, experiment_id: int, *, deleted_ns: int | None) -> None:
        """See ``ExperimentRecords``."""

        def write(connection: Connection) -> None:
            found = _get(connection, experiment_id)
            if (found.deleted_ns is None) is (deleted_ns is None):
                return
            runs = update(workload).where(workload.c.experiment_id == experiment_id)
            if deleted_ns is not None:
                runs = runs.where(workload.c.deleted_ns.is_(None))
            else:
                runs = runs.where(workload.c.deleted_ns == found.deleted_ns)
            connection.execute(runs.values(deleted_ns=deleted_ns))
            _update(connection, experiment_id, {"deleted_ns": deleted_ns})

        await self._database.write(write)


def _update(connection: Connection, experiment_id: int, values: dict[str, object]) -> None:
    connection.execute(
        update(tables.experiment).where(tables.experiment.c.id == experiment_id).values(**values)
    )


def _change_tags(
    connection: Connection, found: Experiment, *, set_: Mapping[str, str], delete: Sequence[str]
) -> None:
    for key in delete:
        if key not in found.tags:
            raise NoSuchTag(
                f'The experiment has no tag "{key}".{nearest(key, found.tags)}', field=key
            )
        connection.execute(_tag_deletion(found.id, [key]))
    _set_tags(connection, found.id, set_)


def _tag_deletion(experiment_id: int, keys: Sequence[str]) -> Delete:
    return delete_from(experiment_tag).where(
        experiment_tag.c.experiment_id == experiment_id, experiment_tag.c.key.in_(keys)
    )


def _set_tags(connection: Connection, experiment_id: int, tags: Mapping[str, str]) -> None:
    if not tags:
        return
    connection.execute(_tag_deletion(experiment_id, list(tags)))
    connection.execute(
        insert(experiment_tag),
        [
            {"experiment_id": experiment_id, "key": key, "value": value}
            for key, value in tags.items()
        ],
    )


def _check_free(connection: Connection, project: str, name: str) -> None:
    taken = connection.execute(
        select(tables.experiment.c.deleted_ns).where(
            tables.experiment.c.project == project, tables.experiment.c.name == name
        )
    ).first()
    if taken is not None:
        how = " (deleted; restore it or choose another name)" if taken.deleted_ns else ""
        raise AlreadyExists(f"Experiment '{name}' already exists{how}.", field="name")


def _get(connection: Connection, experiment_id: int) -> Experiment:
    check_experiment(connection, experiment_id)
    table = tables.experiment
    found = connection.execute(select(table).where(table.c.id == experiment_id)).one()
    return _experiment(found, _tags(connection, [experiment_id]).get(experiment_id, {}))


def check_experiment(connection: Connection, experiment_id: int) -> int | None:
    """Say when an experiment was deleted (None: it lives), or NotFound."""
    found = None
    if 0 <= experiment_id <= ID_MAX:
        found = _DELETED_NS.rows(connection, {"of_id": experiment_id})
    if not found:
        # The words that MLflow's clients know.
        raise NotFound(f"No Experiment with id={experiment_id} exists.", field="experiment_id")
    ((deleted_ns,),) = found
    return deleted_ns


def _tags(connection: Connection, ids: list[int] | None) -> dict[int, dict[str, str]]:
    wanted = select(experiment_tag)
    if ids is not None:
        wanted = wanted.where(experiment_tag.c.experiment_id.in_(ids))
    made: dict[int, dict[str, str]] = {}
    for row in connection.execute(wanted):
        made.setdefault(row.experiment_id, {})[row.key] = row.value
    return made


def _experiment(row: Row[Any], tags: dict[str, str]) -> Experiment:
    return Experiment(
        id=row.id,
        project=row.project,
        name=row.name,
        spec=None if row.spec is None else load_plain(row.spec),
        artifact_location=row.artifact_location,
        tags=tags,
        created_ns=row.created_ns,
        updated_ns=row.updated_ns,
        deleted_ns=row.deleted_ns,
    )
