"""Artifacts over files and a database, as a server has them: the suites, and kills."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from seafloor.domain.errors import NotFound
from seafloor.stores.artifacts.protocol import ArtifactStore, ManifestStore
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.store import SqlMetadataStore
from seafloor.testing.artifact_crash_cases import NEW, OLD, PATHS, artifacts_in
from seafloor.testing.artifact_store_suite import (
    ArtifactStoreSuite,
    assert_true_to_its_digest,
    sha256_of,
)
from seafloor.testing.databases import database_url
from seafloor.testing.killed_child import run_until_killed
from seafloor.testing.manifest_store_suite import OWNER, ManifestStoreSuite
from seafloor.testing.os_faults import kill_at_each_call


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
