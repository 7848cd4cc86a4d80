"""Charts of runs: exact buckets over any axis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seafloor.app.runs import Runs
from seafloor.domain.errors import LimitExceeded, NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import POINTS_PER_APPEND_MAX, Bucket
from seafloor.domain.workloads import Workload
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.protocol import MetricRead
from seafloor.stores.metrics.window import ALL, Window

BUCKETS_AT_ONCE_MAX = 200_000
CHARTS_AT_ONCE_MAX = 20_000
"""Each costs its look at the database, however few its buckets are."""
_AT_ONCE = 4
_NS_PER_MS = 1_000_000

AxisKind = Literal["step", "time", "relative_time", "metric"]


@dataclass(frozen=True)
class ChartAxis:
    """What a chart is drawn over.

    Args:
        kind: Step; wall time in ms since 1970; time in ms since the run began; or the value that
            another metric of the same run has at a step (an epoch, samples seen); of one attempt,
            what that attempt measured.
        key: Of that metric; empty otherwise.
    """

    kind: AxisKind = "step"
    key: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart of one series.

    Args:
        buckets: In order of step, or of time where that is the axis.
        x: Of each bucket where it begins and ends on the axis; None where that metric has no
            value at or before the bucket's step.
    """

    workload_id: WorkloadId
    key: str
    buckets: Sequence[Bucket]
    x: Sequence[tuple[float | None, float | None]]


class Charts:
    """Makes charts."""

    def __init__(self, runs: Runs, metrics: MetricRead) -> None:
        self._runs = runs
        self._metrics = metrics

    async def chart(
        self,
        run: Workload,
        key: str,
        *,
        buckets: int,
        window: Window = ALL,
        axis: ChartAxis | None = None,
    ) -> Chart:
        """Make one chart; see ``MetricRead.chart``.

        Cost: over another metric, a pass over that one up to the last step.
        """
        axis = axis or ChartAxis()
        found = await self._metrics.chart(
            run.id,
            key,
            buckets=buckets,
            window=window,
            x="time" if axis.kind in ("time", "relative_time") else "step",
        )
        return Chart(run.id, key, found, await self._places(run, found, axis, window.attempt))

    async def charts(
        self,
        run_ids: Sequence[WorkloadId],
        keys: Sequence[str],
        *,
        buckets: int,
        window: Window = ALL,
        axis: ChartAxis | None = None,
    ) -> list[Chart]:
        """Make the charts of many runs and keys, runs first; series without points are left out.

        Raises:
            LimitExceeded: they are too many, or would have too many buckets.
            NotFound: one of the runs does not exist.
        """
        series = len(set(run_ids)) * len(set(keys))
        if series > CHARTS_AT_ONCE_MAX:
            raise LimitExceeded(
                f"These would be up to {series:,} charts; at most {CHARTS_AT_ONCE_MAX:,} are made "
                "at once: ask for fewer runs or keys.",
                field="keys",
            )
        wanted = series * buckets
        if wanted > BUCKETS_AT_ONCE_MAX:
            raise LimitExceeded(
                f"These charts would have up to {wanted:,} buckets; at most "
                f"{BUCKETS_AT_ONCE_MAX:,} are made at once: ask for fewer runs, keys or buckets.",
                field="buckets",
            )
        runs = [await self._runs.get(run_id) for run_id in dict.fromkeys(run_ids)]
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def make(run: Workload, key: str) -> Chart:
            async with at_once:
                return await self.chart(run, key, buckets=buckets, window=window, axis=axis)

        once = dict.fromkeys(keys)
        made = await asyncio.gather(*(make(run, key) for run in runs for key in once))
        return [chart for chart in made if chart.buckets]

    async def columns(
        self, run: Workload, key: str, *, window: Window = ALL
    ) -> AsyncIterator[SeriesColumns]:
        """Read a whole series, piece by piece in order, in constant memory.

        Raises:
            NotFound: the run was purged meanwhile; what came is not the whole.
        """
        cursor: str | None = None
        while True:
            page = await self._metrics.series_columns(
                run.id, key, limit=POINTS_PER_APPEND_MAX, cursor=cursor, window=window
            )
            # There was a point behind the last page: a purge alone takes one away.
            if cursor is not None and not len(page.points):
                raise NotFound(f"Run {run.id} was deleted for good while it was read.")
            yield page.points
            cursor = page.next
            if cursor is None:
                break

    async def _places(
        self, run: Workload, found: Sequence[Bucket], axis: ChartAxis, attempt: int | None
    ) -> list[tuple[float | None, float | None]]:
        if axis.kind == "step":
            return [(each.step_first, each.step_last) for each in found]
        if axis.kind == "metric":
            return await self._values_at(run, axis.key, found, attempt)
        began_ms = 0
        if axis.kind == "relative_time":
            began_ms = (run.started_ns or run.created_ns) // _NS_PER_MS
        return [(each.time_ms_first - began_ms, each.time_ms_last - began_ms) for each in found]

    async def _values_at(
        self, run: Workload, key: str, found: Sequence[Bucket], attempt: int | None
    ) -> list[tuple[float | None, float | None]]:
        """The last value of a metric at or before the first and the last step of each bucket."""
        if not found:
            return []
        steps = np.array([[each.step_first, each.step_last] for each in found], np.int64).ravel()
        values = np.zeros(len(steps))
        known = np.zeros(len(steps), np.bool_)
        window = Window(step_max=int(steps.max()), attempt=attempt)
        async for points in self.columns(run, key, window=window):
            last = np.searchsorted(points.step, steps, side="right") - 1
            reached = last >= 0
            values[reached] = points.bits.view(np.float64)[last[reached]]
            known |= reached
        told = [
            value if is_known else None
            for value, is_known in zip(values.tolist(), known.tolist(), strict=True)
        ]
        return list(zip(told[::2], told[1::2], strict=True))
