"""Volumes in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from seafloor.domain.errors import AlreadyExists, NotFound, StaleLease
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim
from seafloor.domain.volumes import (
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
from seafloor.stores.metadata.memory.leases import check_fence
from seafloor.stores.metadata.memory.rows import Rows, VolumeRows
from seafloor.stores.metadata.volume_records import VolumeResult


class MemoryVolumes:
    """``VolumeRecords`` in memory."""

    _rows: Rows
    _now_ns: Callable[[], int]

    async def volume_create(self, volume: Volume) -> Volume:
        """See ``VolumeRecords``."""
        self._rows.check_project(volume.project)
        if any(
            (rows.volume.project, rows.volume.name) == (volume.project, volume.name)
            for rows in self._there()
        ):
            raise AlreadyExists(
                f'There is a volume "{volume.name}" in the project {volume.project} already.',
                field="name",
            )
        self._rows.volumes[volume.id] = VolumeRows(volume, volume.content)
        return volume

    async def volume_made(self, volume_id: str) -> None:
        """See ``VolumeRecords``."""
        rows = volume_rows(self._rows, volume_id)
        if rows.volume.content == 0:
            rows.volume, rows.content_last = replace(rows.volume, content=1), 1

    async def volume_get(self, project: str, name: str) -> Volume:
        """See ``VolumeRecords``."""
        named = {rows.volume.name: rows for rows in self._there() if rows.volume.project == project}
        if name not in named:
            raise no_volume(project, name, sorted(named))
        return self._seen(named[name])

    async def volume_list(
        self, *, project: str | None, limit: int, after: tuple[str, str] | None = None
    ) -> tuple[Volume, ...]:
        """See ``VolumeRecords``."""
        keyed = {
            (rows.volume.project, rows.volume.name): self._seen(rows)
            for rows in self._there()
            if project in (None, rows.volume.project)
        }
        return tuple(keyed[key] for key in sorted(keyed) if after is None or key > after)[:limit]

    async def volume_holders(
        self, volume_ids: Sequence[str]
    ) -> dict[str, tuple[VolumeHolder, ...]]:
        """See ``VolumeRecords``."""
        found = {volume_id: _holders(self._rows, volume_id) for volume_id in volume_ids}
        return {volume_id: holders for volume_id, holders in found.items() if holders}

    async def volumes_of(self, workload_id: WorkloadId) -> tuple[Volume, ...]:
        """See ``VolumeRecords``."""
        rows = self._rows.workloads.get(workload_id)
        uses = () if rows is None else rows.volumes
        found = [self._rows.volumes.get(use.volume_id) for use in uses]
        seen = [self._seen(rows) for rows in found if rows is not None and not rows.deleted]
        return tuple(sorted(seen, key=lambda volume: volume.name))

    async def volume_snapshots(self, volume_id: str) -> tuple[VolumeSnapshot, ...]:
        """See ``VolumeRecords``."""
        rows = self._rows.volumes.get(volume_id)
        return () if rows is None else tuple(rows.snapshots[one] for one in sorted(rows.snapshots))

    async def volume_begin(
        self, volume_id: str, kind: OperationKind, *, snapshot: int, claim: Claim, started_ns: int
    ) -> VolumeOperation:
        """See ``VolumeRecords``."""
        check_fence(self._rows, claim.fence)
        rows = volume_rows(self._rows, volume_id)
        found, holders = self._seen(rows), _holders(self._rows, volume_id)
        content, last = 0, found.snapshot_last
        if kind is OperationKind.SNAPSHOT:
            check_snapshot(found, holders)
            snapshot = last = last + 1
        else:
            check_restore(found, holders)
            if snapshot not in rows.snapshots:
                raise no_snapshot(found, snapshot)
            content = rows.content_last = rows.content_last + 1
        begun = VolumeOperation(kind, snapshot, content, claim, started_ns)
        rows.volume = replace(found, operation=begun, problem="", snapshot_last=last)
        return begun

    async def volume_progress(self, volume_id: str, operation: VolumeOperation) -> None:
        """See ``VolumeRecords``."""
        rows = self._under_way(volume_id, operation)
        rows.volume = replace(rows.volume, operation=operation)

    async def volume_end(
        self, volume_id: str, operation: VolumeOperation, result: VolumeResult
    ) -> None:
        """See ``VolumeRecords``."""
        rows = self._under_way(volume_id, operation)
        found = rows.volume
        rows.volume = replace(
            found,
            operation=None,
            problem=result.problem,
            content=operation.content if result.restored else found.content,
        )
        if result.snapshot is not None:
            rows.snapshots[result.snapshot.number] = result.snapshot

    async def volume_resize(self, volume_id: str, *, before: int | None, after: int | None) -> None:
        """See ``VolumeRecords``."""
        rows = volume_rows(self._rows, volume_id)
        seen = self._seen(rows)
        check_resize(seen, before=before)
        rows.volume = replace(seen, size_bytes=after)

    async def volume_delete(self, volume_id: str, *, with_snapshots: bool, deleted_ns: int) -> None:  # noqa: ARG002 - the model keeps no such time
        """See ``VolumeRecords``."""
        rows = volume_rows(self._rows, volume_id)
        kept = 0 if with_snapshots else len(rows.snapshots)
        check_removal(self._seen(rows), _holders(self._rows, volume_id), snapshots=kept)
        rows.deleted = True

    async def volumes_deleted(self) -> tuple[str, ...]:
        """See ``VolumeRecords``."""
        return tuple(sorted(one for one, rows in self._rows.volumes.items() if rows.deleted))

    async def volume_forget(self, volume_id: str) -> None:
        """See ``VolumeRecords``."""
        found = self._rows.volumes.get(volume_id)
        if found is not None and found.deleted:
            del self._rows.volumes[volume_id]
            for rows in self._rows.workloads.values():
                rows.volumes = tuple(use for use in rows.volumes if use.volume_id != volume_id)

    def _there(self) -> list[VolumeRows]:
        return [rows for rows in self._rows.volumes.values() if not rows.deleted]

    def _seen(self, rows: VolumeRows) -> Volume:
        return _seen(self._rows, rows, now_ns=self._now_ns())

    def _under_way(self, volume_id: str, operation: VolumeOperation) -> VolumeRows:
        check_fence(self._rows, operation.claim.fence)
        rows = self._rows.volumes.get(volume_id)
        if rows is None or not operation.is_same(rows.volume.operation):
            raise StaleLease("The operation on the volume is not under way any more.")
        return rows


def volume_rows(rows: Rows, volume_id: str) -> VolumeRows:
    """Get the rows of a volume, or NotFound."""
    found = rows.volumes.get(volume_id)
    if found is None or found.deleted:
        raise NotFound("The volume is not there any more.", field="volume")
    return found


def check_use(rows: Rows, workload_id: str, use: VolumeUse, *, now_ns: int) -> None:
    """Refuse to give a workload a volume that is another's."""
    of = volume_rows(rows, use.volume_id)
    of.volume = found = _seen(rows, of, now_ns=now_ns)
    holders = _holders(rows, use.volume_id)
    others = [holder for holder in holders if holder.workload_id != workload_id]
    check_attach(found, others, read_only=use.read_only)


def _seen(rows: Rows, of: VolumeRows, *, now_ns: int) -> Volume:
    """A volume, with what is certainly under way."""
    operation = of.volume.operation
    if operation is None:
        return of.volume
    fence = operation.claim.fence
    lease = rows.leases.get(fence.name)
    if lease is not None and lease.fence == fence.number and lease.expires_ns > now_ns:
        return of.volume
    return replace(of.volume, operation=None, problem=broken_off(operation))


def _holders(rows: Rows, volume_id: str) -> tuple[VolumeHolder, ...]:
    found = [
        (one.workload, use)
        for one in rows.workloads.values()
        for use in one.volumes
        if use.volume_id == volume_id and not one.workload.state.is_final
    ]
    found.sort(key=lambda pair: (pair[0].created_ns, pair[0].id))
    return tuple(
        VolumeHolder(workload.id, workload.name, str(workload.kind), use.read_only)
        for workload, use in found
    )
