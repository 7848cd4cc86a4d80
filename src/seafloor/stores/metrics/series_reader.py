"""Reads series from the journal and from what is sealed, as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from typing import TypeVar

import numpy as np
from sqlalchemy import Connection, bindparam, select

from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import STEP_MAX, STEP_MIN, TIME_MS_MAX, Bucket
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import metric_journal
from seafloor.stores.metrics import segment_rows
from seafloor.stores.metrics.columns import SeriesColumns, no_points
from seafloor.stores.metrics.journal import decode_series
from seafloor.stores.metrics.points import Triple, bits_of_rank
from seafloor.stores.metrics.pyramid import (
    Axis,
    Blocks,
    blocks_of,
    chart_of,
    in_order,
    joined_columns,
)
from seafloor.stores.metrics.segment_objects import SegmentObjects, missing_object
from seafloor.stores.metrics.segment_rows import SegmentRow
from seafloor.stores.metrics.window import ALL, Place, Window, behind

_T = TypeVar("_T")

_ROWS_PER_FETCH = 500
_TRIES = 3
_RAW_POINTS_MAX = 1 << 20
"""More points that are not sealed yet become blocks before they are put into a chart."""

_journal = metric_journal.c
_WITHIN = (
    select(_journal.step_min, _journal.time_ms_min, _journal.attempt, _journal.payload)
    .where(
        _journal.workload_id == bindparam("workload_id"),
        _journal.step_max >= bindparam("from_step"),
        _journal.step_min <= bindparam("to_step"),
        _journal.time_ms_max >= bindparam("from_time_ms"),
        # ``+ 0`` keeps a column from being chosen as the way into an index.
        _journal.time_ms_min + 0 <= bindparam("to_time_ms"),
    )
    .execution_options(yield_per=_ROWS_PER_FETCH)
)
_IN_ORDER = _WITHIN.order_by(_journal.step_min, _journal.time_ms_min, _journal.sequence)


@dataclass(frozen=True, slots=True)
class Series:
    """Which points are to be read.

    Args:
        after: Only points behind this one, in the order of a series.
    """

    workload_id: WorkloadId
    key: str
    window: Window = ALL
    after: Triple | None = None

    def of_attempt(self, points: SeriesColumns) -> SeriesColumns:
        """The points that are asked for, of some of one attempt."""
        points = self.window.take(points)
        place = self.place(int(points.attempt[0])) if len(points) else None
        return points if place is None else behind(points, place)

    def place(self, attempt: int) -> Place | None:
        """Where to begin among the points of one attempt."""
        if self.after is None:
            return None
        step, time_ms, rank = self.after
        return Place(attempt, step, time_ms, bits_of_rank(rank))


class _Least:
    """The least points of a series, of pieces that come in any order.

    Memory: twice the limit and one piece.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[SeriesColumns] = []
        self._count = 0
        self._bound: tuple[int, int] | None = None

    def add(self, piece: SeriesColumns) -> None:
        """Take points."""
        if not len(piece):
            return
        self._pieces.append(piece)
        self._count += len(piece)
        if self._count >= (self._limit if self._bound is None else 2 * self._limit):
            self._cut()

    def _cut(self) -> None:
        points = in_order(self._pieces).slice(0, self._limit)
        self._pieces, self._count = [points], len(points)
        self._bound = int(points.step[-1]), int(points.time_ms[-1])

    def is_full_below(self, step: int, time_ms: int) -> bool:
        """Whether no point from this step and time on is among the least."""
        return self._bound is not None and self._bound < (step, time_ms)

    def points(self) -> SeriesColumns:
        """The least points, in order."""
        if not self._pieces:
            return no_points()
        return in_order(self._pieces).slice(0, self._limit)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One state of the database: some points, and the segments that may have others."""

    points: Sequence[SeriesColumns]
    blocks: Sequence[Blocks]
    segments: Sequence[SegmentRow]


class SeriesReader:
    """Reads the series of one database and its segments.

    A read sees one state of the database: what is sealed or merged meanwhile stays readable
    where it was, since removed objects are kept for a while.
    """

    def __init__(self, database: Database, segments: SegmentObjects) -> None:
        self._database = database
        self._segments = segments

    async def page(self, series: Series, limit: int) -> SeriesColumns:
        """Read the first points of a series, in order of (step, time, value).

        Cost: memory of a few times the limit; a row group or two of a segment.
        """
        return await _again(lambda: self._page(series, limit))

    async def _page(self, series: Series, limit: int) -> SeriesColumns:
        def read(connection: Connection) -> _Seen:
            least = _Least(limit)
            inline, segments = _sealed(connection, series)
            for step, time_ms, points in _unsealed(connection, series, inline, in_order=True):
                if least.is_full_below(step, time_ms):
                    break
                least.add(points)
            return _Seen([least.points()], (), segments)

        seen = await self._database.read(read)
        least = _Least(limit)
        least.add(seen.points[0])
        for row in seen.segments:
            if least.is_full_below(row.reach.step_min, row.reach.time_ms_min):
                break
            index = await self._segments.index(row)
            found = index.keys.get(series.key)
            if found is None or least.is_full_below(found.reach.step_min, found.reach.time_ms_min):
                continue
            plan = index.plan(
                series.key, after=series.place(row.attempt), window=series.window, limit=limit
            )
            least.add(await self._segments.points(row, plan))
        return least.points()

    async def chart(self, series: Series, *, buckets: int, x: Axis) -> tuple[Bucket, ...]:
        """Make a chart of a series; see ``pyramid.chart_of``.

        Cost: of segments the indexes, and the points of blocks that are in part within; of a
        stretch with fewer blocks than buckets the points, at most 1,024 for each bucket.
        """
        return await _again(lambda: self._chart(series, buckets, x))

    async def _chart(self, series: Series, buckets: int, x: Axis) -> tuple[Bucket, ...]:
        def read(connection: Connection) -> _Seen:
            inline, segments = _sealed(connection, series)
            raw: list[SeriesColumns] = []
            blocks: list[Blocks] = []
            count = 0
            for _, _, points in _unsealed(connection, series, inline, in_order=False):
                raw.append(points)
                count += len(points)
                if count >= _RAW_POINTS_MAX:
                    blocks.append(blocks_of(_by_attempt(joined_columns(raw))))
                    raw, count = [], 0
            return _Seen(raw, blocks, segments)

        seen = await self._database.read(read)
        raw, blocks = list(seen.points), list(seen.blocks)
        indexes = [(row, await self._segments.index(row)) for row in seen.segments]
        having = [(row, index) for row, index in indexes if series.key in index.keys]
        total = sum(index.keys[series.key].points for _, index in having)
        total += sum(map(len, raw)) + sum(int(one.points.sum()) for one in blocks)
        for row, index in having:
            share = max(1, buckets * index.keys[series.key].points // total)
            some, plan = index.chart_plan(series.key, buckets=share, window=series.window)
            if some is not None:
                blocks.append(some)
            if plan is not None:
                raw.append(await self._segments.points(row, plan))
        return await asyncio.to_thread(chart_of, blocks, raw, buckets=buckets, x=x)


async def _again(read: Callable[[], Awaitable[_T]]) -> _T:
    """Read; when a segment was removed since the rows were read, read them again."""
    for _ in range(_TRIES - 1):
        try:
            return await read()
        except NotFound:
            continue
    try:
        return await read()
    except NotFound as error:
        raise missing_object(error) from error


def _sealed(
    connection: Connection, series: Series
) -> tuple[list[tuple[SegmentRow, bytes]], list[SegmentRow]]:
    """The rows with points in them, with those, and the ones whose points are objects."""
    window = series.window
    if series.after is not None:
        least = max(STEP_MIN if window.step_min is None else window.step_min, series.after[0])
        window = replace(window, step_min=least)
    rows = segment_rows.of_workload(connection, series.workload_id, window)
    inline = [row for row in rows if row.is_inline]
    payloads = segment_rows.payloads(connection, inline)
    return [(row, payloads[row.id]) for row in inline], [row for row in rows if not row.is_inline]


def _unsealed(
    connection: Connection,
    series: Series,
    inline: Sequence[tuple[SegmentRow, bytes]],
    *,
    in_order: bool,
) -> Iterator[tuple[int, int, SeriesColumns]]:
    """The points of a series that are in the database, as asked for, row by row.

    Args:
        in_order: Whether rows come by the least step and time that they can have, which are
            given with them.
    """
    window = series.window
    from_step = STEP_MIN if window.step_min is None else window.step_min
    reach = {
        "workload_id": series.workload_id,
        "from_step": from_step if series.after is None else max(from_step, series.after[0]),
        "to_step": STEP_MAX if window.step_max is None else window.step_max,
        "from_time_ms": 0 if window.time_ms_min is None else window.time_ms_min,
        "to_time_ms": TIME_MS_MAX if window.time_ms_max is None else window.time_ms_max,
    }
    there = [(row.reach.step_min, row.reach.time_ms_min, row.attempt, data) for row, data in inline]
    with connection.execute(_IN_ORDER if in_order else _WITHIN, reach) as rows:
        for step, time_ms, attempt, payload in merge(
            sorted(there), map(tuple, rows), key=lambda row: row[:2]
        ):
            if window.attempt is None or attempt == window.attempt:
                points = decode_series(payload, series.key, attempt=attempt)
                yield step, time_ms, series.of_attempt(points)


def _by_attempt(points: SeriesColumns) -> SeriesColumns:
    points = in_order([points])
    return points.where(np.argsort(points.attempt, kind="stable"))
