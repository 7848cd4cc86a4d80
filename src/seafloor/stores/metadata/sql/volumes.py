"""Volumes in SQL.

Writes of all servers are one after another (``database``), so who holds a volume when a
transaction looks still does when it is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from seafloor.domain.errors import AlreadyExists, NotFound, StaleLease
from seafloor.domain.ids import Sha256, WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.volumes import (
    AccessMode,
    OperationKind,
    Volume,
    VolumeHolder,
    VolumeOperation,
    VolumeSnapshot,
    VolumeUse,
    broken_off,
    check_attach,
    check_removal,
    check_resize,
    check_restore,
    check_snapshot,
    no_snapshot,
    no_volume,
)
from seafloor.domain.workloads import FINAL_STATES
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.documents import dump, load
from seafloor.stores.metadata.sql.leases import check_fence, database_now_ns
from seafloor.stores.metadata.sql.projects import check_project
from seafloor.stores.metadata.sql.tables import lease, volume, volume_snapshot, volume_use, workload
from seafloor.stores.metadata.volume_records import VolumeResult

_THERE = volume.c.deleted_ns.is_(None)
_OVER = sorted(str(state) for state in FINAL_STATES)


class SqlVolumes:
    """``VolumeRecords`` in SQL."""

    _database: Database

    async def volume_create(self, volume: Volume) -> Volume:
        """See ``VolumeRecords``."""
        return await self._database.write(lambda connection: _create(connection, volume))

    async def volume_made(self, volume_id: str) -> None:
        """See ``VolumeRecords``."""

        def write(connection: Connection) -> None:
            if _row(connection, volume_id).content == 0:
                _change(connection, volume_id, content=1, content_last=1)

        await self._database.write(write)

    async def volume_get(self, project: str, name: str) -> Volume:
        """See ``VolumeRecords``."""
        this = (volume.c.project == project) & (volume.c.name == name)

        def read(connection: Connection) -> Volume:
            row = connection.execute(select(volume).where(this, _THERE)).first()
            if row is None:
                raise _missing(connection, project, name)
            return _seen(connection, row)

        return await self._database.read(read)

    async def volume_list(
        self, *, project: str | None, limit: int, after: tuple[str, str] | None = None
    ) -> tuple[Volume, ...]:
        """See ``VolumeRecords``."""
        wanted = select(volume).where(_THERE).order_by(volume.c.project, volume.c.name).limit(limit)
        if project is not None:
            wanted = wanted.where(volume.c.project == project)
        if after is not None:
            wanted = wanted.where(
                or_(
                    volume.c.project > after[0],
                    (volume.c.project == after[0]) & (volume.c.name > after[1]),
                )
            )

        def read(connection: Connection) -> tuple[Volume, ...]:
            return tuple(_seen(connection, row) for row in connection.execute(wanted).all())

        return await self._database.read(read)

    async def volume_holders(
        self, volume_ids: Sequence[str]
    ) -> dict[str, tuple[VolumeHolder, ...]]:
        """See ``VolumeRecords``."""
        return await self._database.read(lambda connection: _holders(connection, volume_ids))

    async def volumes_of(self, workload_id: WorkloadId) -> tuple[Volume, ...]:
        """See ``VolumeRecords``."""
        wanted = (
            select(volume)
            .join(volume_use, volume_use.c.volume_id == volume.c.id)
            .where(volume_use.c.workload_id == workload_id, _THERE)
            .order_by(volume.c.name)
        )

        def read(connection: Connection) -> tuple[Volume, ...]:
            return tuple(_seen(connection, row) for row in connection.execute(wanted).all())

        return await self._database.read(read)

    async def volume_snapshots(self, volume_id: str) -> tuple[VolumeSnapshot, ...]:
        """See ``VolumeRecords``."""
        table = volume_snapshot
        wanted = select(table).where(table.c.volume_id == volume_id).order_by(table.c.number)
        return await self._database.read(
            lambda connection: tuple(_snapshot_of(row) for row in connection.execute(wanted))
        )

    async def volume_begin(
        self, volume_id: str, kind: OperationKind, *, snapshot: int, claim: Claim, started_ns: int
    ) -> VolumeOperation:
        """See ``VolumeRecords``."""

        def write(connection: Connection) -> VolumeOperation:
            check_fence(connection, claim.fence)
            row = _row(connection, volume_id)
            found = _seen(connection, row)
            holders = _holders(connection, [volume_id]).get(volume_id, ())
            content = 0
            if kind is OperationKind.SNAPSHOT:
                check_snapshot(found, holders)
                number = row.snapshot_last + 1
                counted = {"snapshot_last": number}
            else:
                check_restore(found, holders)
                _check_snapshot_is_there(connection, found, snapshot)
                number, content = snapshot, row.content_last + 1
                counted = {"content_last": content}
            begun = VolumeOperation(kind, number, content, claim, started_ns)
            _change(connection, volume_id, operation=dump(begun), problem="", **counted)
            return begun

        return await self._database.write(write)

    async def volume_progress(self, volume_id: str, operation: VolumeOperation) -> None:
        """See ``VolumeRecords``."""

        def write(connection: Connection) -> None:
            _check_under_way(connection, volume_id, operation)
            _change(connection, volume_id, operation=dump(operation))

        await self._database.write(write)

    async def volume_end(
        self, volume_id: str, operation: VolumeOperation, result: VolumeResult
    ) -> None:
        """See ``VolumeRecords``."""

        def write(connection: Connection) -> None:
            _check_under_way(connection, volume_id, operation)
            values: dict[str, object] = {"operation": None, "problem": result.problem}
            if result.restored:
                values["content"] = operation.content
            _change(connection, volume_id, **values)
            if result.snapshot is not None:
                made = _snapshot_values(volume_id, result.snapshot)
                connection.execute(insert(volume_snapshot).values(**made))

        await self._database.write(write)

    async def volume_resize(self, volume_id: str, *, before: int | None, after: int | None) -> None:
        """See ``VolumeRecords``."""

        def write(connection: Connection) -> None:
            seen = _seen(connection, _row(connection, volume_id))
            check_resize(seen, before=before)
            # What a slow server still does must not count, see ``_check_use``.
            _change(connection, volume_id, size_bytes=after, operation=None, problem=seen.problem)

        await self._database.write(write)

    async def volume_delete(self, volume_id: str, *, with_snapshots: bool, deleted_ns: int) -> None:
        """See ``VolumeRecords``."""
        table = volume_snapshot
        counted = select(func.count()).where(table.c.volume_id == volume_id)

        def write(connection: Connection) -> None:
            found = _seen(connection, _row(connection, volume_id))
            holders = _holders(connection, [volume_id]).get(volume_id, ())
            kept = 0 if with_snapshots else int(connection.execute(counted).scalar_one())
            check_removal(found, holders, snapshots=kept)
            _change(connection, volume_id, deleted_ns=deleted_ns, name=f"~{volume_id}")

        await self._database.write(write)

    async def volumes_deleted(self) -> tuple[str, ...]:
        """See ``VolumeRecords``."""
        wanted = select(volume.c.id).where(volume.c.deleted_ns.is_not(None)).order_by(volume.c.id)
        return await self._database.read(
            lambda connection: tuple(row.id for row in connection.execute(wanted))
        )

    async def volume_forget(self, volume_id: str) -> None:
        """See ``VolumeRecords``."""
        this = (volume.c.id == volume_id) & volume.c.deleted_ns.is_not(None)

        def write(connection: Connection) -> None:
            # Snapshots and uses go with it by their foreign keys.
            connection.execute(delete(volume).where(this))

        await self._database.write(write)


def attach(connection: Connection, workload_id: str, uses: Sequence[VolumeUse]) -> None:
    """Give a workload that is being created its volumes.

    Raises:
        NotFound: one is not there any more.
        Conflict: a rule of ``domain.volumes`` is against it.
    """
    for use in uses:
        _check_use(connection, workload_id, use)
        connection.execute(
            insert(volume_use).values(
                workload_id=workload_id, volume_id=use.volume_id, read_only=int(use.read_only)
            )
        )


def attach_again(connection: Connection, workload_id: str) -> None:
    """Check that a workload that had come to its end can have its volumes again.

    Raises:
        NotFound, Conflict: as of ``attach``.
    """
    mine = select(volume_use).where(volume_use.c.workload_id == workload_id)
    for row in connection.execute(mine).all():
        _check_use(connection, workload_id, VolumeUse(row.volume_id, bool(row.read_only)))


def _check_use(connection: Connection, workload_id: str, use: VolumeUse) -> None:
    row = _row(connection, use.volume_id)
    found = _seen(connection, row)
    if row.operation is not None and found.operation is None:
        # Its server may only be slow: what it does must not count once somebody has the volume.
        _change(connection, use.volume_id, operation=None, problem=found.problem)
    holders = _holders(connection, [use.volume_id]).get(use.volume_id, ())
    others = [holder for holder in holders if holder.workload_id != workload_id]
    check_attach(found, others, read_only=use.read_only)


def _create(connection: Connection, made: Volume) -> Volume:
    check_project(connection, made.project)
    taken = (volume.c.project == made.project) & (volume.c.name == made.name)
    if connection.execute(select(volume.c.id).where(taken)).first() is not None:
        raise AlreadyExists(
            f'There is a volume "{made.name}" in the project {made.project} already.', field="name"
        )
    connection.execute(
        insert(volume).values(
            id=made.id,
            project=made.project,
            name=made.name,
            access_mode=str(made.access_mode),
            size_bytes=made.size_bytes,
            storage_class=made.storage_class,
            namespace=made.namespace,
            created_ns=made.created_ns,
            content=made.content,
            content_last=made.content,
            snapshot_last=made.snapshot_last,
            problem="",
        )
    )
    return made


def _is(volume_id: str) -> ColumnElement[bool]:
    return volume.c.id == volume_id


def _row(connection: Connection, volume_id: str) -> Row[Any]:
    row = connection.execute(select(volume).where(_is(volume_id), _THERE)).first()
    if row is None:
        raise NotFound("The volume is not there any more.", field="volume")
    return row


def _change(connection: Connection, volume_id: str, **values: object) -> None:
    connection.execute(update(volume).where(_is(volume_id)).values(**values))


def _seen(connection: Connection, row: Row[Any]) -> Volume:
    """The volume of a row, with what is certainly under way."""
    found = _volume_of(row)
    if found.operation is None or _goes_on(connection, found.operation):
        return found
    return replace(found, operation=None, problem=broken_off(found.operation))


def _goes_on(connection: Connection, operation: VolumeOperation) -> bool:
    fence = operation.claim.fence
    row = connection.execute(select(lease).where(lease.c.name == fence.name)).first()
    return (
        row is not None
        and row.fence == fence.number
        and row.expires_ns > database_now_ns(connection)
    )


def _check_under_way(connection: Connection, volume_id: str, operation: VolumeOperation) -> None:
    check_fence(connection, operation.claim.fence)
    row = connection.execute(select(volume.c.operation).where(_is(volume_id))).first()
    text = None if row is None else row.operation
    if text is None or not operation.is_same(load(text, VolumeOperation)):
        raise StaleLease("The operation on the volume is not under way any more.")


def _check_snapshot_is_there(connection: Connection, found: Volume, number: int) -> None:
    table = volume_snapshot
    wanted = select(table.c.number).where(table.c.volume_id == found.id, table.c.number == number)
    if connection.execute(wanted).first() is None:
        raise no_snapshot(found, number)


def _holders(
    connection: Connection, volume_ids: Sequence[str]
) -> dict[str, tuple[VolumeHolder, ...]]:
    use = volume_use
    wanted = (
        select(use.c.volume_id, use.c.read_only, workload.c.id, workload.c.name, workload.c.kind)
        .join(workload, workload.c.id == use.c.workload_id)
        .where(use.c.volume_id.in_(volume_ids), workload.c.state.not_in(_OVER))
        .order_by(workload.c.created_ns, workload.c.id)
    )
    found: dict[str, list[VolumeHolder]] = {}
    for row in connection.execute(wanted):
        holder = VolumeHolder(WorkloadId(row.id), row.name, row.kind, bool(row.read_only))
        found.setdefault(row.volume_id, []).append(holder)
    return {volume_id: tuple(holders) for volume_id, holders in found.items()}


def _missing(connection: Connection, project: str, name: str) -> NotFound:
    known = select(volume.c.name).where(volume.c.project == project, _THERE).limit(1000)
    names = list(connection.execute(known).scalars())
    return no_volume(project, name, names)


def _volume_of(row: Row[Any]) -> Volume:
    return Volume(
        id=row.id,
        project=row.project,
        name=row.name,
        access_mode=AccessMode(row.access_mode),
        size_bytes=row.size_bytes,
        storage_class=row.storage_class,
        namespace=row.namespace,
        created_ns=row.created_ns,
        content=row.content,
        snapshot_last=row.snapshot_last,
        operation=None if row.operation is None else load(row.operation, VolumeOperation),
        problem=row.problem,
    )


def _snapshot_of(row: Row[Any]) -> VolumeSnapshot:
    return VolumeSnapshot(
        number=row.number,
        sha256=Sha256(row.sha256) if row.sha256 else None,
        size_bytes=row.size_bytes,
        files=row.files,
        content_bytes=row.content_bytes,
        left_out=row.left_out,
        created_ns=row.created_ns,
    )


def _snapshot_values(volume_id: str, made: VolumeSnapshot) -> dict[str, object]:
    return {
        "volume_id": volume_id,
        "number": made.number,
        "sha256": made.sha256 or "",  # of one that a cluster keeps
        "size_bytes": made.size_bytes,
        "files": made.files,
        "content_bytes": made.content_bytes,
        "left_out": made.left_out,
        "created_ns": made.created_ns,
    }
