"""Segments: every bit comes back, from the fewest bytes, and damage is told."""

from __future__ import annotations

import io
import struct
import zlib

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from seafloor.domain.errors import LimitExceeded, StoreCorrupt
from seafloor.stores.metrics import segment_index
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.points import rank_of_bits
from seafloor.stores.metrics.pyramid import blocks_of, chart_of
from seafloor.stores.metrics.segment import (
    GROUP_POINTS,
    ArrowEncoder,
    EncodedSegment,
    SegmentEncoder,
    decode_plan,
    encode_segment,
)
from seafloor.stores.metrics.segment_index import Plan, SegmentIndex
from seafloor.stores.metrics.window import Place, Window

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
POINT = st.tuples(
    st.integers(0, 3), INT64, st.integers(0, 9_000_000_000_000), st.integers(0, (1 << 64) - 1)
)


def columns_of(points: list[tuple[int, int, int, int]]) -> SeriesColumns:
    rows = sorted(set(points), key=lambda one: (*one[:3], rank_of_bits(one[3])))
    attempt, step, time_ms, bits = zip(*rows, strict=True)
    return SeriesColumns(
        np.array(attempt, np.int32),
        np.array(step, np.int64),
        np.array(time_ms, np.int64),
        np.array(bits, np.uint64),
    )


def series(count: int, *, seed: int = 0, attempts: int = 1) -> SeriesColumns:
    random = np.random.default_rng(seed)
    each = count // attempts
    return SeriesColumns(
        np.repeat(np.arange(attempts, dtype=np.int32), each),
        np.tile(np.arange(each), attempts),
        1_700_000_000_000 + np.arange(count) * 50,
        random.normal(size=count).astype(np.float32).astype(np.float64).view(np.uint64),
    )


def rows(columns: SeriesColumns) -> list[tuple[int, int, int, int]]:
    parts = (columns.attempt, columns.step, columns.time_ms, columns.bits)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def taken(index: SegmentIndex, plan: Plan, data: bytes) -> SeriesColumns:
    parts = [data[one.offset : one.offset + one.size] for one in plan.ranges]
    return decode_plan(index, plan, parts)


@pytest.fixture(scope="module")
def large() -> tuple[EncodedSegment, SegmentIndex, dict[str, SeriesColumns]]:
    made = {
        "a": series(300),
        "loss": series(200_000, attempts=2),
        **{f"m/{one:03d}": series(1_500, seed=one) for one in range(100)},
    }
    segment = encode_segment(made)
    return segment, SegmentIndex.decode(segment.index), made


Large = tuple[EncodedSegment, SegmentIndex, dict[str, SeriesColumns]]


@given(st.dictionaries(st.text(max_size=8), st.lists(POINT, min_size=1, max_size=30), min_size=1))
@settings(max_examples=60, deadline=None)
def test_segment__of_any_points__gives_every_bit_back(
    points: dict[str, list[tuple[int, int, int, int]]],
) -> None:
    made = {key: columns_of(some) for key, some in points.items()}
    segment = encode_segment(made)
    index = SegmentIndex.decode(segment.index)
    assert segment.points == index.points == sum(map(len, made.values()))
    assert index.keys.keys() == made.keys()
    for key, some in made.items():
        assert rows(taken(index, index.plan(key), segment.data)) == rows(some)
        assert index.keys[key].points == len(some)


@given(
    key=st.sampled_from(["a", "loss", "m/000", "m/077", "missing"]),
    step_min=st.none() | st.integers(-5, 110_000),
    step_max=st.none() | st.integers(-5, 110_000),
    attempt=st.none() | st.integers(0, 2),
    after=st.none() | st.integers(0, 200_000),
    limit=st.none() | st.integers(1, 80_000),
)
@settings(max_examples=60, deadline=None)
def test_plan__of_any_question__gives_what_a_scan_gives(
    large: Large,
    key: str,
    step_min: int | None,
    step_max: int | None,
    attempt: int | None,
    after: int | None,
    limit: int | None,
) -> None:
    segment, index, made = large
    known = made.get(key)
    place = None
    mask = np.ones(0 if known is None else len(known), np.bool_)
    if known is not None:
        if after is not None:
            at = after % len(known)
            place = Place(*(int(part[at]) for part in _parts(known)))
            mask[: at + 1] = False
        mask &= known.step >= (-(1 << 62) if step_min is None else step_min)
        mask &= known.step <= ((1 << 62) if step_max is None else step_max)
        if attempt is not None:
            mask &= known.attempt == attempt
    window = Window(step_min=step_min, step_max=step_max, attempt=attempt)
    plan = index.plan(key, after=place, window=window, limit=limit)
    found = taken(index, plan, segment.data)
    wanted = np.flatnonzero(mask)[:limit]
    if known is None:
        assert len(found) == 0
    else:
        for one, other in zip(_parts(found), _parts(known), strict=True):
            assert (one == other[wanted]).all()


