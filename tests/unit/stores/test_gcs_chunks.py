"""How a stream is cut into the chunks of an upload."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Iterable

import google_crc32c
import pytest

from seafloor.stores.objects.gcs.chunks import CHUNK_BYTES, PIECE_BYTES, Chunk, ChunkSource

CONTENT = random.Random(12).randbytes(2 * CHUNK_BYTES + 5)


async def _stream(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _all(source: ChunkSource) -> list[Chunk]:
    found = [await source.next()]
    while not found[-1].is_last:
        found.append(await source.next())
    return found


def _cut(data: bytes, *sizes: int) -> list[bytes]:
    """Pieces of these sizes, again and again."""
    ends = itertools.accumulate(itertools.cycle(sizes))
    starts = itertools.takewhile(lambda at: at < len(data), itertools.chain([0], ends))
    return [data[at : at + sizes[number % len(sizes)]] for number, at in enumerate(starts)]


@pytest.mark.parametrize(
    "sizes",
    [(65_536,), (PIECE_BYTES,), (3 * PIECE_BYTES + 1,), (10, 2 * PIECE_BYTES), (len(CONTENT),)],
    ids=str,
)
@pytest.mark.parametrize("end", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(CONTENT)])
async def test_chunks__any_pieces__are_of_one_size_and_whole(
    sizes: tuple[int, ...], end: int
) -> None:
    source = ChunkSource(_stream([b"", *_cut(CONTENT[:end], *sizes), b""]))
    chunks = await _all(source)
    assert b"".join(piece for each in chunks for piece in each.pieces) == CONTENT[:end]
    assert [each.start for each in chunks] == [*range(0, max(end, 1), CHUNK_BYTES)]
    assert [each.end for each in chunks[:-1]] == [each.start for each in chunks[1:]]
    assert chunks[-1].end == end
    assert all(len(piece) for each in chunks for piece in each.pieces)
    assert max(len(each.pieces) for each in chunks) <= 2 * CHUNK_BYTES // PIECE_BYTES
    assert source.crc32c == google_crc32c.value(CONTENT[:end])


async def test_chunks__large_pieces__are_not_copied() -> None:
    pieces = _cut(CONTENT, PIECE_BYTES)
    chunks = await _all(ChunkSource(_stream(pieces)))
    kept = [piece.obj for each in chunks for piece in each.pieces]
    assert all(one is other for one, other in zip(kept[:-1], pieces[:-1], strict=True))


async def test_rest__at_any_byte__is_what_follows() -> None:
    chunk = (await _all(ChunkSource(_stream(_cut(CONTENT, 300_000)))))[1]
    expected = CONTENT[chunk.start : chunk.end]
    for at in (0, 1, 300_000, 300_001, PIECE_BYTES, CHUNK_BYTES - 1, CHUNK_BYTES):
        assert b"".join(chunk.rest(chunk.start + at)) == expected[at:]
        assert all(len(piece) for piece in chunk.rest(chunk.start + at))


async def test_chunks__asked_whether_it_is_one__lose_nothing() -> None:
    source = ChunkSource(CONTENT)
    assert not await source.is_one_chunk()
    assert b"".join(b"".join(each.pieces) for each in await _all(source)) == CONTENT
    assert await ChunkSource(b"").is_one_chunk()
