"""What is stored of an environment and damaged: it is noticed, and stored anew."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from package_shelf import Shelf
from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import (
    NotFound,
    NotSupported,
    SeafloorError,
    StoreCorrupt,
    StoreUnavailable,
)
from seafloor.domain.ids import Sha256
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.stored import EnvironmentArchives, StoredEnvironment
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectStore


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


async def archive_of(objects: ObjectStore, stored: StoredEnvironment) -> tuple[str, bytes]:
    """The key of an archive, and its bytes."""
    name = f"{stored.sha256}.frames"
    return f"environments/{stored.digest}/{name}", (await kept(objects, stored.digest))[name]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


async def taken(data: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for chunk in data:
        into.append(chunk)  # noqa: PERF401 - what came before it broke off is asked for


async def break_off(objects: ObjectStore, stored: StoredEnvironment) -> SeafloorError:
    """Read an archive as a pod does; the answer breaks off."""
    got: list[bytes] = []
    digest = Sha256(stored.digest)
    found = await EnvironmentArchives(objects).file(digest, f"{stored.sha256}.frames")
    with pytest.raises(SeafloorError) as caught:
        await taken(found.data, got)
    assert len(b"".join(got)) < found.size_bytes
    return caught.value


@pytest.mark.parametrize("cut", [None, 0, 1])
async def test_store__archive_gone_or_cut__is_stored_anew_by_the_same_call(
    server: EnvironmentCache, objects: ObjectStore, lock: EnvironmentLock, cut: int | None
) -> None:
    stored = await server.store(lock)
    key, data = await archive_of(objects, stored)
    if cut is None:
        await objects.delete(key)
    else:
        await objects.put(key, data[:cut])
    await check_good(objects, await server.store(lock))
    assert await server.find(lock.digest) is not None


async def test_store__archive_with_a_flipped_byte__is_withdrawn_when_read_and_stored_anew(
    server: EnvironmentCache, objects: ObjectStore, lock: EnvironmentLock
) -> None:
    stored = await server.store(lock)
    key, data = await archive_of(objects, stored)
    await objects.put(key, flipped(data))
    assert await server.store(lock) == stored  # a glance does not tell
    assert isinstance(await break_off(objects, stored), StoreCorrupt)
    assert await kept(objects, lock.digest) == {}
    anew = await server.store(lock)
    assert anew != stored
    await check_good(objects, anew)


async def test_store__folder_changed_by_a_run_that_uses_it__another_is_built_for_the_archive(
    server: EnvironmentCache, objects: ObjectStore, lock: EnvironmentLock, tmp_path: Path
) -> None:
    stored = await server.store(lock)
    built = await server.get(lock, user=tmp_path)
    (module,) = built.path.rglob("whale.py")
    module.unlink()
    (built.path / "installed_by_a_run.py").touch()
    key, data = await archive_of(objects, stored)
    await objects.put(key, data[:-1])
    anew = await server.store(lock)
    await check_good(objects, anew)
    pod = EnvironmentCache(tmp_path / "pod", archives=EnvironmentArchives(objects), builds=False)
    brought = await pod.get(anew)
    assert len(list(brought.path.rglob("whale.py"))) == 1
    assert not (brought.path / "installed_by_a_run.py").exists()
    assert (built.path / "installed_by_a_run.py").exists()


async def test_file__archive_cut__is_not_given_and_is_withdrawn(
    server: EnvironmentCache, objects: ObjectStore, lock: EnvironmentLock
) -> None:
    stored = await server.store(lock)
    key, data = await archive_of(objects, stored)
    await objects.put(key, data[:-1])
    with pytest.raises(NotFound, match="was damaged"):
        await server.archive_file(lock.digest, f"{stored.sha256}.frames")
    assert await kept(objects, lock.digest) == {}


class OnceBad(MemoryObjectStore):
    """A store whose first transfer of an archive is bad."""

    left = 1

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        bad = key.endswith(".frames") and self.left > 0
        self.left -= bad
        async for chunk in super().read(key, start=start, length=length):
            yield flipped(chunk) if bad else chunk


async def test_file__transfer_bad_and_archive_whole__breaks_off_and_stays(
    tmp_path: Path, shelf: Shelf, lock: EnvironmentLock
) -> None:
    objects = OnceBad()
    archives = EnvironmentArchives(objects)
    server = EnvironmentCache(tmp_path / "server", packages=shelf.source, archives=archives)
    stored = await server.store(lock)
    assert isinstance(await break_off(objects, stored), StoreUnavailable)
    await check_good(objects, stored)
    found = await archives.file(Sha256(lock.digest), f"{stored.sha256}.frames")
    assert len(b"".join([chunk async for chunk in found.data])) == stored.size_bytes


async def test_file__bad_and_another_stored_meanwhile__the_other_stays(
    server: EnvironmentCache, objects: ObjectStore, lock: EnvironmentLock
) -> None:
    stored = await server.store(lock)
    key, data = await archive_of(objects, stored)
    await objects.put(key, flipped(data))
    archives = EnvironmentArchives(objects)
    reading = (await archives.file(Sha256(lock.digest), f"{stored.sha256}.frames")).data
    other = msgspec.structs.replace(stored, sha256="b" * 64)
    await objects.put(f"environments/{lock.digest}/environment.json", msgspec.json.encode(other))
    with pytest.raises(StoreCorrupt):
        await taken(reading, [])
    assert await archives.find(lock.digest) == other
