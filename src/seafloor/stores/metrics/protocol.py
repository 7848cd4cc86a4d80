"""The metric store: series of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import BatchId, Bucket, MetricSummary, Point, SeriesPoint
from seafloor.stores.metrics.columns import PointColumns, SeriesColumns
from seafloor.stores.metrics.pyramid import Axis
from seafloor.stores.metrics.window import ALL, Window


class AppendReceipt(msgspec.Struct, frozen=True):
    """What an append did: points written, and points that were there already."""

    points_written: int
    points_repeated: int


class SeriesPage(msgspec.Struct, frozen=True):
    """One page of a series in order of (step, time, value); ``next`` is None at the end."""

    points: tuple[SeriesPoint, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class SeriesColumnsPage:
    """The same as columns."""

    points: SeriesColumns
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
        self,
        workload_ids: Sequence[WorkloadId],
        *,
        keys: Sequence[str] | None = None,
        most: int | None = None,
    ) -> dict[WorkloadId, tuple[MetricSummary, ...]]:
        """Summaries of many workloads at once, by key; workloads without points are absent.

        Args:
            keys: Only those of these series; None: all.
            most: So many are read at most; None: however many there are.

        Raises:
            LimitExceeded: there are more than that.
        """
        ...

    async def last_points(
        self, workload_ids: Sequence[WorkloadId], *, most: int | None = None
    ) -> dict[WorkloadId, tuple[Point, ...]]:
        """Of every series its summary's last point, by key; at half the cost of summaries.

        Args:
            most: See ``summaries``.

        Raises:
            LimitExceeded: there are more than that.
        """
        ...

    async def series_columns(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        limit: int = 25_000,
        cursor: str | None = None,
        window: Window = ALL,
    ) -> SeriesColumnsPage:
        """Read a series as columns, each point once, in order of (step, time, value; NaN last).

        A missing series is an empty one. Points of all attempts are in one order; each says
        which attempt measured it.

        Args:
            limit: 1..POINTS_PER_APPEND_MAX.
            cursor: ``next`` of the page before.
            window: Only points within.

        Raises:
            InvalidValue: limit is out of bounds, or the cursor is not of this series.
        """
        ...

    async def series(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        limit: int = 25_000,
        cursor: str | None = None,
        window: Window = ALL,
    ) -> SeriesPage:
        """Read a series point by point; see ``series_columns``."""
        ...

    async def chart(
        self,
        workload_id: WorkloadId,
        key: str,
        *,
        buckets: int,
        window: Window = ALL,
        x: Axis = "step",
    ) -> tuple[Bucket, ...]:
        """Read at most ``buckets`` buckets, in order, with exact extremes and counts.

        With no more points than buckets every point is a bucket of its own. The counts of two
        buckets differ by one at most; in a series with more than 1,024 points for each bucket
        they may differ by 1,024, and neighbours may overlap by as much where attempts or rewinds
        do.

        Args:
            buckets: 1..5,000.
            window: Only points within.
            x: What the points are put in order by; of relative time it is the order of time.
        """
        ...


class MetricStore(MetricAppend, MetricRead, Protocol):
    """Series of points."""

    async def seal_due(self) -> int:
        """Give the points that have lain for a while their lasting form; no answer changes.

        Returns:
            How many there were.

        Raises:
            StoreError: some were not sealed, and are due again.
        """
        ...

    async def close(self) -> None:
        """Commit what waits and give back what the store holds. Safe to repeat."""
        ...
