"""The file of a wandb run: whatever happens to it, what is whole is read and the rest is told."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import SourceError
from seafloor.sdk.imports.wandb.log_file import BLOCK_BYTES, Damage, read_records
from wandb_file import HEAD, log_file

RECORDS = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=200),
        st.integers(BLOCK_BYTES - 20, BLOCK_BYTES * 2 + 20).map(lambda size: b"x" * size),
    ),
    max_size=12,
)


def read(content: bytes) -> tuple[list[bytes], list[Damage]]:
    damages: list[Damage] = []
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        records = list(read_records(Path(file.name), damages.append))
    return records, damages


@given(RECORDS)
def test_read__of_a_whole_file__gives_every_record(records: list[bytes]) -> None:
    assert read(log_file(records)) == (records, [])


@given(RECORDS, st.data())
def test_read__of_a_file_that_is_cut__gives_what_is_whole(
    records: list[bytes], data: st.DataObject
) -> None:
    whole = log_file(records)
    size = data.draw(st.integers(len(HEAD), len(whole)))
    ends = [len(log_file(records[: number + 1])) for number in range(len(records))]
    found, damages = read(whole[:size])
    assert found == records[: sum(end <= size for end in ends)]
    # Bytes of a record that is not whole are told of; zeros that fill a block are none.
    began = [len(HEAD), *ends]
    rest = whole[max(at for at in began if at <= size) : size]
    assert bool(damages) is any(rest)
    assert all(damage.is_end for damage in damages)


@given(RECORDS.filter(bool), st.data())
def test_read__of_a_file_with_a_wrong_byte__gives_only_what_was_written(
    records: list[bytes], data: st.DataObject
) -> None:
    content = bytearray(log_file(records))
    at = data.draw(st.integers(len(HEAD), len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    found, damages = read(bytes(content))
    left = iter(records)
    assert all(any(one == record for record in left) for one in found)  # in order, none made up
    if len(found) < len(records):
        assert damages


def test_read__after_a_damaged_block__goes_on_with_the_next() -> None:
    records = [b"first" * 10, b"y" * (BLOCK_BYTES * 3), b"last"]
    content = bytearray(log_file(records))
    content[BLOCK_BYTES + 100] ^= 1
    found, damages = read(bytes(content))
    assert found == [records[0], records[2]]
    assert [(damage.offset, damage.is_end) for damage in damages] == [(BLOCK_BYTES, False)]


@pytest.mark.parametrize("content", [b"", b":W&B", b"PAR1 and more", HEAD[:6] + b"\x07"])
def test_read__of_another_file__says_what_it_is_not(content: bytes) -> None:
    with pytest.raises(SourceError):
        read(content)
