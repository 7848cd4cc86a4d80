"""Artifacts over files and a database, as a server has them: the suites, and kills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import insert

from seafloor.domain.artifacts import ArtifactEntry
from seafloor.domain.errors import NotFound
from seafloor.stores.artifacts.protocol import ArtifactStore, ManifestStore
from seafloor.stores.metadata.sql import manifest
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.stores.metadata.sql.tables import artifact
from seafloor.testing.artifact_crash_cases import NEW, OLD, PATHS, artifacts_in
from seafloor.testing.artifact_store_suite import (
    ArtifactStoreSuite,
    assert_true_to_its_digest,
    sha256_of,
)
from seafloor.testing.databases import database_url
from seafloor.testing.killed_child import run_until_killed
from seafloor.testing.manifest_store_suite import OWNER, ManifestStoreSuite
from seafloor.testing.metadata_worlds import SqlStoreUnderTest, open_sql_store
from seafloor.testing.os_faults import kill_at_each_call
from sql_statements import statements_of


@pytest.mark.usefixtures("database_kind")
class TestSqlManifestStore(ManifestStoreSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ManifestStore]:
        database = Database(database_url(folder))
        await database.migrate()
        yield SqlMetadataStore(database)
        await database.close()


@pytest.mark.usefixtures("database_kind")
class TestArtifactsInAFolderAndADatabase(ArtifactStoreSuite):
    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ArtifactStore]:
        async with artifacts_in(folder) as store:
            yield store


@pytest.mark.slow
@pytest.mark.parametrize("work", ["create", "replace"])
async def test_put__killed_at_any_call__is_old_or_new_and_true(tmp_path: Path, work: str) -> None:
    calls = kill_at_each_call(f"seafloor.testing.artifact_crash_cases:{work}", tmp_path)
    path = "new/file" if work == "create" else "a/b"
    found: list[bytes | None] = []
    for number in range(1, len(calls) + 1):
        async with artifacts_in(tmp_path / str(number)) as store:
            found.append(await assert_true_to_its_digest(store, path))
            others = {row.path for row in await store.list(OWNER)} - {path}
            assert others == ({"a/b"} if work == "create" else set())
            assert await store.seal(OWNER) == len(others) + (found[-1] is not None)
    assert calls[-1] == "acknowledged"
    assert found[-1] == NEW
    assert set(found) == {NEW, None if work == "create" else OLD}


@pytest.mark.slow
@pytest.mark.usefixtures("database_kind")
@pytest.mark.parametrize("after_lines", [3, 40])
async def test_put__writer_killed_at_any_moment__no_acknowledged_file_is_lost(
    tmp_path: Path, after_lines: int
) -> None:
    module = "seafloor.testing.artifact_crash_cases"
    said = run_until_killed(module, [str(tmp_path)], after_lines=after_lines)
    acknowledged = dict(line.split(" ") for line in said)
    async with artifacts_in(tmp_path) as store:
        for number in range(PATHS):
            path = f"f/{number}"
            data = await assert_true_to_its_digest(store, path)
            if data is None:
                assert path not in acknowledged
                with pytest.raises(NotFound):
                    await store.head(OWNER, path)
            elif path in acknowledged and sha256_of(data) != acknowledged[path]:
                # The writer died between the file that it was putting and its acknowledgement.
                assert int(data.split(b" ")[0]) == len(said)


FILES = 200


@pytest.fixture
async def large(tmp_path: Path) -> AsyncIterator[SqlStoreUnderTest]:
    """A manifest with many files in one folder, and one beside it."""
    store = await open_sql_store(tmp_path)
    rows = [
        {"owner": OWNER, "path": path, "size_bytes": 1, "sha256": "a" * 64, "created_ns": 1}
        for path in (*(f"many/{number:04d}" for number in range(FILES)), "more")
    ]
    await store.database.write(lambda connection: connection.execute(insert(artifact), rows))
    yield store
    await store.close()


async def test_listings__deep_in_a_large_folder__no_row_before_the_page_is_looked_at(
    large: SqlStoreUnderTest,
) -> None:
    """SQLite tells a plan that depends on no statistics."""
    with statements_of(large.database) as asked:
        page = await large.manifest_children(OWNER, "many", limit=3, after="many/0100")
        files = await large.manifest_list(OWNER, "many", limit=3, after="many/0100")
    assert [one.path for one in page] == [file.path for file in files]
    assert [one.path for one in page] == ["many/0101", "many/0102", "many/0103"]
    looked = [(text, given) for text, given in asked if "FROM artifact" in text]
    assert len(looked) == 2
    with large.database.engine.connect() as connection:
        for text, given in looked:
            ((*_, plan),) = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given)
            assert plan.startswith("SEARCH artifact USING INDEX"), plan
            assert plan.endswith("(owner=? AND path>? AND path<?)"), plan
            # Of two bounds from below it would look up by the first, that of the folder.
            assert text.count("path >") == 1
            assert "many/0100" in given


async def test_children__of_a_folder_with_a_large_one__no_more_than_a_page_is_read(
    large: SqlStoreUnderTest,
) -> None:
    read: list[int] = []
    real = manifest._child

    def counted(place: str, rows: list[Any]) -> ArtifactEntry:
        read.append(len(rows))
        return real(place, rows)

    with mock.patch.object(manifest, "_child", counted):
        found = await large.manifest_children(OWNER, "", limit=5)
    assert [(one.place, one.files) for one in found] == [("many/", FILES), ("more", 1)]
    assert sum(read) == 5 + 1
