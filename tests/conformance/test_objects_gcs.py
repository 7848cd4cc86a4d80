"""Google Cloud Storage passes the suite of object stores, over fake-gcs-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.services._service import Service
from tests.services.gcs import make_bucket

from seafloor.stores.objects.gcs.store import from_url
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.object_store_suite import DurableObjectStoreSuite


def endpoint_of(service: Callable[[str], Service]) -> str:
    """Where the shared server is."""
    return service("gcs").env["STORAGE_EMULATOR_HOST"]


def bucket_of(folder: Path) -> str:
    """The bucket of a test's folder."""
    return "b" + "".join(char for char in str(folder).lower() if char.isalnum())[-60:]


class TestGcsObjectStore(DurableObjectStoreSuite):
    @pytest.fixture(autouse=True)
    def _endpoint(self, service: Callable[[str], Service]) -> None:
        self.endpoint = endpoint_of(service)

    @asynccontextmanager
    async def make_store(self, folder: Path) -> AsyncIterator[ObjectStore]:
        bucket = bucket_of(folder)
        make_bucket(self.endpoint, bucket)
        store = from_url(f"gs://{bucket}", {"STORAGE_EMULATOR_HOST": self.endpoint})
        try:
            yield store
        finally:
            await store.close()
