"""Compaction: segments of about one size become one of the next, so that a run has few.

Sixteen of a size are joined, so a point is written again once for each factor of sixteen that its
run grows by, and a run of 10⁹ points has some dozens of segments.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
import structlog
from sqlalchemy import Connection

from seafloor.domain.errors import LimitExceeded, NotFound, StoreCorrupt
from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.sql import metric_objects
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metrics import segment_rows
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.damaged import DamagedRows
from seafloor.stores.metrics.pyramid import in_order
from seafloor.stores.metrics.segment import POINTS_MAX, SegmentEncoder, SegmentReceipt
from seafloor.stores.metrics.segment_index import Plan, SegmentIndex
from seafloor.stores.metrics.segment_objects import SegmentObjects, missing_object
from seafloor.stores.metrics.segment_rows import SegmentRow, new_segment_id
from seafloor.stores.metrics.window import ALL, Place, behind
from seafloor.stores.objects.protocol import READ_CHUNK_BYTES

_log = structlog.get_logger(__name__)

FAN = 16
"""So many of a size become one."""


class _Unreadable(Exception):
    """A segment cannot be read: it is damaged, or an object of it is missing."""

    def __init__(self, row: SegmentRow, error: StoreCorrupt | NotFound) -> None:
        super().__init__(row.id)
        self.row = row
        self.error = error

    def told(self) -> StoreCorrupt:
        """What is wrong with it, when its row is still there."""
        return missing_object(self.error) if isinstance(self.error, NotFound) else self.error


class Compaction:
    """Joins the segments of one database.

    Args:
        database: Migrated; not closed with this.
        objects: Where segments are.
        damaged: Where segments that cannot be read are noted; the others are joined without them.
        points_min: What the smallest segments have at least.
    """

    def __init__(
        self,
        database: Database,
        objects: SegmentObjects,
        damaged: DamagedRows,
        *,
        points_min: int,
    ) -> None:
        self._database = database
        self._objects = objects
        self._damaged = damaged
        self._points_min = points_min
        self._unjoined: set[str] = set()  # their keys are too many for one segment

    async def compact(self, workload_id: WorkloadId) -> int:
        """Join what is due of one workload; return how many segments were replaced.

        Any server may do so at any time: whoever comes second gives up. A segment that is damaged,
        or of which an object is missing, stays as it is and is noted.

        Cost: memory of a row group of each segment; a temporary file of the size of the new one.
        """
        replaced = 0
        find = partial(self._group, workload_id=workload_id)
        while group := await self._database.read(find):
            try:
                made = await self._join(group)
                await self._database.write(partial(_replace, group=group, made=made))
            except segment_rows.OvertakenError:
                _log.info("another server compacted the same metrics", workload_id=workload_id)
                break
            except LimitExceeded:
                self._unjoined.update(row.id for row in group)
            except _Unreadable as found:
                await self._set_aside(found)
            else:
                replaced += len(group)
        return replaced

    async def _set_aside(self, found: _Unreadable) -> None:
        """Note a segment that cannot be read, unless it is merely gone: replaced by another."""
        row = found.row
        if await self._database.read(partial(segment_rows.named, segment_id=row.id)) is None:
            _log.info("another server compacted the same metrics", workload_id=row.workload_id)
            return
        error = found.told()
        _log.error("a segment is damaged", workload_id=row.workload_id, reason=error.message)
        self._damaged.add(row.id, row.workload_id, error)

    async def check(self, row: SegmentRow) -> StoreCorrupt | None:
        """Say what is wrong with a segment that its row names, after reading all of it.

        Cost: memory of a row group.
        """
        try:
            cursor = await _Cursor.opened(self._objects, row)
            for key in sorted(cursor.index.keys, key=str.encode):
                async for _ in cursor.pieces(key):
                    pass
        except _Unreadable as found:
            return found.told()
        return None

    def _group(self, connection: Connection, workload_id: WorkloadId) -> list[SegmentRow]:
        """Segments of one attempt and about one size that are to be joined; empty when none are."""
        sizes: dict[tuple[int, int], list[SegmentRow]] = {}
        for row in segment_rows.of_workload(connection, workload_id, ALL):
            if row.is_inline or row.id in self._damaged or row.id in self._unjoined:
                continue
            same = sizes.setdefault((row.attempt, self._size(row.points)), [])
            same.append(row)
            if len(same) == FAN and sum(one.points for one in same) <= POINTS_MAX:
                return same
        return []

    def _size(self, points: int) -> int:
        size = 0
        while points >= self._points_min * FAN:
            points //= FAN
            size += 1
        return size

    async def _join(self, group: Sequence[SegmentRow]) -> SegmentRow:
        cursors = [await _Cursor.opened(self._objects, row) for row in group]
        name, workload_id = new_segment_id(), group[0].workload_id
        keys = metric_objects.object_keys(workload_id, name)
        await self._database.write(
            partial(metric_objects.remove_later, keys=keys, after_ns=segment_rows.UNFINISHED_NS)
        )
        with tempfile.TemporaryFile() as file:
            receipt = await _encode(file, cursors)
            row = SegmentRow(
                name,
                workload_id,
                receipt.points,
                receipt.reach,
                receipt.data_bytes,
                len(receipt.index),
            )
            await self._objects.put(row, _content(file), receipt.index)
        return row


async def _encode(file: BinaryIO, cursors: Sequence[_Cursor]) -> SegmentReceipt:
    encoder = SegmentEncoder(file)
    keys = {key for cursor in cursors for key in cursor.index.keys}
    try:
        for key in sorted(keys, key=str.encode):
            async for points in _merged([cursor.pieces(key) for cursor in cursors]):
                await asyncio.to_thread(encoder.add, key, points)
        return await asyncio.to_thread(encoder.finish)
    finally:
        await asyncio.to_thread(encoder.close)


async def _content(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, READ_CHUNK_BYTES):
        yield chunk


class _Cursor:
    """Goes through a segment from its first key to its last, a row group in memory."""

    def __init__(self, objects: SegmentObjects, row: SegmentRow, index: SegmentIndex) -> None:
        self._objects = objects
        self._row = row
        self.index = index
        self._first = self._stop = 0
        self._held: SeriesColumns | None = None

    @classmethod
    async def opened(cls, objects: SegmentObjects, row: SegmentRow) -> _Cursor:
        """Before the first key of a segment.

        Raises:
            _Unreadable: its index is damaged or missing; likewise ``pieces``, of its points.
        """
        try:
            return cls(objects, row, await objects.index(row))
        except (StoreCorrupt, NotFound) as error:
            raise _Unreadable(row, error) from error

    async def pieces(self, key: str) -> AsyncIterator[SeriesColumns]:
        """The points of a key, in order; keys come in order."""
        found = self.index.keys.get(key)
        if found is None:
            return
        at, stop = found.row, found.row + found.points
        while at < stop:
            if self._held is None or at >= self._stop:
                self._first, self._stop = self.index.group_of(at)
                plan = self.index.plan_of_rows(self._first, self._stop)
                self._held = await self._read(plan)
            end = min(stop, self._stop)
            yield self._held.slice(at - self._first, end - self._first)
            at = end

    async def _read(self, plan: Plan) -> SeriesColumns:
        try:
            return await self._objects.points(self._row, plan)
        except (StoreCorrupt, NotFound) as error:
            raise _Unreadable(self._row, error) from error


@dataclass
class _Head:
    """What was read of one stream and not passed on."""

    stream: AsyncIterator[SeriesColumns]
    points: SeriesColumns


async def _merged(streams: Sequence[AsyncIterator[SeriesColumns]]) -> AsyncIterator[SeriesColumns]:
    """Several series of one attempt as one, piece by piece, in order."""
    heads = [_Head(stream, first) for stream in streams async for first in _next(stream)]
    while heads:
        # Up to the least of their ends all that can come is here.
        until = min((Place.of(head.points, -1) for head in heads), key=Place.in_order)
        passed: list[SeriesColumns] = []
        left: list[_Head] = []
        for head in heads:
            here = _up_to(head.points, until)
            passed.append(head.points.slice(0, here))
            if here < len(head.points):
                left.append(_Head(head.stream, head.points.slice(here, len(head.points))))
            else:
                left += [_Head(head.stream, more) async for more in _next(head.stream)]
        yield in_order(passed)
        heads = left


def _up_to(points: SeriesColumns, place: Place) -> int:
    """How many points, in order and of the place's attempt, are not behind it."""
    first = int(np.searchsorted(points.step, place.step, side="left"))
    stop = int(np.searchsorted(points.step, place.step, side="right"))
    return stop - len(behind(points.slice(first, stop), place))


async def _next(stream: AsyncIterator[SeriesColumns]) -> AsyncIterator[SeriesColumns]:
    """The next piece, if there is one."""
    async for piece in stream:
        yield piece
        return


def _replace(connection: Connection, *, group: Sequence[SegmentRow], made: SegmentRow) -> None:
    if segment_rows.remove(connection, group) != len(group):
        raise segment_rows.OvertakenError
    segment_rows.name_objects(connection, made)
    keys = [key for row in group for key in (row.data_key, row.index_key)]
    metric_objects.remove_later(connection, keys, after_ns=segment_rows.READERS_NS)