def _parts(columns: SeriesColumns) -> tuple[np.ndarray, ...]:
    return columns.attempt, columns.step, columns.time_ms, columns.bits


def test_plan__of_one_key_of_many__asks_for_a_part_in_one_range(large: Large) -> None:
    segment, index, _ = large
    plan = index.plan("m/050")
    assert len(plan.ranges) == 1
    assert plan.ranges[0].size < len(segment.data) / 3


def test_plan__of_a_page__asks_for_two_row_groups_at_most(large: Large) -> None:
    _, index, made = large
    last = Place(*(int(part[90_000]) for part in _parts(made["loss"])))
    assert len(index.plan("loss", after=last, limit=25_000).groups) <= 2


@pytest.mark.parametrize(
    "bounds", [(None, None), (0, 99_999), (1_500, 99_000), (5, 80_000), (77, 300), (500_000, None)]
)
def test_chart_plan__of_a_stretch__makes_the_chart_of_its_points(
    large: Large, bounds: tuple[int | None, int | None]
) -> None:
    segment, index, made = large
    window = Window(step_min=bounds[0], step_max=bounds[1])
    blocks, plan = index.chart_plan("loss", buckets=50, window=window)
    raw = [] if plan is None else [taken(index, plan, segment.data)]
    chart = chart_of([] if blocks is None else [blocks], raw, buckets=50)
    known = made["loss"]
    mask = known.step >= (bounds[0] or 0)
    if bounds[1] is not None:
        mask &= known.step <= bounds[1]
    values = known.bits.view(np.float64)[mask]
    assert sum(bucket.points for bucket in chart) == len(values)
    if len(values):
        assert min(one.min for one in chart if one.min is not None) == values.min()
        assert max(one.max for one in chart if one.max is not None) == values.max()


def test_index__of_a_long_series__has_the_blocks_of_its_points(large: Large) -> None:
    _, index, made = large
    found, wanted = index.blocks("loss"), blocks_of(made["loss"])
    assert found is not None
    for name in wanted.__slots__:
        assert (getattr(found, name) == getattr(wanted, name)).all(), name
    assert index.blocks("a") is None


def test_encoder__fed_in_pieces__writes_the_same_bytes(large: Large) -> None:
    segment, _, made = large
    out = io.BytesIO()
    encoder = SegmentEncoder(out)
    for key, columns in made.items():
        for start in range(0, len(columns), 7_777):
            encoder.add(
                key, SeriesColumns(*(part[start : start + 7_777] for part in _parts(columns)))
            )
    receipt = encoder.finish()
    assert out.getvalue() == segment.data
    found = SegmentIndex.decode(receipt.index)
    assert found.keys == SegmentIndex.decode(segment.index).keys
    assert receipt.index == segment.index


def test_encoder__given_keys_or_points_out_of_order__refuses_them() -> None:
    encoder = SegmentEncoder(io.BytesIO())
    encoder.add("b", series(3))
    with pytest.raises(ValueError, match="keys"):
        encoder.add("a", series(3))
    with pytest.raises(ValueError, match="order"):
        encoder.add("b", series(3))
    with pytest.raises(ValueError, match="at least one"):
        encoder.add("c", series(0))


def test_encoder__given_nothing__refuses_to_finish() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SegmentEncoder(io.BytesIO()).finish()


@pytest.fixture(scope="module")
def small() -> tuple[EncodedSegment, SegmentIndex]:
    segment = encode_segment({"a": series(40), "b": series(1_100)})
    return segment, SegmentIndex.decode(segment.index)


