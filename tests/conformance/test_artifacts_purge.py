"""A run that is purged leaves nothing, on every object store, and everybody else keeps his.

What hurts users of others: https://github.com/mlflow/mlflow/issues/14654 (more than 1,000 objects),
https://github.com/mlflow/mlflow/issues/17240 (logged models).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.object_worlds import fresh_objects
from tests.services._service import Service

from seafloor.app.artifacts import RunArtifacts
from seafloor.domain.artifacts import ArtifactFile
from seafloor.stores.artifacts.layout import ArtifactLayout
from seafloor.stores.artifacts.store import ObjectArtifactStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.artifact_store_suite import put_bytes, sha256_of
from seafloor.testing.metadata_records import T0_NS, create, model, run, run_id
from seafloor.testing.metadata_worlds import SqlStoreUnderTest, open_sql_store
from seafloor.testing.object_count import CountObjectStore

FILES = 2_500
AT_ONCE = 16
LAYOUT = ArtifactLayout()


async def put_many(metadata: SqlStoreUnderTest, objects: ObjectStore, owner: str) -> None:
    """Put files past the artifact store, which writes each of them with a transaction or two."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def put(number: int) -> ArtifactFile:
        # Most lie side by side, as images that a training script logs.
        path = f"{number:05}.png" if number % 5 else f"deeper/{number % 7}/{number:05}.png"
        async with turns:
            info = await objects.put(LAYOUT.artifact_key(owner, path), b"png")
        return ArtifactFile(path, info.size_bytes, sha256_of(b"png"), info.modified_ns)

    rows = await asyncio.gather(*(put(number) for number in range(FILES)))
    await asyncio.gather(*(metadata.manifest_put(owner, row) for row in rows))


async def keys_of_all(objects: ObjectStore) -> list[str]:
    keys: list[str] = []
    cursor = None
    while True:
        page = await objects.list("", cursor=cursor)
        keys += [info.key for info in page.objects]
        cursor = page.next
        if cursor is None:
            return keys


@pytest.mark.parametrize("kind", ["local", "s3", "azure", "gcs", "hdfs"])
async def test_purge__of_2500_files_and_a_model__takes_few_calls_and_nothing_of_others(
    kind: str, service: Callable[[str], Service], tmp_path: Path
) -> None:
    metadata = await open_sql_store(tmp_path)
    async with fresh_objects(kind, service) as inner:
        objects = CountObjectStore(inner)
        store = ObjectArtifactStore(objects, metadata)
        doomed, spared = run_id(1), run_id(2)
        for number, owner in enumerate((doomed, spared), start=1):
            await create(metadata, run(number))
            await metadata.model_create(model(number, source_run_id=owner))
            await put_bytes(store, "MLmodel", b"model", owner=model(number).id)
            await put_bytes(store, "00001.png", b"image", owner=owner)
            await store.seal(owner)
            await store.seal(model(number).id)
        others = [key for key in await keys_of_all(objects) if spared in key or model(2).id in key]
        await store.delete(doomed, "00001.png")
        await put_many(metadata, objects, doomed)
        # Of an upload whose server was killed: bytes that have no row.
        await objects.put(LAYOUT.artifact_key(doomed, "killed/upload.bin"), b"no row")

        before = objects.counts
        freed_bytes = await RunArtifacts(metadata, store).delete_all(doomed, now_ns=T0_NS)

        assert freed_bytes == FILES * 3 + len(b"model")
        assert await keys_of_all(objects) == others
        assert len(others) == 4
        assert await store.list(doomed) == ()
        after = objects.counts
        assert after.delete.calls - before.delete.calls <= 4
        assert after.delete_folder.calls - before.delete_folder.calls <= 4
    await metadata.close()
