"""A disk that is full: nothing half built, and the same call works once there is room."""

from __future__ import annotations

import os
import platform
import subprocess
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

DISK_BYTES = 8 * 1024 * 1024


class Shelf(Protocol):
    """See conftest."""

    @property
    def source(self) -> PackageSource: ...

    def add(self, name: str, version: str, *, size_bytes: int = 0) -> Path: ...


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder],
            check=False,
            capture_output=True,
        ).returncode
    )
    if not mounted:
        pytest.skip("a small disk needs the right to mount a tmpfs: run as root")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_get__disk_full__is_store_full_and_works_with_room(
    small_disk: Path, shelf: Shelf
) -> None:
    shelf.add("whale", "1.0", size_bytes=DISK_BYTES // 2)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES * 3 // 4))
    root = small_disk / "environments"
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
    ballast.unlink()
    assert not (await cache.get(asked)).cached


async def test_lock__disk_full__is_store_full(small_disk: Path, shelf: Shelf) -> None:
    shelf.add("whale", "1.0")
    left = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(left.f_bavail * left.f_frsize))
    with pytest.raises(StoreFull):
        await lock_pip(
            python=None,
            pip=["whale"],
            cache_dir=small_disk / "uv",
            timeout_s=60,
            packages=shelf.source,
        )
