"""The SQL store on SQLite passes the suite."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from weakref import WeakKeyDictionary

from sqlalchemy import delete, insert

from seafloor.stores.metadata.comparisons import searchable
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metadata.sql.tables import metric_summary
from seafloor.testing.metadata_search_suite import MetadataSearchSuite
from seafloor.testing.metadata_store_suite import MetadataStoreSuite

_databases: WeakKeyDictionary[object, Database] = WeakKeyDictionary()


async def open_store(folder: Path) -> SqlMetadataStore:
    """Open a store over a database in a folder."""
    database = Database(f"sqlite:///{folder / 'seafloor.db'}")
    await database.migrate()
    store = SqlMetadataStore(database)
    _databases[store] = database
    return store


def database_of(store: object) -> Database:
    """The database under a store that `open_store` made."""
    return _databases[store]


async def put_metric(store: object, workload_id: str, key: str, value: float) -> None:
    """Write a summary row as the metric store would."""
    table = metric_summary
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    row = {"points": 1, "nans": int(math.isnan(value)), "last_step": 0, "last_time_ms": 0}
    row |= {"step_max": 0, "time_ms_max": 0, "last_bits": bits}

    def write(connection):
        these = (table.c.workload_id == workload_id) & (table.c.key == key)
        connection.execute(delete(table).where(these))
        connection.execute(
            insert(table).values(workload_id=workload_id, key=key, last=searchable(value), **row)
        )

    await database_of(store).write(write)


class TestSqlMetadataStore(MetadataStoreSuite, MetadataSearchSuite):
    async def make_store(self, folder: Path) -> MetadataStore:
        return await open_store(folder)

    async def put_metric(
        self, store: MetadataStore, workload_id: str, key: str, value: float
    ) -> None:
        await put_metric(store, workload_id, key, value)
