"""Streams of bytes, as they go into a store."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator


def is_replayable(stream: AsyncIterable[bytes]) -> bool:
    """Say whether a stream can be begun again.

    An iterator, and so an async generator, is used up by its first reader. Any other iterable
    gives a new iterator each time it is asked, from the first byte on.
    """
    return not isinstance(stream, AsyncIterator)
