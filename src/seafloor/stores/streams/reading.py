"""Reading a byte stream: chunks of the object store, then rows of the database."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from functools import partial

from sqlalchemy import Connection

from seafloor.domain.errors import NotFound, StoreCorrupt
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.streams import records
from seafloor.stores.streams.chunk_format import ChunkIndex, decode_frame, decode_index
from seafloor.stores.streams.kind import StreamKind
from seafloor.stores.streams.records import Chunk, Stream

READ_BYTES = 1024 * 1024
_INDEXES_MAX = 256


class StreamGone(Exception):
    """The stream was deleted while it was read."""


class StreamReader:
    """Reads streams of one kind. Holds nothing but the indexes of the chunks that it read last.

    Sealed bytes never change, so a look at the database and the reading of an object that it
    names need not be one moment.
    """

    def __init__(self, database: Database, objects: ObjectStore, kind: StreamKind) -> None:
        self._database = database
        self._objects = objects
        self._kind = kind
        self._indexes: OrderedDict[str, ChunkIndex] = OrderedDict()

    async def read_at(self, stream: Stream, offset: int, length: int) -> bytes:
        """Read at least one and at most ``length`` bytes; none at the end of the stream as given.

        Raises:
            StreamGone: it was deleted meanwhile.
            StoreCorrupt: an object is damaged or missing.

        Cost: one transaction, and one ranged read when the bytes are sealed; memory of the
        length and of one frame.
        """
        end = min(offset + length, stream.size_bytes)
        if offset >= end:
            return b""
        look = partial(self._look, stream_id=stream.id, offset=offset, end=end)
        for is_last in (False, True):
            found = await self._database.read(look)
            try:
                data = found if isinstance(found, bytes) else await self._sealed(found, offset, end)
            except NotFound:
                # Its parts were put together to one object meanwhile: then there it is now.
                if is_last:
                    break
                continue
            if data:
                return data
            break
        raise self._missing(f"byte {offset} of stream {stream.key}")

    def _missing(self, detail: str) -> StoreCorrupt:
        return StoreCorrupt(
            f"A part of this {self._kind.noun} is missing: restore the database and the object "
            "store from a backup.",
            detail=detail,
        )

    def _look(
        self, connection: Connection, *, stream_id: int, offset: int, end: int
    ) -> bytes | Chunk | str:
        """Find bytes: themselves, the chunk they are in, or the key of the whole."""
        now = records.get(connection, stream_id)
        if now is None:
            raise StreamGone
        if offset >= now.sealed_bytes:
            return records.bytes_within(connection, stream_id, offset, end)
        found = records.chunk_at(connection, stream_id, offset) or self._kind.whole_key(now.key)
        if found is None:
            raise StoreCorrupt(
                f"The database does not say where a part of this {self._kind.noun} lies.",
                detail=f"byte {offset} of stream {stream_id}",
            )
        return found

    async def _sealed(self, found: Chunk | str, offset: int, end: int) -> bytes:
        if isinstance(found, str):
            return await self._object_bytes(found, offset, end - offset)
        index = await self._index(found)
        frames = index.covering(offset, end)
        start = frames[0].object_start
        last = frames[-1].object_start + frames[-1].object_bytes
        packed = await self._object_bytes(found.object_key, start, last - start)
        data = b"".join(
            decode_frame(
                packed[frame.object_start - start :][: frame.object_bytes],
                frame,
                key=found.object_key,
            )
            for frame in frames
        )
        return data[offset - frames[0].start : end - frames[0].start]

    async def _object_bytes(self, key: str, start: int, length: int) -> bytes:
        chunks = self._objects.read(key, start=start, length=length)
        data = b"".join([chunk async for chunk in chunks])
        if len(data) != length:
            raise StoreCorrupt(
                f'The object "{key}" is shorter than it was: restore it from a backup of the '
                "object store."
            )
        return data

    async def _index(self, chunk: Chunk) -> ChunkIndex:
        found = self._indexes.get(chunk.object_key)
        if found is None:
            start = chunk.object_bytes - chunk.index_bytes
            data = await self._object_bytes(chunk.object_key, start, chunk.index_bytes)
            found = self._indexes[chunk.object_key] = decode_index(data, key=chunk.object_key)
            if len(self._indexes) > _INDEXES_MAX:
                self._indexes.popitem(last=False)
        return found

    async def last_mark(
        self, stream: Stream, measure: Callable[[bytes], int], value: int
    ) -> bytes | None:
        """The last mark with ``measure(mark) <= value``; None: the beginning of the stream.

        Args:
            measure: Must not fall from mark to mark.

        Cost: one transaction of some index seeks; the index of one chunk when it is sealed.
        """

        def look(connection: Connection) -> bytes | Chunk | None:
            now = records.get(connection, stream.id)
            if now is None:
                raise StreamGone
            mark = records.last_row_mark(connection, now, measure, value)
            return mark or records.last_chunk(connection, now, measure, value)

        found = await self._database.read(look)
        if not isinstance(found, Chunk):
            return found
        try:
            return (await self._index(found)).last(measure, value)
        except NotFound as exc:
            raise self._missing(found.object_key) from exc

    async def content(self, stream: Stream, start: int, end: int) -> AsyncGenerator[bytes]:
        """Stream the bytes of a stretch, in chunks of at most READ_BYTES.

        Raises:
            NotFound: it was deleted meanwhile.
        """
        at = start
        while at < min(end, stream.size_bytes):
            try:
                data = await self.read_at(stream, at, min(READ_BYTES, end - at))
            except StreamGone as exc:
                raise NotFound(f"The {self._kind.noun} was deleted while it was read.") from exc
            yield data
            at += len(data)
