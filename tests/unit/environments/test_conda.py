"""conda: from a channel in a folder, with a real Python, together with pip."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from conda_channel import PLACEHOLDER, CondaChannel
from package_shelf import Shelf
from seafloor.domain.environments import parse_lock
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.conda import check_channels, check_packages
from seafloor.environments.lock import Asked, lock_environment
from seafloor.environments.stored import EnvironmentArchives
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.memory import MemoryObjectStore

LOCK_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> CondaChannel:
    """Python, a module of it, and a program that names the folder it is in."""
    made = CondaChannel(tmp_path_factory.mktemp("channel"))
    made.add_python()
    info = {
        "site-packages/krill.py": b"version = '1.5'\n",
        "site-packages/krill-1.5.dist-info/METADATA": (
            b"Metadata-Version: 2.1\nName: krill\nVersion: 1.5\n"
        ),
        "site-packages/krill-1.5.dist-info/INSTALLER": b"conda",
        "site-packages/krill-1.5.dist-info/RECORD": b"",
    }
    made.add("krill", "1.5", info, depends=["python >=3.8"], noarch="python")
    made.add("krill", "2.0", {}, depends=["python >=3.8", "plankton"], noarch="python")
    tool = f"#!/bin/sh\necho {PLACEHOLDER}\n".encode()
    made.add("where", "0.1", {"bin/where": tool})
    made.index()
    return made


def printed_by(*command: str | Path) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


async def test_conda_and_pip__together__run_here_and_on_another_machine(
    tmp_path: Path, channel: CondaChannel, shelf: Shelf
) -> None:
    # pip's whale needs krill, which conda has: there must be one krill, conda's.
    shelf.add("whale", "2.0", requires=("krill>=1",), script="sing")
    shelf.add("krill", "1.5")
    shelf.add("krill", "1.6")
    objects = MemoryObjectStore()
    first = EnvironmentCache(
        tmp_path / "first", packages=shelf.source, archives=EnvironmentArchives(objects)
    )
    asked = Asked(
        pip=["whale"],
        conda_channels=[channel.address],
        conda_packages=["krill", "where >=0.1"],
    )
    lock = await lock_environment(
        asked, root=first.root, timeout_s=LOCK_TIMEOUT_S, packages=shelf.source
    )
    found = {(one.kind, one.name, one.version) for one in parse_lock(lock.lock)}
    assert found == {
        ("conda", "krill", "1.5"),
        ("conda", "python", lock.python),
        ("conda", "where", "0.1"),
        ("pip", "whale", "2.0"),
    }
    assert all(len(one.sha256) == 64 for one in parse_lock(lock.lock) if one.kind == "conda")

    built = await first.get(lock)
    await first.settle()
    # No channel, no index: all of it is in the object store.
    second = EnvironmentCache(
        tmp_path / "a second machine" / "elsewhere",
        packages=PackageSource(offline=True),
        archives=EnvironmentArchives(objects),
    )
    hidden = channel.folder.rename(channel.folder.with_name("hidden"))
    try:
        fetched = await second.get(lock)
    finally:
        hidden.rename(channel.folder)
    assert (built.fetched, fetched.fetched) == (False, True)
    for one in (built, fetched):
        said = printed_by(one.python_path, "-c", "import sys, krill, whale; print(sys.prefix)")
        assert said == str(one.path)
        assert printed_by(one.path / "bin" / "where") == str(one.path)
    assert printed_by(built.path / "bin" / "sing") == "2.0"
    assert await second.remove(lock.digest) > 0


async def test_lock__packages_that_do_not_go_together__names_them(
    tmp_path: Path, channel: CondaChannel
) -> None:
    asked = Asked(conda_channels=[channel.address], conda_packages=["krill >=2"])
    with pytest.raises(SourceError, match=r"do not go together.*plankton") as caught:
        await lock_environment(asked, root=tmp_path, timeout_s=LOCK_TIMEOUT_S)
    assert caught.value.field == "conda.packages"


@pytest.mark.parametrize("address", ["file:///nowhere/channel", "http://127.0.0.1:9/channel"])
async def test_lock__channel_away__names_its_address_and_can_be_tried_again(
    tmp_path: Path, address: str
) -> None:
    asked = Asked(conda_channels=[address], conda_packages=["krill"])
    with pytest.raises(SourceError, match=r"Check the address") as caught:
        await lock_environment(asked, root=tmp_path, timeout_s=LOCK_TIMEOUT_S)
    assert address in caught.value.message
    assert caught.value.retry_after_s is not None


@pytest.fixture
def own_channel(tmp_path: Path) -> CondaChannel:
    """A channel to break; its Python cannot be started."""
    made = CondaChannel(tmp_path / "channel")
    made.add("python", "3.11.2", {"lib/nothing": b""}, subdir="linux-64")
    made.add("krill", "1.5", {"site-packages/krill.py": b""}, noarch="python")
    asyncio.run(asyncio.to_thread(made.index))
    return made


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"other"), "is not the file that was locked"),
        (Path.unlink, "is not there any more"),
    ],
)
def test_get__package_replaced_or_gone__names_it_and_keeps_nothing(
    tmp_path: Path, own_channel: CondaChannel, damage: object, said: str
) -> None:
    asked = Asked(conda_channels=[own_channel.address], conda_packages=["krill"])

    async def lock_then_build() -> None:
        cache = EnvironmentCache(tmp_path / "environments")
        lock = await lock_environment(asked, root=cache.root, timeout_s=LOCK_TIMEOUT_S)
        (package,) = own_channel.folder.glob("noarch/krill*")
        assert callable(damage)
        damage(package)
        with pytest.raises(SourceError, match=said) as caught:
            await cache.get(lock)
        assert package.as_uri() in caught.value.message
        assert await cache.list() == ()
        assert not list(cache.root.rglob("*.part"))
        assert not (cache.root / lock.digest).exists()

    asyncio.run(lock_then_build())


def test_get__channel_without_a_real_python__says_so(
    tmp_path: Path, own_channel: CondaChannel
) -> None:
    asked = Asked(conda_channels=[str(own_channel.folder)], conda_packages=["python"])

    async def lock_then_build() -> None:
        cache = EnvironmentCache(tmp_path / "environments")
        lock = await lock_environment(asked, root=cache.root, timeout_s=LOCK_TIMEOUT_S)
        with pytest.raises(SourceError, match="no Python that can be started"):
            await cache.get(lock)
        assert await cache.list() == ()

    asyncio.run(lock_then_build())


@pytest.mark.parametrize(
    "channel_name",
    ["./channel", "ftp://example.com/c", "https://me:hunter2@example.com/c",
     "https://example.com/t/hunter2/c", "", "https://[::1/c"],
)  # fmt: skip
def test_channels__not_acceptable__are_refused_and_no_password_is_repeated(
    channel_name: str,
) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_channels(["conda-forge", channel_name])
    assert caught.value.field == "conda.channels[1]"
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("spec", ["", "numpy >>2", "numpy=="])
def test_packages__not_acceptable__are_refused_with_their_place(spec: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_packages(["numpy=2.1.0=py311h_0", "conda-forge::six >=1", spec])
    assert caught.value.field == "conda.packages[2]"
