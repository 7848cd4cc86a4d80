"""The write-ahead file: what a reader gets of files that are whole, torn or damaged."""

from __future__ import annotations

import io
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import NotSupported
from seafloor.domain.metrics import Point
from seafloor.sdk.wal import (
    MAGIC,
    MARKER,
    RECORD_BYTES_MAX,
    Begin,
    Dropped,
    End,
    FoundRecord,
    LoggedFile,
    Params,
    Points,
    Record,
    Tags,
    WalReader,
    encode,
    frame,
)
from seafloor.wire.runs import RunCreate

EVERY_KIND: list[Record] = [
    Begin(RunCreate(id="0" * 32, experiment="digits"), True, False, False, 1, "host"),
    Points([Point("loss", 0.5, 1, 2), Point("loss", math.inf, -1, 0)]),
    Params({"lr": "0.1"}),
    Tags({"ünïcode": "✓"}),
    LoggedFile("model/weights.bin", "ab" * 16, True, 3, 4),
    Dropped(7, 9),
    End("failed", "ValueError: x", 12),
]


def written(records: list[Record]) -> tuple[bytes, list[int]]:
    """A file of records, and the offsets at which they begin."""
    content, starts = MAGIC, list[int]()
    for number, record in enumerate(records, start=1):
        starts.append(len(content))
        content += frame(encode(record), number)
    return content, starts


def read(content: bytes, **where: int) -> tuple[list[FoundRecord], WalReader]:
    reader = WalReader(io.BytesIO(content), **where)
    return list(reader.records()), reader


def tags(count: int) -> list[Record]:
    return [Tags({"n": str(number)}) for number in range(count)]


def test_read__every_kind__is_what_was_written() -> None:
    found, reader = read(written(EVERY_KIND)[0])
    assert [one.record for one in found] == EVERY_KIND
    assert [one.number for one in found] == list(range(1, len(EVERY_KIND) + 1))
    assert (reader.torn_bytes, reader.skipped_bytes) == (0, 0)


def test_read__nan__keeps_its_bits() -> None:
    (bits,) = struct.unpack("<Q", struct.pack("<d", math.nan))
    odd = struct.unpack("<d", struct.pack("<Q", bits | 0x123))[0]
    (found,), _ = read(written([Points([Point("x", odd, 0, 0)])])[0])
    assert isinstance(found.record, Points)
    assert struct.pack("<d", found.record.points[0].value) == struct.pack("<d", odd)


def test_read__from_an_offset__goes_on_there() -> None:
    content, starts = written(tags(10))
    found, _ = read(content, offset=starts[4], number=4)
    assert [one.number for one in found] == [5, 6, 7, 8, 9, 10]
    assert found[0].lost == 0


def test_read__to_a_limit__ends_there_without_a_torn_record() -> None:
    content, starts = written(tags(10))
    found, reader = read(content, limit=starts[4])
    assert len(found) == 4
    assert reader.torn_bytes == 0


def test_read__empty_and_cut_in_the_magic__finds_nothing() -> None:
    for size in range(len(MAGIC)):
        found, reader = read(MAGIC[:size])
        assert not found
        assert reader.torn_bytes == size


@given(count=st.integers(1, 6), data=st.data())
def test_read__cut_anywhere__keeps_every_whole_record(count: int, data: st.DataObject) -> None:
    content, starts = written(tags(count))
    cut = data.draw(st.integers(len(MAGIC), len(content)))
    found, reader = read(content[:cut])
    ends = [*starts[1:], len(content)]
    whole = sum(end <= cut for end in ends)
    assert len(found) == whole
    assert reader.torn_bytes == cut - ([len(MAGIC), *ends][whole])


@given(count=st.integers(2, 8), flip=st.integers(1, 255), data=st.data())
def test_read__a_byte_flipped_anywhere__costs_only_its_record(
    count: int, flip: int, data: st.DataObject
) -> None:
    content, starts = written(tags(count))
    at = data.draw(st.integers(len(MAGIC), len(content) - 1))
    damaged = content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
    hurt = max(index for index, start in enumerate(starts) if start <= at)
    found, reader = read(damaged)
    expected = [record for index, record in enumerate(tags(count)) if index != hurt]
    assert [one.record for one in found] == expected
    lost = sum(one.lost for one in found)
    if hurt == count - 1:
        # Nothing stands behind it that could tell a damaged record from a torn one.
        assert (lost, reader.torn_bytes) == (0, len(content) - starts[hurt])
    else:
        assert (lost, reader.torn_bytes) == (1, 0)
        assert reader.skipped_bytes == [*starts, len(content)][hurt + 1] - starts[hurt]


def test_read__a_size_that_was_damaged_to_a_huge_one__goes_on_behind_it() -> None:
    content, starts = written(tags(5))
    for size in (RECORD_BYTES_MAX, RECORD_BYTES_MAX + 1, 2**32 - 1):
        damaged = bytearray(content)
        struct.pack_into("<I", damaged, starts[1] + 8, size)
        found, _ = read(bytes(damaged))
        assert [one.number for one in found] == [1, 3, 4, 5]
        assert [one.lost for one in found] == [0, 1, 0, 0]


def test_read__a_payload_that_holds_markers__is_not_mistaken() -> None:
    bait = MARKER.decode("latin-1") * 50
    records: list[Record] = [Tags({"n": bait}), Tags({"n": "after"})]
    content, starts = written(records)
    damaged = bytearray(content)
    damaged[starts[0] + 30] ^= 1
    found, _ = read(bytes(damaged))
    assert [one.record for one in found] == [records[1]]


def test_read__records_over_several_windows__are_all_found() -> None:
    records: list[Record] = [Tags({"n": "x" * 700_000, "i": str(index)}) for index in range(6)]
    content, starts = written(records)
    found, _ = read(content)
    assert [one.record for one in found] == records
    damaged = bytearray(content)
    damaged[starts[3] + 100] ^= 1
    found, _ = read(bytes(damaged))
    assert [one.number for one in found] == [1, 2, 3, 5, 6]


def test_read__a_damaged_magic__still_finds_the_records() -> None:
    content, _ = written(tags(3))
    found, _ = read(b"\0" * len(MAGIC) + content[len(MAGIC) :])
    assert len(found) == 3


def test_read__a_later_format__is_refused() -> None:
    content, _ = written(tags(1))
    with pytest.raises(NotSupported, match="format 2"):
        read(MAGIC[:7] + b"\x02" + content[8:])
