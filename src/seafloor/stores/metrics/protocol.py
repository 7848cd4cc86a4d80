"""The metric store: series of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import BatchId, Bucket, MetricSummary, Point, SeriesPoint
from seafloor.stores.metrics.columns import PointColumns


class AppendReceipt(msgspec.Struct, frozen=True):
    """What an append did: points written, and points that were there already."""

    points_written: int
    points_repeated: int


class SeriesPage(msgspec.Struct, frozen=True):
    """One page of a series in order of (step, time, value); ``next`` is None at the end."""

    points: tuple[SeriesPoint, ...]
    next: str | None = None


class MetricAppend(Protocol):
    """Writing."""

    async def append(
        self,
        workload_id: WorkloadId,
        points: Sequence[Point] | PointColumns,
        *,
        attempt: int | None = 0,
        batch: BatchId | None = None,
    ) -> AppendReceipt:
        """Append points of any keys to one workload, all or none, durable when it returns.

        Points that are there already (same key, step, time and value, bit for bit) are counted in
        ``points_repeated`` and not stored twice; so a retry is harmless. Steps and times need not
        rise. Summaries are exact in the same transaction. Concurrent calls are committed together
        (group commit): one fsync serves all that wait.

        Args:
            points: Shape (n,), 1 <= n <= POINTS_PER_APPEND_MAX; many of them as columns, which
                cost a tenth of the time.
            attempt: Which attempt measured them, 0 for a tracked run; or None: the one that the
                workload is at, which must not be deleted.
            batch: By which a repeat of this writer's last batch is known without a look at its
                points; noted in the same transaction. What becomes of other numbers is said in
                ``writers``.

        Raises:
            InvalidValue: n, a key, a step, a time or the batch's name is out of bounds. Nothing
                was written.
            NotFound: no such workload. Nothing was written.
            Conflict: attempt is None and the workload is deleted, or the writer's last batch has
                this number and other points. Nothing was written.
            StoreUnavailable: unknown whether they were written. Repeat the call.
            StoreFull: no space left. Nothing was written.
        """
        ...


class MetricRead(Protocol):
    """Reading. A reader sees everything that was acknowledged before it began."""

    async def summaries(
        self, workload_ids: Sequence[WorkloadId], *, keys: Sequence[str] | None = None
    ) -> dict[WorkloadId, tuple[MetricSummary, ...]]:
        """Summaries of many workloads at once, by key; workloads without points are absent."""
        ...

    async def series(
        self, workload_id: WorkloadId, key: str, *, limit: int = 25_000, cursor: str | None = None
    ) -> SeriesPage:
        """Read a series, each point once, in order of (step, time, value; NaN last).

        A missing series is an empty one.

        Raises:
            InvalidValue: limit is not in 1..POINTS_PER_APPEND_MAX, or the cursor is not of this.
        """
        ...

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

        With no more points than buckets every point is a bucket of its own.

        Args:
            buckets: 1..5,000.
            step_min, step_max: Only points within, both inclusive.
        """
        ...


class MetricStore(MetricAppend, MetricRead, Protocol):
    """Series of points."""

    async def close(self) -> None:
        """Commit what waits and give back what the store holds. Safe to repeat."""
        ...
