"""The metric store in the metadata database: a journal of appends, and exact summaries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, insert, select

from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import BatchId, Bucket, MetricSummary, Point
from seafloor.stores.metadata.sql.database import Database, Unprepared
from seafloor.stores.metadata.sql.prepared import (
    Prepared,
    PreparedIn,
    PreparedPairs,
    PreparedRows,
    Values,
    bounded,
)
from seafloor.stores.metadata.sql.tables import metric_journal, metric_summary, workload
from seafloor.stores.metrics import segment_rows
from seafloor.stores.metrics.batch import Batch, batch_of_columns, batch_of_triples
from seafloor.stores.metrics.chart import check_buckets
from seafloor.stores.metrics.columns import PointColumns, columns_of, series_points_of, triples_of
from seafloor.stores.metrics.journal import decode_keys
from seafloor.stores.metrics.points import (
    Triple,
    check_limit,
    decode_cursor,
    encode_cursor,
    triples_by_key,
)
from seafloor.stores.metrics.protocol import AppendReceipt, SeriesColumnsPage, SeriesPage
from seafloor.stores.metrics.pyramid import Axis
from seafloor.stores.metrics.sealing import MetricSealing, MetricSealLimits
from seafloor.stores.metrics.segment_objects import SegmentObjects, missing_object
from seafloor.stores.metrics.segment_repeats import present
from seafloor.stores.metrics.segment_rows import SegmentRow
from seafloor.stores.metrics.series_reader import Series, SeriesReader
from seafloor.stores.metrics.summary import Aggregate, joined
from seafloor.stores.metrics.summary_rows import (
    AGGREGATE,
    LAST,
    SHOWN,
    aggregate_from_row,
    last_points_from_rows,
    row_from_aggregate,
    summaries_from_rows,
)
from seafloor.stores.metrics.window import ALL, Window
from seafloor.stores.metrics.writer_rows import Writer, last_of, note
from seafloor.stores.metrics.writers import Applied, applied
from seafloor.stores.objects.protocol import ObjectStore

_ROWS_PER_FETCH = 500
_THREAD_POINTS_MIN = 5_000
_T = TypeVar("_T")

_KEYS_AT_ONCE = 500
"""Databases take some 30,000 values in one statement; the ids of workloads are among them."""
_COLUMNS_MIN = 40
"""Fewer points are quicker one by one."""

# Statements are built once: building one takes longer than running it.
_journal, _summary = metric_journal.c, metric_summary.c
_WORKLOAD = PreparedIn(
    lambda asked: select(workload.c.id, workload.c.attempt, workload.c.deleted_ns).where(
        asked(workload.c.id)
    )
)
_JOURNAL_INSERT = Prepared(
    insert(metric_journal)
    .values(
        {name: bindparam(name) for name in _journal.keys() if name != "sequence"}  # noqa: SIM118  # a collection
    )
    .inline()  # its number is not asked for
)
# ``+ 0`` keeps a column from being chosen as the way into an index.
_JOURNAL_OVERLAPPING = (
    select(_journal.payload)
    .where(
        _journal.workload_id == bindparam("workload_id"),
        _journal.time_ms_max >= bindparam("from_time_ms"),
        _journal.time_ms_min <= bindparam("to_time_ms"),
        _journal.step_max >= bindparam("from_step"),
        _journal.step_min + 0 <= bindparam("to_step"),
    )
    .execution_options(yield_per=_ROWS_PER_FETCH)
)
_SUMMARIES_OF_KEYS = PreparedIn(
    lambda asked: select(*AGGREGATE).where(
        _summary.workload_id == bindparam("workload_id"), asked(_summary.key)
    )
)
_SUMMARIES_OF_PAIRS = PreparedPairs(
    lambda asked: select(_summary.workload_id, *AGGREGATE).where(
        asked(_summary.workload_id, _summary.key)
    )
)
# Rows begin with the run and the key, so that they are sorted as they are.
_SHOWN = PreparedIn(lambda asked: bounded(select(*SHOWN).where(asked(_summary.workload_id))))
_LAST = PreparedIn(lambda asked: bounded(select(*LAST).where(asked(_summary.workload_id))))
_SUMMARIES = PreparedRows(metric_summary)


@dataclass(frozen=True, slots=True)
class Append:
    """Points of a workload that is there, and the attempt that they are of."""

    workload_id: WorkloadId
    attempt: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one caller appends.

    Args:
        attempt: None: the one that the workload is at.
        noted: Who sends it, and what is kept of the batch; None: it has no number.
    """

    workload_id: WorkloadId
    attempt: int | None
    batch: Batch
    noted: tuple[Writer, Applied] | None = None


