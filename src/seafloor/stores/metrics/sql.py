"""The metric store in the metadata database: a journal of appends, and exact summaries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update

from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import STEP_MAX, STEP_MIN, BatchId, Bucket, MetricSummary, Point
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.prepared import Prepared, PreparedIn
from seafloor.stores.metadata.sql.tables import metric_journal, metric_summary, workload
from seafloor.stores.metrics.batch import Batch, batch_of_columns, batch_of_triples
from seafloor.stores.metrics.chart import ChartBuilder, check_buckets
from seafloor.stores.metrics.columns import PointColumns, columns_of
from seafloor.stores.metrics.journal import decode_key
from seafloor.stores.metrics.points import (
    Triple,
    check_limit,
    decode_cursor,
    encode_cursor,
    series_points,
    triples_by_key,
)
from seafloor.stores.metrics.protocol import AppendReceipt, SeriesPage
from seafloor.stores.metrics.summary import Aggregate, joined
from seafloor.stores.metrics.summary_rows import (
    AGGREGATE,
    SHOWN,
    aggregate_from_row,
    row_from_aggregate,
    summaries_from_rows,
)
from seafloor.stores.metrics.writer_rows import once
from seafloor.stores.metrics.writers import applied

_NAMES_PER_QUERY = 500
_ROWS_PER_FETCH = 500
_CHART_PAGE_POINTS = 25_000
_THREAD_POINTS_MIN = 5_000
_COLUMNS_MIN = 40
"""Fewer points are quicker one by one."""

_FIRST: Triple = (STEP_MIN - 1, 0, 0)

# Statements are built once: building one takes longer than running it.
_journal, _summary = metric_journal.c, metric_summary.c
_WORKLOAD = Prepared(
    select(workload.c.attempt, workload.c.deleted_ns).where(
        workload.c.id == bindparam("workload_id")
    )
)
_JOURNAL_INSERT = Prepared(
    insert(metric_journal).values(
        {name: bindparam(name) for name in _journal.keys() if name != "sequence"}  # noqa: SIM118  # a collection
    )
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
_JOURNAL_WITHIN = (
    select(_journal.step_min, _journal.time_ms_min, _journal.payload)
    .where(
        _journal.workload_id == bindparam("workload_id"),
        _journal.step_max >= bindparam("from_step"),
        _journal.step_min <= bindparam("to_step"),
    )
    .execution_options(yield_per=_ROWS_PER_FETCH)
)
_JOURNAL_IN_ORDER = _JOURNAL_WITHIN.order_by(
    _journal.step_min, _journal.time_ms_min, _journal.sequence
)
_SUMMARIES_OF_KEYS = PreparedIn(
    lambda keys: select(*AGGREGATE).where(
        _summary.workload_id == bindparam("workload_id"), _summary.key.in_(keys)
    )
)
_SHOWN = select(*SHOWN).where(_summary.workload_id.in_(bindparam("workload_ids", expanding=True)))
_SHOWN_OF_KEYS = _SHOWN.where(_summary.key.in_(bindparam("keys", expanding=True)))
_SUMMARY_INSERT = Prepared(insert(metric_summary))
_SUMMARY_UPDATE = Prepared(
    update(metric_summary)
    .where(_summary.workload_id == bindparam("of_workload"), _summary.key == bindparam("of_key"))
    .values({column.name: bindparam(column.name) for column in AGGREGATE[1:]})
)


class _Place(msgspec.Struct, frozen=True):
    """Which points of a series to read next.

    Args:
        workload_id, key: Of which series.
        after: Points above this one.
        step_max: And not above this step.
    """

    workload_id: WorkloadId
    key: str
    after: Triple
    step_max: int


class SqlMetricStore:
    """Series of points in a journal; the contract is ``MetricStore``.

    An append is one journal row and the summaries of the keys it touches, in one transaction. Its
    cost grows with its own points, not with those that are stored, as long as steps or times
    rise: only points that are at or below both the greatest step and the greatest time of their
    series can be repeats, and are looked for in the rows whose ranges they fall into.

    Args:
        database: Migrated; it is not closed with the store.

    Attributes:
        rows_decoded: Journal rows that appends had to look into so far.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
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
        made = await self.batch_of(points)

        def write(connection: Connection) -> int:
            return self.append_within(connection, workload_id, attempt, made)

        written = await self._database.write(
            write if batch is None else once(workload_id, batch, applied(batch, points), write)
        )
        return AppendReceipt(written, len(points) - written)

    async def batch_of(self, points: Sequence[Point] | PointColumns) -> Batch:
        """Make what ``append_within`` takes; InvalidValue as in ``append``."""
        if len(points) < _THREAD_POINTS_MIN:
            return _batch_of(points)
        return await asyncio.to_thread(_batch_of, points)

    def append_within(
        self,
        connection: Connection,
        workload_id: WorkloadId,
        attempt: int | None,
        batch: Batch,
    ) -> int:
        """Append points as part of a transaction; say how many were not there yet.

        Args:
            connection: Of a ``Database.write``.

        Raises:
            NotFound: no such workload.
            Conflict: attempt is None and the workload is deleted.
        """
        found = _WORKLOAD.rows(connection, {"workload_id": workload_id})
        if not found:
            raise NotFound("There is no such workload.", field="workload_id")
        if attempt is None:
            ((attempt, deleted_ns),) = found
            if deleted_ns is not None:
                raise Conflict("The run was deleted: restore it before writing to it.")
        before = _aggregates(connection, workload_id, list(batch.sums))
        suspects = batch.suspects(before)
        fresh = batch
        if suspects:
            others = batch.without(self._stored(connection, workload_id, suspects))
            if others is None:
                return 0
            fresh = others
        sums = fresh.sums
        _JOURNAL_INSERT.run(
            connection,
            {
                "workload_id": workload_id,
                "attempt": attempt,
                "points": fresh.points,
                "step_min": min(step for step, _ in fresh.firsts.values()),
                "step_max": max(each.step_max for each in sums.values()),
                "time_ms_min": min(time_ms for _, time_ms in fresh.firsts.values()),
                "time_ms_max": max(each.time_ms_max for each in sums.values()),
                "payload": fresh.payload,
            },
        )
        _write_summaries(connection, workload_id, before, sums)
        return fresh.points

    def _stored(
        self, connection: Connection, workload_id: WorkloadId, suspects: Mapping[str, set[Triple]]
    ) -> dict[str, set[Triple]]:
        """Those of some points that are stored already."""
        repeats: dict[str, set[Triple]] = {key: set() for key in suspects}
        everything = [triple for triples in suspects.values() for triple in triples]
        ranges = {
            "workload_id": workload_id,
            "from_time_ms": min(triple[1] for triple in everything),
            "to_time_ms": max(triple[1] for triple in everything),
            "from_step": min(triple[0] for triple in everything),
            "to_step": max(triple[0] for triple in everything),
        }
        with connection.execute(_JOURNAL_OVERLAPPING, ranges) as rows:
            for (payload,) in rows:
                self.rows_decoded += 1
                for key, triples in suspects.items():
                    repeats[key].update(triples.intersection(decode_key(payload, key)))
        return repeats

    async def summaries(
        self, workload_ids: Sequence[WorkloadId], *, keys: Sequence[str] | None = None
    ) -> dict[WorkloadId, tuple[MetricSummary, ...]]:
        """Summaries of many workloads at once, by key; workloads without points are absent."""
        return await self._database.read(
            lambda connection: _summaries(connection, list(dict.fromkeys(workload_ids)), keys)
        )

    async def series(
        self, workload_id: WorkloadId, key: str, *, limit: int = 25_000, cursor: str | None = None
    ) -> SeriesPage:
        """Read a series, each point once, in order of (step, time, value; NaN last)."""
        check_limit(limit)
        after = _FIRST if cursor is None else decode_cursor(workload_id, key, cursor)

        def read(connection: Connection) -> SeriesPage:
            place = _Place(workload_id, key, after, STEP_MAX)
            triples = _read_after(connection, place, limit + 1)
            shown = triples[:limit]
            more = len(triples) > limit
            following = encode_cursor(workload_id, key, shown[-1]) if more else None
            return SeriesPage(series_points(shown), following)

        return await self._database.read(read)

    async def chart(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        buckets: int,
        step_min: int | None = None,
        step_max: int | None = None,
    ) -> tuple[Bucket, ...]:
        """Read at most ``buckets`` buckets of equal point count, in order, with exact extremes.

        Cost: one pass over the series, two with a step given; memory of 25,000 points and of
        one bucket.
        """
        check_buckets(buckets)
        after = _FIRST if step_min is None else (step_min - 1, 1 << 63, 0)
        to_step = STEP_MAX if step_max is None else step_max

        def read(connection: Connection) -> tuple[Bucket, ...]:
            place = _Place(workload_id, key, after, to_step)
            if step_min is None and step_max is None:
                found = _aggregates(connection, workload_id, [key]).get(key)
                points = 0 if found is None else found.points
            else:
                points = _count_after(connection, place)
            builder = ChartBuilder(points=points, buckets=buckets)
            while triples := _read_after(connection, place, _CHART_PAGE_POINTS):
                builder.add(triples)
                place = msgspec.structs.replace(place, after=triples[-1])
            return tuple(builder.done)

        return await self._database.read(read)

    async def close(self) -> None:
        """Nothing is held: an append waits for its own commit, the database has its owner."""


