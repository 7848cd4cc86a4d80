"""Where logs and event files are kept: on this server's disk, or where all servers see them.

And who gives streams and series their lasting form."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from seafloor.app.leases import LeaseHolder
from seafloor.app.sealer import LEASE, Sealer
from seafloor.boot.data_folder import DataFolder
from seafloor.stores.events.protocol import EventFileStore
from seafloor.stores.events.shared_store import SharedEventFileStore
from seafloor.stores.events.store import SpoolEventFileStore
from seafloor.stores.logs.protocol import LogStore
from seafloor.stores.logs.shared_store import SharedLogStore
from seafloor.stores.logs.spool import SpoolLogStore
from seafloor.stores.metadata.protocol import LeaseRecords
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.protocol import ObjectStore


@dataclass(frozen=True)
class Below:
    """What the stores of streams stand on."""

    database: Database
    objects: ObjectStore
    metrics: SqlMetricStore
    leases: LeaseRecords


@dataclass(frozen=True)
class Streams:
    """The stores of logs and event files.

    Args:
        sealer: What is to run beside them.
    """

    logs: LogStore
    event_files: EventFileStore
    sealer: Sealer


async def open_streams(
    below: Below, folder: DataFolder, stack: AsyncExitStack, *, shared: bool
) -> Streams:
    """Open the stores; they are closed with the stack.

    Args:
        shared: Whether several servers may use the database.
    """
    if shared:
        logs = SharedLogStore(below.database, below.objects)
        stack.push_async_callback(logs.close)
        event_files = SharedEventFileStore(below.database, below.objects, below.metrics)
        stack.push_async_callback(event_files.close)
        sealer = Sealer((logs, event_files, below.metrics), LeaseHolder(below.leases, LEASE))
        return Streams(logs, event_files, sealer)
    spools = SpoolLogStore(folder.sub("spool/logs"))
    stack.push_async_callback(spools.close)
    spooled = SpoolEventFileStore(
        folder.sub("spool/events"), below.objects, below.metrics, below.database
    )
    stack.push_async_callback(spooled.close)
    await spooled.recover()
    return Streams(spools, spooled, Sealer((below.metrics,), None))
