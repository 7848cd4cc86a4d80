"""Private package indexes and channels: secrets reach their hosts, and nothing else."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from conda_channel import CondaChannel
from package_shelf import Shelf
from private_index import BASIC, CANARY, assert_nowhere, guarded, simple_index
from seafloor.code import private_folder
from seafloor.domain.environments import EnvironmentLock, environment_digest
from seafloor.domain.errors import InvalidValue, NotFound, SourceError
from seafloor.domain.secrets import Secret
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.environments.lock import Asked, lock_environment
from seafloor.environments.package_access import package_access
from seafloor.environments.stored import EnvironmentArchives
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.local.store import LocalObjectStore


@pytest.fixture(autouse=True)
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where secrets are handed over; nothing is left there."""
    place = tmp_path_factory.mktemp("memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_folder, "_MEMORY", place)
        yield place
    assert list(place.iterdir()) == []


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> CondaChannel:
    made = CondaChannel(tmp_path_factory.mktemp("channel"))
    made.add_python()
    made.index()
    return made


def secret(**values: str) -> Secret:
    """One for the servers of these tests, unless it says otherwise."""
    told = {"hosts": "127.0.0.1", "username": "captain", "password": CANARY, **values}
    return Secret("nexus", {key: value.encode() for key, value in told.items() if value})


def source(*secrets: Secret, index_url: str | None = None, proxy: str | None = None):
    return PackageSource(index_url=index_url, proxy=proxy, secrets=lambda: secrets)


async def test_index__private__is_locked_and_built_and_the_secret_is_nowhere(
    tmp_path: Path, shelf: Shelf
) -> None:
    simple_index(tmp_path / "site", shelf.add("whale", "2.0"))
    data = tmp_path / "data"
    with guarded(tmp_path / "site") as server:
        packages = source(secret(), index_url=f"{server.url}/simple")
        archives = EnvironmentArchives(LocalObjectStore(data / "objects"))
        cache = EnvironmentCache(data / "environments", packages=packages, archives=archives)
        said: list[str] = []
        lock = await lock_environment(
            Asked(pip=["whale"]),
            root=cache.root,
            timeout_s=60,
            packages=packages,
            progress=said.append,
        )
        built = await cache.get(lock, said.append)
        await cache.settle()
        assert any(authorization for _, authorization in server.asked)
        assert_nowhere(data, server, lock, built, said, packages)
    assert "127.0.0.1" not in lock.lock


@pytest.mark.parametrize("password", ["wrong-one", None])
async def test_index__wrong_or_no_secret__says_so_and_shows_none(
    tmp_path: Path, shelf: Shelf, password: str | None
) -> None:
    simple_index(tmp_path / "site", shelf.add("whale", "2.0"))
    with guarded(tmp_path / "site", wanted="Basic other") as server:
        secrets = [] if password is None else [secret()]
        packages = source(*secrets, index_url=f"{server.url}/simple")
        with pytest.raises(
            SourceError, match=r"asks for a password.*environments\.secrets"
        ) as caught:
            await lock_environment(
                Asked(pip=["whale"]), root=tmp_path / "data", timeout_s=60, packages=packages
            )
        error = caught.value
        assert_nowhere(tmp_path / "data", server, error.message, error.detail, repr(error))


async def test_index__on_another_host__never_gets_the_secret(tmp_path: Path, shelf: Shelf) -> None:
    simple_index(tmp_path / "site", shelf.add("whale", "2.0"))
    with guarded(tmp_path / "site") as server:
        packages = source(secret(hosts="elsewhere.example"), index_url=f"{server.url}/simple")
        with pytest.raises(SourceError):
            await lock_environment(
                Asked(pip=["whale"]), root=tmp_path / "data", timeout_s=60, packages=packages
            )
        assert server.asked
        assert {authorization for _, authorization in server.asked} == {None}


@pytest.mark.parametrize("token", ["", CANARY], ids=["basic", "bearer"])
async def test_channel__private__is_locked_and_built_and_the_secret_is_nowhere(
    tmp_path: Path, channel: CondaChannel, token: str
) -> None:
    data = tmp_path / "data"
    told = secret(token=token, username="", password="") if token else secret()
    with guarded(
        channel.folder, wanted=f"Bearer {CANARY}" if token else f"Basic {BASIC}"
    ) as server:
        packages = source(told)
        cache = EnvironmentCache(data, packages=packages)
        asked = Asked(conda_channels=[server.url], conda_packages=["python"])
        with pytest.raises(SourceError, match="refuses access"):
            await lock_environment(asked, root=data, timeout_s=60, packages=source())
        lock = await lock_environment(asked, root=data, timeout_s=60, packages=packages)
        built = await cache.get(lock)
        await cache.settle()
        assert server.url in lock.lock
        assert_nowhere(data, server, lock, built)


async def test_proxy__configured__is_asked_for_index_and_channel(tmp_path: Path) -> None:
    # What a proxy is asked for is a whole address; this one has nothing to give.
    (tmp_path / "site").mkdir()
    with guarded(tmp_path / "site", wanted="nobody") as server:
        packages = source(index_url="http://index.example/simple", proxy=server.url)
        for asked in (
            Asked(pip=["whale"]),
            Asked(conda_channels=["http://channel.example/c"], conda_packages=["python"]),
        ):
            with pytest.raises(SourceError):
                await lock_environment(
                    asked, root=tmp_path / "data", timeout_s=60, packages=packages
                )
        hosts = {path.partition("://")[2].partition("/")[0] for path, _ in server.asked}
    assert hosts == {"index.example", "channel.example"}


@pytest.mark.parametrize(
    "asked",
    [
        Asked(pip=[f"whale @ http://nexus.example/w-1-py3-none-any.whl#sha256={'0' * 64}"]),
        Asked(conda_channels=["http://nexus.example/c"], conda_packages=["python"]),
    ],
)
async def test_address__in_the_clear__is_refused_before_anything_is_sent(
    tmp_path: Path, asked: Asked
) -> None:
    packages = source(secret(hosts="nexus.example"))
    with pytest.raises(InvalidValue, match="in the clear"):
        await lock_environment(asked, root=tmp_path, timeout_s=60, packages=packages)
    # A lock made before there was a secret.
    text = f"whale @ http://nexus.example/w-1-py3-none-any.whl#sha256={'0' * 64}\n"
    python, tag = platform.python_version(), platform_tag()
    digest = environment_digest(python=python, platform=tag, lock=text)
    lock = EnvironmentLock(python=python, platform=tag, lock=text, digest=digest)
    with pytest.raises(InvalidValue, match="in the clear"):
        await EnvironmentCache(tmp_path, packages=packages).get(lock)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"hosts": ""}, "names no host"),
        ({"hosts": "https://a.example"}, "which is no host"),
        ({"password": ""}, "neither token nor password"),
        ({"password": f"{CANARY} {CANARY}"}, "a value with spaces"),
        ({"password": f'{CANARY}"'}, "a value with spaces"),
        ({"username": "a\nmachine"}, "not one line"),
    ],
)
def test_secret__that_cannot_be_used__says_why_and_shows_nothing(
    values: dict[str, str], why: str
) -> None:
    with (
        pytest.raises(InvalidValue, match=why) as caught,
        package_access(lambda: [secret(**values)]),
    ):
        pass
    assert CANARY not in str(caught.value) + repr(caught.value)


def test_secrets__two_for_one_host__are_refused() -> None:
    with (
        pytest.raises(InvalidValue, match="as another one"),
        package_access(lambda: [secret(), secret()]),
    ):
        pass


def test_access__over__nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine other.example login me password mine")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with package_access(lambda: [secret()]) as access:
        assert access.netrc is not None
        assert access.conda is not None
        assert access.netrc.stat().st_mode & 0o077 == 0
        assert access.netrc.read_text().splitlines() == [
            "machine other.example login me password mine",
            f"machine 127.0.0.1 login captain password {CANARY}",
        ]
    assert not access.netrc.parent.exists()


async def test_secret__not_there__is_named(tmp_path: Path) -> None:
    def missing() -> list[Secret]:
        raise NotFound('There is no secret "nexus".', field="secret")

    with pytest.raises(NotFound, match="nexus"):
        await lock_environment(
            Asked(pip=["six"]),
            root=tmp_path,
            timeout_s=60,
            packages=PackageSource(secrets=missing),
        )
