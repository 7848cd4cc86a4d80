"""Answers that come in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TypeVar, cast

from seafloor.http.requests import AnyRequest

_T = TypeVar("_T")


async def begun(items: AsyncIterator[_T]) -> AsyncIterator[_T]:
    """The same items, of which the first has come: an answer that has begun can only be cut.

    Raises:
        SeafloorError: as asking for the first does.
    """
    first: list[_T] = []
    with suppress(StopAsyncIteration):
        first.append(await anext(items))

    async def every() -> AsyncIterator[_T]:
        try:
            if first:
                yield first.pop()
            async for one in items:
                yield one
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()

    return every()


async def until_stopping(request: AnyRequest, items: AsyncIterator[_T]) -> AsyncIterator[_T]:
    """Pass on what comes, until there is no more or the server is told to stop."""
    told = asyncio.ensure_future(cast(asyncio.Event, request.state["stopping"]).wait())
    coming: asyncio.Future[_T] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(items))
            await asyncio.wait((coming, told), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                return
            yield coming.result()
    except StopAsyncIteration:
        return
    finally:
        told.cancel()
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait((coming,))
        if isinstance(items, AsyncGenerator):
            await items.aclose()