class SqlMetricStore:
    """Series of points in a journal; the contract is ``MetricStore``.

    An append is one journal row and the summaries of the keys it touches, in one transaction. Its
    cost grows with its own points, not with those that are stored, as long as steps or times
    rise: only points that are at or below both the greatest step and the greatest time of their
    series can be repeats, and are looked for in the rows whose ranges they fall into.

    What is old is sealed (``seal_due``); the same goes for its segments.

    Args:
        database: Migrated; it is not closed with the store.
        objects: Where segments go; it is not closed with the store.
        limits: When series are sealed.

    Attributes:
        rows_decoded: Rows with points that appends had to look into so far.
    """

    def __init__(
        self, database: Database, objects: ObjectStore, *, limits: MetricSealLimits | None = None
    ) -> None:
        self._database = database
        self._segments = SegmentObjects(objects)
        self._reader = SeriesReader(database, self._segments)
        self._sealing = MetricSealing(database, self._segments, limits or MetricSealLimits())
        self.rows_decoded = 0

    async def append(
        self,
        workload_id: WorkloadId,
        points: Sequence[Point] | PointColumns,
        *,
        attempt: int | None = 0,
        batch: BatchId | None = None,
    ) -> AppendReceipt:
        """Append points of any keys to one workload, all or none, durable when it returns."""
        noted = None if batch is None else ((workload_id, batch.writer), applied(batch, points))
        made = await self.batch_of(points)
        piece = _Asked(workload_id, attempt, made, noted)
        written = await self._database.write_joined(piece, self._append_asked)
        return AppendReceipt(written, len(points) - written)

    async def batch_of(self, points: Sequence[Point] | PointColumns | Batch) -> Batch:
        """Make what ``append_within`` takes; InvalidValue as in ``append``."""
        if isinstance(points, Batch):
            return points
        if len(points) < _THREAD_POINTS_MIN:
            return _batch_of(points)
        return await asyncio.to_thread(_batch_of, points)

    def append_within(
        self,
        connection: Connection,
        workload_id: WorkloadId,
        attempt: int | None,
        batches: Sequence[Batch],
    ) -> int:
        """Append points as part of a transaction; say how many were not there yet.

        Args:
            connection: Of a ``Database.write``.

        Raises:
            NotFound: no such workload.
            Conflict: attempt is None and the workload is deleted.
            Unprepared: a segment must be looked into for repeats.
        """
        asked = [_Asked(workload_id, attempt, batch) for batch in batches]
        return sum(self._append_asked(connection, asked))

    def _append_asked(self, connection: Connection, asked: Sequence[_Asked]) -> list[int]:
        """The same for any workloads and writers; of each how many points were not there yet.

        Raises:
            Conflict: also when a batch has another one's number; see ``writers``.
        """
        before = last_of(connection, {one.noted[0] for one in asked if one.noted is not None})
        last = dict(before)
        appends: dict[int, _Asked] = {}
        for at, one in enumerate(asked):
            if one.noted is not None:
                writer, made = one.noted
                known = last.get(writer)
                if made.is_repeat_of(known):
                    continue
                if made.is_above(known):
                    last[writer] = made
            appends[at] = one
        attempts = _attempts(connection, list(appends.values()))
        found = self.append_all(
            connection,
            [
                Append(one.workload_id, attempts[at], one.batch)
                for at, one in enumerate(appends.values())
            ],
        )
        note(connection, before, {of: made for of, made in last.items() if before.get(of) != made})
        written = dict(zip(appends, found, strict=True))
        return [written.get(at, 0) for at in range(len(asked))]

    def append_all(self, connection: Connection, appends: Sequence[Append]) -> list[int]:
        """The same for workloads that were looked for in this transaction, and are there.

        Each statement serves all of them, as far as none of their points can be a repeat.

        Raises:
            Unprepared: a segment must be looked into for repeats.
        """
        rows: list[Values] = []
        summaries = _Summaries(connection, appends)

        def write() -> None:
            _JOURNAL_INSERT.run_all(connection, rows)
            rows.clear()
            summaries.write(connection)

        written: list[int] = []
        for append in appends:
            fresh: Batch | None = append.batch
            suspects = append.batch.suspects(summaries.of(append.workload_id))
            if suspects:
                write()  # they may be repeats of what comes before them here
                repeats = self._stored(connection, append.workload_id, append.batch, suspects)
                fresh = append.batch.without(repeats)
            if fresh is None:
                written.append(0)
                continue
            rows.append(_journal_row(append.workload_id, append.attempt, fresh))
            summaries.add(append.workload_id, fresh.sums)
            written.append(fresh.points)
        write()
        return written

    def _stored(
        self,
        connection: Connection,
        workload_id: WorkloadId,
        batch: Batch,
        suspects: Mapping[str, set[Triple]],
    ) -> dict[str, set[Triple]]:
        """Those of some points that are stored already."""
        everything = [triple for triples in suspects.values() for triple in triples]
        window = Window(
            step_min=min(triple[0] for triple in everything),
            step_max=max(triple[0] for triple in everything),
            time_ms_min=min(triple[1] for triple in everything),
            time_ms_max=max(triple[1] for triple in everything),
        )
        ranges = {
            "workload_id": workload_id,
            "from_time_ms": window.time_ms_min,
            "to_time_ms": window.time_ms_max,
            "from_step": window.step_min,
            "to_step": window.step_max,
        }
        repeats: dict[str, set[Triple]] = {key: set() for key in suspects}

        def look_into(payload: bytes) -> None:
            self.rows_decoded += 1
            for key, triples in decode_keys(payload, suspects).items():
                repeats[key].update(suspects[key].intersection(triples))

        with connection.execute(_JOURNAL_OVERLAPPING, ranges) as rows:
            for (payload,) in rows:
                look_into(payload)
        sealed = segment_rows.of_workload(connection, workload_id, window)
        inline = [row for row in sealed if row.is_inline]
        for payload in segment_rows.payloads(connection, inline).values():
            look_into(payload)
        segments = [row for row in sealed if not row.is_inline]
        unknown = [row for row in segments if row.id not in batch.sealed]
        if unknown:
            raise Unprepared(partial(self._look_into, unknown, batch))
        for row in segments:
            for key, triples in batch.sealed[row.id].items():
                repeats[key].update(suspects.get(key, set()).intersection(triples))
        return repeats

    async def _look_into(self, segments: Sequence[SegmentRow], batch: Batch) -> None:
        """Find which points of a batch are in segments, before its transaction."""
        wanted = await asyncio.to_thread(batch.triples, batch.sums)
        for row in segments:
            try:
                batch.sealed[row.id] = await present(self._segments, row, wanted)
            except NotFound as error:
                # Replaced meanwhile, the next try finds by what; named again, it is lost.
                if row.id in batch.gone:
                    raise missing_object(error) from error
                batch.gone.add(row.id)

    async def summaries(
        self,
        workload_ids: Sequence[WorkloadId],
        *,
        keys: Sequence[str] | None = None,
        most: int | None = None,
    ) -> dict[WorkloadId, tuple[MetricSummary, ...]]:
        """Summaries of many workloads at once, by key; workloads without points are absent."""
        ids = list(dict.fromkeys(workload_ids))
        return await self._database.read(lambda connection: _summaries(connection, ids, keys, most))

    async def last_points(
        self, workload_ids: Sequence[WorkloadId], *, most: int | None = None
    ) -> dict[WorkloadId, tuple[Point, ...]]:
        """Of every series its summary's last point, by key."""
        ids = list(dict.fromkeys(workload_ids))

        def read(connection: Connection) -> dict[WorkloadId, tuple[Point, ...]]:
            rows = _LAST.rows_within(connection, {}, ids, most=most)
            return _by_owner(ids, last_points_from_rows(sorted(rows)))

        return await self._database.read(read)

    async def series_columns(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        limit: int = 25_000,
        cursor: str | None = None,
        window: Window = ALL,
    ) -> SeriesColumnsPage:
        """Read a series as columns, each point once, in order of (step, time, value)."""
        check_limit(limit)
        after = None if cursor is None else decode_cursor(workload_id, key, cursor)
        points = await self._reader.page(Series(workload_id, key, window, after), limit + 1)
        if len(points) <= limit:
            return SeriesColumnsPage(points)
        shown = points.slice(0, limit)
        last = triples_of(shown.slice(limit - 1, limit))[0]
        return SeriesColumnsPage(shown, encode_cursor(workload_id, key, last))

    async def series(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        limit: int = 25_000,
        cursor: str | None = None,
        window: Window = ALL,
    ) -> SeriesPage:
        """Read a series, each point once, in order of (step, time, value; NaN last)."""
        page = await self.series_columns(
            workload_id, key, limit=limit, cursor=cursor, window=window
        )
        return SeriesPage(series_points_of(page.points), page.next)

    async def chart(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        buckets: int,
        window: Window = ALL,
        x: Axis = "step",
    ) -> tuple[Bucket, ...]:
        """Read at most ``buckets`` buckets of about equal point count with exact extremes."""
        check_buckets(buckets)
        return await self._reader.chart(Series(workload_id, key, window), buckets=buckets, x=x)

    async def seal_due(self) -> int:
        """Seal the points that are due; return how many left the journal."""
        return await self._sealing.seal_due()

    async def close(self) -> None:
        """Nothing is held: an append waits for its own commit, the stores have their owners."""


