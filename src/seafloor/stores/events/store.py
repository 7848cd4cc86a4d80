"""The event file store: a spool on disk while files grow, the object store when they are done.

An append takes three steps, each durable before the next: the bytes into the spool, the points of
the records they complete into the metric store, the place up to which the file was decoded into
its row. A crash between two of them leaves work that the next append of the file, ``finish`` or
``recover`` does; points that were appended before are known by their identity.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from seafloor.domain.errors import (
    Closed,
    Conflict,
    InvalidValue,
    LimitExceeded,
    NotFound,
    OutOfOrder,
    StoreCorrupt,
)
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.domain.names import check_path
from seafloor.stores.append_file import AppendFile, disk_error, sync_folder
from seafloor.stores.events.protocol import EventFile, EventFileKey
from seafloor.stores.events.records import EventFileRecords
from seafloor.stores.events.scalars import Batch, read_batches
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metrics.protocol import MetricStore
from seafloor.stores.objects.protocol import ObjectStore

APPEND_BYTES_MAX = 8 * 1024 * 1024
READ_CHUNK_BYTES = 1024 * 1024
_THREADS = 4

T = TypeVar("T")


def object_key(key: EventFileKey) -> str:
    """Where a finished file lies in the object store."""
    return f"runs/{key.workload_id}/events/{key.attempt}/{key.path}"


def check_event_file_key(key: EventFileKey) -> EventFileKey:
    """Refuse a key that names no file; what passes is safe as a path, here and as an object."""
    parse_workload_id(key.workload_id, field="workload_id")
    if key.attempt < 0:
        raise InvalidValue("Attempts are counted from 0.", field="attempt")
    check_path(key.path)
    check_path(object_key(key))
    return key


def check_append(key: EventFileKey, offset: int, data: bytes) -> None:
    """Refuse an append that no store takes."""
    check_event_file_key(key)
    if offset < 0:
        raise InvalidValue("An offset is not negative.", field="offset")
    if len(data) > APPEND_BYTES_MAX:
        raise LimitExceeded(
            f"An append has at most {APPEND_BYTES_MAX:,} bytes; this one has {len(data):,}.",
            field="data",
        )


def check_range(start: int, length: int | None) -> None:
    """Refuse a range that no file has."""
    if start < 0 or (length is not None and length < 0):
        raise InvalidValue("A range begins at 0 or later and is not negative.", field="start")


def fresh_part(size_bytes: int, offset: int, data: bytes, *, finished: bool) -> bytes:
    """The part of an append that is new.

    Raises:
        OutOfOrder: it would leave a gap.
        Closed: the file is finished, and there is such a part.
    """
    if offset > size_bytes:
        raise OutOfOrder(
            f"The file has {size_bytes:,} bytes; go on from there.",
            next_offset=size_bytes,
            field="offset",
        )
    fresh = data[size_bytes - offset :]
    if fresh and finished:
        raise Closed("This file is finished and takes no more.")
    return fresh


class SpoolEventFileStore:
    """tf.events files; the contract is ``EventFileStore``.

    Args:
        root: Folder of the spool: ``<root>/<workload>/<attempt>/<path>``, byte for byte, so that
            TensorBoard can be pointed at it. One process at a time may use it.
        objects: Where finished files go; not closed with the store.
        metrics: Where scalars go; not closed with the store.
        database: Where the rows of the files are; not closed with the store.
    """

    def __init__(
        self, root: Path, objects: ObjectStore, metrics: MetricStore, database: Database
    ) -> None:
        self._root = root
        self._objects = objects
        self._metrics = metrics
        self._records = EventFileRecords(database)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="event-files")
        self._locks: dict[EventFileKey, asyncio.Lock] = {}
        self._waiting: dict[EventFileKey, int] = {}
        self._working: set[asyncio.Task[int]] = set()

    def _path(self, key: EventFileKey) -> Path:
        return self._root / key.workload_id / str(key.attempt) / key.path

    async def _run(self, work: Callable[[], T], doing: str = "keep the event file") -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as exc:
            if exc.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
                raise Conflict(
                    "A part of this path is a file, or the whole is a folder, of the same run.",
                    field="path",
                ) from exc
            raise disk_error(exc, doing) from exc

    @asynccontextmanager
    async def _alone(self, key: EventFileKey) -> AsyncGenerator[None]:
        """Hold a file for oneself."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[key] -= 1
            if self._waiting[key] == 0:
                del self._waiting[key], self._locks[key]

    async def _whole(self, work: Awaitable[int]) -> int:
        """Do a piece of work to its end, also when the caller goes away meanwhile."""
        task = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    async def append(self, key: EventFileKey, *, offset: int, data: bytes) -> int:
        """Append bytes, durable when it returns; scalars of whole records are in the metrics.

        Raises:
            StoreFull: the bytes may be kept although their points are not; a repeat is harmless
                and does what is missing.
        """
        check_append(key, offset, data)
        return await self._whole(self._append(key, offset, data))

    async def _append(self, key: EventFileKey, offset: int, data: bytes) -> int:
        async with self._alone(key):
            row = await self._records.get(key)
            path = self._path(key)
            finished = row is not None and row.size_bytes > 0 and not await self._run(path.is_file)
            if row is not None and finished:
                fresh_part(row.size_bytes, offset, data, finished=True)
                return row.size_bytes
            if row is None:
                if offset > 0 or not data:
                    fresh_part(0, offset, data, finished=False)
                    return 0
                row = await self._records.create(key)
            size_bytes = await self._run(lambda: _append_to(path, offset, data))
            await self._decode(key, row, size_bytes)
            return size_bytes

    async def _decode(self, key: EventFileKey, row: EventFile, size_bytes: int) -> None:
        """Bring points and row up to the bytes of the spool."""
        if row.problem is None and row.decoded_bytes < size_bytes:
            with closing(self._batches(key, row.decoded_bytes, size_bytes)) as batches:
                while batch := await self._run(lambda: next(batches, None)):
                    row = await self._keep(key, row, batch)
        if row.size_bytes != size_bytes:
            row = msgspec.structs.replace(row, size_bytes=size_bytes)
            await self._records.update(key.workload_id, row)

    def _batches(self, key: EventFileKey, start: int, end: int) -> Generator[Batch]:
        with closing(AppendFile(self._path(key))) as file:
            yield from read_batches(key.path, file.read_at, start=start, end=end)

    async def _keep(self, key: EventFileKey, row: EventFile, batch: Batch) -> EventFile:
        if batch.points:
            await self._metrics.append(key.workload_id, batch.points, attempt=key.attempt)
        row = msgspec.structs.replace(
            row,
            size_bytes=max(row.size_bytes, batch.end),
            decoded_bytes=batch.end,
            records=row.records + batch.records,
            scalars=row.scalars + len(batch.points),
            problem=batch.problem,
        )
        await self._records.update(key.workload_id, row)
        return row

    async def list(self, workload_id: WorkloadId) -> tuple[EventFile, ...]:
        """The files of a workload, by attempt and path."""
        return await self._records.list(parse_workload_id(workload_id))

    async def read(
        self, key: EventFileKey, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream the bytes of a file; NotFound at the first step."""
        check_event_file_key(key)
        check_range(start, length)
        # A row never tells of more than is durable; so what is read after it has at least that.
        row = await self._row(key)
        file = await self._run(lambda: AppendFile(self._path(key)), "read the event file")
        try:
            if not file.exists and row.size_bytes > 0:
                end = row.size_bytes if length is None else min(row.size_bytes, start + length)
                at = start
                try:
                    async for chunk in self._objects.read(
                        object_key(key), start=start, length=length
                    ):
                        yield chunk
                        at += len(chunk)
                except NotFound as error:
                    await self._row(key)  # it may have gone with its run meanwhile
                    raise _damaged(key, "gone") from error
                if at < end:
                    raise _damaged(key, "shorter than it was")
                return
            end = file.size_bytes if length is None else min(file.size_bytes, start + length)
            for at in range(start, end, READ_CHUNK_BYTES):
                size_bytes = min(READ_CHUNK_BYTES, end - at)
                yield await self._run(partial(file.read_at, at, size_bytes), "read the event file")
        finally:
            file.close()

    async def _row(self, key: EventFileKey) -> EventFile:
        row = await self._records.get(key)
        if row is None:
            raise NotFound(f'There is no event file "{key.path}".', field="path")
        return row

    async def finish(self, workload_id: WorkloadId, attempt: int) -> int:
        """Put the files of an attempt into the object store; the spool's copy is dropped after."""
        files = [file for file in await self.list(workload_id) if file.attempt == attempt]
        for file in files:
            key = EventFileKey(workload_id, attempt, file.path)
            await self._whole(self._finish(key))
        await self._run(lambda: _remove_empty(self._root / workload_id))
        return len(files)

    async def _finish(self, key: EventFileKey) -> int:
        async with self._alone(key):
            path = self._path(key)
            if not await self._run(path.is_file):
                return 0
            row = await self._records.create(key)
            size_bytes = await self._run(lambda: path.stat().st_size)
            await self._decode(key, row, size_bytes)
            await self._objects.put(object_key(key), self.read(key))
            stored = await self._objects.head(object_key(key))
            if stored.size_bytes != size_bytes:
                raise StoreCorrupt(
                    f'"{key.path}" has {stored.size_bytes:,} of {size_bytes:,} bytes in the object '
                    "store; the copy on the server's disk was kept.",
                )
            await self._run(lambda: _drop(path))
            return size_bytes

    async def recover(self) -> int:
        """Decode what a crash left undone in all files of the spool; return how many had some."""
        behind = 0
        for key in await self._run(self._spooled, "read the event files"):
            behind += await self._whole(self._recover(key))
        return behind

    async def _recover(self, key: EventFileKey) -> int:
        async with self._alone(key):
            path = self._path(key)
            row = await self._records.get(key)
            if row is None or not await self._run(path.is_file):
                return 0
            size_bytes = await self._run(lambda: path.stat().st_size)
            await self._decode(key, row, size_bytes)
            after = await self._records.get(key)
            return int(after != row)

    def _spooled(self) -> list[EventFileKey]:
        found: list[EventFileKey] = []
        for path in sorted(self._root.rglob("*")) if self._root.is_dir() else []:
            parts = path.relative_to(self._root).parts
            if len(parts) > 2 and parts[1].isdigit() and path.is_file():
                workload_id = WorkloadId(parts[0])
                found.append(EventFileKey(workload_id, int(parts[1]), "/".join(parts[2:])))
        return found

    async def delete(self, workload_id: WorkloadId) -> int:
        """Delete the files of a workload; return how many there were. Repeatable."""
        files = await self.list(workload_id)
        for file in files:
            key = EventFileKey(workload_id, file.attempt, file.path)
            async with self._alone(key):
                await self._run(
                    partial(self._path(key).unlink, missing_ok=True), "delete the event file"
                )
        await self._run(lambda: _remove_empty(self._root / workload_id))
        await self._objects.delete_folder(f"runs/{workload_id}/events")
        await self._records.delete(workload_id)
        return len(files)

    async def close(self) -> None:
        """Finish what was begun and give back what the store holds. Safe to repeat."""
        await asyncio.gather(*self._working, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)


def _damaged(key: EventFileKey, how: str) -> StoreCorrupt:
    return StoreCorrupt(
        f'The object "{object_key(key)}" is {how}: restore it from a backup of the object store.'
    )


def _append_to(path: Path, offset: int, data: bytes) -> int:
    """Append what is new; return the file's size."""
    with closing(AppendFile(path)) as file:
        fresh = fresh_part(file.size_bytes, offset, data, finished=False)
        if fresh:
            file.append(fresh)
        return file.size_bytes


def _drop(path: Path) -> None:
    path.unlink()
    sync_folder(path.parent)


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those below it, as far as they are empty."""
    for inner, _, _ in os.walk(folder, topdown=False):
        try:
            Path(inner).rmdir()
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
