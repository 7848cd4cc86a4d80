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

from seafloor.domain.errors import LimitExceeded, StoreCorrupt, StoreError
from seafloor.domain.ids import WorkloadId
from seafloor.stores.metadata.sql import metric_objects
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import metric_journal, metric_segment, workload
from seafloor.stores.metrics import segment_rows
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.compaction import FAN, Compaction
from seafloor.stores.metrics.damaged import DamagedRows, Name
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
from seafloor.stores.metrics.window import ALL, Reach, joined_reach, reach_of

_log = structlog.get_logger(__name__)

_LOOK_ROWS = 10_000
_AT_ONCE = 32
_ROWS_MAX = 4_096
_REMOVED_AT_ONCE = 500
_INLINE_LEVEL = 6
_COMPACT_AGAIN_S = 60.0
"""Joining is tried again after so long: it may have read gigabytes before it failed."""

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
# The index has all of it: rows with points, of which a run has few, are counted as well.
_SEGMENTED = (
    select(metric_segment.c.workload_id)
    .group_by(metric_segment.c.workload_id)
    .having(func.count() >= FAN)
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
    .limit(bindparam("rows_max"))
    .execution_options(yield_per=64)
)
_GONE = delete(metric_journal).where(
    _journal.workload_id == bindparam("of_workload"),
    _journal.sequence <= bindparam("upto"),
    _journal.sequence.not_in(bindparam("damaged", expanding=True)),
)
_ROW = select(_journal.payload, _journal.attempt).where(_journal.sequence == bindparam("sequence"))
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
    """Of one attempt, the rows that are sealed together: their names, and what they hold."""

    attempt: int
    points: int = 0
    names: list[Name] = field(default_factory=list[Name])
    payloads: list[bytes] = field(default_factory=list[bytes])
    replaced: list[SegmentRow] = field(default_factory=list[SegmentRow])


