"""The event file store in memory: the model that every other one is compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.stores.events.protocol import EventFile, EventFileKey
from seafloor.stores.events.scalars import Batch, read_batches
from seafloor.stores.events.store import (
    READ_CHUNK_BYTES,
    check_append,
    check_event_file_key,
    check_range,
    fresh_part,
)
from seafloor.stores.metrics.protocol import MetricStore


@dataclass
class _File:
    data: bytearray = field(default_factory=bytearray)
    finished: bool = False


def _decoded(path: str, data: bytes) -> list[Batch]:
    return list(read_batches(path, lambda at, size: data[at : at + size], start=0, end=len(data)))


class MemoryEventFileStore:
    """tf.events files in memory; the contract is ``EventFileStore``, durability aside.

    Args:
        metrics: Where scalars go. Whole files are decoded at every append: a point is appended
            many times and is there once.
    """

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics
        self._files: dict[EventFileKey, _File] = {}

    async def append(self, key: EventFileKey, *, offset: int, data: bytes) -> int:
        """Append bytes; scalars of whole records are in the metric store."""
        check_append(key, offset, data)
        file = self._files.get(key, _File())
        fresh = fresh_part(len(file.data), offset, data, finished=file.finished)
        if fresh:
            self._files[key] = file
            file.data += fresh
            for batch in _decoded(key.path, bytes(file.data)):
                if batch.points:
                    await self._metrics.append(key.workload_id, batch.points, attempt=key.attempt)
        return len(file.data)

    async def list(self, workload_id: WorkloadId) -> tuple[EventFile, ...]:
        """The files of a workload, by attempt and path."""
        parse_workload_id(workload_id)
        found: list[EventFile] = []
        for key, file in self._files.items():
            if key.workload_id == workload_id:
                batches = _decoded(key.path, bytes(file.data))
                found.append(
                    EventFile(
                        path=key.path,
                        attempt=key.attempt,
                        size_bytes=len(file.data),
                        decoded_bytes=batches[-1].end if batches else 0,
                        records=sum(batch.records for batch in batches),
                        scalars=sum(len(batch.points) for batch in batches),
                        problem=batches[-1].problem if batches else None,
                    )
                )
        return tuple(sorted(found, key=lambda file: (file.attempt, file.path)))

    async def read(
        self, key: EventFileKey, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream the bytes of a file; NotFound at the first step."""
        check_event_file_key(key)
        check_range(start, length)
        if key not in self._files:
            raise NotFound(f'There is no event file "{key.path}".', field="path")
        data = bytes(self._files[key].data)
        end = len(data) if length is None else min(len(data), start + length)
        for at in range(start, end, READ_CHUNK_BYTES):
            yield data[at : min(end, at + READ_CHUNK_BYTES)]

    async def finish(self, workload_id: WorkloadId, attempt: int) -> int:
        """Take no more of the files of an attempt; return how many there are."""
        files = [
            file
            for key, file in self._files.items()
            if (key.workload_id, key.attempt) == (workload_id, attempt)
        ]
        for file in files:
            file.finished = True
        return len(files)

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete the files of a workload; return how many there were. Repeatable."""
        keys = [key for key in self._files if key.workload_id == workload_id]
        for key in keys:
            del self._files[key]
        return len(keys)

    async def close(self) -> None:
        """Nothing is held."""
