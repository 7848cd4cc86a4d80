"""Seals series: many rows of the journal become one row, or a segment in the object store.

What is sealed is exactly what was read: the rows go in the transaction that names what took
their place, and only if all of them are still there. So any server may seal at any time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import structlog
from sqlalchemy import Connection, bindparam, delete, func, or_, select

from seafloor.domain.errors import StoreError
from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.sql import metric_objects
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import metric_journal, workload
from seafloor.stores.metrics import segment_rows
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.compaction import Compaction
from seafloor.stores.metrics.journal import decode_rows, encode_columns
from seafloor.stores.metrics.pyramid import in_order, joined_columns
from seafloor.stores.metrics.segment import EncodedSegment, encode_segment
from seafloor.stores.metrics.segment_objects import SegmentObjects
from seafloor.stores.metrics.segment_rows import (
    UNFINISHED_NS,
    OvertakenError,
    SegmentRow,
    new_segment_id,
)
from seafloor.stores.metrics.window import ALL, joined_reach, reach_of

_log = structlog.get_logger(__name__)

_LOOK_ROWS = 10_000
_AT_ONCE = 32
_ROWS_MAX = 4_096
_REMOVED_AT_ONCE = 500
_INLINE_LEVEL = 6

_journal = metric_journal.c
_BACKLOG = (
    select(
        _journal.workload_id,
        func.count().label("rows"),
        func.sum(_journal.points).label("points"),
    )
    .group_by(_journal.workload_id)
    .having(or_(func.count() > 1, func.sum(_journal.points) >= bindparam("points_min")))
)
_LAST = select(func.max(_journal.sequence))
_NEW = (
    select(_journal.sequence, _journal.workload_id, _journal.points)
    .where(_journal.sequence > bindparam("after"))
    .order_by(_journal.sequence)
    .limit(_LOOK_ROWS)
)
_ROWS = (
    select(_journal.sequence, _journal.attempt, _journal.points, _journal.payload)
    .where(_journal.workload_id == bindparam("workload_id"))
    .order_by(_journal.sequence)
    .limit(_ROWS_MAX + 1)
    .execution_options(yield_per=64)
)
_GONE = delete(metric_journal).where(
    _journal.workload_id == bindparam("of_workload"), _journal.sequence <= bindparam("upto")
)
_EXISTS = select(workload.c.id).where(workload.c.id == bindparam("workload_id"))


@dataclass(frozen=True)
class MetricSealLimits:
    """When the points of a workload are sealed.

    Args:
        rows: So many rows of the journal, however small.
        points: So many points become a segment; fewer stay in one row of the database.
        points_max: About so many are sealed at once.
        idle_s: A workload that had no new points for so long gets its rows put into one.
    """

    rows: int = 256
    points: int = 1 << 18
    points_max: int = 1 << 19
    idle_s: float = 30.0


@dataclass
class _Backlog:
    """What is known to wait of one workload."""

    rows: int
    points: int
    changed_s: float


@dataclass
class _Part:
    """Of one attempt, the rows that are sealed together."""

    attempt: int
    points: int = 0
    payloads: list[bytes] = field(default_factory=list[bytes])
    replaced: list[SegmentRow] = field(default_factory=list[SegmentRow])


@dataclass(frozen=True, slots=True)
class _Taken:
    """What is sealed of a workload in one go.

    Args:
        rows, points: How many of the journal.
        upto: The greatest sequence among them.
        more: Whether others are left.
    """

    parts: Sequence[_Part]
    rows: int
    points: int
    upto: int
    more: bool


@dataclass(frozen=True, slots=True)
class _Sealed:
    """What takes the place of a part: a row with the points, or one that names objects."""

    row: SegmentRow
    part: _Part
    payload: bytes | None = None
    segment: EncodedSegment | None = None


class MetricSealing:
    """Seals the journal of one database.

    Args:
        database: Migrated; not closed with this.
        objects: Where segments go.
        clock_s: Rises steadily.
    """

    def __init__(
        self,
        database: Database,
        objects: SegmentObjects,
        limits: MetricSealLimits,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._objects = objects
        self._limits = limits
        self._clock_s = clock_s
        self._compaction = Compaction(database, objects, points_min=limits.points)
        self._waiting: dict[WorkloadId, _Backlog] = {}
        self._looked: int | None = None

    async def seal_due(self) -> int:
        """Seal what is due of every workload; return how many points left the journal.

        Raises:
            StoreError: the first failure, when all else was tried; what failed stays due.
        """
        sealed = 0
        failed: list[StoreError] = []
        await self._look()
        while not failed and (due := self._due()):
            for some in list(self._groups(due)):
                done = await asyncio.gather(*map(self.seal, some), return_exceptions=True)
                for result in done:
                    if isinstance(result, StoreError):  # the others are not to wait for this one
                        failed.append(result)
                    elif isinstance(result, BaseException):
                        raise result
                    else:
                        sealed += result
            await self._look()
        # Also when some fail, which may be for good: what was replaced would pile up.
        await self._remove_due()
        if failed:
            raise failed[0]
        return sealed

    async def _look(self) -> None:
        """Learn of rows that came since the last look."""
        if self._looked is None:
            self._looked = await self._database.read(self._look_at_all)
            return
        while rows := await self._database.read(
            lambda connection: connection.execute(_NEW, {"after": self._looked}).all()
        ):
            for sequence, workload_id, points in rows:
                self._count(workload_id, 1, points)
                self._looked = sequence
            if len(rows) < _LOOK_ROWS:
                break

    def _look_at_all(self, connection: Connection) -> int:
        # A single small row is left alone: there is nothing to gain.
        found = connection.execute(_BACKLOG, {"points_min": self._limits.points})
        for workload_id, rows, points in found:
            self._count(workload_id, rows, int(points))
        return connection.execute(_LAST).scalar_one() or 0

    def _count(self, workload_id: str, rows: int, points: int) -> None:
        found = self._waiting.setdefault(WorkloadId(workload_id), _Backlog(0, 0, 0.0))
        found.rows += rows
        found.points += points
        found.changed_s = self._clock_s()

    def _due(self) -> list[WorkloadId]:
        limits, idle_since_s = self._limits, self._clock_s() - self._limits.idle_s
        return [
            workload_id
            for workload_id, found in self._waiting.items()
            if found.rows >= limits.rows
            or found.points >= limits.points
            or found.changed_s <= idle_since_s
        ]

    def _groups(self, due: Sequence[WorkloadId]) -> Iterator[list[WorkloadId]]:
        """What is sealed at once: many small workloads share a commit, few large ones memory."""
        group: list[WorkloadId] = []
        points = 0
        for workload_id in due:
            takes = min(self._waiting[workload_id].points, self._limits.points_max)
            if group and (len(group) == _AT_ONCE or points + takes > self._limits.points_max):
                yield group
                group, points = [], 0
            group.append(workload_id)
            points += takes
        yield group

    async def seal(self, workload_id: WorkloadId) -> int:
        """Seal what waits of one workload; return how many points left the journal."""
        taken = await self._database.read(lambda connection: self._take(connection, workload_id))
        if self._is_settled(taken):
            self._waiting.pop(workload_id, None)
            return 0
        made = [await asyncio.to_thread(self._encode, workload_id, part) for part in taken.parts]
        await self._put([one for one in made if one.segment is not None])
        try:
            await self._database.write(
                lambda connection: _replace(connection, workload_id, taken, made)
            )
        except OvertakenError:
            # It stays in the backlog: what that server left is seen at the next turn.
            _log.info("another server sealed the same metrics", workload_id=workload_id)
            return 0
        if not taken.more:
            self._waiting.pop(workload_id, None)
        if any(one.segment is not None for one in made):
            await self._compaction.compact(workload_id)
        return taken.points

    def _is_settled(self, taken: _Taken) -> bool:
        """Whether there is nothing to gain: one row stands for one row."""
        joined = any(part.replaced for part in taken.parts)
        return taken.rows <= 1 and not joined and taken.points < self._limits.points

    def _take(self, connection: Connection, workload_id: WorkloadId) -> _Taken:
        parts: dict[int, _Part] = {}
        rows = points = upto = 0
        more = False
        with connection.execute(_ROWS, {"workload_id": workload_id}) as found:
            for sequence, attempt, count, payload in found:
                if points >= self._limits.points_max or rows == _ROWS_MAX:
                    more = True
                    break
                part = parts.setdefault(attempt, _Part(attempt))
                part.payloads.append(payload)
                part.points += count
                rows, points, upto = rows + 1, points + count, sequence
        there = segment_rows.of_workload(connection, workload_id, ALL)
        for part in parts.values():
            mine = [row for row in there if row.is_inline and row.attempt == part.attempt]
            part.replaced = self._joining(part.points, mine)
            payloads = segment_rows.payloads(connection, part.replaced)
            part.payloads += payloads.values()
            part.points += sum(row.points for row in part.replaced)
        return _Taken(tuple(parts.values()), rows, points, upto, more)

    def _joining(self, points: int, inline: Sequence[SegmentRow]) -> list[SegmentRow]:
        """Which rows new points join: all when there are enough for a segment, else few.

        A row is written anew only with at least half as many others, so that each point is
        written a few times at most, however small the appends are.
        """
        by_size = sorted(inline, key=lambda row: row.points)
        if points + sum(row.points for row in by_size) >= self._limits.points:
            return by_size
        joining: list[SegmentRow] = []
        for row in by_size:
            if row.points > 2 * points:
                break
            joining.append(row)
            points += row.points
        return joining

    def _encode(self, workload_id: WorkloadId, part: _Part) -> _Sealed:
        series = _merged(part)
        reach = joined_reach([reach_of(points) for points in series.values()])
        name = new_segment_id()
        if part.points < self._limits.points:
            row = SegmentRow(name, workload_id, part.points, reach)
            return _Sealed(row, part, payload=_packed(series))
        segment = encode_segment(series)
        row = SegmentRow(
            name, workload_id, part.points, reach, len(segment.data), len(segment.index)
        )
        return _Sealed(row, part, segment=segment)

    async def _put(self, made: Sequence[_Sealed]) -> None:
        if not made:
            return
        keys = [key for one in made for key in (one.row.data_key, one.row.index_key)]
        await self._database.write(
            partial(metric_objects.remove_later, keys=keys, after_ns=UNFINISHED_NS)
        )
        for one in made:
            if one.segment is not None:
                await self._objects.put(one.row, one.segment.data, one.segment.index)

    async def _remove_due(self) -> None:
        due = partial(segment_rows.removals_due, limit=_REMOVED_AT_ONCE)
        while keys := await self._database.read(due):
            await self._objects.remove(keys)
            await self._database.write(partial(segment_rows.removed, keys=keys))


def _merged(part: _Part) -> dict[str, SeriesColumns]:
    pieces: dict[str, list[SeriesColumns]] = {}
    for some in decode_rows(part.payloads, attempt=part.attempt):
        for key, points in some.items():
            pieces.setdefault(key, []).append(points)
    return {key: in_order(pieces[key]) for key in sorted(pieces)}


def _packed(series: Mapping[str, SeriesColumns]) -> bytes:
    points = joined_columns(list(series.values()))
    counts = np.array([len(one) for one in series.values()], np.intp)
    return encode_columns(
        list(series), counts, points.step, points.time_ms, points.bits, level=_INLINE_LEVEL
    )


def _replace(
    connection: Connection, workload_id: WorkloadId, taken: _Taken, made: Sequence[_Sealed]
) -> None:
    """Let what is sealed take the place of its rows.

    Raises:
        OvertakenError: not all of them are there any more. Nothing was changed.
    """
    if connection.execute(_EXISTS, {"workload_id": workload_id}).first() is None:
        raise OvertakenError
    gone = connection.execute(_GONE, {"of_workload": workload_id, "upto": taken.upto})
    if gone.rowcount != taken.rows:
        raise OvertakenError
    for one in made:
        replaced = one.part.replaced
        if replaced and segment_rows.remove(connection, replaced) != len(replaced):
            raise OvertakenError
        if one.segment is None:
            segment_rows.add(connection, one.row, one.payload)
        else:
            segment_rows.name_objects(connection, one.row)