def test_index__with_any_byte_flipped_or_cut_off__is_damage(
    small: tuple[EncodedSegment, SegmentIndex],
) -> None:
    whole = small[0].index
    for at in range(len(whole)):
        with pytest.raises(StoreCorrupt):
            SegmentIndex.decode(whole[:at])
        with pytest.raises(StoreCorrupt):
            SegmentIndex.decode(whole[:at] + bytes((whole[at] ^ 0x10,)) + whole[at + 1 :])


def test_data__with_any_byte_flipped_or_cut_off__is_damage(
    small: tuple[EncodedSegment, SegmentIndex],
) -> None:
    segment, index = small
    whole, plan = segment.data, index.plan("a")
    for at in range(len(whole)):
        flipped = whole[:at] + bytes((whole[at] ^ 0x01,)) + whole[at + 1 :]
        for broken in (whole[:at], flipped):
            with pytest.raises(StoreCorrupt):
                decode_plan(index, plan, [broken])


def test_data__of_a_large_segment_with_a_flipped_byte__is_damage_where_it_is_read(
    large: Large,
) -> None:
    segment, index, made = large
    plan = index.plan("loss", limit=10)
    middle = plan.ranges[0].offset + plan.ranges[0].size // 2
    data = bytearray(segment.data)
    data[middle] ^= 1
    with pytest.raises(StoreCorrupt):
        taken(index, plan, bytes(data))
    assert rows(taken(index, index.plan("m/099"), bytes(data))) == rows(made["m/099"])


def test_index__of_a_later_version__is_told(small: tuple[EncodedSegment, SegmentIndex]) -> None:
    body = small[0].index[9:]
    head = b"SFMI\x02"
    later = head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body
    with pytest.raises(StoreCorrupt, match="version 2"):
        SegmentIndex.decode(later)


@pytest.mark.parametrize(
    "packed",
    [
        b"no frame of zstd",
        zstandard.compress(b"a" * 999)[:-2],
        zstandard.compress(b"\xc1"),
        zstandard.compress(msgspec.msgpack.encode([1, 2])),
        zstandard.compress(msgspec.msgpack.encode([0, 0, b"", ["a"], [b"odd"], [], b"", []])),
    ],
    ids=["no frame", "cut frame", "no MessagePack", "no body", "no column"],
)
def test_index__with_a_sound_checksum_over_nonsense__is_damage(packed: bytes) -> None:
    head = b"SFMI\x01"
    with pytest.raises(StoreCorrupt):
        SegmentIndex.decode(head + struct.pack("<I", zlib.crc32(packed, zlib.crc32(head))) + packed)


def test_index__larger_than_the_limit__is_neither_written_nor_unpacked(
    small: tuple[EncodedSegment, SegmentIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_index, "_BODY_BYTES_MAX", 64)
    with pytest.raises(StoreCorrupt, match="larger"):
        SegmentIndex.decode(small[0].index)
    with pytest.raises(LimitExceeded):
        encode_segment({"a": series(40)})


def test_segment__of_a_usual_mix__takes_at_most_3_bytes_a_point() -> None:
    count = 2 * GROUP_POINTS
    at = np.arange(count)
    random = np.random.default_rng(0)
    loss = 2 * np.exp(-3 * at / count) + 0.1 + random.normal(0, 0.02, count)
    rates = 1e-3 * np.minimum(1, at / 2_000) * 0.1 ** (at * 3 // count)
    time_ms = 1_700_000_000_000 + np.cumsum(random.normal(50, 2, count)).astype(np.int64)
    values = {
        "epoch": at // 1_000,
        "loss": loss.astype(np.float32),
        "lr": rates,
        "samples": at * 64,
    }
    attempt = np.zeros(count, np.int32)
    segment = encode_segment(
        {
            key: SeriesColumns(attempt, at, time_ms, some.astype(np.float64).view(np.uint64))
            for key, some in values.items()
        }
    )
    assert (len(segment.data) + len(segment.index)) / segment.points <= 3


@pytest.mark.parametrize("count", [0, 1, 70_000])
def test_arrow__of_a_series__holds_every_bit(count: int) -> None:
    points = series(count)
    encoder = ArrowEncoder()
    table = pa.ipc.open_stream(encoder.add(points) + encoder.finish()).read_all()
    assert table.column_names == ["attempt", "step", "time_ms", "value"]
    assert (table["value"].to_numpy().view(np.uint64) == points.bits).all()
    assert (table["step"].to_numpy() == points.step).all()
    assert table.num_rows == count
