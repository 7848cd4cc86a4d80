"""A disk that is full: nothing half built, and the same call works once there is room."""

from __future__ import annotations

import asyncio
import platform
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda_channel import CondaChannel
from package_shelf import Shelf
from pip_lock import lock_pip
from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import StoreFull
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.lock import Asked, lock_environment
from seafloor.environments.stored import EnvironmentArchives
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.testing.small_disk import SmallDisk, small_disk

DISK_BYTES = 8 * 1024 * 1024


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
    asked = lock_of("whale==1.0\n")
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


@pytest.mark.parametrize("room_bytes", [DISK_BYTES // 64, DISK_BYTES // 3])
async def test_get__disk_full_while_it_is_fetched__is_store_full_and_works_with_room(
    disk: SmallDisk, shelf: Shelf, tmp_path: Path, room_bytes: int
) -> None:
    # The archive compresses to little: there is room for it, and then none for what is in it.
    shelf.add("whale", "1.0", size_bytes=DISK_BYTES // 2)
    archives = EnvironmentArchives(MemoryObjectStore())
    first = EnvironmentCache(tmp_path / "first", packages=shelf.source, archives=archives)
    lock = lock_of("whale==1.0\n")
    await first.get(lock)
    await first.settle()

    disk.fill(leave_bytes=room_bytes)
    root = disk.path / "environments"
    second = EnvironmentCache(root, packages=PackageSource(offline=True), archives=archives)
    with pytest.raises(StoreFull, match="No space is left"):
        await second.get(lock)
    assert not (root / lock.digest).exists()
    assert not list(root.glob("locks/*.work"))
    disk.free()
    assert (await second.get(lock)).fetched


async def test_store__disk_full__leaves_the_environment_and_nothing_else(
    disk: SmallDisk, shelf: Shelf
) -> None:
    shelf.add("whale", "1.0", size_bytes=DISK_BYTES // 8)
    objects = MemoryObjectStore()
    root = disk.path / "environments"
    cache = EnvironmentCache(root, packages=shelf.source, archives=EnvironmentArchives(objects))
    lock = lock_of("whale==1.0\n")
    built = await cache.get(lock)
    disk.fill()
    await cache.settle()
    disk.free()
    assert (await cache.get(lock)).path == built.path
    assert not list(root.glob("locks/*.work"))


async def test_get__disk_full_while_conda_packages_come__is_store_full_and_works_with_room(
    disk: SmallDisk, tmp_path: Path
) -> None:
    channel = CondaChannel(tmp_path / "channel")
    python = {"bin/python": b"#!/bin/sh\n", "lib/large": bytes(DISK_BYTES // 2)}
    channel.add("python", "3.11.2", python, subdir="linux-64")
    large = random.Random(1).randbytes(DISK_BYTES // 8)
    channel.add("krill", "1.0", {"share/krill": large})
    await asyncio.to_thread(channel.index)
    root = disk.path / "environments"
    cache = EnvironmentCache(root)
    asked = Asked(conda_channels=[channel.address], conda_packages=["krill"])
    lock = await lock_environment(asked, root=root, timeout_s=60)
    for room_bytes in (DISK_BYTES // 16, DISK_BYTES // 3):  # none to fetch, then none to link
        disk.fill(leave_bytes=room_bytes)
        with pytest.raises(StoreFull, match="No space is left"):
            await cache.get(lock)
        assert not (root / lock.digest).exists()
        assert not list(root.rglob("*.part"))
        disk.free()
    assert not (await cache.get(lock)).cached


def lock_of(lock: str) -> EnvironmentLock:
    python, tag = platform.python_version(), platform_tag()
    digest = environment_digest(python=python, platform=tag, lock=lock)
    return EnvironmentLock(python=python, platform=tag, lock=lock, digest=digest)
