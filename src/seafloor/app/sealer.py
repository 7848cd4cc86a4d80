"""The sealer: moves what is old of metrics, shared logs and event files to its lasting form.

Every server has one; where there are several a lease says which of them works. Sealing is safe
without it, so the lease is no condition of any write: it only keeps servers from doing the same
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol

import structlog

from seafloor.app.leases import LeaseHolder
from seafloor.domain.errors import SeafloorError

_log = structlog.get_logger(__name__)

LEASE = "sealer/streams"


class Sealable(Protocol):
    """A store that has something to seal now and then."""

    async def seal_due(self) -> int:
        """Seal what is due; return how much there was."""
        ...


class Sealer:
    """Seals while it holds its lease.

    Args:
        holder: Of the lease ``LEASE``; None where no other server can be.
        interval_s: Between two passes.
    """

    def __init__(
        self, stores: Sequence[Sealable], holder: LeaseHolder | None, *, interval_s: float = 1.0
    ) -> None:
        self._stores = stores
        self._holder = holder
        self._interval_s = interval_s
        self.problem: str | None = None

    async def run(self) -> None:
        """Seal until cancelled. What a cancelled pass left is due the next time."""
        holding = nullcontext() if self._holder is None else self._holder.holding()
        async with holding:
            while True:
                if self._holder is None or self._holder.held is not None:
                    # The others are not to wait for a store that fails.
                    problems = [await self._problem_of(store) for store in self._stores]
                    self.problem = next((found for found in problems if found is not None), None)
                await asyncio.sleep(self._interval_s)

    async def _problem_of(self, store: Sealable) -> str | None:
        """Let a store seal; say what was wrong."""
        try:
            await store.seal_due()
        except SeafloorError as error:
            _log.warning("sealing failed and will be repeated", error=error.code, exc_info=True)
            return error.message
        except Exception:  # noqa: BLE001  # edge: background task
            _log.exception("sealing failed and will be repeated")
            return "The sealer met an error of its own; the log says more."
        return None
