"""Metrics on the wire."""

from __future__ import annotations

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
    """``GET /api/v1/runs/{id}/metrics/chart?key=…&buckets=…&step_min=…&step_max=…``."""

    key: str
    buckets: tuple[BucketOut, ...]
