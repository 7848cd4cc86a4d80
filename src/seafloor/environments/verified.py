"""Bytes of an archive on their way, checked against the sha256 that it is named by."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from seafloor.domain.errors import NotFound, StoreCorrupt, StoreUnavailable

Read = Callable[[], AsyncIterator[bytes]]
"""Begins to read it."""


async def verified(
    read: Read, *, sha256: str, damaged: Callable[[], Awaitable[None]]
) -> AsyncGenerator[bytes]:
    """Give what is read; the last of it only when all of it is what its name says.

    What differs is read once more, by itself: a bad transfer is not taken for damage. Whoever
    was given the bytes is told to begin again by the answer's breaking off.

    Args:
        damaged: Told before that when what is stored is bad.

    Raises:
        StoreCorrupt: what is stored is bad, or gone.
        StoreUnavailable: it is good, and came through bad.

    Cost: memory of two chunks; the sum is made in a thread.
    """
    digest = hashlib.sha256()
    held = None
    try:
        async for chunk in read():
            await asyncio.to_thread(digest.update, chunk)
            if held is not None:
                yield held
            held = chunk
        whole = digest.hexdigest() == sha256
    except (NotFound, StoreCorrupt):
        whole = False
    if whole:
        if held is not None:
            yield held
        return
    if await _is_whole(read, sha256):
        raise StoreUnavailable("A stored archive came through damaged, and is whole: once more.")
    await damaged()
    raise StoreCorrupt(f"The stored archive {sha256[:12]} is damaged, and was withdrawn.")


async def _is_whole(read: Read, sha256: str) -> bool:
    digest = hashlib.sha256()
    try:
        async for chunk in read():
            await asyncio.to_thread(digest.update, chunk)
    except (NotFound, StoreCorrupt):
        return False
    return digest.hexdigest() == sha256
