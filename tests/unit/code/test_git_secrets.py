"""Several secrets for one repository: each goes where it is for, and nowhere else."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from certificates import make_authority
from git_world import GitServer, Repository, copy_as_served
from seafloor.code.file_archive import open_file
from seafloor.code.git import resolve_git
from seafloor.code.git_access import git_access
from seafloor.code.localize import Means, localize
from seafloor.domain.code import GitCode, Receipt
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.domain.secrets import Secret
from seafloor.domain.url_prefix import parse_url_prefix

FIRST, SECOND, THIRD = "c4n4ry-of-th3-first", "c4n4ry-of-th3-second", "c4n4ry-of-th3-third"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of both names of this machine, which are two hosts."""
    place = tmp_path_factory.mktemp("authority")
    return make_authority(place, "localhost")


Serve = Callable[[str, str, str], GitServer]


@pytest.fixture
def serve(tmp_path: Path, authority: tuple[Path, Path]) -> Iterator[Serve]:
    """Start a server: its folder, and the user and password that it asks for."""
    running: list[GitServer] = []

    def started(name: str, user: str, password: str) -> GitServer:
        made = GitServer(tmp_path / name, user=user, password=password, tls=_tls(authority))
        running.append(made.__enter__())
        return made

    yield started
    for each in running:
        each.__exit__()


def _tls(authority: tuple[Path, Path]) -> ssl.SSLContext:
    key, certificate = authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def elsewhere(server: GitServer) -> str:
    """The same server by its other name, which is another host."""
    return server.url.replace("127.0.0.1", "localhost")


def secret(
    name: str, authority: tuple[Path, Path], host: str, password: str, user: str = "ann"
) -> Secret:
    values = {"hosts": host, "username": user, "password": password}
    encoded = {key: value.encode() for key, value in values.items()}
    return Secret(name, {**encoded, "ca.crt": authority[1].read_bytes()})


def library(root: Path, served: Path, name: str = "lib.git") -> Repository:
    made = Repository.create(root)
    made.commit({"lib.py": "x = 1\n"})
    copy_as_served(made, served, name)
    return made


def with_submodules(root: Path, served: Path, modules: Mapping[str, tuple[Repository, str]]) -> str:
    """A repository with submodules, served; its commit."""
    outer = Repository.create(root)
    for path, (repository, address) in modules.items():
        outer.add_submodule(repository, path, address)
    commit = outer.commit({"train.py": "print(1)\n"})
    copy_as_served(outer, served, "app.git")
    return commit


def localized(root: Path, source: GitCode, *secrets: Secret) -> Receipt:
    kept = {each.name: each for each in secrets}
    means = Means(
        root / "cache",
        lambda sha256, _: pytest.fail(f"{sha256} is no snapshot"),
        open_file,
        print,
        kept.__getitem__,
    )
    receipt = localize(source, code_dir=root / "code", means=means)
    for path in root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(each.encode() in content for each in (FIRST, SECOND, THIRD)), path
    return receipt


