"""Segments as objects: put, and read in part."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterable, Generator
from contextlib import contextmanager

from seafloor.domain.errors import NotFound, StoreCorrupt
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.segment import decode_plan
from seafloor.stores.metrics.segment_index import ByteRange, Plan, SegmentIndex
from seafloor.stores.metrics.segment_rows import SegmentRow
from seafloor.stores.objects.protocol import ObjectStore

_INDEX_BYTES_HELD = 8 * 1024 * 1024
"""As stored; unpacked an index is some seven times as large."""
_READS_AT_ONCE = 8


class SegmentObjects:
    """The objects of segments, with the indexes that were wanted last kept in memory.

    Args:
        objects: Not closed with this.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._held: OrderedDict[str, tuple[SegmentIndex, int]] = OrderedDict()
        self._held_bytes = 0

    async def put(self, row: SegmentRow, data: bytes | AsyncIterable[bytes], index: bytes) -> None:
        """Put a segment; nobody sees it before its row is there."""
        await self._objects.put(row.data_key, data)
        await self._objects.put(row.index_key, index)

    async def index(self, row: SegmentRow) -> SegmentIndex:
        """The index of a segment.

        Raises:
            NotFound: it was removed; the rows say what took its place.
            StoreCorrupt: it is damaged.
        """
        held = self._held.get(row.id)
        if held is not None:
            self._held.move_to_end(row.id)
            return held[0]
        data = await self._read(row.index_key, ByteRange(0, row.index_bytes))
        with _named(row.index_key):
            index = await asyncio.to_thread(SegmentIndex.decode, data)
        if row.id not in self._held:
            self._held[row.id] = index, len(data)
            self._held_bytes += len(data)
            while self._held_bytes > _INDEX_BYTES_HELD and len(self._held) > 1:
                _, (_, size) = self._held.popitem(last=False)
                self._held_bytes -= size
        return index

    async def points(self, row: SegmentRow, plan: Plan) -> SeriesColumns:
        """The points that a plan of this segment's index asks for.

        Raises:
            NotFound: it was removed; the rows say what took its place.
            StoreCorrupt: it is damaged.
        """
        at_once = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(part: ByteRange) -> bytes:
            async with at_once:
                return await self._read(row.data_key, part)

        fetched = await asyncio.gather(*map(read, plan.ranges))
        index = await self.index(row)
        with _named(row.data_key):
            return await asyncio.to_thread(decode_plan, index, plan, fetched)

    async def whole(self, row: SegmentRow) -> bytes:
        """All bytes of the data object."""
        return await self._read(row.data_key, ByteRange(0, row.data_bytes))

    async def _read(self, key: str, part: ByteRange) -> bytes:
        chunks = self._objects.read(key, start=part.offset, length=part.size)
        try:
            return b"".join([chunk async for chunk in chunks])
        except NotFound as error:
            raise NotFound(f'There is no object "{key}".', detail=error.message) from error

    async def remove(self, keys: list[str]) -> None:
        """Remove objects; ones that are gone already are no error."""
        await self._objects.delete_many(keys)


@contextmanager
def _named(key: str) -> Generator[None]:
    """Say which object it is that is damaged."""
    try:
        yield
    except StoreCorrupt as error:
        raise StoreCorrupt(f'{error.message} It is "{key}".', detail=error.detail) from error


def missing_object(error: NotFound) -> StoreCorrupt:
    """What is wrong when a row names an object that is not there.

    Args:
        error: Of the read, which says its key.
    """
    return StoreCorrupt(f"{error.message} Points of this run are in it.", detail=error.detail)