@dataclass(frozen=True, slots=True)
class _Taken:
    """What is sealed of a workload in one go.

    Args:
        rows, points: How many of the journal.
        upto: The greatest sequence among them.
        damaged: Rows of the journal that are left, though they are below that.
        more: Whether others are left.
    """

    parts: Sequence[_Part]
    rows: int
    points: int
    upto: int
    damaged: tuple[int, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class _Sealed:
    """What takes the place of a part: a row with the points, or one that names objects."""

    row: SegmentRow
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
        self._damaged = DamagedRows(clock_s)
        self._compaction = Compaction(database, objects, self._damaged, points_min=limits.points)
        self._waiting: dict[WorkloadId, _Backlog] = {}
        self._uncompacted: dict[WorkloadId, float] = {}  # when to try again
        self._looked: int | None = None
        self._losses = 0

    async def seal_due(self) -> int:
        """Seal what is due of every workload; return how many points left the journal.

        A row that is damaged is set aside: it stays where it is, and the others go on without it.

        Raises:
            StoreError: the first failure, when all else was tried; what failed stays due.
            StoreCorrupt: some rows are set aside, and nothing else failed. Raised each time.
        """
        sealed = 0
        failed: list[Exception] = []
        await self._look()
        while not failed and (due := self._due()):
            for some in list(self._groups(due)):
                done = await asyncio.gather(*map(self.seal, some), return_exceptions=True)
                for result in done:
                    if isinstance(result, Exception):  # the others are not to wait for this one
                        failed.append(result)
                    elif isinstance(result, BaseException):
                        raise result
                    else:
                        sealed += result
            await self._look()
        failed += await self._look_at_damaged()
        failed += await self._compact_again()
        # Also when some fail, which may be for good: what was replaced would pile up.
        await self._remove_due()
        if failed:
            raise failed[0]
        if (damaged := self._damaged.told()) is not None:
            raise damaged
        return sealed

    async def _look(self) -> None:
        """Learn of rows that came since the last look."""
        losses = self._database.losses
        if self._looked is None or losses != self._losses:
            # It may have gone back to an earlier state, and gives numbers again that were seen.
            backlog, segmented, looked = await self._database.read(self._look_at_all)
            self._waiting.clear()
            for workload_id, rows, points in backlog:
                self._count(workload_id, rows, points)
            # Whoever sealed them may have been killed before he joined them.
            for workload_id in segmented:
                self._uncompacted.setdefault(workload_id, self._clock_s())
            self._looked, self._losses = looked, losses
            return
        while rows := await self._database.read(
            lambda connection: connection.execute(_NEW, {"after": self._looked}).all()
        ):
            for sequence, workload_id, points in rows:
                self._count(workload_id, 1, points)
                self._looked = sequence
            if len(rows) < _LOOK_ROWS:
                break

    def _look_at_all(
        self, connection: Connection
    ) -> tuple[list[tuple[str, int, int]], list[WorkloadId], int]:
        """What waits of every workload, which may have segments to join, and the last row."""
        # A single small row is left alone: there is nothing to gain.
        found = connection.execute(_BACKLOG, {"points_min": self._limits.points})
        backlog = [(workload_id, rows, int(points)) for workload_id, rows, points in found]
        segmented = [WorkloadId(one) for one in connection.execute(_SEGMENTED).scalars()]
        return backlog, segmented, connection.execute(_LAST).scalar_one() or 0

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
        while True:
            taken = await self._database.read(partial(self._take, workload_id=workload_id))
            if self._is_settled(taken):
                self._waiting.pop(workload_id, None)
                return 0
            try:
                made = await asyncio.to_thread(self._encode, workload_id, taken.parts)
            except StoreCorrupt:
                if await self._set_aside(workload_id, taken.parts):
                    continue  # without them
                raise
            break
        await self._put([one for one in made if one.segment is not None])
        try:
            await self._database.write(partial(_replace, taken=taken, made=made, of=workload_id))
        except OvertakenError:
            # It stays in the backlog: what that server left is seen at the next turn.
            _log.info("another server sealed the same metrics", workload_id=workload_id)
            return 0
        if not taken.more:
            self._waiting.pop(workload_id, None)
        if any(one.segment is not None for one in made):
            await self._compact(workload_id)
        return taken.points

    async def _compact(self, workload_id: WorkloadId) -> None:
        # Noted before: a run that is over makes no other segment that would have it tried again.
        self._uncompacted[workload_id] = self._clock_s() + _COMPACT_AGAIN_S
        await self._compaction.compact(workload_id)
        self._uncompacted.pop(workload_id, None)

    async def _compact_again(self) -> list[Exception]:
        """Join what could not be joined some time ago; return what failed once more."""
        now_s = self._clock_s()
        failed: list[Exception] = []
        for workload_id in [of for of, due_s in self._uncompacted.items() if due_s <= now_s]:
            try:
                await self._compact(workload_id)
            except StoreError as error:
                failed.append(error)
        return failed

    async def _set_aside(self, workload_id: WorkloadId, parts: Sequence[_Part]) -> int:
        """Note which rows are damaged; return how many."""
        found = [
            (name, error)
            for part in parts
            for name, payload in zip(part.names, part.payloads, strict=True)
            if (error := await asyncio.to_thread(_damage, payload, part.attempt)) is not None
        ]
        for name, error in found:
            self._note(name, workload_id, error)
        return len(found)

    def _note(self, name: Name, workload_id: WorkloadId, error: StoreCorrupt) -> None:
        table = metric_journal if isinstance(name, int) else metric_segment
        told = f'{error.message} It is "{name}" in {table.name}, of run "{workload_id}".'
        _log.error("a row of metrics is damaged", workload_id=workload_id, reason=told)
        self._damaged.add(name, workload_id, StoreCorrupt(told, detail=error.detail))

    async def _look_at_damaged(self) -> list[Exception]:
        """Look again at rows that were damaged: they may be whole by now, or gone.

        Return what kept it from being seen.
        """
        failed: list[Exception] = []
        for name in self._damaged.due():
            try:
                if await self._is_damaged(name):
                    self._damaged.still(name)
                    continue
            except StoreError as error:
                self._damaged.still(name)
                failed.append(error)
                continue
            workload_id = self._damaged.forget(name)
            self._count(workload_id, 0, 0)
            self._uncompacted[workload_id] = self._clock_s()
        return failed

    async def _is_damaged(self, name: Name) -> bool:
        found = await self._database.read(partial(_read_again, name=name))
        if found is None:
            return False
        if isinstance(found, SegmentRow):
            return await self._compaction.check(found) is not None
        return await asyncio.to_thread(_damage, *found) is not None

    def _is_settled(self, taken: _Taken) -> bool:
        """Whether there is nothing to gain: one row stands for one row."""
        joined = any(part.replaced for part in taken.parts)
        return taken.rows <= 1 and not joined and taken.points < self._limits.points

    def _take(self, connection: Connection, workload_id: WorkloadId) -> _Taken:
        parts: dict[int, _Part] = {}
        rows = points = upto = 0
        more = False
        damaged = self._damaged.of_journal(workload_id)
        asked = {"workload_id": workload_id, "rows_max": _ROWS_MAX + 1 + len(damaged)}
        with connection.execute(_ROWS, asked) as found:
            for sequence, attempt, count, payload in found:
                if sequence in damaged:
                    continue
                if points >= self._limits.points_max or rows == _ROWS_MAX:
                    more = True
                    break
                part = parts.setdefault(attempt, _Part(attempt))
                part.names.append(sequence)
                part.payloads.append(payload)
                part.points += count
                rows, points, upto = rows + 1, points + count, sequence
        there = segment_rows.of_workload(connection, workload_id, ALL)
        for part in parts.values():
            mine = [
                row
                for row in there
                if row.is_inline and row.attempt == part.attempt and row.id not in self._damaged
            ]
            part.replaced = self._joining(part.points, mine)
            payloads = segment_rows.payloads(connection, part.replaced)
            part.names += payloads
            part.payloads += payloads.values()
            part.points += sum(row.points for row in part.replaced)
        return _Taken(tuple(parts.values()), rows, points, upto, damaged, more)

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

    def _encode(self, workload_id: WorkloadId, parts: Sequence[_Part]) -> list[_Sealed]:
        made: list[_Sealed] = []
        for part in parts:
            series = _merged(part)
            if part.points < self._limits.points:
                row = SegmentRow(new_segment_id(), workload_id, part.points, _reach(series))
                made.append(_Sealed(row, payload=_packed(series)))
            else:
                made += _segments(workload_id, series)
        return made

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


def _reach(series: Mapping[str, SeriesColumns]) -> Reach:
    return joined_reach([reach_of(points) for points in series.values()])


def _segments(workload_id: WorkloadId, series: Mapping[str, SeriesColumns]) -> list[_Sealed]:
    """One segment, or several when the keys are too many for one."""
    try:
        made = encode_segment(series)
    except LimitExceeded:
        keys = list(series)
        halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
        return [
            one
            for half in halves
            for one in _segments(workload_id, {key: series[key] for key in half})
        ]
    row = SegmentRow(
        new_segment_id(),
        workload_id,
        made.points,
        made.receipt.reach,
        len(made.data),
        len(made.index),
    )
    return [_Sealed(row, segment=made)]


def _damage(payload: bytes, attempt: int) -> StoreCorrupt | None:
    """What is wrong with the points of a row."""
    try:
        for _ in decode_rows([payload], attempt=attempt):
            pass
    except StoreCorrupt as error:
        return error
    return None


def _read_again(connection: Connection, name: Name) -> SegmentRow | tuple[bytes, int] | None:
    """What a row is now: it names objects, or has points (of an attempt), or is gone."""
    if isinstance(name, int):
        found = connection.execute(_ROW, {"sequence": name}).one_or_none()
        return None if found is None else (found.payload, found.attempt)
    row = segment_rows.named(connection, name)
    if row is None or not row.is_inline:
        return row
    return segment_rows.payloads(connection, [row])[row.id], row.attempt


def _replace(
    connection: Connection, *, of: WorkloadId, taken: _Taken, made: Sequence[_Sealed]
) -> None:
    """Let what is sealed take the place of its rows.

    Raises:
        OvertakenError: not all of them are there any more. Nothing was changed.
    """
    if connection.execute(_EXISTS, {"workload_id": of}).first() is None:
        raise OvertakenError
    going = {"of_workload": of, "upto": taken.upto, "damaged": taken.damaged}
    if connection.execute(_GONE, going).rowcount != taken.rows:
        raise OvertakenError
    for part in taken.parts:
        replaced = part.replaced
        if replaced and segment_rows.remove(connection, replaced) != len(replaced):
            raise OvertakenError
    for one in made:
        if one.segment is None:
            segment_rows.add(connection, one.row, one.payload)
        else:
            segment_rows.name_objects(connection, one.row)
