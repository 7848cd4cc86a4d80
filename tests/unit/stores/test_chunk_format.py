"""Chunks of byte streams: what was written once can be read for ever."""

from __future__ import annotations

import base64

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import StoreCorrupt
from seafloor.stores.streams.chunk_format import (
    FRAME_BYTES,
    MAGIC,
    Piece,
    decode_frame,
    decode_index,
    encode_chunk,
)

# Written by the first release; never changed.
VERSION_1 = base64.b64decode(
    "UCpNGAgAAABTRkNISwAAASi1L/2k8pMEAIwAADhoZWxsbyB4AgDq/7hchCtFAgAQeJOfBHhPD1ioKLUv/SQDGQAAZW5k"
    "YgnnXlAqTRhSAAAABQAAAAAAAAAQAAAAAAAAACkAAADykwQAAgBtMPeTBAAAAAAAOQAAAAAAAAAQAAAAAwAAAAAABQAA"
    "AAAAAAD6kwQAAAAAAAIAAABYynKcWgAAAA=="
)
INDEX_BYTES = 90
PIECES = [
    Piece(5, b"m0", b"hello " * 3),
    Piece(23, b"m1", b"x" * 300_000),
    Piece(300_023, b"", b"end"),
]


def read(content: bytes, index_bytes: int) -> dict[int, bytes]:
    """The bytes of each frame by their start."""
    index = decode_index(content[-index_bytes:], key="k")
    return {
        frame.start: decode_frame(
            content[frame.object_start :][: frame.object_bytes], frame, key="k"
        )
        for frame in index.frames
    }


def test_decode__a_chunk_of_version_1__is_what_was_put() -> None:
    assert VERSION_1[8:16] == MAGIC
    found = read(VERSION_1, INDEX_BYTES)
    assert found == {5: PIECES[0].data + PIECES[1].data, 300_023: b"end"}
    index = decode_index(VERSION_1[-INDEX_BYTES:], key="k")
    assert [frame.mark for frame in index.frames] == [b"m0", b""]
    assert int.from_bytes(VERSION_1[-4:], "little") == INDEX_BYTES


def test_encode__any_zstd_tool__reads_the_stream() -> None:
    content = encode_chunk(PIECES).content
    reader = zstandard.ZstdDecompressor().stream_reader(content, read_across_frames=True)
    assert reader.read() == b"".join(piece.data for piece in PIECES)


@given(st.lists(st.integers(1, FRAME_BYTES), min_size=1, max_size=6), st.integers(0, 1 << 40))
def test_encode__any_pieces__come_back_by_place(sizes: list[int], start: int) -> None:
    pieces: list[Piece] = []
    at = start
    for number, size_bytes in enumerate(sizes):
        pieces.append(Piece(at, b"%d" % number, bytes([number]) * size_bytes))
        at += size_bytes
    made = encode_chunk(pieces)
    found = read(made.content, made.index_bytes)
    assert b"".join(found.values()) == b"".join(piece.data for piece in pieces)
    index = decode_index(made.content[-made.index_bytes :], key="k")
    assert set(found) <= {piece.start for piece in pieces}
    for offset in (start, at - 1, (start + at) // 2):
        (frame,) = index.covering(offset, offset + 1)
        assert frame.start <= offset < frame.start + frame.size_bytes
    assert index.last(int, 1 << 60) == index.frames[-1].mark
    assert index.last(int, 0) == b"0"


@pytest.mark.parametrize("at", range(-INDEX_BYTES + 8, -4))
def test_decode__a_bit_of_the_index_is_wrong__is_told(at: int) -> None:
    damaged = bytearray(VERSION_1)
    damaged[at] ^= 1
    with pytest.raises(StoreCorrupt, match="damaged"):
        decode_index(bytes(damaged[-INDEX_BYTES:]), key="k")


@pytest.mark.parametrize("size_bytes", [0, 5, 27, INDEX_BYTES - 1])
def test_decode__an_index_that_is_cut_off__is_told(size_bytes: int) -> None:
    with pytest.raises(StoreCorrupt, match="damaged"):
        decode_index(VERSION_1[-INDEX_BYTES:][:size_bytes], key="k")
