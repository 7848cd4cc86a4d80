"""The SQL store on SQLite passes the suite."""

from __future__ import annotations

from pathlib import Path

from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.testing.metadata_store_suite import MetadataStoreSuite


async def open_store(folder: Path) -> SqlMetadataStore:
    """Open a store over a database in a folder."""
    database = Database(f"sqlite:///{folder / 'seafloor.db'}")
    await database.migrate()
    return SqlMetadataStore(database)


class TestSqlMetadataStore(MetadataStoreSuite):
    async def make_store(self, folder: Path) -> MetadataStore:
        return await open_store(folder)

    async def put_metric(
        self, store: MetadataStore, workload_id: str, key: str, value: float
    ) -> None:
        raise NotImplementedError
