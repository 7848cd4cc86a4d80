"""Environments from the object store: other machines fetch what one has built."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

import seafloor
from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import SourceError
from seafloor.environments.archive import Damaged, list_folder, pack, unpack
from seafloor.environments.build import BuiltEnvironment, EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.stored import EnvironmentArchives
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.local.store import LocalObjectStore
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectStore

NOTHING = PackageSource(offline=True)
"""A package index that is out of reach."""


class Shelf(Protocol):
    """See conftest."""

    @property
    def source(self) -> PackageSource: ...

    def add(
        self, name: str, version: str, *, size_bytes: int = 0, script: str | None = None
    ) -> Path: ...


@pytest.fixture(params=["memory", "folder"])
async def objects(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """An object store; from one in a folder an archive is read where it lies."""
    memory = request.param == "memory"
    store = MemoryObjectStore() if memory else LocalObjectStore(tmp_path / "objects")
    yield store
    await store.close()


def lock_of(*lines: str) -> EnvironmentLock:
    python, tag = platform.python_version(), platform_tag()
    lock = "".join(f"{line}\n" for line in sorted(lines))
    digest = environment_digest(python=python, platform=tag, lock=lock)
    return EnvironmentLock(python=python, platform=tag, lock=lock, digest=digest)


def machine(
    folder: Path,
    objects: ObjectStore,
    packages: PackageSource = NOTHING,
    *,
    size_max_bytes: int | None = None,
) -> EnvironmentCache:
    """The environments of a machine of its own."""
    return EnvironmentCache(
        folder,
        packages=packages,
        archives=EnvironmentArchives(objects),
        size_max_bytes=size_max_bytes,
    )


def printed_by(*command: str | Path) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


async def stored(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> tuple[EnvironmentLock, BuiltEnvironment]:
    """An environment that a first machine has built and stored."""
    shelf.add("whale", "2.0", script="sing", size_bytes=3_000_000)
    lock = lock_of("whale==2.0")
    first = machine(tmp_path / "first", objects, shelf.source)
    built = await first.get(lock)
    await first.settle()
    return lock, built


async def archive_key(objects: ObjectStore, digest: str) -> str:
    page = await objects.list(f"environments/{digest}")
    (key,) = [one.key for one in page.objects if one.key.endswith(".tar.zst")]
    return key


async def test_get__stored_by_another_machine__is_fetched_without_any_index(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, built = await stored(tmp_path, objects, shelf)
    told: list[str] = []
    fetched = await machine(tmp_path / "second", objects).get(lock, told.append)
    assert (built.fetched, fetched.fetched, fetched.cached) == (False, True, False)
    assert printed_by(fetched.python_path, "-c", "import whale; print(whale.version)") == "2.0"
    # A script names the folder it is in, not the one that it was built in.
    assert printed_by(fetched.path / "bin" / "sing") == "2.0"
    assert str(built.path) not in (fetched.path / "bin" / "sing").read_text()
    assert (fetched.path / "bin" / "sing").read_bytes().startswith(b"#!")
    assert len(told) == 1
    assert told[0].startswith("fetching environment")
    assert set(list_folder(fetched.path)) == set(list_folder(built.path))


async def test_get__archive_damaged__is_built_and_stored_anew(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    key = await archive_key(objects, lock.digest)
    data = b"".join([chunk async for chunk in objects.read(key)])
    await objects.put(key, data[:-100] + bytes(100))

    told: list[str] = []
    second = machine(tmp_path / "second", objects, shelf.source)
    assert not (await second.get(lock, told.append)).fetched
    assert "built here" in told[1]
    await second.settle()
    assert (await machine(tmp_path / "third", objects).get(lock)).fetched


async def test_get__archive_damaged_and_index_away__keeps_nothing(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    await objects.put(await archive_key(objects, lock.digest), b"")
    second = machine(tmp_path / "second", objects)
    with pytest.raises(SourceError):
        await second.get(lock)
    assert not (tmp_path / "second" / lock.digest).exists()


async def test_get__archive_lost__is_built(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    await objects.delete(await archive_key(objects, lock.digest))
    second = machine(tmp_path / "second", objects, shelf.source)
    assert not (await second.get(lock)).fetched
    await second.settle()
    assert (await machine(tmp_path / "third", objects).get(lock)).fetched


async def test_store__two_machines_at_once__one_archive_stays(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0")
    lock = lock_of("whale==2.0")
    machines = [machine(tmp_path / name, objects, shelf.source) for name in ("first", "second")]
    for one in machines:
        await one.get(lock)
    for one in machines:
        await one.settle()
    await archive_key(objects, lock.digest)
    assert (await machine(tmp_path / "third", objects).get(lock)).fetched


async def test_store__binary_that_names_its_place__is_not_stored(
    tmp_path: Path, objects: ObjectStore
) -> None:
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "tool").write_bytes(b"\x7fELF\0" + bytes(folder) + b"\0")
    with pytest.raises(Exception, match="tool names the folder"):
        pack(folder, tmp_path / "archive", skeleton={}, built=list_folder(folder))


async def test_pack__changed_since_it_was_built__is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "module.py").write_text("a = 1")
    built = list_folder(folder)
    (folder / "module.py").write_text("a = 22")
    with pytest.raises(Exception, match=r"module\.py was changed"):
        pack(folder, tmp_path / "archive", skeleton={}, built=built)


@pytest.mark.parametrize("name", ["files/../x", "files//x", "other/x", "files/"])
def test_unpack__path_that_leaves_the_folder__is_refused(tmp_path: Path, name: str) -> None:
    import io
    import tarfile

    import zstandard

    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    archive = tmp_path / "archive"
    archive.write_bytes(zstandard.compress(plain.getvalue()))
    (tmp_path / "in").mkdir()
    with pytest.raises(Damaged):
        unpack(archive, tmp_path / "in")
    assert not list(tmp_path.rglob("x"))


async def test_remove__stored__leaves_the_object_store_too(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, _ = await stored(tmp_path, objects, shelf)
    await machine(tmp_path / "second", objects).remove(lock.digest)
    assert (await objects.list("environments")).objects == ()


async def test_limit__exceeded__removes_what_was_not_used_for_longest(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    locks = [lock_of(f"whale{at}==1.0") for at in range(3)]
    for at in range(3):
        shelf.add(f"whale{at}", "1.0", size_bytes=20_000_000)
    cache = machine(tmp_path / "here", objects, shelf.source, size_max_bytes=60_000_000)
    await cache.get(locks[0])
    await cache.get(locks[1])
    await cache.get(locks[0])  # so the second is the one that was not used for longest
    await cache.settle()
    await cache.get(locks[2])
    await cache.settle()
    kept = {record.digest for record in await cache.list()}
    assert kept == {locks[0].digest, locks[2].digest}
    assert (await cache.get(locks[1])).fetched


async def test_limit__exceeded_by_what_is_in_use__removes_nothing(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    shelf.add("whale", "2.0")
    run = tmp_path / "run"
    run.mkdir()
    cache = machine(tmp_path / "here", objects, shelf.source, size_max_bytes=1)
    built = await cache.get(lock_of("whale==2.0"), user=run)
    await cache.settle()
    assert await cache.remove(built.digest) == 0
    assert (await cache.get(lock_of("whale==2.0"))).cached
    run.rmdir()
    assert await cache.remove(built.digest) > 0
    assert await cache.find(built.digest) is None


# Fetches as a server would, from a folder of objects, and says when it has begun.
FETCHING = """
import asyncio, pathlib, sys
import msgspec
from seafloor.domain.environments import EnvironmentLock
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.stored import EnvironmentArchives
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.local.store import LocalObjectStore

