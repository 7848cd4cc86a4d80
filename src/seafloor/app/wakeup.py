"""A bell: whoever creates work rings it, whoever does work waits for it."""

from __future__ import annotations

import asyncio


class Wakeup:
    """Wakes one waiter; rings while nobody waits are remembered as one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or when it next waits."""
        self._event.set()

    async def wait(self, *, timeout_s: float) -> None:
        """Wait for a ring, or until the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return
        finally:
            self._event.clear()
