"""Object stores of every kind, each at a fresh place."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from tests.services._service import Service
from tests.services.gcs import make_bucket

from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore

KINDS = ("memory", "local", "s3", "azure", "gcs", "hdfs")
"""Those that ``fresh_objects`` knows."""


@asynccontextmanager
async def fresh_objects(kind: str, service: Callable[[str], Service]) -> AsyncIterator[ObjectStore]:
    """Give an empty store, and leave nothing of it behind.

    Args:
        kind: One of KINDS.
        service: Real servers by name: the fixture of that name.
    """
    if kind == "memory":
        yield MemoryObjectStore()
        return
    with ExitStack() as stack:
        if kind == "hdfs":
            from hdfs_world import patient  # only some tests need what it imports

            stack.enter_context(patient())
        async with _opened(kind, service) as store:
            yield store


@asynccontextmanager
async def _opened(kind: str, service: Callable[[str], Service]) -> AsyncIterator[ObjectStore]:
    folder = Path(tempfile.mkdtemp(prefix="seafloor-objects-")) if kind == "local" else None
    if folder is not None:
        store = open_objects(folder.as_uri(), {})
    else:
        server = service(kind)
        # fake-gcs-server looks through all of a bucket at each step: each store has its own.
        place = f"gs://{_gcs_bucket(server)}" if kind == "gcs" else server.url
        store = open_objects(f"{place}/{uuid.uuid4().hex}", server.env)
    try:
        yield store
    finally:
        await store.close()
        if folder is not None:
            shutil.rmtree(folder)


def _gcs_bucket(server: Service) -> str:
    name = f"b{uuid.uuid4().hex}"
    make_bucket(server.env["STORAGE_EMULATOR_HOST"], name)
    return name