def test_localize__submodule_of_another_host__each_host_sees_its_own_secret(
    serve: Serve, authority: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = serve("first", "ann", FIRST), serve("second", "bob", SECOND)
    lib = library(tmp_path / "lib", second.root)
    commit = with_submodules(
        tmp_path / "app", first.root, {"lib": (lib, f"{elsewhere(second)}/lib.git")}
    )
    forge = secret("forge", authority, "127.0.0.1", FIRST)
    partner = secret("partner", authority, "localhost", SECOND, "bob")
    source = resolve_git(f"{first.url}/app.git", None, secret=forge, secrets={"localhost": partner})
    assert (source.secret, source.secrets) == ("forge", {"localhost": "partner"})

    receipt = localized(tmp_path / "place", source, forge, partner)

    assert (receipt.commit, receipt.submodules) == (commit, {"lib": lib.head})
    assert first.shown == {f"ann:{FIRST}"}
    assert second.shown == {f"bob:{SECOND}"}


def test_localize__submodule_of_another_host_without_a_secret__is_shown_none(
    serve: Serve, authority: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSL_CAINFO", str(authority[1]))
    first, second = serve("first", "ann", FIRST), serve("second", "bob", SECOND)
    lib = library(tmp_path / "lib", second.root)
    with_submodules(tmp_path / "app", first.root, {"lib": (lib, f"{elsewhere(second)}/lib.git")})
    forge = secret("forge", authority, "127.0.0.1", FIRST)
    other = secret("other", authority, "127.0.0.1", THIRD)
    source = resolve_git(
        f"{first.url}/app.git", None, secret=forge, secrets={"127.0.0.1/others": other}
    )
    with pytest.raises(SourceError, match=f"{elsewhere(second)}.* asks for a password"):
        localized(tmp_path / "place", source, forge, other)
    assert first.shown == {f"ann:{FIRST}"}
    assert second.requests
    assert second.shown == set()


def test_localize__several_for_one_host__the_longest_beginning_wins(
    serve: Serve, authority: tuple[Path, Path], tmp_path: Path
) -> None:
    """Each asks for a secret of its own, so that another one would not do."""
    team, partner, deep = (
        serve("team", "ann", FIRST),
        serve("partner", "bob", SECOND),
        serve("deep", "eve", THIRD),
    )
    repositories = {
        "partner": library(tmp_path / "l1", partner.root, "partner/lib.git"),
        "deep": library(tmp_path / "l2", deep.root, "partner/deep/lib.git"),
    }
    addresses = {
        "partner": f"{partner.url}/partner/lib.git",
        "deep": f"{deep.url}/partner/deep/lib.git",
    }
    with_submodules(
        tmp_path / "app",
        team.root,
        {path: (repositories[path], addresses[path]) for path in repositories},
    )
    secrets = {
        "forge": secret("forge", authority, "127.0.0.1", FIRST),
        "partner": secret("partner", authority, "127.0.0.1", SECOND, "bob"),
        "deep": secret("deep", authority, "127.0.0.1 localhost", THIRD, "eve"),
    }
    source = resolve_git(
        f"{team.url}/app.git",
        None,
        secret=secrets["forge"],
        secrets={
            "127.0.0.1/partner": secrets["partner"],
            "https://127.0.0.1:1/partner/deep/lib": secrets["partner"],  # another port
            "127.0.0.1/partner/deep/lib": secrets["deep"],
        },
    )
    localized(tmp_path / "place", source, *secrets.values())
    assert (team.shown, partner.shown, deep.shown) == (
        {f"ann:{FIRST}"},
        {f"bob:{SECOND}"},
        {f"eve:{THIRD}"},
    )


def test_localize__submodule_redirected_to_a_host_with_a_secret__neither_is_sent(
    serve: Serve, authority: tuple[Path, Path], tmp_path: Path
) -> None:
    """A repository decides where it redirects to: nobody named a secret for what is asked."""
    first, second, away = (
        serve("first", "ann", FIRST),
        serve("second", "bob", SECOND),
        serve("away", "", ""),
    )
    lib = library(tmp_path / "lib", second.root)
    away.redirect = elsewhere(second)
    with_submodules(tmp_path / "app", first.root, {"lib": (lib, f"{away.url}/lib.git")})
    forge = secret("forge", authority, "127.0.0.1", FIRST)
    partner = secret("partner", authority, "localhost", SECOND, "bob")
    source = resolve_git(
        f"{first.url}/app.git", None, secret=forge, secrets={elsewhere(second): partner}
    )
    with pytest.raises(SourceError, match="leads to another host"):
        localized(tmp_path / "place", source, forge, partner)
    assert second.requests
    assert (second.shown, away.shown) == (set(), set())


def test_localize__submodule_that_one_secret_opened__is_not_there_for_another(
    serve: Serve, authority: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = serve("first", "ann", FIRST), serve("second", "bob", SECOND)
    lib = library(tmp_path / "lib", second.root)
    with_submodules(tmp_path / "app", first.root, {"lib": (lib, f"{elsewhere(second)}/lib.git")})
    forge = secret("forge", authority, "127.0.0.1", FIRST)
    partner = secret("partner", authority, "localhost", SECOND, "bob")
    source = resolve_git(f"{first.url}/app.git", None, secret=forge, secrets={"localhost": partner})
    localized(tmp_path / "place", source, forge, partner)
    wrong = secret("wrong", authority, "localhost", THIRD)
    without = msgspec.structs.replace(source, secrets={"localhost": "wrong"}, folder="other")
    with pytest.raises(SourceError, match='the user or the password of the secret "wrong"'):
        localized(tmp_path / "place", without, forge, wrong)


# Large files ------------------------------------------------------------------------------------


class _Store(http.server.BaseHTTPRequestHandler):
    """A store of large files that asks for a password."""

    content: ClassVar[bytes] = b"many weights"
    shown: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self._knows():
            return
        oid = hashlib.sha256(self.content).hexdigest()
        href = f"https://localhost:{self.server.server_port}/{oid}"  # type: ignore[attr-defined]
        found = {"oid": oid, "size": len(self.content), "actions": {"download": {"href": href}}}
        self._send(json.dumps({"transfer": "basic", "objects": [found]}).encode())

    def do_GET(self) -> None:
        if self._knows():
            self._send(self.content)

    def _knows(self) -> bool:
        said = self.headers.get("Authorization")
        if said is not None:
            self.shown.add(base64.b64decode(said.removeprefix("Basic ")).decode())
        if said == f"Basic {base64.b64encode(f'bob:{SECOND}'.encode()).decode()}":
            return True
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="store"')
        self.end_headers()
        return False

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@contextmanager
def large_files(authority: tuple[Path, Path]) -> Iterator[tuple[str, set[str]]]:
    """A store of large files; its address, and what it was shown."""
    handler = type("Store", (_Store,), {"shown": set[str]()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = _tls(authority).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}", handler.shown
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.skipif(
    shutil.which("git-lfs") is None, reason="git-lfs is missing; lifted by: apt-get install git-lfs"
)
@pytest.mark.parametrize("named", [True, False])
def test_localize__large_files_on_another_host__its_own_secret_or_none(
    serve: Serve, authority: tuple[Path, Path], tmp_path: Path, *, named: bool
) -> None:
    first = serve("first", "ann", FIRST)
    with large_files(authority) as (address, shown):
        oid = hashlib.sha256(_Store.content).hexdigest()
        repository = Repository.create(tmp_path / "app")
        repository.commit(
            {
                ".gitattributes": "*.bin filter=lfs -text\n",
                ".lfsconfig": f"[lfs]\n\turl = {address}\n",
                "a.bin": "version https://git-lfs.github.com/spec/v1\n"
                f"oid sha256:{oid}\nsize {len(_Store.content)}\n",
            }
        )
        copy_as_served(repository, first.root, "app.git")
        forge = secret("forge", authority, "127.0.0.1", FIRST)
        partner = secret("partner", authority, "localhost", SECOND, "bob")
        secrets = {address: partner} if named else {"127.0.0.1/other": forge}
        source = resolve_git(f"{first.url}/app.git", None, secret=forge, secrets=secrets)
        if named:
            receipt = localized(tmp_path / "place", source, forge, partner)
            assert receipt.lfs == {"a.bin": oid}
            assert (tmp_path / "place" / "code" / "app" / "a.bin").read_bytes() == _Store.content
            assert (tmp_path / "place" / "cache" / "git-lfs-forge+partner").is_dir()
        else:
            with pytest.raises(SourceError):
                localized(tmp_path / "place", source, forge)
        assert shown == ({f"bob:{SECOND}"} if named else set())


# What does not fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "values", "words"),
    [
        ("evil.example", {}, r"is for forge\.example, and is not sent to evil\.example"),
        ("https://evil.example/team", {}, "is not sent to evil"),
        ("forge.example", {"hosts": b""}, "names no host"),
        ("ssh://git@forge.example/team", {}, "has no ssh-privatekey"),
        ("http://forge.example", {}, "in the clear"),
        ("forge.example", {"token": b"two\nlines"}, "not one line"),
    ],
)
def test_access__secret_that_is_not_for_its_prefix__nothing_is_asked(
    prefix: str, values: dict[str, bytes], words: str
) -> None:
    given = {"hosts": b"forge.example", "token": FIRST.encode(), **values}
    refused = pytest.raises(InvalidValue, match=words)
    with (
        refused as told,
        git_access("https://open.example/a", None, {prefix: Secret("forge", given)}),
    ):
        pytest.fail("it had access")
    assert told.value.field in {"code.secrets", "secret"}
    assert FIRST not in told.value.message


@pytest.mark.parametrize(
    ("prefix", "address", "begins"),
    [
        ("forge.example", "https://forge.example/a.git", True),
        ("FORGE.example", "git@forge.example:a.git", True),
        ("forge.example", "https://sub.forge.example/a.git", False),
        ("forge.example", "https://forge.example.evil/a.git", False),
        ("forge.example/team", "https://forge.example/team/a.git", True),
        ("forge.example/team/", "https://forge.example/team-b/a.git", False),
        ("forge.example/team", "https://forge.example/other/../team/a.git", True),
        ("forge.example/team", "https://forge.example/team/../other/a.git", False),
        ("forge.example/team/a", "ssh://git@forge.example:2222/team/a.git", True),
        ("forge.example:2222", "ssh://git@forge.example:2222/team/a.git", True),
        ("forge.example:443", "https://forge.example/a", True),
        ("https://forge.example", "https://forge.example:8443/a", False),
        ("https://forge.example", "ssh://forge.example/a", False),
        ("git@forge.example:team", "ssh://git@forge.example/team/a", True),
        ("[::1]:8443/a", "https://[::1]:8443/a/b", True),
    ],
)
def test_prefix__of_an_address__is_compared_by_whole_parts(
    prefix: str, address: str, *, begins: bool
) -> None:
    assert parse_url_prefix(prefix).begins(parse_url_prefix(address)) is begins


@pytest.mark.parametrize(
    "text",
    [
        *("", "/srv/a", "file:///srv", "https://", "https://forge.example/?a=b", "x" * 3000),
        *("a b", "-oProxy", "forge.example:99999", "https://forge.example:99999/"),
        "https://ann:pw@forge.example",
    ],
)
def test_prefix__that_is_none__is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="the beginning of an address"):
        parse_url_prefix(text)
