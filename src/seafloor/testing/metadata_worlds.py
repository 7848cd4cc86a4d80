"""Metadata stores to test, made over a folder, with a way past them into their rows."""

from __future__ import annotations

import struct
from pathlib import Path

from sqlalchemy import Connection, delete, insert

from seafloor.stores.metadata.comparisons import searchable
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metadata.sql.tables import metric_summary
from seafloor.testing.databases import database_url, migrated_sqlite
from seafloor.testing.metadata_records import summary


class SqlStoreUnderTest(SqlMetadataStore):
    """A SQL store that shows its database."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database


async def open_sql_store(folder: Path) -> SqlStoreUnderTest:
    """Open a store over the database of a folder, made when it is missing."""
    url = database_url(folder)
    if url.startswith("sqlite:"):
        migrated_sqlite(folder / "seafloor.db")
    database = Database(url)
    await database.migrate()
    return SqlStoreUnderTest(database)


async def put_sql_metric(store: MetadataStore, workload_id: str, key: str, *values: float) -> None:
    """Write the summary of a series, as the metric store would."""
    assert isinstance(store, SqlStoreUnderTest)
    table = metric_summary
    found = summary(key, *values)
    row = {
        "workload_id": workload_id,
        "key": key,
        "points": found.points,
        "nans": found.nans,
        "last": searchable(found.last),
        "last_bits": _bits(found.last),
        "last_step": found.last_step,
        "last_time_ms": 0,
        "min_bits": None if found.min is None else _bits(found.min),
        "max_bits": None if found.max is None else _bits(found.max),
        "min_step": found.min_step,
        "max_step": found.max_step,
        "step_max": found.last_step,
        "time_ms_max": 0,
    }

    def write(connection: Connection) -> None:
        these = (table.c.workload_id == workload_id) & (table.c.key == key)
        connection.execute(delete(table).where(these))
        connection.execute(insert(table).values(**row))

    await store.database.write(write)


def _bits(value: float) -> int:
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    return bits
