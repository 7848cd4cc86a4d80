"""Metrics on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from seafloor.domain.bounds import Int64, TimeMs
from seafloor.wire.numbers import WireNumber
from seafloor.wire.runs import MetricView


class PointIn(msgspec.Struct, frozen=True, array_like=True):
    """One point: ``[key, value, step, time_ms]``."""

    key: str
    value: WireNumber
    step: Int64
    time_ms: TimeMs


class PointsAppend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/runs/{id}/metrics``: at most 50,000 points; a repeat is harmless."""

    points: list[PointIn]


class PointsAppended(msgspec.Struct, frozen=True):
    """What an append did."""

    points_written: int
    points_repeated: int


class MetricList(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/metrics``: every key with its summary."""

    items: dict[str, MetricView]


class SeriesPointOut(msgspec.Struct, frozen=True, array_like=True):
    """One point of a series: ``[step, time_ms, value]``."""

    step: int
    time_ms: int
    value: WireNumber


class SeriesPageOut(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/metrics/series?key=…&limit=…&cursor=…``."""

    key: str
    points: tuple[SeriesPointOut, ...]
    next: str | None = None


class BucketOut(msgspec.Struct, frozen=True, array_like=True):
    """One bucket of a chart, as a list of these fields in this order."""

    step_first: int
    step_last: int
    time_ms_first: int
    time_ms_last: int
    first: WireNumber
    last: WireNumber
    min: WireNumber | None
    max: WireNumber | None
    points: int
    nans: int


class ChartOut(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/metrics/chart?key=…&buckets=…&step_min=…&step_max=…``.

    ``x`` has of each bucket where it begins and ends on the axis asked for, null where the
    axis is a metric that has no value yet.
    """

    key: str
    buckets: tuple[BucketOut, ...]
    x: tuple[tuple[WireNumber | None, WireNumber | None], ...] = ()


class ChartsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``POST /api/v1/metrics/charts``: runs times keys is at most 20,000, times buckets 200,000."""

    runs: list[str]
    keys: list[str]
    buckets: Annotated[int, msgspec.Meta(ge=1, le=5000)] = 500
    step_min: Int64 | None = None
    step_max: Int64 | None = None
    time_ms_min: Int64 | None = None
    time_ms_max: Int64 | None = None
    x: Literal["step", "time", "relative_time"] = "step"
    x_key: str | None = None


class RunChartOut(ChartOut, frozen=True, kw_only=True):
    """The chart of one series of one run."""

    run: str


class ChartsOut(msgspec.Struct, frozen=True):
    """The charts that have points, run by run and key by key as they were asked for."""

    charts: tuple[RunChartOut, ...]


class MetricTableQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/metrics/table``: at most 1,000 runs; without keys all of theirs."""

    runs: Annotated[list[str], msgspec.Meta(max_length=1000)]
    keys: list[str] | None = None


class MetricTableOut(msgspec.Struct, frozen=True):
    """Of each run its series, each with its last, least and greatest value, from summaries."""

    runs: dict[str, dict[str, MetricView]]
