"""Object stores in buckets: the suite and the state machine on S3 and Azure."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from conftest import real_service
from seafloor.domain.names import PATH_BYTES_MAX
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.object_store_machine import ObjectStoreMachine
from seafloor.testing.object_store_suite import DurableObjectStoreSuite

PLACES: dict[Path, str] = {}
"""A folder of a test's, and the folder in the bucket that stands for it."""


@asynccontextmanager
async def cloud_store(kind: str, folder: Path) -> AsyncIterator[ObjectStore]:
    """A store at a place of its own in the bucket; the same folder gives the same place."""
    service = real_service(kind)
    place = PLACES.setdefault(folder, uuid.uuid4().hex)
    store = open_objects(f"{service.url}/{place}", service.env)
    try:
        yield store
    finally:
        await store.close()


class CloudSuite(DurableObjectStoreSuite):
    kind: ClassVar[str]
    key_bytes_max = PATH_BYTES_MAX - 33
    stream_bytes = 128 * 1024 * 1024
    stream_memory_bytes_max = 48 * 1024 * 1024

    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        async with cloud_store(self.kind, folder) as store:
            yield store


class TestS3ObjectStore(CloudSuite):
    kind = "s3"
    deletes_are_shared = True
    folders_block_creation = True  # SeaweedFS keeps folders; Amazon has none


class TestAzureObjectStore(CloudSuite):
    kind = "azure"
    folders_max = 252
    presigned_put_headers: ClassVar = {"x-ms-blob-type": "BlockBlob"}


@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_any_calls__in_any_order__are_those_of_the_model(kind: str) -> None:
    class Machine(ObjectStoreMachine):
        folders_block_creation = kind == "s3"

        @staticmethod
        @asynccontextmanager
        async def make_store(folder: Path) -> AsyncIterator[ObjectStore]:
            async with cloud_store(kind, folder) as store:
                yield store

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=12, stateful_step_count=25, deadline=None)
    )
