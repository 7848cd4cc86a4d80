"""Archives that a web server shows to those who have a secret: to whom it is sent, and how."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from archive_world import ArchiveServer, Served, sha256_of, tar_of
from certificates import make_authority
from seafloor.boot.archives import remote_opener
from seafloor.code.archive import ArchiveRequest, RemoteFile, resolve_archive
from seafloor.code.http_access import http_access
from seafloor.code.http_archive import HttpArchive
from seafloor.code.localize import Means, localize
from seafloor.domain.code import ArchiveCode
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.domain.secrets import Secret

CANARY = "c4n4ry-of-th3-arch1ves"
HOSTS = {"hosts": b"127.0.0.1"}
TOKEN = Secret("files", {**HOSTS, "token": CANARY.encode() + b"\n"})
BASIC = Secret("files", {**HOSTS, "username": b"ann", "password": CANARY.encode()})
HEADER = Secret("files", {**HOSTS, "header": b"PRIVATE-TOKEN", "token": CANARY.encode()})


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No proxy, and a password of the machine that must not be used beside a secret."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password of-the-machine\n")
    (tmp_path / ".netrc").chmod(0o600)
    return tmp_path


@pytest.fixture
def web() -> Iterator[ArchiveServer]:
    with ArchiveServer() as server:
        server.files["/a.tar"] = Served(tar_of({"train.py": b"print(1)\n"}))
        yield server


def opened(url: str, secret: Secret | None) -> RemoteFile:
    return HttpArchive(url, http_access(url, secret), wait=lambda _seconds: None)


def resolved(url: str, secret: Secret | None) -> ArchiveCode:
    return resolve_archive(ArchiveRequest(url), opened, secret)


def localized(root: Path, source: ArchiveCode, secret: Secret | None) -> None:
    means = Means(
        root / "cache",
        lambda sha256, _: pytest.fail(f"{sha256} is no snapshot"),
        opened,
        print,
        lambda name: secret if secret and name == secret.name else pytest.fail(name),
    )
    localize(source, code_dir=root / "code", means=means)
    for path in root.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("secret", "login", "header"),
    [
        (TOKEN, None, f"Authorization: Bearer {CANARY}"),
        (BASIC, f"ann:{CANARY}", None),
        (Secret("files", {**TOKEN, "username": b"ann"}), f"ann:{CANARY}", None),
        (HEADER, None, f"PRIVATE-TOKEN: {CANARY}"),
    ],
    ids=["bearer", "basic", "token of a user", "header"],
)
def test_localize__archive_behind_a_secret__arrives_and_holds_none_of_it(
    web: ArchiveServer, tmp_path: Path, secret: Secret, login: str | None, header: str | None
) -> None:
    web.files["/a.tar"].login, web.files["/a.tar"].header = login, header
    source = resolved(f"{web.url}/a.tar", secret)
    assert source.secret == "files"
    localized(tmp_path / "place", source, secret)
    assert (tmp_path / "place" / "code" / "a" / "train.py").read_bytes() == b"print(1)\n"


@pytest.mark.parametrize("secret", [TOKEN, BASIC, HEADER], ids=["bearer", "basic", "header"])
def test_facts__redirects__only_the_server_of_the_address_is_shown_the_secret(
    web: ArchiveServer, secret: Secret
) -> None:
    """Neither another host, nor another port of its own, though the secret names both hosts."""
    secret = Secret("files", {**secret, "hosts": b"127.0.0.1 localhost"})
    with ArchiveServer() as other:
        port = web.url.rpartition(":")[2]
        web.files["/start"] = Served(location="/same")
        web.files["/same"] = Served(location=f"http://localhost:{port}/name")
        web.files["/name"] = Served(location=f"{other.url}/port")
        other.files["/port"] = Served(location=f"{web.url}/a.tar")
        opened(f"{web.url}/start", secret).facts()
        seen = [*web.asked, *other.asked]
    access = http_access(web.url, secret)
    assert access is not None
    ((name, value),) = access.headers.items()
    shown = {path for path, headers in seen if headers.get(name.lower()) == value}
    assert shown == {"/start", "/same", "/a.tar"}
    others = {path: headers for path, headers in seen if path not in shown}
    assert others.keys() == {"/name", "/port"}
    assert CANARY not in str(others)


def test_facts__secret_that_is_not_right__is_told_apart_from_not_found(web: ArchiveServer) -> None:
    web.files["/a.tar"].header = "Authorization: Bearer another"
    with pytest.raises(
        SourceError, match=r'refuses what the secret "files" shows it \(401'
    ) as wrong:
        resolved(f"{web.url}/a.tar", TOKEN)
    web.files["/a.tar"].status = [403]
    with pytest.raises(SourceError, match='may not be read with the secret "files"') as forbidden:
        resolved(f"{web.url}/a.tar", TOKEN)
    with pytest.raises(SourceError, match="There is nothing at") as missing:
        resolved(f"{web.url}/b.tar", TOKEN)
    for each in (wrong, forbidden, missing):
        assert CANARY not in f"{each.value.message} {each.value.detail} {each.value!r}"


@pytest.mark.parametrize(
    ("url", "values", "words"),
    [
        ("https://evil.example/a.tar", {}, "is not sent to evil"),
        ("https://127.0.0.1/a.tar", {"hosts": b""}, "names no host"),
        ("http://far.example/a.tar", {"hosts": b"far.example"}, "in the clear"),
        ("https://127.0.0.1/a.tar", {"token": b"two\nlines"}, "not one line"),
        ("https://127.0.0.1/a.tar", {"token": "\N{SNOWMAN}".encode()}, "ASCII only"),
        ("https://127.0.0.1/a.tar", {"header": b"Host"}, "may be sent"),
        ("https://127.0.0.1/a.tar", {"header": b"X: y\tz"}, "not one line"),
        ("https://127.0.0.1/a.tar", {"header": b"X Y"}, "may be sent"),
        ("https://127.0.0.1/a.tar", {"ca.crt": b"\xff"}, "no certificate"),
        ("https://127.0.0.1/a.tar", {"ca.crt": b"nothing"}, "no certificate"),
        ("s3://127.0.0.1/a.tar", {}, "Named secrets are for web servers"),
        ("file:///srv/a.tar", {}, "Named secrets are for web servers"),
    ],
)
def test_open__secret_that_does_not_fit__nothing_is_asked(
    url: str, values: dict[str, bytes], words: str
) -> None:
    secret = Secret("files", {**TOKEN, **values})
    with pytest.raises(InvalidValue, match=words) as refused:
        remote_opener({})(url, secret).facts()
    assert CANARY not in refused.value.message


def test_open__password_without_a_user__says_what_is_missing() -> None:
    with pytest.raises(InvalidValue, match="neither token nor username and password"):
        http_access("https://127.0.0.1/a.tar", Secret("files", {**HOSTS, "password": b"x"}))


def test_localize__archive_that_a_secret_opened__is_not_there_for_those_without(
    web: ArchiveServer, tmp_path: Path
) -> None:
    content = web.files["/a.tar"].content
    web.files["/a.tar"].header = f"Authorization: Bearer {CANARY}"
    source = msgspec.structs.replace(resolved(f"{web.url}/a.tar", TOKEN), sha256=sha256_of(content))
    localized(tmp_path / "place", source, TOKEN)
    without = msgspec.structs.replace(source, secret=None, folder="other")
    with pytest.raises(SourceError, match="asks for a password"):
        localized(tmp_path / "place", without, None)


def test_facts__authority_of_a_secret__is_trusted_for_its_server(
    web: ArchiveServer, tmp_path: Path
) -> None:
    key, certificate = make_authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    web.wrap(context)
    web.files["/a.tar"].header = f"Authorization: Bearer {CANARY}"
    url = f"{web.url.replace('http:', 'https:')}/a.tar"
    with pytest.raises(SourceError, match="is not trusted"):
        opened(url, TOKEN).facts()
    opened(url, Secret("files", {**TOKEN, "ca.crt": certificate.read_bytes()})).facts()
