"""The sealer: moves what is old of shared logs and event files from the database to objects.

Every server has one; a lease says which of them works. Sealing is safe without it, so the lease is
no condition of any write: it only keeps servers from doing the same twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from seafloor.app.leases import LeaseHolder
from seafloor.domain.errors import SeafloorError

_log = structlog.get_logger(__name__)

LEASE = "sealer/streams"


class Sealable(Protocol):
    """A store that has something to seal now and then."""

    async def seal_due(self) -> int:
        """Seal what is due; return how many bytes went out of the database."""
        ...


class Sealer:
    """Seals while it holds its lease.

    Args:
        holder: Of the lease ``LEASE``.
        interval_s: Between two passes.
    """

    def __init__(
        self, stores: Sequence[Sealable], holder: LeaseHolder, *, interval_s: float = 1.0
    ) -> None:
        self._stores = stores
        self._holder = holder
        self._interval_s = interval_s
        self.problem: str | None = None

    async def run(self) -> None:
        """Seal until cancelled. What a cancelled pass left is due the next time."""
        async with self._holder.holding():
            while True:
                if self._holder.held is not None:
                    await self._guarded_pass()
                await asyncio.sleep(self._interval_s)

    async def _guarded_pass(self) -> None:
        try:
            for store in self._stores:
                await store.seal_due()
        except SeafloorError as error:
            self.problem = error.message
            _log.warning("sealing failed and will be repeated", error=error.code, exc_info=True)
        except Exception:  # noqa: BLE001  # edge: background task
            self.problem = "The sealer met an error of its own; the log says more."
            _log.exception("sealing failed and will be repeated")
        else:
            self.problem = None
