"""Repositories behind a proxy that opens tunnels: with git's own settings, and with secrets."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import make_authority
from connect_proxy import ConnectProxy
from git_world import GitServer, Repository, copy_as_served, tree_of
from seafloor.code.file_archive import open_file
from seafloor.code.git import resolve_git
from seafloor.code.localize import Means, localize
from seafloor.domain.errors import SourceError
from seafloor.domain.ids import Sha256
from seafloor.domain.secrets import Secret

CANARY = "c4n4ry-0f-th3-tunn3l"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """None but those of the test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "app")
    made.commit({"train.py": "print(1)\n"})
    return made


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_authority(tmp_path)


@pytest.fixture
def server(
    tmp_path: Path, repository: Repository, certificate: tuple[Path, Path]
) -> Iterator[GitServer]:
    copy_as_served(repository, tmp_path / "served", "app.git")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    with GitServer(tmp_path / "served", user="ann", password=CANARY, tls=context) as running:
        yield running


@pytest.fixture
def secret(certificate: tuple[Path, Path]) -> Secret:
    values = {"hosts": b"127.0.0.1", "username": b"ann", "token": CANARY.encode()}
    return Secret("forge", {**values, "ca.crt": certificate[1].read_bytes()})


def _no_snapshot(_sha256: Sha256, _path: Path) -> None:
    raise AssertionError


def _target(server: GitServer) -> str:
    return server.url.removeprefix("https://")


def test_localize__through_a_proxy_of_the_environment__is_what_was_committed_and_tells_it_nothing(
    server: GitServer,
    secret: Secret,
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ConnectProxy("me", "pr0xy-w0rd") as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:pr0xy-w0rd@{proxy.address}")
        source = resolve_git(f"{server.url}/app.git", "main", secret=secret)
        means = Means(tmp_path / "cache", _no_snapshot, open_file, print, lambda _: secret)
        receipt = localize(source, code_dir=tmp_path / "code", means=means)

    assert receipt.commit == repository.head
    assert tree_of(tmp_path / "code/app") == tree_of(repository.path)
    assert set(proxy.targets) == {_target(server)}
    assert CANARY.encode() not in proxy.seen
    for path in (*(tmp_path / "code").rglob("*"), *(tmp_path / "cache").rglob("*")):
        if path.is_file():
            assert b"pr0xy-w0rd" not in path.read_bytes(), path


def test_resolve_git__proxy_of_gits_own_settings__is_used(
    server: GitServer,
    secret: Secret,
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ConnectProxy() as proxy:
        (tmp_path / "gitconfig").write_text(f"[http]\nproxy = http://{proxy.address}\n")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))

        source = resolve_git(f"{server.url}/app.git", "main", secret=secret)

    assert source.commit == repository.head
    assert set(proxy.targets) == {_target(server)}


def test_resolve_git__host_in_no_proxy__is_reached_without_it(
    server: GitServer, secret: Secret, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy() as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")

        source = resolve_git(f"{server.url}/app.git", "main", secret=secret)

    assert source.commit == repository.head
    assert proxy.targets == []


def test_resolve_git__proxy_wants_a_password__says_that_it_is_the_proxy(
    server: GitServer, secret: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy("me", "right") as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:wr0ng-w0rd@{proxy.address}")

        with pytest.raises(SourceError) as caught:
            resolve_git(f"{server.url}/app.git", "main", secret=secret)

    assert caught.value.message.startswith(f"The proxy on the way to {server.url}/app.git")
    assert "https_proxy" in caught.value.message
    assert "wr0ng-w0rd" not in f"{caught.value.message}{caught.value.detail}"
    assert proxy.refused
