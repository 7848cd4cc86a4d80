"""What is SQLite's own: its settings, its file, its full disk, its plans."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from seafloor.domain.errors import InvalidValue, StoreCorrupt, StoreFull
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import workload
from seafloor.testing.metadata_records import create, run, run_id
from seafloor.testing.metadata_worlds import SqlStoreUnderTest, open_sql_store
from seafloor.testing.small_disk import small_disk


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStoreUnderTest]:
    store = await open_sql_store(tmp_path)
    yield store
    await store.close()


class TestDatabase:
    async def test_open__no_file__is_refused(self) -> None:
        for url in ("sqlite://", "sqlite:///:memory:"):
            with pytest.raises(InvalidValue):
                Database(url)

    async def test_settings__every_connection__is_durable_and_checked(
        self, store: SqlStoreUnderTest
    ) -> None:
        def settings(connection: Connection) -> list[object]:
            return [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]

        assert await store.database.read(settings) == ["wal", 2, 1]
        assert await store.database.write(settings) == ["wal", 2, 1]

    async def test_open__new_file_that_another_opens_too__waits_for_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waited: list[float] = []
        with closing(sqlite3.connect(tmp_path / "new.db", check_same_thread=False)) as other:
            other.execute("CREATE TABLE there (x)")
            other.execute("BEGIN IMMEDIATE")

            def pause(seconds: float) -> None:
                waited.append(seconds)
                other.rollback()

            monkeypatch.setattr("seafloor.stores.metadata.sql.sqlite.time.sleep", pause)
            database = Database(f"sqlite:///{tmp_path}/new.db")
            mode = await database.read(
                lambda connection: connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            )
            await database.close()
        assert mode == "wal"
        assert len(waited) == 1

    async def test_read__a_writer_holds_the_lock__reads_go_on(
        self, store: SqlStoreUnderTest, tmp_path: Path
    ) -> None:
        with closing(sqlite3.connect(tmp_path / "seafloor.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO project (name, created_ns) VALUES ('held', 1)")
            names = [found.name for found in await store.project_list()]
            assert names == ["default"]
            other.execute("ROLLBACK")

    async def test_open__not_a_database__store_corrupt(self, tmp_path: Path) -> None:
        (tmp_path / "seafloor.db").write_bytes(b"this is no database at all, not by far" * 100)
        database = Database(f"sqlite:///{tmp_path / 'seafloor.db'}")
        with pytest.raises(StoreCorrupt):
            await database.migrate()
        await database.close()

    async def test_read__pages_are_damaged__store_corrupt(self, tmp_path: Path) -> None:
        store = await open_sql_store(tmp_path)
        for number in range(1, 40):
            await create(store, run(number), tags={"long": "x" * 5000})
        await store.close()
        path = tmp_path / "seafloor.db"
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        path.write_bytes(content)
        database = Database(f"sqlite:///{path}")
        with pytest.raises(StoreCorrupt):
            await database.read(lambda connection: connection.execute(select(workload)).all())
        await database.close()

    async def test_write__disk_is_full__nothing_is_written_and_it_goes_on_after(
        self, tmp_path: Path
    ) -> None:
        with small_disk(tmp_path / "disk", size_bytes=8 << 20) as disk:
            store = await open_sql_store(disk.path)
            await create(store, run(1))
            disk.fill()
            told: list[BaseException | None] = []
            for number in range(30):
                change = {f"k{number}": "x" * 50_000}
                (one,) = await asyncio.gather(
                    store.tags_change(run_id(1), set_=change), return_exceptions=True
                )
                told.append(one)
            refused = [number for number, one in enumerate(told) if one is not None]
            assert refused, "the disk was never full"
            assert {type(one) for one in told if one is not None} == {StoreFull}
            several = await asyncio.gather(
                *(store.tags_change(run_id(1), set_={f"m{n}": "x" * 50_000}) for n in range(5)),
                return_exceptions=True,
            )
            assert {type(one) for one in several} == {StoreFull}
            tags = (await store.labels_get([run_id(1)]))[run_id(1)].tags  # reading goes on
            assert tags.keys() == {f"k{n}" for n, one in enumerate(told) if one is None}
            disk.free()
            await store.tags_change(run_id(1), set_={"after": "x" * 50_000})
            assert "after" in (await store.labels_get([run_id(1)]))[run_id(1)].tags
            await store.close()
