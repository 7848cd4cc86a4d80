"""What is stored of an environment and damaged: it is noticed, and stored anew."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import NotSupported
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.stored import EnvironmentArchives, StoredEnvironment
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.local.store import LocalObjectStore
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectStore


class Shelf(Protocol):
    """See conftest."""

    @property
    def source(self) -> PackageSource: ...

    def add(
        self, name: str, version: str, *, size_bytes: int = 0, script: str | None = None
    ) -> Path: ...


@pytest.fixture(params=["memory", "folder"])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    memory = request.param == "memory"
    store = MemoryObjectStore() if memory else LocalObjectStore(tmp_path / "objects")
    yield store
    await store.close()


@pytest.fixture
def lock(shelf: Shelf) -> EnvironmentLock:
    shelf.add("whale", "2.0", size_bytes=3_000_000)
    python, tag = platform.python_version(), platform_tag()
    digest = environment_digest(python=python, platform=tag, lock="whale==2.0\n")
    return EnvironmentLock(python=python, platform=tag, lock="whale==2.0\n", digest=digest)


@pytest.fixture
def server(tmp_path: Path, objects: ObjectStore, shelf: Shelf) -> EnvironmentCache:
    """A server whose runs are pods."""
    return EnvironmentCache(
        tmp_path / "server", packages=shelf.source, archives=EnvironmentArchives(objects)
    )


async def kept(objects: ObjectStore, digest: str) -> dict[str, bytes]:
    """What is stored of an environment, by name."""
    page = await objects.list(f"environments/{digest}")
    return {
        one.key.rpartition("/")[2]: b"".join([chunk async for chunk in objects.read(one.key)])
        for one in page.objects
    }


async def check_good(objects: ObjectStore, stored: StoredEnvironment) -> None:
    """Check that there is one archive, and that it is the one of the record."""
    found = await kept(objects, stored.digest)
    record = msgspec.json.decode(found.pop("environment.json"), type=StoredEnvironment)
    assert record == stored
    assert list(found) == [f"{stored.sha256}.frames"]
    assert hashlib.sha256(found[f"{stored.sha256}.frames"]).hexdigest() == stored.sha256


@pytest.mark.parametrize("record", [b'{"format":2,', b"", b"\xff", b'{"format":0}', b"[]"])
async def test_store__record_damaged__is_replaced(
    server: EnvironmentCache, objects: ObjectStore, lock: EnvironmentLock, record: bytes
) -> None:
    await server.store(lock)
    await objects.put(f"environments/{lock.digest}/environment.json", record)
    await check_good(objects, await server.store(lock))


async def test_store__record_of_a_later_version__says_so_and_builds_nothing(
    server: EnvironmentCache, objects: ObjectStore, lock: EnvironmentLock
) -> None:
    record = b'{"format":3,"archives":[]}'
    await objects.put(f"environments/{lock.digest}/environment.json", record)
    with pytest.raises(NotSupported, match="later version of Seafloor"):
        await server.store(lock)
    assert await server.find(lock.digest) is None
    assert not (await server.get(lock)).fetched
    await server.settle()
    assert await kept(objects, lock.digest) == {"environment.json": record}
