"""Metrics: points, what is kept of a series at once, and what makes two points one."""

from __future__ import annotations

import re

import msgspec

from seafloor.domain.bounds import INT64_MAX, INT64_MIN
from seafloor.domain.errors import InvalidValue

STEP_MAX = INT64_MAX
STEP_MIN = INT64_MIN
TIME_MS_MAX = INT64_MAX // 1_000_000 - 1  # so that nanoseconds fit an int64
POINTS_PER_APPEND_MAX = 50_000
SEQUENCE_MAX = INT64_MAX
ATTEMPT_MAX = (1 << 31) - 1

_WRITER = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class BatchId(msgspec.Struct, frozen=True):
    """Which batch of which writer it is, so that one that is sent again is known without a look.

    Args:
        writer: Who sends: one process, or one file that several send one after the other; at most
            64 letters, digits and ``. _ -``. No two that send at the same time share a name.
        sequence: 1..SEQUENCE_MAX; rises from batch to batch, and may leave numbers out.
    """

    writer: str
    sequence: int


def check_batch_id(batch: BatchId) -> BatchId:
    """Check a batch's name.

    Raises:
        InvalidValue: the writer or the sequence is none.
    """
    if not _WRITER.match(batch.writer):
        raise InvalidValue(
            'A writer is named by 1 to 64 letters, digits, ".", "_" and "-".', field="writer"
        )
    if not 1 <= batch.sequence <= SEQUENCE_MAX:
        raise InvalidValue("A sequence is a whole number from 1, of 64 bits.", field="sequence")
    return batch


class Point(msgspec.Struct, frozen=True, array_like=True, order=False, gc=False):
    """One value of one metric.

    Two points of a run with the same key, step, time and value (compared bit for bit) are one.

    Args:
        key: Name of the metric.
        value: float64, kept bit for bit: NaN and infinities are values.
        step: int64; unit: what the user counts (optimiser steps, epochs).
        time_ms: int64 >= 0, milliseconds since 1970-01-01 UTC.
    """

    key: str
    value: float
    step: int
    time_ms: int


class MetricSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a series without reading it.

    ``last`` is the value at the greatest (step, time, value): MLflow's rule, not the last
    written. ``min`` and ``max`` leave NaN out and are None when every value is NaN.

    Args:
        key: Name of the metric.
        points: Count of distinct points.
        nans: How many of them are NaN.
        last, last_step, last_time_ms: The last point.
        min, max: Over the values that are not NaN.
        min_step, max_step: The steps at which they stand (first one if several).
    """

    key: str
    points: int
    nans: int
    last: float
    last_step: int
    last_time_ms: int
    min: float | None
    max: float | None
    min_step: int | None
    max_step: int | None


class SeriesPoint(msgspec.Struct, frozen=True, array_like=True):
    """One value of a series whose key is known: (step, time_ms, value)."""

    step: int
    time_ms: int
    value: float


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """One bucket of a chart: extremes are exact, never sampled.

    Args:
        step_first, step_last: Steps of the first and last point in it.
        time_ms_first, time_ms_last: Their times.
        first, last: Their values.
        min, max: Over values that are not NaN; None when all are NaN.
        points: How many points it holds.
        nans: How many of them are NaN.
    """

    step_first: int
    step_last: int
    time_ms_first: int
    time_ms_last: int
    first: float
    last: float
    min: float | None
    max: float | None
    points: int
    nans: int
