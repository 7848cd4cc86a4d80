"""Batches of points: handled as columns they are what they are one by one. Pure."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import InvalidValue, StoreCorrupt
from seafloor.domain.metrics import STEP_MAX, STEP_MIN, TIME_MS_MAX, Point
from seafloor.stores.metrics import journal
from seafloor.stores.metrics.batch import Batch, batch_of_columns, batch_of_triples
from seafloor.stores.metrics.columns import columns_of, triples_of
from seafloor.stores.metrics.journal import decode_keys, decode_rows
from seafloor.stores.metrics.points import Triple, triples_by_key

_bits = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0xFFFF << 48]),
)
_points = st.lists(
    st.builds(
        Point,
        st.sampled_from(["b", "a", "a/b", "ß"]),
        _bits.map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),
        st.sampled_from([STEP_MIN, -1, 0, 1, 2, STEP_MAX]),
        st.sampled_from([0, 1, 2, TIME_MS_MAX]),
    ),
    min_size=1,
    max_size=60,
)


def one_by_one(points: list[Point]) -> Batch:
    return batch_of_triples(triples_by_key(points)[0])


def stored(batch: Batch) -> dict[str, list[tuple[int, int, int]]]:
    return batch.triples(batch.sums)


@given(_points)
def test_columns__any_points__are_what_they_are_one_by_one(points: list[Point]) -> None:
    many, few = batch_of_columns(columns_of(points)), one_by_one(points)
    assert list(many.sums.items()) == list(few.sums.items())
    assert many.firsts == few.firsts
    assert stored(many) == stored(few)
    assert many.points == few.points
    assert many.triples(["absent"]) == {}


@given(st.lists(st.tuples(_points, st.booleans()), min_size=1, max_size=6), st.integers(1, 2_000))
def test_rows__decoded_together__are_what_each_is_alone(
    rows: list[tuple[list[Point], bool]], at_once_bytes: int
) -> None:
    batches = [
        batch_of_columns(columns_of(some)) if many else one_by_one(some) for some, many in rows
    ]
    found: dict[str, list[Triple]] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal, "_AT_ONCE_BYTES", at_once_bytes)
        for series in decode_rows([batch.payload for batch in batches], attempt=3):
            for key, points in series.items():
                assert points.attempt.tolist() == [3] * len(points)
                found.setdefault(key, []).extend(triples_of(points))
    wanted: dict[str, list[Triple]] = {}
    for batch in batches:
        for key, triples in stored(batch).items():
            wanted.setdefault(key, []).extend(triples)
    assert {key: sorted(triples) for key, triples in found.items()} == {
        key: sorted(triples) for key, triples in wanted.items()
    }


def test_rows__of_one_training__come_in_the_order_of_their_steps() -> None:
    rows = [[Point(key, 1.0, step, 0) for key in "ab"] for step in (3, 1, 2)]
    payloads = [
        one_by_one(rows[0]).payload,
        *(batch_of_columns(columns_of(some)).payload for some in rows[1:]),
    ]
    [found] = decode_rows(payloads, attempt=0)
    assert {key: points.step.tolist() for key, points in found.items()} == {
        "a": [1, 2, 3],
        "b": [1, 2, 3],
    }


def test_rows__with_the_same_keys__have_their_table_read_once() -> None:
    """Of a thousand keys that took most of the time of a chart."""
    names = [f"once/{at}" for at in range(50)]
    payloads = [
        batch_of_columns(columns_of([Point(name, 1.0, step, 0) for name in names])).payload
        for step in range(20)
    ]
    with pytest.MonkeyPatch.context() as patched:
        tables: list[int] = []
        table = journal._table

        def counted(body: bytes) -> tuple[list[tuple[bytes, int]], int]:
            tables.append(len(body))
            return table(body)

        patched.setattr(journal, "_table", counted)
        for name in ("once/7", "once/49", "absent"):
            found = [journal.decode_series(payload, name, attempt=2) for payload in payloads]
            assert [one.step.tolist() for one in found] == [
                [] if name == "absent" else [step] for step in range(20)
            ]
    assert len(tables) == 1


def test_rows__none__are_no_series() -> None:
    assert list(decode_rows([], attempt=0)) == []


@given(_points, _points)
def test_suspects__of_points_after_others__hold_every_repeat(
    before: list[Point], points: list[Point]
) -> None:
    known, batch = one_by_one(before), batch_of_columns(columns_of(points))
    suspects = batch.suspects(known.sums)
    repeats = {
        key: set(triples).intersection(stored(known).get(key, ()))
        for key, triples in stored(batch).items()
    }
    assert all(repeats[key] <= suspects.get(key, set()) for key in repeats)
    others = batch.without(repeats)
    kept = {
        key: [triple for triple in triples if triple not in repeats[key]]
        for key, triples in stored(batch).items()
    }
    kept = {key: triples for key, triples in kept.items() if triples}
    assert (stored(others) if others else {}) == kept


@given(_points, st.data())
def test_journal__columns_with_one_bit_wrong__is_seen(
    points: list[Point], draw: st.DataObject
) -> None:
    batch = batch_of_columns(columns_of(points))
    payload = bytearray(batch.payload)
    bit = draw.draw(st.integers(0, len(payload) * 8 - 1))
    payload[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StoreCorrupt):
        decode_keys(bytes(payload), batch.sums)


@pytest.mark.parametrize("step", [STEP_MAX + 1, STEP_MIN - 1, 1.5, "1", None])
def test_columns__step_that_is_no_integer_of_64_bits__is_refused(step: Any) -> None:
    with pytest.raises(InvalidValue, match="64 bits"):
        columns_of([Point("a", 1.0, step, 0)])
