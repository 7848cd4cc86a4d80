"""What every test of environments needs: packages, and a place to store what was built."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from package_shelf import Shelf
from seafloor.stores.objects.local.store import LocalObjectStore
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectStore


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    folder = tmp_path / "shelf"
    folder.mkdir()
    return Shelf(folder)


@pytest.fixture(params=["memory", "folder"])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """An object store; from one in a folder an archive is read where it lies."""
    memory = request.param == "memory"
    store = MemoryObjectStore() if memory else LocalObjectStore(tmp_path / "objects")
    yield store
    await store.close()