def _batch_of(points: Sequence[Point] | PointColumns) -> Batch:
    if isinstance(points, PointColumns):
        return batch_of_columns(points)
    if len(points) >= _COLUMNS_MIN:
        return batch_of_columns(columns_of(points))
    return batch_of_triples(triples_by_key(points)[0])


def _reach(place: _Place) -> dict[str, int | str]:
    return {
        "workload_id": place.workload_id,
        "from_step": max(place.after[0], STEP_MIN),
        "to_step": place.step_max,
    }


def _of_row(place: _Place, payload: bytes) -> list[Triple]:
    """The points of a row that the place asks for, in order."""
    after, step_max = place.after, place.step_max
    return [
        triple
        for triple in decode_key(payload, place.key)
        if triple > after and triple[0] <= step_max
    ]


def _count_after(connection: Connection, place: _Place) -> int:
    with connection.execute(_JOURNAL_WITHIN, _reach(place)) as rows:
        return sum(len(_of_row(place, payload)) for _, _, payload in rows)


def _read_after(connection: Connection, place: _Place, limit: int) -> list[Triple]:
    """Read the least points that a place asks for, in order.

    Rows come by the least (step, time) they can hold, so reading ends as soon as there are
    enough points below what the next row can bring.

    Cost: memory of twice the limit and one row.
    """
    found: list[Triple] = []
    bound: tuple[int, int] | None = None  # no point above it is among the least
    with connection.execute(_JOURNAL_IN_ORDER, _reach(place)) as rows:
        for step, time_ms, payload in rows:
            if len(found) >= (limit if bound is None else 2 * limit):
                found.sort()
                del found[limit:]
                bound = found[-1][:2]
            if bound is not None and (step, time_ms) > bound:
                break
            found.extend(_of_row(place, payload))
    found.sort()
    return found[:limit]


