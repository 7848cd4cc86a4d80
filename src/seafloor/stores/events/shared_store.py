"""The event file store that several servers share: rows of the database, then an object.

Bytes, the place up to which they are decoded, and the points of their scalars are one transaction.
So nothing is left to be made up for after a crash, and points are there exactly once whichever
server took the bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.stores.events.protocol import EventFile, EventFileKey
from seafloor.stores.events.shared_kind import EventFileKind, event_file_of
from seafloor.stores.events.store import check_append, check_event_file_key, check_range
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.streams.streams import SealLimits, SharedStreams


class SharedEventFileStore:
    """tf.events files; the contract is ``EventFileStore``.

    Args:
        database: Migrated; not closed with the store.
        objects: Where finished files, and parts of large ones, go; not closed with the store.
        metrics: Where scalars go: in the same database; not closed with the store.
        limits: When parts of a file that still grows are sealed.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        metrics: SqlMetricStore,
        *,
        limits: SealLimits | None = None,
    ) -> None:
        self._streams = SharedStreams(database, objects, EventFileKind(metrics), limits=limits)

    async def append(self, key: EventFileKey, *, offset: int, data: bytes) -> int:
        """Append bytes; durable when it returns, with the points of the records they complete."""
        check_append(key, offset, data)
        return await self._streams.append(
            key.workload_id, key.attempt, key.path, offset=offset, data=data
        )

    async def list(self, workload_id: WorkloadId) -> tuple[EventFile, ...]:
        """The files of a workload, by attempt and path."""
        found = await self._streams.list(parse_workload_id(workload_id))
        return tuple(event_file_of(stream) for stream in found)

    async def read(
        self, key: EventFileKey, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream the bytes of a file; NotFound at the first step."""
        check_event_file_key(key)
        check_range(start, length)
        found = await self._streams.find(key.workload_id, key.attempt, key.path)
        if found is None:
            raise NotFound(f'There is no event file "{key.path}".', field="path")
        end = found.size_bytes if length is None else min(found.size_bytes, start + length)
        async for chunk in self._streams.reader.content(found, start, end):
            yield chunk

    async def finish(self, workload_id: WorkloadId, attempt: int) -> int:
        """Take no more of the files of an attempt and put each into an object of its own.

        What cannot be put now is put by ``seal_due`` later; it stays readable meanwhile.
        """
        files = await self._streams.finish_attempt(parse_workload_id(workload_id), attempt)
        for file in files:
            await self._streams.seal(file)
        return len(files)

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete the files of a workload; return how many there were. Repeatable."""
        return len(await self._streams.delete(parse_workload_id(workload_id)))

    async def seal_due(self) -> int:
        """Move what is due from the database to objects; return how many bytes."""
        return await self._streams.seal_due()

    async def close(self) -> None:
        """Finish what was begun. Safe to repeat."""
        await self._streams.close()
