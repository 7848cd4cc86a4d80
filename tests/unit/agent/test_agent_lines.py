"""Lines from bytes that come in pieces of any size."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from seafloor.agent.lines import LineSplitter
from seafloor.agent.records import CONTINUED, CR, CRLF, LF, NOTHING, PAYLOAD_BYTES_MAX, Piece

ENDS = (b"", b"\n", b"\r", b"\r\n")


def split(*chunks: bytes) -> list[Piece]:
    """What a splitter makes of a stream that was read in some chunks."""
    splitter = LineSplitter()
    pieces = list(itertools.chain.from_iterable(splitter.feed(chunk) for chunk in chunks))
    return pieces + splitter.finish()


def joined(pieces: list[Piece]) -> bytes:
    """The bytes that were printed."""
    return b"".join(payload + ENDS[end] for payload, end, _ in pieces)


def lines(pieces: list[Piece]) -> list[tuple[bytes, int]]:
    """Whole lines, their pieces put together."""
    made: list[tuple[bytes, int]] = []
    held = b""
    for payload, end, flags in pieces:
        held += payload
        if not flags & CONTINUED:
            made.append((held, end))
            held = b""
    assert held == b""
    return made


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    """Data, cut at some places."""
    at = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(at) if a < b]


@given(
    st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"\x00", b"\xff"]), max_size=40),
    st.lists(st.integers(0, 100), max_size=20),
)
def test_feed__any_chunks__same_lines_as_in_one_and_every_byte(
    parts: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(parts)
    pieces = split(*chunked(data, cuts))
    assert joined(pieces) == data
    assert pieces == split(data)
    assert [payload for payload, _, _ in pieces] == data.splitlines()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 65535, 65536, 65537, 131072, 200000]),
            st.sampled_from([LF, CR, CRLF]),
        ),
        max_size=5,
    ),
    st.integers(0, 140_000),
    st.integers(1, 70_000),
)
def test_feed__long_lines__cut_in_full_pieces_all_but_the_last(
    wanted: list[tuple[int, int]], rest_bytes: int, chunk_bytes: int
) -> None:
    data = b"".join(b"x" * size + ENDS[end] for size, end in wanted) + b"y" * rest_bytes
    pieces = split(*(data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)))
    assert joined(pieces) == data
    for payload, end, flags in pieces:
        if flags & CONTINUED:
            assert (len(payload), end) == (PAYLOAD_BYTES_MAX, NOTHING)
        assert len(payload) <= PAYLOAD_BYTES_MAX
    seen = [(payload, end) for payload, end in lines(pieces)]
    expected = [(b"x" * size, end) for size, end in wanted]
    # A "\r" before a line that is empty and ends in "\n" is one terminator, not two.
    if not any(a[1] == CR and b[0] == 0 for a, b in itertools.pairwise(wanted)):
        assert seen == expected + ([(b"y" * rest_bytes, NOTHING)] if rest_bytes else [])


def test_feed__return_at_the_end__held_until_released() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"10%\r") == []
    assert splitter.holds_return
    assert splitter.release() == [(b"10%", CR, 0)]
    assert not splitter.holds_return
    assert splitter.release() == []


def test_feed__newline_after_a_released_return__an_empty_line_and_every_byte() -> None:
    splitter = LineSplitter()
    pieces = splitter.feed(b"a\r") + splitter.release() + splitter.feed(b"\nb\n")
    assert pieces == [(b"a", CR, 0), (b"", LF, 0), (b"b", LF, 0)]
    assert joined(pieces) == b"a\r\nb\n"


def test_feed__text_without_end__not_released() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"prompt> ") == []
    assert splitter.release() == []
    assert splitter.finish() == [(b"prompt> ", NOTHING, 0)]


def test_feed__line_of_exactly_one_record__not_cut() -> None:
    line = b"x" * PAYLOAD_BYTES_MAX
    for chunks in ([line + b"\n"], [line, b"\n"], [line, b"\r", b"\n"]):
        pieces = split(*chunks)
        assert len(pieces) == 1
        assert pieces[0][2] == 0


def test_feed__endless_line__holds_one_piece_at_most() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        splitter.feed(b"x" * 65_536)
    assert len(splitter.finish()[0][0]) <= PAYLOAD_BYTES_MAX
