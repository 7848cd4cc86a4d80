"""Environments that are deleted while the object store is away."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from seafloor.app.clock import SystemClock
from seafloor.app.environments import Environments
from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import NotFound, StoreUnavailable
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.lock import Asked
from seafloor.environments.stored import EnvironmentArchives
from seafloor.stores.metadata.memory import MemoryMetadataStore
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.testing.object_fault import Fault, FaultObjectStore


async def lock(asked: Asked) -> EnvironmentLock:
    """Lock what is asked for as it is."""
    python, tag = platform.python_version(), platform_tag()
    text = "".join(f"{line}\n" for line in asked.pip)
    return EnvironmentLock(
        python=python,
        platform=tag,
        lock=text,
        digest=environment_digest(python=python, platform=tag, lock=text),
    )


async def test_delete__object_store_away__nothing_is_deleted_and_it_can_be_repeated(
    tmp_path: Path,
) -> None:
    objects = FaultObjectStore(MemoryObjectStore())
    cache = EnvironmentCache(tmp_path, archives=EnvironmentArchives(objects))
    environments = Environments(MemoryMetadataStore(), cache, lock, SystemClock())
    made = [
        (await environments.create({"name": name, "pip": ["whale==1.0"]})).environment
        for name in ("one", "two")
    ]
    key = f"environments/{made[0].digest}/environment.json"
    await objects.put(key, b"{}")

    # As long as another has the same packages, their archive stays.
    assert await environments.delete("one") == (1, 0)
    assert (await objects.head(key)).size_bytes == 2

    objects.plant(Fault(StoreUnavailable("The object store is away.")))
    with pytest.raises(StoreUnavailable):
        await environments.delete("two@1")
    assert [each.environment.name for each in await environments.list()] == ["two"]

    assert await environments.delete("two@1") == (1, 0)
    assert await environments.list() == ()
    with pytest.raises(NotFound):
        await objects.head(key)
    with pytest.raises(NotFound):
        await environments.delete("two@1")
    await objects.close()
