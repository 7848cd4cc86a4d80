"""Many things done side by side, and finished in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def in_order(
    items: AsyncIterable[_Item],
    do: Callable[[_Item], Awaitable[_Result]],
    *,
    at_once: int,
    ahead: int,
) -> AsyncGenerator[tuple[_Item, _Result]]:
    """Do something with every item; yield them in their order, each when all before it are done.

    Close it (``contextlib.aclosing``): what is under way then is cancelled.

    Args:
        at_once: How many are done side by side.
        ahead: How many may be done, or under way, behind one that takes long.
    """
    gate = asyncio.Semaphore(at_once)
    begun: deque[tuple[_Item, asyncio.Task[_Result]]] = deque()

    async def guarded(item: _Item) -> _Result:
        async with gate:
            return await do(item)

    try:
        async for item in items:
            begun.append((item, asyncio.create_task(guarded(item))))
            while len(begun) >= ahead or (begun and begun[0][1].done()):
                first, task = begun.popleft()
                yield first, await task
        while begun:
            first, task = begun.popleft()
            yield first, await task
    finally:
        for _, task in begun:
            task.cancel()
        await asyncio.gather(*(task for _, task in begun), return_exceptions=True)