def _batch_of(points: Sequence[Point] | PointColumns) -> Batch:
    if isinstance(points, PointColumns):
        return batch_of_columns(points)
    if len(points) >= _COLUMNS_MIN:
        return batch_of_columns(columns_of(points))
    return batch_of_triples(triples_by_key(points)[0])


def _attempts(connection: Connection, asked: Sequence[_Asked]) -> list[int]:
    """The attempts that points are of.

    Raises:
        NotFound: a workload does not exist.
        Conflict: one is deleted, and the attempt it is at was asked for.
    """
    ids = list(dict.fromkeys(one.workload_id for one in asked))
    found = {
        id_: (newest, deleted_ns) for id_, newest, deleted_ns in _WORKLOAD.rows(connection, {}, ids)
    }
    attempts: list[int] = []
    for one in asked:
        if one.workload_id not in found:
            raise NotFound("There is no such workload.", field="workload_id")
        newest, deleted_ns = found[one.workload_id]
        if one.attempt is None and deleted_ns is not None:
            raise Conflict("The run was deleted: restore it before writing to it.")
        attempts.append(newest if one.attempt is None else one.attempt)
    return attempts


def _journal_row(workload_id: WorkloadId, attempt: int, batch: Batch) -> Values:
    return {
        "workload_id": workload_id,
        "attempt": attempt,
        "points": batch.points,
        "step_min": min(step for step, _ in batch.firsts.values()),
        "step_max": max(each.step_max for each in batch.sums.values()),
        "time_ms_min": min(time_ms for _, time_ms in batch.firsts.values()),
        "time_ms_max": max(each.time_ms_max for each in batch.sums.values()),
        "payload": batch.payload,
    }


