"""Order and identity of points, the journal's bytes, summaries and buckets: pure."""

from __future__ import annotations

import math
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import StoreCorrupt
from seafloor.domain.metrics import Point
from seafloor.stores.metrics.chart import ChartBuilder
from seafloor.stores.metrics.journal import decode_keys, encode_points
from seafloor.stores.metrics.points import (
    NAN_RANK_MIN,
    Triple,
    bits_of_rank,
    rank_of,
    rank_of_bits,
    triples_by_key,
    value_of,
)
from seafloor.stores.metrics.summary import aggregate, joined

_bits = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0xFFFF << 48]),
)
_triples = st.lists(
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**53), _bits.map(rank_of_bits)),
    min_size=1,
    max_size=40,
    unique=True,
).map(sorted)


@given(_bits)
def test_rank__any_bits__come_back(bits: int) -> None:
    assert bits_of_rank(rank_of_bits(bits)) == bits


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_rank__two_numbers__rises_with_the_value(one: float, other: float) -> None:
    if one < other:
        assert rank_of(one) < rank_of(other)
    assert rank_of(one) < NAN_RANK_MIN <= rank_of(math.nan)
    assert value_of(rank_of(one)) == one


def test_rank__zeroes__differ() -> None:
    assert rank_of(-0.0) + 1 == rank_of(0.0)


def test_triples__an_integer_as_value__is_its_float() -> None:
    found, repeated = triples_by_key([Point("a", 3, 1, 2), Point("a", 3.0, 1, 2)])
    assert (found, repeated) == ({"a": [(1, 2, rank_of(3.0))]}, 1)


@given(st.dictionaries(st.text("abß/", min_size=1, max_size=5), _triples, min_size=1, max_size=5))
def test_journal__any_points__come_back(points: dict[str, list[Triple]]) -> None:
    payload = encode_points(points)
    assert decode_keys(payload, points) == points
    for key, triples in points.items():
        assert decode_keys(payload, [key, "absent"]) == {key: triples}
    assert decode_keys(payload, ["absent"]) == {}


def test_journal__one_point__is_as_the_format_says() -> None:
    payload = encode_points({"loss": [(7, 1_000, rank_of(-0.5))]})
    body = struct.pack("<IIHI4sqqd", 1, 10, 4, 1, b"loss", 7, 1_000, -0.5)
    assert payload == struct.pack("<BBI", 1, 0, zlib.crc32(b"\x01\x00" + body)) + body


@given(_triples, st.data())
def test_journal__one_bit_wrong__is_seen(triples: list[Triple], draw: st.DataObject) -> None:
    payload = bytearray(encode_points({"loss": triples}))
    bit = draw.draw(st.integers(0, len(payload) * 8 - 1))
    payload[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StoreCorrupt):
        decode_keys(bytes(payload), ["loss"])


@pytest.mark.parametrize("payload", [b"", b"\x01\x00", b"\x02\x00\0\0\0\0"])
def test_journal__cut_off_or_of_another_version__is_told(payload: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        decode_keys(payload, ["loss"])


@given(_triples, st.data())
def test_summary__in_two_parts__is_that_of_the_whole(
    triples: list[Triple], draw: st.DataObject
) -> None:
    flags = draw.draw(st.lists(st.booleans(), min_size=len(triples), max_size=len(triples)))
    one = [triple for triple, flag in zip(triples, flags, strict=True) if flag]
    other = [triple for triple, flag in zip(triples, flags, strict=True) if not flag]
    if one and other:
        assert joined(aggregate(one), aggregate(other)) == aggregate(triples)


@given(_triples, st.integers(1, 50))
def test_chart__any_points__are_in_exactly_one_bucket(triples: list[Triple], buckets: int) -> None:
    builder = ChartBuilder(points=len(triples), buckets=buckets)
    builder.add(triples)
    sizes = [bucket.points for bucket in builder.done]
    assert sum(sizes) == len(triples)
    assert len(sizes) == min(buckets, len(triples))
    assert max(sizes) - min(sizes) <= 1
    at = 0
    for bucket in builder.done:
        part = [rank for _, _, rank in triples[at : at + bucket.points]]
        numbers = [rank for rank in part if rank < NAN_RANK_MIN]
        assert bucket.nans == len(part) - len(numbers)
        if numbers:
            assert bucket.min is not None
            assert bucket.max is not None
            assert (rank_of(bucket.min), rank_of(bucket.max)) == (min(numbers), max(numbers))
        at += bucket.points
