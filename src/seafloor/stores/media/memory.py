"""The media store in memory: the model that every other one is compared with."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass, field

from seafloor.domain.errors import Conflict, InvalidValue, LimitExceeded, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.media import BLOB_BYTES_MAX, Blob, BlobName, MediaRecord, MediaSeries
from seafloor.stores.media.pages import (
    Position,
    SeriesPosition,
    check_batch,
    check_limit,
    decode_position,
    encode_position,
    name_of_list,
    position_of,
)
from seafloor.stores.media.protocol import MediaPage, MediaQuery, MediaReceipt, MediaSeriesPage


@dataclass
class _Workload:
    deleted: bool = False
    records: dict[str, MediaRecord] = field(default_factory=dict[str, MediaRecord])
    blobs: dict[BlobName, bytes] = field(default_factory=dict[BlobName, bytes])


class MemoryMediaStore:
    """A ``MediaStore`` that forgets."""

    def __init__(self) -> None:
        self._workloads: dict[WorkloadId, _Workload] = {}

    def workload_create(self, workload_id: WorkloadId) -> None:
        """Let there be a workload."""
        self._workloads[workload_id] = _Workload()

    def workload_set_deleted(self, workload_id: WorkloadId) -> None:
        """Delete a workload, restorable."""
        self._workloads[workload_id].deleted = True

    async def blob_put(
        self,
        workload_id: WorkloadId,
        name: BlobName,
        data: AsyncIterable[bytes],
        *,
        size_bytes: int | None = None,
    ) -> tuple[Blob, bool]:
        """See ``MediaWrite.blob_put``."""
        blobs = self._active(workload_id).blobs
        if name in blobs:
            return await self.blob_get(workload_id, name), False
        content = b"".join([chunk async for chunk in data])
        if len(content) > BLOB_BYTES_MAX:
            raise LimitExceeded("The blob is too large.")
        if hashlib.sha256(content).hexdigest() != name.sha256:
            raise InvalidValue("The bytes do not have the sha256 announced.", field="sha256")
        if size_bytes not in (None, len(content)):
            raise InvalidValue("The bytes are not as many as announced.", field="size_bytes")
        self._active(workload_id).blobs[name] = content
        return await self.blob_get(workload_id, name), True

    async def append(
        self,
        workload_id: WorkloadId,
        records: Sequence[MediaRecord],
        *,
        attempt: int | None = None,  # noqa: ARG002  # which one does not show
    ) -> MediaReceipt:
        """See ``MediaWrite.append``."""
        batch = check_batch(records)
        found = self._active(workload_id)
        for record in batch.values():
            blob = record.blob
            if blob is None:
                continue
            kept = found.blobs.get(blob.name)
            if kept is None or len(kept) != blob.size_bytes:
                raise InvalidValue("The blob is not here: upload it first.", field="blob")
        before = len(found.records)
        found.records |= batch
        written = len(found.records) - before
        return MediaReceipt(written, len(records) - written)

    async def delete(self, workload_id: WorkloadId) -> int:
        """See ``MediaWrite.delete``."""
        found = self._workloads.get(workload_id, _Workload())
        freed_bytes = sum(map(len, found.blobs.values()))
        found.records.clear()
        found.blobs.clear()
        return freed_bytes

    async def series(
        self, workload_id: WorkloadId, *, limit: int = 100, cursor: str | None = None
    ) -> MediaSeriesPage:
        """See ``MediaRead.series``."""
        check_limit(limit)
        after = None if cursor is None else decode_position(workload_id, cursor, SeriesPosition)
        made: dict[SeriesPosition, MediaSeries] = {}
        for record in self._records(workload_id):
            at = (record.key, record.kind)
            known = made.get(at, MediaSeries(*at, 0, record.step, record.step))
            made[at] = MediaSeries(
                *at,
                known.records + 1,
                min(known.step_min, record.step),
                max(known.step_max, record.step),
            )
        there = [made[at] for at in sorted(made) if after is None or at > after]
        more = len(there) > limit
        last = there[limit - 1] if more else None
        following = encode_position(workload_id, (last.key, last.kind)) if last else None
        return MediaSeriesPage(tuple(there[:limit]), following)

    async def records(self, workload_id: WorkloadId, query: MediaQuery) -> MediaPage:
        """See ``MediaRead.records``."""
        check_limit(query.limit)
        name = name_of_list(workload_id, query)
        after = None if query.cursor is None else decode_position(name, query.cursor, Position)
        there = [
            record
            for record in sorted(
                self._records(workload_id), key=position_of, reverse=query.backwards
            )
            if record.key == query.key
            and query.kind in (None, record.kind)
            and (query.step_min is None or record.step >= query.step_min)
            and (query.step_max is None or record.step <= query.step_max)
            and (after is None or (position_of(record) > after) is not query.backwards)
            and position_of(record) != after
        ]
        shown = there[: query.limit]
        more = len(there) > query.limit
        following = encode_position(name, position_of(shown[-1])) if more else None
        return MediaPage(tuple(shown), following)

    async def blob_get(self, workload_id: WorkloadId, name: BlobName) -> Blob:
        """See ``MediaRead.blob_get``."""
        return Blob(name.sha256, name.format, len(self._content(workload_id, name)))

    async def blob_read(
        self, workload_id: WorkloadId, name: BlobName, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """See ``MediaRead.blob_read``."""
        content = self._content(workload_id, name)
        end = len(content) if length is None else start + length
        if content[start:end]:
            yield content[start:end]

    async def close(self) -> None:
        """Nothing is held."""

    def _records(self, workload_id: WorkloadId) -> list[MediaRecord]:
        return [*self._workloads.get(workload_id, _Workload()).records.values()]

    def _content(self, workload_id: WorkloadId, name: BlobName) -> bytes:
        content = self._workloads.get(workload_id, _Workload()).blobs.get(name)
        if content is None:
            raise NotFound(f"The run has no blob {name}.", field="blob")
        return content

    def _active(self, workload_id: WorkloadId) -> _Workload:
        found = self._workloads.get(workload_id)
        if found is None:
            raise NotFound("There is no such workload.", field="workload_id")
        if found.deleted:
            raise Conflict("The run was deleted: restore it before writing to it.")
        return found
