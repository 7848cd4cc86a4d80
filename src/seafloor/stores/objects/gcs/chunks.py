"""A stream of any pieces, as chunks of one size."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol, cast

import google_crc32c

CHUNK_BYTES = 16 * 1024 * 1024
"""A multiple of 256 KiB, as the API asks for. Two are kept in memory of an upload."""

NEAR_CHUNK_BYTES = 8 * 1024 * 1024
"""To a service that is near these are sent faster; farther away each waits for its answer."""

PIECE_BYTES = 1024 * 1024
"""What small pieces are put together to: each piece costs some time to send."""

_KEPT_BYTES_MIN = 256 * 1024
"""What is passed on as it came; to put less together takes no longer than to send it by itself."""


class _Crc32c(Protocol):
    def extend(self, crc: int, chunk: bytes) -> int: ...


crc32c = cast("_Crc32c", google_crc32c)  # it has no types


@dataclass(frozen=True)
class Chunk:
    """A part of an object.

    Args:
        pieces: Its bytes in order, none empty; nobody writes to them.
        start: Of its first byte in the object.
        end: Of what comes after its last byte.
        is_last: Whether the object ends with it.
    """

    pieces: tuple[memoryview, ...]
    start: int
    end: int
    is_last: bool

    def rest(self, at: int) -> tuple[memoryview, ...]:
        """Give what of it lies in the object at a byte and after."""
        skipped = at - self.start
        found: list[memoryview] = []
        for piece in self.pieces:
            if skipped < len(piece):
                found.append(piece[skipped:])
            skipped = max(0, skipped - len(piece))
        return tuple(found)


class ChunkSource:
    """Cuts what is put into chunks of CHUNK_BYTES; only the last is shorter.

    Large pieces are not copied.

    Args:
        data: What is put. It is asked for one piece more than a chunk needs: only so it is known
            which chunk is the last.

    Attributes:
        crc32c: Of all that was given of it.
        chunk_bytes: What the chunks are to have that are made from now on.
    """

    def __init__(self, data: bytes | AsyncIterable[bytes]) -> None:
        self.crc32c = 0
        self.chunk_bytes = CHUNK_BYTES
        self._pieces = aiter(_cut(data) if isinstance(data, bytes) else data)
        self._rest = memoryview(b"")
        self._start = 0
        self._first: Chunk | None = None

    async def is_one_chunk(self) -> bool:
        """Whether the first chunk, which ``next`` gives, is the last; asked before it is given.

        Raises:
            Exception: what the stream raises.
        """
        self._first = await self._made()
        return self._first.is_last

    async def next(self) -> Chunk:
        """Give the next chunk, the first even when it is empty; not to be called after the last.

        It is kept by its caller only.

        Raises:
            Exception: what the stream raises.
        """
        first, self._first = self._first, None
        return first or await self._made()

    async def _made(self) -> Chunk:
        found: list[memoryview] = []
        small = BytesIO()
        room = chunk_bytes = self.chunk_bytes
        while room and await self._has_rest():
            piece = self._rest[:room]
            self._rest = self._rest[len(piece) :]
            room -= len(piece)
            is_small = len(piece) < _KEPT_BYTES_MIN
            if is_small:
                small.write(piece)
            if small.tell() and (not is_small or small.tell() >= PIECE_BYTES):
                found.append(memoryview(small.getvalue()))
                small = BytesIO()
            if not is_small:
                found.append(piece)
        if small.tell():
            found.append(memoryview(small.getvalue()))
        start, self._start = self._start, self._start + chunk_bytes - room
        is_last = room > 0 or not await self._has_rest()
        return Chunk(tuple(found), start, self._start, is_last=is_last)

    async def _has_rest(self) -> bool:
        """Whether a byte follows; the stream is asked when none is here."""
        while not self._rest:
            piece = await anext(self._pieces, None)
            if piece is None:
                return False
            self.crc32c = crc32c.extend(self.crc32c, piece)
            self._rest = memoryview(piece)
        return True


async def _cut(data: bytes) -> AsyncIterator[bytes]:
    if len(data) <= CHUNK_BYTES:
        yield data
        return
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
