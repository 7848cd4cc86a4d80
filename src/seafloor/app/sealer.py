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
        self._said: dict[Sealable, tuple[str, str]] = {}  # code and message, of the last pass

    @property
    def problem(self) -> str | None:
        """What was wrong the last time with the first store that failed; None: all is well."""
        return next((message for _, message in self._said.values()), None)

    async def run(self) -> None:
        """Seal until cancelled. What a cancelled pass left is due the next time."""
        holding = nullcontext() if self._holder is None else self._holder.holding()
        async with holding:
            while True:
                if self._holder is None or self._holder.held is not None:
                    for store in self._stores:  # the others are not to wait for one that fails
                        await self._seal(store)
                else:
                    self._said.clear()  # the server that seals now tells what is wrong
                await asyncio.sleep(self._interval_s)

    async def _seal(self, store: Sealable) -> None:
        """Let a store seal; note what was wrong."""
        try:
            await store.seal_due()
        except SeafloorError as error:
            if self._note(store, error.code, error.message):
                _log.warning("sealing failed and will be repeated", error=error.code, exc_info=True)
        except Exception as error:  # noqa: BLE001  # edge: background task
            message = "The sealer met an error of its own; the log says more."
            if self._note(store, f"{type(error).__name__} {error}", message):
                _log.exception("sealing failed and will be repeated")
        else:
            self._said.pop(store, None)

    def _note(self, store: Sealable, code: str, message: str) -> bool:
        """Note what was wrong; say whether it is news: with a pass a second, what lasts is not."""
        said = code, message
        is_news = self._said.get(store) != said
        self._said[store] = said
        return is_news
