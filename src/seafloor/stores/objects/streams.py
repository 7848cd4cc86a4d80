"""Streams of bytes, as they go into a store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable


def is_replayable(stream: AsyncIterable[bytes]) -> bool:
    """Say whether a stream can be begun again.

    An iterator, and so an async generator, is used up by its first reader. Any other iterable
    gives a new iterator each time it is asked, from the first byte on.
    """
    return not isinstance(stream, AsyncIterator)


async def pieces_of(data: AsyncIterable[bytes], size_bytes: int) -> AsyncGenerator[bytes]:
    """Gather a stream to pieces of at least that size, but the last; never an empty one."""
    waiting: list[bytes] = []
    waiting_bytes = 0
    async for chunk in data:
        waiting.append(chunk)
        waiting_bytes += len(chunk)
        if waiting_bytes >= size_bytes:
            piece = waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, waiting_bytes = [], 0
            yield piece
    if waiting_bytes:
        yield b"".join(waiting)


def tapped(stream: AsyncIterable[bytes], tap: Callable[[bytes], None]) -> AsyncIterable[bytes]:
    """Pass a stream on and show each chunk to a function before; what that raises ends the stream.

    Returns:
        A stream that can be begun again exactly if the one given can.
    """
    found = _Tapped(stream, tap)
    return found if is_replayable(stream) else aiter(found)


class _Tapped:
    def __init__(self, stream: AsyncIterable[bytes], tap: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._tap = tap

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._tap(chunk)
            yield chunk
