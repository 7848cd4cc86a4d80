"""Holding a lease: taken, renewed, and known to be lost.

Whoever does work that one server alone may do holds a lease while he does it. Two things keep him
safe, whatever happens to his process: before he acts on the world he asks ``check``, which looks at
a clock of his own and never at the store; and what he writes carries ``lease.proof``, which the
store compares in the transaction of the write. A process that was paused past the end of its lease
passes neither.

    holder = LeaseHolder(metadata, "sealer/logs")
    async with holder.holding():
        while True:
            lease = holder.held          # None: another has it, or the store does not answer
            if lease is not None:
                await seal(fence=lease.proof)
            ...
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from seafloor.domain.errors import SeafloorError, StaleLease
from seafloor.domain.leases import Lease
from seafloor.stores.metadata.protocol import LeaseRecords

_log = structlog.get_logger(__name__)
_RETRY_S = 1.0


@dataclass(frozen=True)
class LeaseTerms:
    """How a lease is held.

    Args:
        ttl_s: How long it lasts when it is not renewed.
        renew_s: How often it is renewed.
        margin_s: Before its end it counts as ended already: what is begun must come to its end.
        supersede: Take it even from a holder that lives: for who knows that it does not. The first
            time only: what takes it after that lives.
    """

    ttl_s: float = 10.0
    renew_s: float = 3.0
    margin_s: float = 2.0
    supersede: bool = False


def boot_time_s() -> float:
    """A clock that never jumps and goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def new_holder() -> str:
    """Name this process as no other, earlier or later, is named."""
    return f"{socket.gethostname()[:100]}/{os.getpid()}/{secrets.token_hex(6)}"


class LeaseHolder:
    """Holds one lease for as long as it can.

    Args:
        name: Of the lease, ``<kind>/<what>``.
        terms: How it is held.
        on_change: Called when it was taken or lost; in the event loop.
        now_s: The clock that ends it here.
    """

    def __init__(
        self,
        leases: LeaseRecords,
        name: str,
        terms: LeaseTerms | None = None,
        *,
        on_change: Callable[[], None] = lambda: None,
        now_s: Callable[[], float] = boot_time_s,
    ) -> None:
        self.name = name
        self._leases = leases
        self._terms = terms or LeaseTerms()
        self._supersedes = self._terms.supersede
        self._on_change = on_change
        self._now_s = now_s
        self._holder = new_holder()
        self._lease: Lease | None = None
        self._until_s = 0.0
        self.problem: str | None = None
        self.is_elsewhere = False
        """Whether another had it when the store was last asked."""

    @property
    def newest(self) -> Lease | None:
        """The lease unless it is known that another has it; it may have ended meanwhile."""
        return self._lease

    @property
    def held(self) -> Lease | None:
        """The lease while nobody else can have it, with the margin; None otherwise."""
        left_s = self._until_s - self._now_s()
        return self._lease if left_s > self._terms.margin_s else None

    def check(self, fence: int) -> None:
        """Refuse to go on with what was begun under a fence, unless it is certainly still ours.

        Raises:
            StaleLease: it is not.
        """
        held = self.held
        if held is None or held.fence != fence:
            raise StaleLease(f'The lease "{self.name}" ended before it could be renewed.')

    @asynccontextmanager
    async def holding(self) -> AsyncGenerator[LeaseHolder]:
        """Take the lease as soon as it is to be had, renew it, and give it back on leaving."""
        task = asyncio.create_task(self._hold(), name=f"lease {self.name}")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._release()

    async def turn(self) -> float:
        """Take or renew once; return after how many seconds to do it again."""
        before, begun_s = self._lease, self._now_s()
        try:
            found = await self._ask(before)
        except StaleLease as error:
            _log.warning("a lease was lost", lease=self.name, message=error.message)
            self._lease = None
            self._on_change()
            return 0.0
        except SeafloorError as error:
            self.problem, self.is_elsewhere = error.message, False
            _log.warning("a lease was not renewed", lease=self.name, error=error.code)
            return _RETRY_S
        self.is_elsewhere = found.holder != self._holder
        if self.is_elsewhere:
            self.problem = f'The lease "{self.name}" is held by {found.holder}.'
            return min(_RETRY_S, max(0.05, found.left_ns / 1e9))
        self._lease, self.problem, self._supersedes = found, None, False
        # From before the question: the store may have answered at once and the answer been late.
        self._until_s = begun_s + self._terms.ttl_s
        if before is None:
            self._on_change()
        return self._terms.renew_s

    async def _ask(self, before: Lease | None) -> Lease:
        ttl_ns = int(self._terms.ttl_s * 1e9)
        if before is not None:
            return await self._leases.lease_renew(before, ttl_ns=ttl_ns)
        return await self._leases.lease_take(
            self.name, holder=self._holder, ttl_ns=ttl_ns, supersede=self._supersedes
        )

    async def _hold(self) -> None:
        while True:
            try:
                wait_s = await self.turn()
            except Exception:  # noqa: BLE001  # edge: background task
                self.problem = "Renewing a lease met an error of its own; the log says more."
                self.is_elsewhere = False
                _log.exception("a lease was not renewed", lease=self.name)
                wait_s = _RETRY_S
            await asyncio.sleep(wait_s)

    async def _release(self) -> None:
        if self._lease is None:
            return
        try:
            await self._leases.lease_release(self._lease)
        except SeafloorError as error:  # then it ends by itself
            _log.warning("a lease was not given back", lease=self.name, error=error.code)
        self._lease, self._until_s = None, 0.0
