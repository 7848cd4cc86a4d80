"""A stream of any pieces, as chunks of one size."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Protocol, cast

import google_crc32c

CHUNK_BYTES = 8 * 1024 * 1024
"""A multiple of 256 KiB, as the API asks for. Two are kept in memory of an upload."""

_FIRST_BYTES = 256 * 1024
"""What is kept of a small one."""


class _Crc32c(Protocol):
    def extend(self, crc: int, chunk: bytes) -> int: ...


crc32c = cast("_Crc32c", google_crc32c)  # it has no types


@dataclass(frozen=True)
class Chunk:
    """A part of an object.

    Args:
        data: Good until it is given back.
        start: Of its first byte in the object.
        is_last: Whether the object ends with it.
    """

    data: memoryview
    start: int
    is_last: bool

    @property
    def end(self) -> int:
        """Where it ends in the object."""
        return self.start + len(self.data)


class ChunkSource:
    """Cuts what is put into chunks of CHUNK_BYTES; only the last is shorter.

    Args:
        data: What is put; ``crc32c`` is of all that was given of it. It is asked for one piece
            more than a chunk needs: only so it is known which chunk is the last.
    """

    def __init__(self, data: bytes | AsyncIterable[bytes]) -> None:
        self.crc32c = 0
        self._whole = data if isinstance(data, bytes) else None
        self._pieces = aiter(_cut(data) if isinstance(data, bytes) else data)
        self._free: list[bytearray] = []
        self._rest = memoryview(b"")
        self._start = 0

    async def next(self) -> Chunk:
        """Give the next chunk, the first even when it is empty; not to be called after the last.

        Raises:
            Exception: what the stream raises.
        """
        if self._whole is not None and len(self._whole) <= CHUNK_BYTES:
            self.crc32c = crc32c.extend(0, self._whole)
            return Chunk(memoryview(self._whole), 0, is_last=True)
        if self._free:
            buffer = self._free.pop()
        else:
            buffer = bytearray(CHUNK_BYTES if self._start else _FIRST_BYTES)
        filled = 0
        while True:
            if not self._rest and (piece := await anext(self._pieces, None)) is not None:
                self.crc32c = crc32c.extend(self.crc32c, piece)
                self._rest = memoryview(piece)
                continue
            room = min(len(buffer) - filled, len(self._rest))
            if not room and self._rest and len(buffer) < CHUNK_BYTES:
                small, buffer = buffer, bytearray(CHUNK_BYTES)
                buffer[:filled] = small
                continue
            if not room:
                break
            buffer[filled : filled + room] = self._rest[:room]
            self._rest = self._rest[room:]
            filled += room
        view = memoryview(buffer)[:filled]
        found = Chunk(view, self._start, is_last=not self._rest)
        self._start = found.end
        return found

    def give_back(self, chunk: Chunk) -> None:
        """Let a chunk's memory be used again: nobody looks at it any more."""
        if isinstance(chunk.data.obj, bytearray):
            self._free.append(chunk.data.obj)


async def _cut(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]
