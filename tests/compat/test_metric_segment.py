"""Segments that were written before are read by what is written now.

``data.parquet`` is read with ``small.index``, and by ranges with ``large.index``, which is of the
same file and holds its footer, as that of a large file does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.pyramid import blocks_of
from seafloor.stores.metrics.segment import decode_plan
from seafloor.stores.metrics.segment_index import SegmentIndex

HERE = Path(__file__).resolve().parent / "metric-segment-1"
ODD_BITS = [  # in the order of a series
    0xFFF0_0000_0000_0000,
    0x8000_0000_0000_0000,
    0x0000_0000_0000_0000,
    0x0000_0000_0000_0001,
    0x7FF0_0000_0000_0000,
    0x7FF0_0000_0000_0001,
    0x7FF8_0000_0000_0000,
    0xFFF8_0000_0000_002A,
]


def written() -> dict[str, SeriesColumns]:
    """What the files hold."""
    odd = np.array(ODD_BITS, np.uint64)
    step = np.tile(np.arange(1_500), 2)
    return {
        "loss/größe": SeriesColumns(
            np.repeat(np.array([1, 2], np.int32), 1_500),
            step,
            1_700_000_000_000 + np.arange(3_000) * 50,
            (step / 8).view(np.uint64),
        ),
        "odd": SeriesColumns(
            np.zeros(len(odd), np.int32),
            np.full(len(odd), -(1 << 63)),
            np.zeros(len(odd), np.int64),
            odd,
        ),
    }


def assert_same(found: SeriesColumns, wanted: SeriesColumns) -> None:
    assert (found.attempt == wanted.attempt).all()
    assert (found.step == wanted.step).all()
    assert (found.time_ms == wanted.time_ms).all()
    assert (found.bits == wanted.bits).all()


@pytest.mark.parametrize("index_name", ["small.index", "large.index"])
def test_segment__of_version_1__is_read_bit_for_bit(index_name: str) -> None:
    data = (HERE / "data.parquet").read_bytes()
    index = SegmentIndex.decode((HERE / index_name).read_bytes())
    assert bool(index.footer) == (index_name == "large.index")
    wanted = written()
    assert list(index.keys) == list(wanted)
    for key, columns in wanted.items():
        plan = index.plan(key)
        parts = [data[one.offset : one.offset + one.size] for one in plan.ranges]
        assert_same(decode_plan(index, plan, parts), columns)


def test_segment__of_version_1__has_its_blocks() -> None:
    found = SegmentIndex.decode((HERE / "small.index").read_bytes()).blocks("loss/größe")
    wanted = blocks_of(written()["loss/größe"])
    assert found is not None
    for name in wanted.__slots__:
        assert (getattr(found, name) == getattr(wanted, name)).all(), name
