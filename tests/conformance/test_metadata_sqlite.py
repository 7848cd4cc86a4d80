"""What is SQLite's own: its settings, its file, its full disk, its plans."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select

from seafloor.domain.errors import InvalidValue, StoreCorrupt, StoreFull
from seafloor.stores.metadata.sql import sqlite
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.tables import workload
from seafloor.testing.metadata_records import create, run, run_id
from seafloor.testing.metadata_worlds import SqlStoreUnderTest, open_sql_store
from seafloor.testing.small_disk import small_disk


def _reader(
    store: SqlStoreUnderTest,
) -> tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]:
    """A reader that stays in one state of the database; how to let it go, and to await it."""
    read, go = threading.Event(), threading.Event()

    def look(connection: Connection) -> None:
        connection.execute(select(workload.c.id)).all()
        read.set()
        assert go.wait(60)

    reading = asyncio.create_task(store.database.read(look))

    async def leave() -> None:
        go.set()
        await reading

    async def inside() -> None:
        await asyncio.sleep(0)
        assert await asyncio.to_thread(read.wait, 60)

    return leave, inside


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

    async def test_write__readers_that_never_all_leave__the_log_stays_short(
        self, store: SqlStoreUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One reader is there before another leaves: SQLite alone never begins its log anew."""
        monkeypatch.setattr(sqlite, "LOG_BYTES_MAX", 4 << 20)
        monkeypatch.setattr(sqlite, "_CUT_AGAIN_S", 0.0)
        monkeypatch.setattr(sqlite, "_LOOK_EVERY_S", 0.0)
        log = tmp_path / "seafloor.db-wal"
        await create(store, run(1))
        sizes: list[int] = []
        done = asyncio.Event()

        async def read_on() -> None:
            leave, inside = _reader(store)
            await inside()
            while not done.is_set():
                following, inside = _reader(store)
                await inside()
                await leave()
                leave = following
            await leave()

        reading = asyncio.create_task(read_on())
        for number in range(60):
            await store.tags_change(run_id(1), set_={"t": f"{number}" + "x" * 500_000})
            sizes.append(log.stat().st_size)
        done.set()
        await reading
        assert max(sizes) < 8 << 20, sizes
        found = (await store.labels_get([run_id(1)]))[run_id(1)].tags
        assert found["t"].startswith("59x")

    async def test_write__a_reader_that_stays__is_not_waited_for_again_and_again(
        self, store: SqlStoreUnderTest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite, "LOG_BYTES_MAX", 1 << 20)
        monkeypatch.setattr(sqlite, "_CUT_TIMEOUT_MS", 1)
        monkeypatch.setattr(sqlite, "_LOOK_EVERY_S", 0.0)
        await create(store, run(1))
        leave, inside = _reader(store)
        await inside()
        cuts: list[str] = []

        def listen(_connection: object, _cursor: object, said: str, *_: object) -> None:
            cuts.extend([said] if "wal_checkpoint" in said else [])

        event.listen(store.database.engine, "before_cursor_execute", listen)
        for number in range(20):
            await store.tags_change(run_id(1), set_={f"t{number}": "x" * 200_000})
        await leave()
        assert len(cuts) == 1

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