def _aggregates(
    connection: Connection, workload_id: WorkloadId, keys: list[str]
) -> dict[str, Aggregate]:
    rows = _SUMMARIES_OF_KEYS.rows(connection, {"workload_id": workload_id}, keys)
    return dict(map(aggregate_from_row, rows))


def _write_summaries(
    connection: Connection,
    workload_id: WorkloadId,
    before: Mapping[str, Aggregate],
    added: Mapping[str, Aggregate],
) -> None:
    fresh = [
        {"workload_id": workload_id, "key": key, **row_from_aggregate(found)}
        for key, found in added.items()
        if key not in before
    ]
    _SUMMARY_INSERT.run_all(connection, fresh)
    changed = [
        {
            "of_workload": workload_id,
            "of_key": key,
            **row_from_aggregate(joined(before[key], found)),
        }
        for key, found in added.items()
        if key in before
    ]
    _SUMMARY_UPDATE.run_all(connection, changed)


def _summaries(
    connection: Connection, workload_ids: list[WorkloadId], keys: Sequence[str] | None
) -> dict[WorkloadId, tuple[MetricSummary, ...]]:
    found: dict[WorkloadId, list[MetricSummary]] = {}
    for at in range(0, len(workload_ids), _NAMES_PER_QUERY):
        some: dict[str, list[str]] = {
            "workload_ids": [*workload_ids[at : at + _NAMES_PER_QUERY]],
            "keys": list(keys or ()),
        }
        wanted = _SHOWN if keys is None else _SHOWN_OF_KEYS
        rows = connection.execute(wanted, some).all()
        for owner, summary in summaries_from_rows(rows):
            found.setdefault(WorkloadId(owner), []).append(summary)
    return {
        workload_id: tuple(sorted(found[workload_id], key=lambda summary: summary.key))
        for workload_id in workload_ids
        if workload_id in found
    }
