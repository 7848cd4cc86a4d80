"""Records of a log spool: bytes as docs/formats/log-spool.md says, in any pieces."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.stores.logs.record import (
    FLAG_LOSS,
    MAGIC,
    MARK_BYTES,
    BadRecord,
    Record,
    RecordDecoder,
    Tally,
    encode_record,
    scan,
)
from seafloor.testing.log_spools import line, loss, numbered, spool


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    number = 1
    found: list[Record] = []
    for _ in range(draw(st.integers(0, 8))):
        number += draw(st.integers(0, 3))
        if draw(st.booleans()):
            count = draw(st.integers(1, 10**6))
            found.append(loss(number, count))
            number += count
        else:
            payload = draw(st.binary(max_size=50))
            kind = [draw(st.integers(0, top)) for top in (2, 3, 1)]
            found.append(Record(number, draw(st.integers(0, 2**64 - 1)), payload, *kind))
            number += 1
    return found


def test_encode__a_line__is_as_the_format_says() -> None:
    body = struct.pack("<IQQBBH", 5, 7, 1_700_000_000_000_000_000, 1, 3, 1) + b"hello"
    expected = struct.pack("<I", zlib.crc32(body)) + body
    assert encode_record(Record(7, 1_700_000_000_000_000_000, b"hello", 1, 3, 1)) == expected
    assert len(expected) == 28 + 5
    assert bytes.fromhex("53464c4f47000001") == MAGIC


@given(records(), st.lists(st.integers(1, 60), min_size=1))
def test_decode__in_any_pieces__gives_the_records(found: list[Record], sizes: list[int]) -> None:
    data = spool(found)
    decoder = RecordDecoder()
    decoded: list[Record] = []
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        decoded.extend(decoder.feed(data[at : at + size]))
        at, turn = at + size, turn + 1
    assert decoded == found
    assert decoder.offset == len(data)


@given(records(), st.data())
def test_scan__in_two_pieces__is_the_same(found: list[Record], draw: st.DataObject) -> None:
    data = spool(found)
    whole = scan(data, Tally()).tally
    first = scan(data[: draw.draw(st.integers(0, len(data)))], Tally())
    assert first.problem is None
    assert scan(data[first.tally.offset :], first.tally).tally == whole
    lines = [record for record in found if not record.flags & FLAG_LOSS]
    assert whole.lines() == len(lines)
    assert whole.missing == whole.expected - 1 - len(lines)


@given(records().filter(bool), st.data())
def test_scan__one_bit_wrong__is_seen(found: list[Record], draw: st.DataObject) -> None:
    data = bytearray(spool(found))
    bit = draw.draw(st.integers(0, len(data) * 8 - 1))
    data[bit // 8] ^= 1 << bit % 8
    seen = scan(bytes(data), Tally())
    good = seen.tally.offset
    assert good <= bit // 8
    # A size that grew makes the record wait for bytes that may come; anything else is told.
    assert seen.problem is not None or good + 28 > len(data) or bit // 8 - good in range(4, 8)


def test_scan__a_long_spool__marks_records_about_every_64_kib() -> None:
    data = numbered(10_000)
    marks = scan(data, Tally()).marks
    assert len(marks) == (len(data) - 1) // MARK_BYTES
    for mark in marks:
        rest = scan(data[mark.offset :], mark)
        assert rest.tally == scan(data, Tally()).tally
        assert next(RecordDecoder(mark.offset).feed(data[mark.offset :])).number == mark.expected


@pytest.mark.parametrize("payload", [b"", b"-1", b"1.5", b"9" * 19, "٣".encode()])
def test_scan__a_loss_without_a_count__is_bad(payload: bytes) -> None:
    data = spool([line(1), Record(2, 0, payload, 2, 0, FLAG_LOSS)])
    problem = scan(data, Tally()).problem
    assert isinstance(problem, BadRecord)
    assert problem.offset == len(spool([line(1)]))