class _Summaries:
    """What is known of the series that some appends touch, and what they change of it."""

    def __init__(self, connection: Connection, appends: Sequence[Append]) -> None:
        self._known = _aggregates(connection, appends)
        # In the order in which they came, which sets would not keep.
        self._new: dict[tuple[WorkloadId, str], None] = {}
        self._changed: dict[tuple[WorkloadId, str], None] = {}

    def of(self, workload_id: WorkloadId) -> Mapping[str, Aggregate]:
        """By key, what is known by now of those of a workload."""
        return self._known.get(workload_id, {})

    def add(self, workload_id: WorkloadId, sums: Mapping[str, Aggregate]) -> None:
        """Count points in."""
        known = self._known.setdefault(workload_id, {})
        for key, found in sums.items():
            before = known.get(key)
            if before is None:
                self._new[workload_id, key] = None
            elif (workload_id, key) not in self._new:
                self._changed[workload_id, key] = None
            known[key] = joined(before, found)

    def write(self, connection: Connection) -> None:
        """Write what was counted in since."""
        _SUMMARIES.insert(connection, self._rows(self._new))
        _SUMMARIES.replace(connection, self._rows(self._changed))
        self._new.clear()
        self._changed.clear()

    def _rows(self, series: Iterable[tuple[WorkloadId, str]]) -> list[Values]:
        return [
            {"workload_id": of, "key": key, **row_from_aggregate(self._known[of][key])}
            for of, key in series
        ]


