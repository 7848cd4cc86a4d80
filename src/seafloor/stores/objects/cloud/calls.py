"""Calls of the native client, none of which outlives the interpreter.

The client works in threads of its own, which wake an event loop when a call ends. Such a thread
may be put to sleep by the system in the middle of that; if the interpreter is torn down
meanwhile, the thread wants what is no more and the whole process is aborted. So a store's end
waits for its calls, and the process's end for the threads.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
import time
from collections.abc import Awaitable
from types import FrameType
from typing import Any, Protocol, TypeVar

ENDING_TIMEOUT_S = 5.0
"""How long calls that nobody waits for any more may take at the end of a store."""

THREADS_TIMEOUT_S = 1.0
_LOOK_EVERY_S = 0.001
_WAKES = asyncio.BaseEventLoop.call_soon_threadsafe.__code__

_Result = TypeVar("_Result")
_Item = TypeVar("_Item", covariant=True)


class Stream(Protocol[_Item]):
    """What obstore gives to be read in pieces."""

    def __anext__(self) -> Awaitable[_Item]:
        """Begin to read the next piece."""
        ...


class Calls:
    """The calls of one store that are under way.

    Used from one event loop at a time. A call whose caller is cancelled goes on by itself to its
    end: the client does not tell when a call that was given up is over.
    """

    def __init__(self) -> None:
        self._under_way: set[asyncio.Future[Any]] = set()

    async def run(self, call: Awaitable[_Result]) -> _Result:
        """Wait for a call and give what it gives."""
        future = asyncio.ensure_future(call)
        self._under_way.add(future)
        future.add_done_callback(self._ended)
        return await asyncio.shield(future)

    async def next(self, stream: Stream[_Item]) -> _Item | None:
        """Give the next piece of a stream, None after the last."""
        try:
            # ``anext`` with a default fails on obstore's.
            return await self.run(stream.__anext__())
        except StopAsyncIteration:
            return None

    async def close(self) -> None:
        """Wait for all that is under way; after ENDING_TIMEOUT_S give it up."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way, timeout=ENDING_TIMEOUT_S)
        for future in late:
            future.cancel()

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._under_way.discard(future)
        if not future.cancelled():
            future.exception()  # looked at, so that nobody is warned of it


@atexit.register
def wait_for_threads() -> None:
    """Wait until no thread but Python's own stands in the waking of an event loop.

    Its call is over for the loop then, so nothing new begins; what is waited for are moments.
    """
    deadline_s = time.monotonic() + THREADS_TIMEOUT_S
    while _some_wakes() and time.monotonic() < deadline_s:
        time.sleep(_LOOK_EVERY_S)


def _some_wakes() -> bool:
    here = threading.get_ident()
    return any(
        _outermost(frame).f_code is _WAKES
        # Public by its documentation, whatever its name.
        for thread, frame in sys._current_frames().items()  # pyright: ignore[reportPrivateUsage]
        if thread != here
    )


def _outermost(frame: FrameType) -> FrameType:
    while frame.f_back is not None:
        frame = frame.f_back
    return frame
