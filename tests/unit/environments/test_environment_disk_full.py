"""A disk that is full: nothing half built, and the same call works once there is room."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import StoreFull
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.lock import lock_pip
from seafloor.environments.uv_command import PackageSource
from seafloor.testing.small_disk import SmallDisk, small_disk

DISK_BYTES = 8 * 1024 * 1024


class Shelf(Protocol):
    """See conftest."""

    @property
    def source(self) -> PackageSource: ...

    def add(self, name: str, version: str, *, size_bytes: int = 0) -> Path: ...


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_bytes=DISK_BYTES) as disk:
        yield disk


async def test_get__disk_full__is_store_full_and_works_with_room(
    disk: SmallDisk, shelf: Shelf
) -> None:
    shelf.add("whale", "1.0", size_bytes=DISK_BYTES // 2)
    disk.fill(leave_bytes=DISK_BYTES // 4)
    root = disk.path / "environments"
    cache = EnvironmentCache(root, packages=shelf.source)
    lock = "whale==1.0\n"
    python = platform.python_version()
    asked = EnvironmentLock(
        python=python,
        platform=platform_tag(),
        lock=lock,
        digest=environment_digest(python=python, platform=platform_tag(), lock=lock),
    )
    with pytest.raises(StoreFull, match="No space is left"):
        await cache.get(asked)
    assert not (root / asked.digest).exists()
    assert await cache.list() == ()
    disk.free()
    assert not (await cache.get(asked)).cached


async def test_lock__disk_full__is_store_full(disk: SmallDisk, shelf: Shelf) -> None:
    shelf.add("whale", "1.0")
    disk.fill()
    with pytest.raises(StoreFull):
        await lock_pip(
            python=None,
            pip=["whale"],
            cache_dir=disk.path / "uv",
            timeout_s=60,
            packages=shelf.source,
        )
