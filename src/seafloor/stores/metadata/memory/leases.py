"""Leases, and what an installation shares, in memory."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from seafloor.domain.errors import Conflict, NotFound, StaleLease
from seafloor.domain.leases import Claim, Fence, Lease
from seafloor.stores.metadata.memory.rows import Rows, WorkloadRows
from seafloor.stores.metadata.protocol import check_lease_terms


class MemoryLeases:
    """``LeaseRecords`` in memory."""

    _rows: Rows
    _now_ns: Callable[[], int]

    async def lease_take(
        self, name: str, *, holder: str, ttl_ns: int, supersede: bool = False
    ) -> Lease:
        """See ``LeaseRecords``."""
        check_lease_terms(holder, ttl_ns)
        now_ns = self._now_ns()
        found = self._rows.leases.get(name)
        if found is None:
            made = Lease(name, holder, 1, now_ns, now_ns + ttl_ns, ttl_ns)
        elif found.holder == holder:
            made = replace(found, expires_ns=now_ns + ttl_ns, left_ns=ttl_ns)
        elif found.expires_ns <= now_ns or supersede:
            made = Lease(name, holder, found.fence + 1, now_ns, now_ns + ttl_ns, ttl_ns)
        else:
            return replace(found, left_ns=found.expires_ns - now_ns)
        self._rows.leases[name] = made
        return made

    async def lease_renew(self, lease: Lease, *, ttl_ns: int) -> Lease:
        """See ``LeaseRecords``."""
        check_lease_terms(lease.holder, ttl_ns)
        check_fence(self._rows, lease.proof)
        made = replace(lease, expires_ns=self._now_ns() + ttl_ns, left_ns=ttl_ns)
        self._rows.leases[lease.name] = made
        return made

    async def lease_release(self, lease: Lease) -> None:
        """See ``LeaseRecords``."""
        found = self._rows.leases.get(lease.name)
        now_ns = self._now_ns()
        if found is not None and found.fence == lease.fence and found.expires_ns > now_ns:
            self._rows.leases[lease.name] = replace(found, expires_ns=now_ns)

    async def lease_break(self, name: str, *, ended_ns: int) -> Lease:
        """See ``LeaseRecords``."""
        found = self._rows.leases.get(name)
        if found is None:
            raise NotFound(f'There is no lease "{name}".')
        left_ns = found.expires_ns - self._now_ns()
        if left_ns > -ended_ns:
            raise Conflict(f'The lease "{name}" is still held, or was a moment ago.')
        made = replace(found, holder="", fence=found.fence + 1, left_ns=left_ns)
        self._rows.leases[name] = made
        return made

    async def lease_list(self, kind: str) -> tuple[Lease, ...]:
        """See ``LeaseRecords``."""
        now_ns = self._now_ns()
        return tuple(
            replace(found, left_ns=found.expires_ns - now_ns)
            for name, found in sorted(self._rows.leases.items())
            if name.startswith(f"{kind}/")
        )


class MemoryInstallation:
    """``InstallationRecords`` in memory."""

    _rows: Rows

    async def installation_value(self, name: str, *, first: bytes) -> bytes:
        """See ``InstallationRecords``."""
        return self._rows.installation.setdefault(name, first)


def check_fence(rows: Rows, fence: Fence) -> None:
    """Refuse a write whose lease has another holder by now."""
    found = rows.leases.get(fence.name)
    if found is None or found.fence != fence.number:
        raise StaleLease(f'Another server has taken the lease "{fence.name}" over.')


def check_claim(rows: Rows, of: WorkloadRows, claim: Claim, *, number: int) -> None:
    """Refuse a claim of before, one on another place's attempt, and one on an older attempt."""
    check_fence(rows, claim.fence)
    newest = of.attempts.get(number)
    if newest is None or number != max(of.attempts) or newest.place not in (None, claim.place):
        raise StaleLease("Another server has taken the run over.")