def _aggregates(
    connection: Connection, appends: Sequence[Append]
) -> dict[WorkloadId, dict[str, Aggregate]]:
    if len(appends) == 1:
        of, keys = appends[0].workload_id, list(appends[0].batch.sums)
        rows = _SUMMARIES_OF_KEYS.rows(connection, {"workload_id": of}, keys)
        return {of: dict(map(aggregate_from_row, rows))}
    pairs = dict.fromkeys((one.workload_id, key) for one in appends for key in one.batch.sums)
    found: dict[WorkloadId, dict[str, Aggregate]] = {}
    for of, *row in _SUMMARIES_OF_PAIRS.rows(connection, list(pairs)):
        key, known = aggregate_from_row(row)
        found.setdefault(of, {})[key] = known
    return found


def _summaries(
    connection: Connection,
    workload_ids: list[WorkloadId],
    keys: Sequence[str] | None,
    most: int | None,
) -> dict[WorkloadId, tuple[MetricSummary, ...]]:
    rows: list[tuple[Any, ...]] = []
    if keys is None:
        rows += _SHOWN.rows_within(connection, {}, workload_ids, most=most)
    else:
        once = list(dict.fromkeys(keys))
        for begin in range(0, len(once), _KEYS_AT_ONCE):
            some = once[begin : begin + _KEYS_AT_ONCE]
            asked = {f"asked_{at}": key for at, key in enumerate(some)}
            left = None if most is None else most - len(rows)
            rows += _shown_of_keys(len(some)).rows_within(
                connection, asked, workload_ids, most=left
            )
    return _by_owner(workload_ids, summaries_from_rows(sorted(rows)))


def _by_owner(
    workload_ids: Sequence[WorkloadId], found: Iterable[tuple[str, _T]]
) -> dict[WorkloadId, tuple[_T, ...]]:
    """What was found of each workload, in order. A page has ten thousand: nothing is done twice."""
    made: dict[str, list[_T]] = {}
    for owner, one in found:
        of_it = made.get(owner)
        if of_it is None:
            made[owner] = [one]
        else:
            of_it.append(one)
    return {
        workload_id: tuple(made[workload_id]) for workload_id in workload_ids if workload_id in made
    }


@lru_cache(maxsize=64)
def _shown_of_keys(count: int) -> PreparedIn:
    of_key = _summary.key.in_([bindparam(f"asked_{at}") for at in range(count)])
    return PreparedIn(
        lambda asked: bounded(select(*SHOWN).where(asked(_summary.workload_id), of_key))
    )
