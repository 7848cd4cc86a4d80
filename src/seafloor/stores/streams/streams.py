"""Byte streams that grow by durable appends, through any of several servers on one database.

Recent bytes are rows of the metadata database, older ones objects. An append is planned in a
transaction that only reads, and takes effect in a short one that first looks whether the stream
still is what the plan was made for; otherwise it is planned anew. So no server needs to know of
the others, and none holds anything that another would miss.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator, Awaitable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec
from sqlalchemy import Connection

from seafloor.domain.errors import Closed, NotFound, OutOfOrder, StoreCorrupt, StoreError
from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.streams import records
from seafloor.stores.streams.chunk_format import EncodedChunk, Piece, encode_chunk
from seafloor.stores.streams.kind import Change, StreamKind
from seafloor.stores.streams.reading import StreamReader
from seafloor.stores.streams.records import Chunk, Stream, StreamKey

SEAL_BYTES = 4 * 1024 * 1024
SEAL_ROWS = 2_000
_DUE_PER_QUERY = 100
_DIGEST_CHARS = 12
_ID_BITS = 62

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class SealLimits:
    """When a stream that still grows is sealed.

    Args:
        size_bytes: So many bytes in rows; also what a chunk holds, about.
        rows: So many rows, however small: a page looks for its place among them.
    """

    size_bytes: int = SEAL_BYTES
    rows: int = SEAL_ROWS

    def is_due(self, stream: Stream) -> bool:
        """Whether a stream has enough to seal."""
        waiting_bytes = stream.sealable_bytes - stream.sealed_bytes
        if waiting_bytes <= 0:
            return False
        many = waiting_bytes >= self.size_bytes or stream.row_count >= self.rows
        return stream.finished or many


class _Plan(msgspec.Struct, frozen=True):
    """An append, and the stream that it was planned for."""

    before: Stream
    is_new: bool
    change: Change


class _Sealing(msgspec.Struct, frozen=True):
    """The rows that become one chunk."""

    stream: Stream
    pieces: Sequence[Piece]

    @property
    def end(self) -> int:
        """The offset after them."""
        return self.pieces[-1].start + len(self.pieces[-1].data)


class SharedStreams:
    """Streams of one kind, shared by all servers on one database and one object store.

    Args:
        database: Migrated; not closed with this.
        objects: Not closed with this.
        limits: When streams are sealed.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        kind: StreamKind,
        *,
        limits: SealLimits | None = None,
    ) -> None:
        self._database = database
        self._objects = objects
        self._kind = kind
        self._limits = limits or SealLimits()
        self._alone = _Alone()
        self._working: set[asyncio.Task[object]] = set()
        self.reader = StreamReader(database, objects, kind)

    def _key(self, workload_id: WorkloadId, attempt: int, name: str) -> StreamKey:
        return StreamKey(self._kind.name, workload_id, attempt, name)

    async def find(self, workload_id: WorkloadId, attempt: int, name: str) -> Stream | None:
        """A stream as it stands; None when nothing was ever kept of it."""
        key = self._key(workload_id, attempt, name)
        return await self._database.read(lambda connection: records.find(connection, key))

    async def list(self, *workload_ids: WorkloadId) -> Sequence[Stream]:
        """The streams of workloads by workload, attempt and name."""
        return await self._database.read(
            lambda connection: records.of_workloads(connection, self._kind.name, workload_ids)
        )

    async def append(
        self, workload_id: WorkloadId, attempt: int, name: str, *, offset: int, data: bytes
    ) -> int:
        """Append; durable when it returns, and done to its end also when the caller goes away.

        Returns:
            The size: the offset of the next append.

        Raises:
            OutOfOrder: offset is above the size.
            Closed: the stream is finished and data would add to it.
            StoreCorrupt: what the kind found wrong in the bytes; those before it were accepted.
            StoreFull: nothing was accepted.
        """
        key = self._key(workload_id, attempt, name)
        return await self._whole(self._append(key, offset, data))

    async def _append(self, key: StreamKey, offset: int, data: bytes) -> int:
        look = partial(self._plan, key=key, offset=offset, data=data)
        async with self._alone.at(key):
            while True:
                plan = await self._database.read(look)
                if isinstance(plan, int):
                    return plan
                if await self._database.write(partial(self._commit, plan=plan)):
                    break
        if plan.change.problem is not None:
            raise plan.change.problem
        return plan.change.size_bytes

    def _plan(
        self, connection: Connection, *, key: StreamKey, offset: int, data: bytes
    ) -> _Plan | int:
        """Plan an append; the size when there is nothing to do."""
        found = records.find(connection, key)
        before = found or Stream(secrets.randbits(_ID_BITS), key)
        if offset > before.size_bytes:
            raise OutOfOrder(
                f"The {self._kind.noun} has {before.size_bytes:,} bytes; go on from there.",
                next_offset=before.size_bytes,
                field="offset",
            )
        fresh = data[before.size_bytes - offset :]
        if not fresh:
            return before.size_bytes
        if before.finished:
            raise Closed(f"This {self._kind.noun} is finished and takes no more.")
        return _Plan(before, found is None, self._kind.plan(connection, before, fresh))

    def _commit(self, connection: Connection, *, plan: _Plan) -> bool:
        """Do what was planned, unless the stream has become another meanwhile."""
        before, change = plan.before, plan.change
        now = records.find(connection, before.key)
        if plan.is_new:
            if now is not None:
                return False
            self._kind.admit(connection, before.key)
            now = before
        elif now is None or (now.id, now.version) != (before.id, before.version):
            return False
        dropped = 0
        if change.size_bytes < before.size_bytes:
            dropped = records.cut_rows(connection, now.id, change.size_bytes)
        after = msgspec.structs.replace(
            now,
            version=now.version + 1,
            size_bytes=change.size_bytes,
            settled_bytes=change.settled_bytes,
            row_count=now.row_count - dropped + len(change.pieces),
            summary=change.summary,
        )
        self._save(connection, after, is_new=plan.is_new)
        records.add_rows(connection, now.id, change.pieces)
        if change.also is not None:
            change.also(connection)
        return True

    def _save(self, connection: Connection, stream: Stream, *, is_new: bool = False) -> None:
        # What is finished stays due until all is done for it (`_done`).
        if not stream.finished:
            due = self._limits.is_due(stream)
            stream = msgspec.structs.replace(stream, seal_due=due)
        records.save(connection, stream, is_new=is_new)

    def _becomes_whole(self, stream: Stream) -> bool:
        return stream.finished and self._kind.whole_key(stream.key) is not None

    async def finish(self, workload_id: WorkloadId, attempt: int, name: str) -> None:
        """Take no more, from whichever server; a stream never written becomes an empty one."""
        key = self._key(workload_id, attempt, name)

        def write(connection: Connection) -> None:
            found = records.find(connection, key)
            if found is None:
                stream = Stream(secrets.randbits(_ID_BITS), key, finished=True)
                records.save(connection, stream, is_new=True)
            elif not found.finished:
                self._finish(connection, found)

        await self._database.write(write)

    async def finish_attempt(self, workload_id: WorkloadId, attempt: int) -> Sequence[Stream]:
        """Take no more of any stream of an attempt; return them as they are then."""

        def write(connection: Connection) -> list[Stream]:
            found = records.of_workloads(connection, self._kind.name, (workload_id,))
            mine = [stream for stream in found if stream.key.attempt == attempt]
            return [
                stream if stream.finished else self._finish(connection, stream) for stream in mine
            ]

        return await self._database.write(write)

    def _finish(self, connection: Connection, stream: Stream) -> Stream:
        after = msgspec.structs.replace(
            stream, finished=True, seal_due=True, version=stream.version + 1
        )
        self._save(connection, after)
        return after

    async def delete(self, workload_id: WorkloadId) -> Sequence[Stream]:
        """Delete the streams of a workload and what is sealed of them; return what they were.

        Repeatable: objects that a crash left behind go the next time.
        """

        def write(connection: Connection) -> list[Stream]:
            found = records.of_workloads(connection, self._kind.name, (workload_id,))
            for stream in found:
                records.remove(connection, stream)
            return found

        found = await self._database.write(write)
        for folder in self._kind.folders(workload_id):
            await self._objects.delete_folder(folder)
        return found

    async def seal_due(self) -> int:
        """Seal what is due, of every workload; return how many bytes went out of the database.

        Any server may do so at any time, several at once too: whoever comes second finds the
        rows gone and gives up. A lease only saves the double work.

        Raises:
            StoreError: the first failure, when all else was tried; what failed stays due.
        """
        sealed_bytes, after = 0, -1
        failed: StoreError | None = None
        while due := await self._database.read(partial(self._due, after=after)):
            after = due[-1].id
            for stream in due:
                try:
                    sealed_bytes += await self.seal(stream)
                except StoreError as error:  # the others are not to wait for this one
                    failed = failed or error
        if failed is not None:
            raise failed
        return sealed_bytes

    def _due(self, connection: Connection, *, after: int) -> Sequence[Stream]:
        return records.due(connection, self._kind.name, after=after, limit=_DUE_PER_QUERY)

    async def seal(self, stream: Stream) -> int:
        """Seal what is due of one stream; return how many bytes went out of the database."""
        async with self._alone.at(stream.id):
            if self._becomes_whole(stream):
                return await self._seal_whole(stream)
            sealed_bytes = 0
            while sealing := await self._database.read(
                lambda connection: self._take(connection, stream.id)
            ):
                if not await self._seal_chunk(sealing):
                    return sealed_bytes
                sealed_bytes += sealing.end - sealing.pieces[0].start
            if stream.finished:
                await self._remove_strays(stream)
                await self._database.write(lambda connection: _done(connection, stream.id))
            return sealed_bytes

    def _take(self, connection: Connection, stream_id: int) -> _Sealing | None:
        """The rows of the next chunk; None when nothing is due."""
        now = records.get(connection, stream_id)
        if now is None or self._becomes_whole(now) or not self._limits.is_due(now):
            return None
        start = now.sealed_bytes
        end = min(start + self._limits.size_bytes, now.sealable_bytes)
        rows = records.rows_within(connection, stream_id, start, end)
        # A row that reaches beyond what is settled may still be cut.
        whole = [row for row in rows if row.start + len(row.data) <= now.sealable_bytes]
        return _Sealing(now, whole) if whole else None

    async def _seal_chunk(self, sealing: _Sealing) -> bool:
        """Put a chunk and let it take the place of its rows; False: another server was faster."""
        made = await asyncio.to_thread(encode_chunk, sealing.pieces)
        chunk = self._chunk(sealing, made)
        await self._objects.put(chunk.object_key, made.content)
        kept = await self._database.write(
            lambda connection: self._replace_rows(connection, sealing, chunk)
        )
        if kept == chunk.object_key:
            return True
        # Nobody will ever name this object: what it was made for is in another, or gone.
        await self._objects.delete(chunk.object_key)
        return False

    def _chunk(self, sealing: _Sealing, made: EncodedChunk) -> Chunk:
        """Name a chunk by its place and content: what a key names never changes."""
        first = sealing.pieces[0]
        digest = hashlib.sha256(made.content).hexdigest()[:_DIGEST_CHARS]
        name = f"{first.start:016d}-{sealing.stream.id:016x}-{digest}.zst"
        return Chunk(
            start=first.start,
            size_bytes=sealing.end - first.start,
            mark=first.mark,
            object_key=f"{self._kind.chunk_folder(sealing.stream)}/{name}",
            object_bytes=len(made.content),
            index_bytes=made.index_bytes,
        )

    def _replace_rows(self, connection: Connection, sealing: _Sealing, chunk: Chunk) -> str | None:
        """Put a chunk in the place of its rows; return the key of the chunk that is there."""
        now = records.get(connection, sealing.stream.id)
        if now is None:
            return None
        if now.sealed_bytes != chunk.start:
            there = records.chunk_at(connection, now.id, chunk.start)
            return None if there is None else there.object_key
        dropped = records.seal_rows(connection, now.id, chunk)
        after = msgspec.structs.replace(
            now, sealed_bytes=sealing.end, row_count=now.row_count - dropped
        )
        self._save(connection, after)
        return chunk.object_key

    async def _remove_strays(self, stream: Stream) -> None:
        """Remove objects that a sealer put and, killed, did not come to name."""
        folder = self._kind.chunk_folder(stream)
        put: list[str] = []
        cursor: str | None = None
        while True:
            page = await self._objects.list(folder, cursor=cursor)
            put += [info.key for info in page.objects]
            cursor = page.next
            if cursor is None:
                break
        # Named objects are looked for after the listing: what is not named by now never will be.
        chunks = await self._database.read(lambda connection: records.chunks(connection, stream.id))
        mark = f"-{stream.id:016x}-"
        strays = {key for key in put if mark in key} - {chunk.object_key for chunk in chunks}
        if strays:
            await self._objects.delete_many(sorted(strays))

    async def _seal_whole(self, stream: Stream) -> int:
        """Put a finished stream into one object, which takes the place of rows and chunks."""
        now = await self._database.read(lambda connection: records.get(connection, stream.id))
        if now is None or not now.seal_due:
            return 0
        left_bytes = now.size_bytes - now.sealed_bytes
        if not await self._database.read(lambda connection: _is_whole(connection, now)):
            try:
                await self._put_whole(now)
            except NotFound:
                return 0  # deleted meanwhile
            if not await self._database.write(lambda connection: _drop_parts(connection, now.id)):
                await self._objects.delete(self._kind.whole_key(now.key) or "")
                return 0
        await self._objects.delete_folder(self._kind.chunk_folder(now))
        await self._database.write(lambda connection: _done(connection, now.id))
        return left_bytes

    async def _put_whole(self, stream: Stream) -> None:
        key = self._kind.whole_key(stream.key) or ""
        await self._objects.put(key, self.reader.content(stream, 0, stream.size_bytes))
        stored = await self._objects.head(key)
        if stored.size_bytes != stream.size_bytes:
            raise StoreCorrupt(
                f'"{stream.key.name}" has {stored.size_bytes:,} of {stream.size_bytes:,} bytes '
                "in the object store; the copy in the database was kept.",
            )

    async def _whole(self, work: Awaitable[_Result]) -> _Result:
        """Do a piece of work to its end, also when the caller goes away meanwhile."""
        task = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Finish what was begun. Safe to repeat."""
        await asyncio.gather(*self._working, return_exceptions=True)


def _is_whole(connection: Connection, stream: Stream) -> bool:
    """Whether an object holds a stream that is to become one."""
    all_sealed = stream.sealed_bytes == stream.size_bytes
    return all_sealed and records.chunk_at(connection, stream.id, 0) is None


def _drop_parts(connection: Connection, stream_id: int) -> bool:
    """Note that an object holds a stream, in the place of rows and chunks; False: it is gone."""
    now = records.get(connection, stream_id)
    if now is None:
        return False
    records.drop_content(connection, now.id, now.size_bytes)
    after = msgspec.structs.replace(now, sealed_bytes=now.size_bytes, row_count=0)
    records.save(connection, after, is_new=False)
    return True


def _done(connection: Connection, stream_id: int) -> None:
    """Note that nothing is left to do for a finished stream."""
    now = records.get(connection, stream_id)
    if now is not None:
        after = msgspec.structs.replace(now, seal_due=False)
        records.save(connection, after, is_new=False)


class _Alone:
    """Locks by name, within this process: they only save work that would be done twice."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._waiting: dict[Hashable, int] = {}

    @asynccontextmanager
    async def at(self, name: Hashable) -> AsyncGenerator[None]:
        """Hold a name for oneself."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._waiting[name] = self._waiting.get(name, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[name] -= 1
            if self._waiting[name] == 0:
                del self._waiting[name], self._locks[name]
