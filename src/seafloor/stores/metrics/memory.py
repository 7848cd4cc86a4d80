"""The metric store in memory: the model that every other one is compared with.

Order: by step, then time, then value; -0.0 below 0.0, NaN above infinity, NaNs by their bits. The
last point of a series, which its summary shows, is the greatest in this order: MLflow's rule, with
NaN as the greatest value where MLflow takes it for 0.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from seafloor.domain.errors import LimitExceeded, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import BatchId, Bucket, MetricSummary, Point
from seafloor.stores.metrics.chart import ChartBuilder, check_buckets
from seafloor.stores.metrics.columns import (
    PointColumns,
    points_of,
    series_of,
    series_points_of,
    triples_of,
)
from seafloor.stores.metrics.points import (
    Triple,
    check_limit,
    decode_cursor,
    encode_cursor,
    triples_by_key,
)
from seafloor.stores.metrics.protocol import AppendReceipt, SeriesColumnsPage, SeriesPage
from seafloor.stores.metrics.pyramid import Axis
from seafloor.stores.metrics.summary import aggregate
from seafloor.stores.metrics.window import ALL, Window
from seafloor.stores.metrics.writers import Applied, applied


class MemoryMetricStore:
    """Series in memory; the contract is ``MetricStore``, durability aside."""

    def __init__(self) -> None:
        self._series: dict[WorkloadId, dict[str, set[Triple]]] = {}
        self._writers: dict[tuple[WorkloadId, str], Applied] = {}

    def workload_create(self, workload_id: WorkloadId) -> None:
        """Let there be a workload."""
        self._series.setdefault(workload_id, {})

    def workload_delete(self, workload_id: WorkloadId) -> None:
        """Delete a workload and its points."""
        self._series.pop(workload_id, None)
        self._writers = {of: last for of, last in self._writers.items() if of[0] != workload_id}

    def _sorted(self, workload_id: WorkloadId, key: str) -> list[Triple]:
        return sorted(self._series.get(workload_id, {}).get(key, ()))

    async def append(
        self,
        workload_id: WorkloadId,
        points: Sequence[Point] | PointColumns,
        *,
        attempt: int | None = 0,  # noqa: ARG002  # it knows no attempts, and none is deleted
        batch: BatchId | None = None,
    ) -> AppendReceipt:
        """Append points, all or none."""
        fresh, _ = triples_by_key(points_of(points))
        made = None if batch is None else applied(batch, points)
        if workload_id not in self._series:
            raise NotFound("There is no such workload.")
        if batch is not None and made is not None:
            last = self._writers.get((workload_id, batch.writer))
            if made.is_repeat_of(last):
                return AppendReceipt(0, len(points))
            if made.is_above(last):
                self._writers[workload_id, batch.writer] = made
        written = 0
        for key, triples in fresh.items():
            stored = self._series[workload_id].setdefault(key, set())
            before = len(stored)
            stored.update(triples)
            written += len(stored) - before
        return AppendReceipt(written, len(points) - written)

    async def summaries(
        self,
        workload_ids: Sequence[WorkloadId],
        *,
        keys: Sequence[str] | None = None,
        most: int | None = None,
    ) -> dict[WorkloadId, tuple[MetricSummary, ...]]:
        """Summaries of many workloads at once."""
        found: dict[WorkloadId, tuple[MetricSummary, ...]] = {}
        for workload_id in workload_ids:
            summaries = tuple(
                aggregate(self._sorted(workload_id, key)).summary(key)
                for key in sorted(self._series.get(workload_id, {}))
                if keys is None or key in keys
            )
            if summaries:
                found[workload_id] = summaries
        if most is not None and sum(map(len, found.values())) > most:
            raise LimitExceeded(f"There are more than {most} rows.")
        return found

    async def last_points(
        self, workload_ids: Sequence[WorkloadId], *, most: int | None = None
    ) -> dict[WorkloadId, tuple[Point, ...]]:
        """Of every series its summary's last point, by key."""
        found = await self.summaries(workload_ids, most=most)
        return {
            workload_id: tuple(
                Point(one.key, one.last, one.last_step, one.last_time_ms) for one in summaries
            )
            for workload_id, summaries in found.items()
        }

    async def series_columns(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        limit: int = 25_000,
        cursor: str | None = None,
        window: Window = ALL,
    ) -> SeriesColumnsPage:
        """Read a series in order."""
        check_limit(limit)
        triples = self._within(workload_id, key, window)
        if cursor is not None:
            after = decode_cursor(workload_id, key, cursor)
            triples = triples[bisect.bisect_right(triples, after) :]
        shown = triples[:limit]
        more = len(triples) > limit
        following = encode_cursor(workload_id, key, shown[-1]) if more else None
        return SeriesColumnsPage(series_of(shown), following)

    async def series(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        limit: int = 25_000,
        cursor: str | None = None,
        window: Window = ALL,
    ) -> SeriesPage:
        """Read a series in order."""
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
        """Read buckets."""
        check_buckets(buckets)
        triples = self._within(workload_id, key, window)
        if x == "time":
            triples.sort(key=lambda triple: (triple[1], triple[0], triple[2]))
        builder = ChartBuilder(points=len(triples), buckets=buckets)
        builder.add(triples)
        return tuple(builder.done)

    def _within(self, workload_id: WorkloadId, key: str, window: Window) -> list[Triple]:
        return triples_of(window.take(series_of(self._sorted(workload_id, key))))

    async def seal_due(self) -> int:
        """Nothing has another form here."""
        return 0

    async def close(self) -> None:
        """Nothing is held."""
