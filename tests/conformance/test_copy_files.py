"""What copying files asks of the target's database, and what it makes of an earlier go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection
from tests.databases import KINDS, fresh_database_of
from tests.services._service import Service

from seafloor.app.copy.files import Files
from seafloor.app.copy.journal import Journal
from seafloor.app.copy.progress import Progress
from seafloor.app.copy.sides import Side
from seafloor.domain.artifacts import ArtifactFile
from seafloor.domain.ids import Sha256
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.events.store import SpoolEventFileStore
from seafloor.stores.logs.spool import SpoolLogStore
from seafloor.stores.metadata.sql.copy import add_file, artifact_rows, digest
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metrics.sql import SqlMetricStore
from seafloor.stores.objects.local import LocalObjectStore

_T = TypeVar("_T")
OWNERS = tuple(f"{number:032x}" for number in range(20))
PATHS = ("a/b.bin", "a/é 1.txt", "empty")


class CountedDatabase(Database):
    """Counts what is asked of it."""

    asked = 0

    async def read(self, do: Callable[[Connection], _T]) -> _T:
        self.asked += 1
        return await super().read(do)

    async def write(self, do: Callable[[Connection], _T]) -> _T:
        self.asked += 1
        return await super().write(do)


@pytest.fixture(params=KINDS)
def target_url(request: pytest.FixtureRequest, service: Callable[[str], Service]) -> Iterator[str]:
    with fresh_database_of(request.param, service) as url:
        yield url


async def a_side(stack: AsyncExitStack, url: str, folder: Path) -> Side:
    database = CountedDatabase(url)
    stack.push_async_callback(database.close)
    await database.migrate()
    objects = LocalObjectStore(folder / "objects")
    metrics = SqlMetricStore(database, objects)
    logs = SpoolLogStore(folder / "logs")
    event_files = SpoolEventFileStore(folder / "events", objects, metrics, database)
    for store in (objects, metrics, logs, event_files):
        stack.push_async_callback(store.close)
    return Side(
        name=folder.name,
        database=database,
        objects=objects,
        artifacts=ObjectArtifactStore(objects, SqlMetadataStore(database)),
        logs=logs,
        event_files=event_files,
        is_shared=False,
    )


@pytest.fixture
async def sides(target_url: str, tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    """A source with 60 files and an empty target."""
    async with AsyncExitStack() as stack:
        (tmp_path / "source").mkdir()
        source = await a_side(
            stack, f"sqlite:///{tmp_path}/source/seafloor.db", tmp_path / "source"
        )
        for owner in OWNERS:
            for path in PATHS:
                await source.artifacts.put(owner, path, content(owner, path))
        yield source, await a_side(stack, target_url, tmp_path / "target")


async def content(owner: str, path: str) -> AsyncIterator[bytes]:
    if path != "empty":
        yield f"{owner} {path}".encode()


async def copy(sides: tuple[Side, Side], journal: Path) -> None:
    """Copy all files by a journal that is new, and compare them."""
    source, target = sides
    progress = Progress()
    await Files(source, target, Journal(journal, "a copy"), progress).copy_artifacts()
    assert progress.damaged == []
    assert progress.files.items == len(OWNERS) * len(PATHS)


async def assert_same(source: Side, target: Side) -> None:
    for owner in OWNERS:
        for path in PATHS:
            found = [chunk async for chunk in target.artifacts.read(owner, path)]
            assert b"".join(found) == b"".join([one async for one in content(owner, path)])
    one, other = [
        await digest(side.database, artifact_rows(), lambda _: None) for side in (source, target)
    ]
    assert one == other


async def test_copy_artifacts__to_an_empty_target__asks_its_database_once_a_file(
    sides: tuple[Side, Side], tmp_path: Path
) -> None:
    database = sides[1].database
    assert isinstance(database, CountedDatabase)
    before = database.asked
    await copy(sides, tmp_path / "journal")
    assert database.asked - before <= len(OWNERS) * len(PATHS) + 2
    await assert_same(*sides)


async def test_copy_artifacts__after_a_go_whose_journal_is_lost__mends_what_is_not_the_same(
    sides: tuple[Side, Side], tmp_path: Path
) -> None:
    """As a crash leaves it: some rows are missing, some bytes are gone or others'."""
    _, target = sides
    await copy(sides, tmp_path / "first")
    await target.database.write(
        lambda connection: connection.exec_driver_sql(
            f"DELETE FROM artifact WHERE owner IN ('{OWNERS[3]}', '{OWNERS[-1]}')"  # noqa: S608
        )
    )
    await target.objects.delete(f"runs/{OWNERS[4]}/artifacts/a/b.bin")
    await target.artifacts.put(OWNERS[5], "a/b.bin", content("x", "other"))
    await copy(sides, tmp_path / "second")
    await assert_same(*sides)


async def test_add_file__whose_row_came_meanwhile__takes_its_place(
    sides: tuple[Side, Side],
) -> None:
    """As a database does it that ends the commit of a copy that was killed before."""
    database = sides[1].database
    late, new = (ArtifactFile("a/é 1.txt", 1, Sha256(one * 64), at) for at, one in enumerate("ab"))
    await add_file(database, OWNERS[0], late)
    await add_file(database, OWNERS[0], new)
    assert await SqlMetadataStore(database).manifest_get(OWNERS[0], "a/é 1.txt") == new