async def fetch(root, objects, lock):
    cache = EnvironmentCache(
        pathlib.Path(root),
        packages=PackageSource(offline=True),
        archives=EnvironmentArchives(LocalObjectStore(pathlib.Path(objects))),
    )
    told = lambda sentence: print(sentence, flush=True)
    await cache.get(msgspec.json.decode(lock, type=EnvironmentLock), told)

asyncio.run(fetch(*sys.argv[1:]))
"""


@pytest.mark.parametrize("objects", ["folder"], indirect=True)
async def test_get__killed_while_it_fetches__next_fetches_whole(
    tmp_path: Path, objects: ObjectStore, shelf: Shelf
) -> None:
    lock, built = await stored(tmp_path, objects, shelf)
    root = tmp_path / "second"
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", FETCHING, root, tmp_path / "objects", msgspec.json.encode(lock)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(seafloor.__file__).parents[1])},
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("fetching")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.4))
        process.kill()
        process.communicate(timeout=60)
        found = await machine(root, objects).find(lock.digest)
        if found is not None:  # it was faster: begin anew
            assert set(list_folder(found.path)) == set(list_folder(built.path))
            shutil.rmtree(found.path)
    fetched = await machine(root, objects).get(lock)
    assert fetched.fetched
    assert set(list_folder(fetched.path)) == set(list_folder(built.path))
    assert printed_by(fetched.path / "bin" / "sing") == "2.0"
