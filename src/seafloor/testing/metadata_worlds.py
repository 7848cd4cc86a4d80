"""Metadata stores to test, made over a folder, with a way past them into their rows."""

from __future__ import annotations

import math
import struct
from pathlib import Path

from sqlalchemy import Connection, delete, insert

from seafloor.stores.metadata.comparisons import searchable
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metadata.sql.tables import metric_summary
from seafloor.testing.databases import database_url


class SqlStoreUnderTest(SqlMetadataStore):
    """A SQL store that shows its database."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database


async def open_sql_store(folder: Path) -> SqlStoreUnderTest:
    """Open a store over the database of a folder, made when it is missing."""
    database = Database(database_url(folder))
    await database.migrate()
    return SqlStoreUnderTest(database)


async def put_sql_metric(store: MetadataStore, workload_id: str, key: str, value: float) -> None:
    """Write the summary of a series of one value, as the metric store would."""
    assert isinstance(store, SqlStoreUnderTest)
    table = metric_summary
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    row = {
        "workload_id": workload_id,
        "key": key,
        "points": 1,
        "nans": int(math.isnan(value)),
        "last": searchable(value),
        "last_bits": bits,
        "last_step": 0,
        "last_time_ms": 0,
        "step_max": 0,
        "time_ms_max": 0,
    }

    def write(connection: Connection) -> None:
        these = (table.c.workload_id == workload_id) & (table.c.key == key)
        connection.execute(delete(table).where(these))
        connection.execute(insert(table).values(**row))

    await store.database.write(write)
