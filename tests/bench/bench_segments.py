"""Segments beside Parquet as pyarrow writes it by default, and beside rows packed with zlib.

A mix of float32 losses, learning rates and counters, 2.5 · 10⁵ points each.
"""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.bench.measuring import alternate, table

from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.pyramid import blocks_of, chart_of
from seafloor.stores.metrics.segment import ArrowEncoder, decode_plan, encode_segment
from seafloor.stores.metrics.segment_index import SegmentIndex
from seafloor.stores.metrics.window import Window

COUNT = 250_000
LONG = 10_000_000


def _mix() -> dict[str, SeriesColumns]:
    random = np.random.default_rng(0)
    at = np.arange(COUNT)
    time_ms = 1_700_000_000_000 + np.cumsum(random.normal(50, 2, COUNT)).astype(np.int64)
    loss = 2 * np.exp(-3 * at / COUNT) + 0.1
    values = {
        "epoch": at // 1_000,
        "loss": (loss + random.normal(0, 0.02, COUNT)).astype(np.float32),
        "val_loss": (loss + random.normal(0, 0.05, COUNT)).astype(np.float32),
        "lr/cosine": 5e-4 * (1 + np.cos(np.pi * at / COUNT)),
        "lr/steps": 1e-3 * 0.1 ** (at * 3 // COUNT),
        "samples": at * 64,
    }
    attempt = np.zeros(COUNT, np.int32)
    return {key: _series(attempt, at, time_ms, some) for key, some in values.items()}


def _series(attempt: np.ndarray, at: np.ndarray, ms: np.ndarray, v: np.ndarray) -> SeriesColumns:
    return SeriesColumns(attempt, at, ms, v.astype(np.float64).view(np.uint64))


def _sealed(mix: Mapping[str, SeriesColumns]) -> int:
    segment = encode_segment(mix)
    return len(segment.data) + len(segment.index)


def _default_parquet(mix: Mapping[str, SeriesColumns]) -> int:
    out = io.BytesIO()
    tables = [
        pa.table(
            {
                "key": pa.repeat(key, len(some)),
                "attempt": some.attempt,
                "step": some.step,
                "time": some.time_ms,
                "value": some.bits.view(np.float64),
            }
        )
        for key, some in mix.items()
    ]
    pq.write_table(pa.concat_tables(tables), out)
    return len(out.getvalue())


def _zlib_rows(mix: Mapping[str, SeriesColumns]) -> int:
    size = 0
    for some in mix.values():
        rows = np.stack([some.step, some.time_ms, some.bits.view(np.int64)], axis=1)
        size += len(zlib.compress(rows.tobytes(), 6))
    return size


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _milliseconds(act: Callable[[], object]) -> float:
    return 1e3 * _seconds(act)


def run() -> None:
    """Print bytes a point, millions of points a second, and milliseconds of the reads."""
    mix = _mix()
    points = sum(map(len, mix.values()))
    ways = {"segment": _sealed, "parquet, defaults": _default_parquet, "rows, zlib": _zlib_rows}
    sizes = {name: partial(lambda way: way(mix) / points, way) for name, way in ways.items()}
    table("At rest", "bytes a point", alternate(sizes, rounds=1), base="segment")
    rates = {
        name: partial(lambda way: points / _seconds(partial(way, mix)) / 1e6, way)
        for name, way in ways.items()
    }
    table("Encoding", "10⁶ points/s", alternate(rates, rounds=3), base="segment")
    _reads()


def _reads() -> None:
    random = np.random.default_rng(0)
    at = np.arange(LONG)
    series = _series(
        np.zeros(LONG, np.int32),
        at,
        1_700_000_000_000 + at * 50,
        random.normal(size=LONG).astype(np.float32),
    )
    segment = encode_segment({"loss": series})
    index = SegmentIndex.decode(segment.index)
    plan = index.plan("loss", window=Window(step_min=0, step_max=999_999))
    parts = [segment.data[one.offset : one.offset + one.size] for one in plan.ranges]
    million = decode_plan(index, plan, parts)

    def chart_cold() -> None:
        blocks = SegmentIndex.decode(segment.index).blocks("loss")
        chart_of([] if blocks is None else [blocks], [], buckets=1_000)

    blocks = blocks_of(series)
    found = alternate(
        {
            "10⁶ points decoded": lambda: _milliseconds(lambda: decode_plan(index, plan, parts)),
            "… as an Arrow stream": lambda: _milliseconds(lambda: ArrowEncoder().add(million)),
            "chart of 10⁷, blocks held": lambda: _milliseconds(
                lambda: chart_of([blocks], [], buckets=1_000)
            ),
            "chart of 10⁷, index decoded": lambda: _milliseconds(chart_cold),
        },
        rounds=5,
    )
    table("Reading", "ms", found, base="10⁶ points decoded")
    print(f"  index of 10⁷ points: {len(segment.index):,} bytes")
