"""Leases, and what an installation shares, in SQL.

Writes of all servers are one after another (``database``), so what a transaction has read is still
so when it writes.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, text, update

from seafloor.domain.errors import Conflict, NotFound, StaleLease
from seafloor.domain.leases import Fence, Lease
from seafloor.stores.metadata.protocol import check_lease_terms
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import installation, lease

_NOW_US = {
    "postgresql": text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"),
    "mariadb": text("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"),
    "mysql": text("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"),
}


class SqlLeases:
    """``LeaseRecords`` in SQL."""

    _database: Database

    async def lease_take(
        self, name: str, *, holder: str, ttl_ns: int, supersede: bool = False
    ) -> Lease:
        """See ``LeaseRecords``."""
        check_lease_terms(holder, ttl_ns)

        def write(connection: Connection) -> Lease:
            now_ns = database_now_ns(connection)
            found = _find(connection, name, now_ns)
            if found is None:
                made = Lease(name, holder, 1, now_ns, now_ns + ttl_ns, ttl_ns)
                connection.execute(insert(lease).values(**_values(made)))
                return made
            if found.holder == holder:
                made = Lease(name, holder, found.fence, found.taken_ns, now_ns + ttl_ns, ttl_ns)
            elif found.left_ns <= 0 or supersede:
                made = Lease(name, holder, found.fence + 1, now_ns, now_ns + ttl_ns, ttl_ns)
            else:
                return found
            _update(connection, made)
            return made

        return await self._database.write(write)

    async def lease_renew(self, lease: Lease, *, ttl_ns: int) -> Lease:
        """See ``LeaseRecords``."""
        check_lease_terms(lease.holder, ttl_ns)

        def write(connection: Connection) -> Lease:
            now_ns = database_now_ns(connection)
            check_fence(connection, lease.proof)
            made = Lease(
                lease.name, lease.holder, lease.fence, lease.taken_ns, now_ns + ttl_ns, ttl_ns
            )
            _update(connection, made)
            return made

        return await self._database.write(write)

    async def lease_release(self, lease: Lease) -> None:
        """See ``LeaseRecords``."""

        def write(connection: Connection) -> None:
            now_ns = database_now_ns(connection)
            found = _find(connection, lease.name, now_ns)
            if found is not None and found.fence == lease.fence and found.left_ns > 0:
                _update(
                    connection,
                    Lease(lease.name, found.holder, found.fence, found.taken_ns, now_ns, 0),
                )

        await self._database.write(write)

    async def lease_break(self, name: str, *, ended_ns: int) -> Lease:
        """See ``LeaseRecords``."""

        def write(connection: Connection) -> Lease:
            found = _find(connection, name, database_now_ns(connection))
            if found is None:
                raise NotFound(f'There is no lease "{name}".')
            if found.left_ns > -ended_ns:
                raise Conflict(f'The lease "{name}" is still held, or was a moment ago.')
            made = Lease(name, "", found.fence + 1, found.taken_ns, found.expires_ns, found.left_ns)
            _update(connection, made)
            return made

        return await self._database.write(write)

    async def lease_list(self, kind: str) -> tuple[Lease, ...]:
        """See ``LeaseRecords``."""
        # "0" follows "/".
        these = (lease.c.name >= f"{kind}/") & (lease.c.name < f"{kind}0")

        def read(connection: Connection) -> tuple[Lease, ...]:
            now_ns = database_now_ns(connection)
            rows = connection.execute(select(lease).where(these).order_by(lease.c.name))
            return tuple(_lease_of(row, now_ns) for row in rows)

        return await self._database.read(read)


class SqlInstallation:
    """``InstallationRecords`` in SQL."""

    _database: Database

    async def installation_value(self, name: str, *, first: bytes) -> bytes:
        """See ``InstallationRecords``."""
        wanted = select(installation.c.content).where(installation.c.name == name)

        def write(connection: Connection) -> bytes:
            found = connection.execute(wanted).first()
            if found is not None:
                return bytes(found.content)
            connection.execute(insert(installation).values(name=name, content=first))
            return first

        return await self._database.write(write)


def database_now_ns(connection: Connection) -> int:
    """What time it is by the database's clock, UTC; of SQLite, by this machine's."""
    statement = _NOW_US.get(connection.dialect.name)
    if statement is None:
        return time.time_ns()
    return int(connection.execute(statement).scalar_one()) * 1000


def check_fence(connection: Connection, fence: Fence) -> None:
    """Refuse a write whose lease has another holder by now; for the transaction of that write.

    Raises:
        StaleLease: it has.
    """
    found = connection.execute(select(lease.c.fence).where(_is(fence.name))).first()
    if found is None or found.fence != fence.number:
        raise StaleLease(f'Another server has taken the lease "{fence.name}" over.')


def _is(name: str) -> ColumnElement[bool]:
    return lease.c.name == name


def _find(connection: Connection, name: str, now_ns: int) -> Lease | None:
    row = connection.execute(select(lease).where(_is(name))).first()
    return None if row is None else _lease_of(row, now_ns)


def _lease_of(row: Row[Any], now_ns: int) -> Lease:
    return Lease(
        name=row.name,
        holder=row.holder,
        fence=row.fence,
        taken_ns=row.taken_ns,
        expires_ns=row.expires_ns,
        left_ns=row.expires_ns - now_ns,
    )


def _values(made: Lease) -> dict[str, object]:
    return {
        "name": made.name,
        "holder": made.holder,
        "fence": made.fence,
        "taken_ns": made.taken_ns,
        "expires_ns": made.expires_ns,
    }


def _update(connection: Connection, made: Lease) -> None:
    connection.execute(update(lease).where(_is(made.name)).values(**_values(made)))
