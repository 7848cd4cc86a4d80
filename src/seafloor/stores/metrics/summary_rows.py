"""Summaries as rows of ``metric_summary``: floats as signed bits, so that no bit is lost."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from seafloor.domain.metrics import MetricSummary, Point
from seafloor.stores.metadata.sql.tables import metric_summary
from seafloor.stores.metrics.points import bits_of_rank, rank_of_bits, value_of
from seafloor.stores.metrics.summary import Aggregate, Extreme

SHOWN = tuple(
    metric_summary.c[name]
    for name in (
        "workload_id",
        "key",
        "points",
        "nans",
        "last_bits",
        "last_step",
        "last_time_ms",
        "min_bits",
        "max_bits",
        "min_step",
        "max_step",
    )
)
"""The columns that callers are shown, in the order that ``summaries_from_rows`` takes."""
LAST = tuple(
    metric_summary.c[name]
    for name in ("workload_id", "key", "last_bits", "last_step", "last_time_ms")
)
"""The columns that ``last_points_from_rows`` takes, in order."""
AGGREGATE = tuple(column for column in metric_summary.c if column.name != "workload_id")
"""The columns that ``aggregate_from_row`` takes."""

_MASK = (1 << 64) - 1
_SIGN = 1 << 63


def _signed(rank: int) -> int:
    bits = bits_of_rank(rank)
    return bits - (1 << 64) if bits & _SIGN else bits


def _rank(signed: int) -> int:
    return rank_of_bits(signed & _MASK)


def _searchable(value: float) -> float | None:
    """What is put into the column that queries compare: not every database takes the odd ones."""
    if math.isnan(value):
        return None
    return max(-sys.float_info.max, min(sys.float_info.max, value))


def row_from_aggregate(found: Aggregate) -> dict[str, int | float | None]:
    """The columns of a summary, its name aside."""
    step, time_ms, rank = found.last
    return {
        "points": found.points,
        "nans": found.nans,
        "last": _searchable(value_of(rank)),
        "last_bits": _signed(rank),
        "last_step": step,
        "last_time_ms": time_ms,
        "min_bits": None if found.min is None else _signed(found.min.rank),
        "max_bits": None if found.max is None else _signed(found.max.rank),
        "min_step": None if found.min is None else found.min.step,
        "max_step": None if found.max is None else found.max.step,
        "step_max": found.step_max,
        "time_ms_max": found.time_ms_max,
    }


def summaries_from_rows(rows: Sequence[Sequence[Any]]) -> list[tuple[str, MetricSummary]]:
    """What is shown of rows of ``SHOWN``, each with the workload's id.

    Floats are read from their bits all at once, and columns are cheaper to go through than rows.
    """
    if not rows:
        return []
    owners, keys, points, nans, last, steps, times, least, greatest, least_at, greatest_at = zip(
        *rows, strict=True
    )
    columns = zip(
        keys,
        points,
        nans,
        _floats(last),
        steps,
        times,
        _floats([bits or 0 for bits in least]),
        _floats([bits or 0 for bits in greatest]),
        least_at,
        greatest_at,
        strict=True,
    )
    made = [
        MetricSummary(
            key=key,
            points=count,
            nans=nan_count,
            last=value,
            last_step=step,
            last_time_ms=time_ms,
            min=None if min_step is None else min_,
            max=None if max_step is None else max_,
            min_step=min_step,
            max_step=max_step,
        )
        for key, count, nan_count, value, step, time_ms, min_, max_, min_step, max_step in columns
    ]
    return list(zip(owners, made, strict=True))


def last_points_from_rows(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, Point]]:
    """The last points in rows of ``LAST``, each with the workload's id."""
    if not rows:
        return iter(())
    owners, keys, last, steps, times = zip(*rows, strict=True)
    return zip(owners, map(Point, keys, _floats(last), steps, times), strict=True)


def _floats(bits: Sequence[int]) -> array[float]:
    made = array("d")
    made.frombytes(array("q", bits).tobytes())
    return made


def _extreme(bits: int | None, step: int | None) -> Extreme | None:
    return None if bits is None or step is None else Extreme(_rank(bits), step)


def aggregate_from_row(row: Sequence[Any]) -> tuple[str, Aggregate]:
    """Read a row of ``AGGREGATE`` back: the key, and what is known of it."""
    (
        key,
        points,
        nans,
        _,
        last_bits,
        last_step,
        last_time_ms,
        min_bits,
        max_bits,
        min_step,
        max_step,
        step_max,
        time_ms_max,
    ) = row
    return key, Aggregate(
        points=points,
        nans=nans,
        last=(last_step, last_time_ms, _rank(last_bits)),
        min=_extreme(min_bits, min_step),
        max=_extreme(max_bits, max_step),
        step_max=step_max,
        time_ms_max=time_ms_max,
    )
