"""Streams on their way to a bucket: gathered to pieces, and handed to a client that pulls them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

PART_BYTES = 8 * 1024 * 1024
"""A larger object is sent in parts of so many bytes; a smaller one in one request."""

PARTS_AT_ONCE = 4

_Result = TypeVar("_Result")


class Stopped(Exception):
    """Ends a feed whose source will give no more; whoever pulls gives up what it began."""


class _Feed:
    """What a client pulls, piece by piece, while the source is read in its owner's own task."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | Exception] = asyncio.Queue(maxsize=2)

    def offer(self, piece: bytes | Exception) -> bool:
        """Hand a piece over if there is room."""
        if self._pieces.full():
            return False
        self._pieces.put_nowait(piece)
        return True

    async def send(self, piece: bytes | Exception) -> None:
        await self._pieces.put(piece)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece


async def fed(
    source: AsyncIterable[bytes], pull: Callable[[AsyncIterator[bytes]], Awaitable[_Result]]
) -> _Result:
    """Read a source while a client pulls it, and have the client clean up when the source fails.

    The client runs in a task of its own, which is never cancelled: when the source raises, or
    the caller is cancelled, its stream ends with ``Stopped`` and its end is waited for.

    Args:
        source: Read in the caller's task, as any other stream of the caller's.
        pull: Sends the stream.

    Returns:
        What ``pull`` returns.
    """
    feed = _Feed()
    pulling = asyncio.ensure_future(pull(feed))
    try:
        async for piece in source:
            await _sent(feed, piece, pulling)
            if pulling.done():
                break
        await _sent(feed, StopAsyncIteration(), pulling)
        return await asyncio.shield(pulling)
    finally:
        await _stop(feed, pulling)


async def _sent(feed: _Feed, piece: bytes | Exception, pulling: asyncio.Future[_Result]) -> None:
    """Hand a piece over, unless the client has ended."""
    if feed.offer(piece):
        return
    sending = asyncio.ensure_future(feed.send(piece))
    try:
        await asyncio.wait({sending, pulling}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()


async def _stop(feed: _Feed, pulling: asyncio.Future[_Result]) -> None:
    """End the client's stream with an error and wait until it has cleaned up."""
    while not pulling.done():
        with suppress(asyncio.CancelledError):
            await _sent(feed, Stopped(), pulling)
            await asyncio.wait({pulling})
    if not pulling.cancelled():
        pulling.exception()  # looked at, so that nobody is warned of it
