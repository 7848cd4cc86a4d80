"""A store of large files that refuses, stops or is none: an end soon, and in one sentence."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.missing import need_git_lfs

from archive_world import Place
from git_world import Repository, git, resolve
from seafloor.code import git_lfs, git_lfs_watch
from seafloor.code.git import resolve_git
from seafloor.code.git_access import GitReach
from seafloor.code.git_command import GitResult
from seafloor.code.git_lfs_errors import LfsErrors
from seafloor.code.git_lfs_watch import STALL_S, Arrival, StoreTalk
from seafloor.domain.errors import SourceError

CONTENT = b"many weights" * 1000
OID = hashlib.sha256(CONTENT).hexdigest()
SIGNATURE = "X-Signature=opens-it"


@dataclass
class Store:
    """A git LFS store, and how it behaves.

    Args:
        batch: Status with which it answers when it is asked where files are; 200: it says where.
        object_error: Code that it says of each file instead.
        says: Content type and body of that answer instead of the usual.
        download: Status with which it answers when it is asked for a file.
        content: Of the file that it has.
        pace: Called before each of the thirty parts in which it then sends a file.
        sent_bytes: It stops after so much of a file, and holds the connection.
        silent: It does not answer at all.
        endless: It answers without end, up to what no test should take.
        login: What it asks for, as ``name:password``.
        refused: How often it was shown something else, or nothing.
        sent: How many MiB it sent of its answer without end.
        ended: Set when the test is over.
    """

    batch: int = 200
    object_error: int = 0
    says: tuple[str, bytes] | None = None
    download: int = 200
    content: bytes = CONTENT
    pace: Callable[[], object] | None = None
    sent_bytes: int | None = None
    silent: bool = False
    endless: bool = False
    login: str = ""
    refused: int = 0
    sent: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    address: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    store: Store

    def do_POST(self) -> None:
        store = self.store
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if store.silent:
            store.ended.wait()
            return
        if store.endless:
            self._answer_without_end()
            return
        wanted = f"Basic {base64.b64encode(store.login.encode()).decode()}"
        if store.login and self.headers.get("Authorization") != wanted:
            store.refused += 1
            self._send(401, "application/vnd.git-lfs+json", b'{"message": "log in"}')
        elif store.batch != 200:
            self._send(store.batch, "application/vnd.git-lfs+json", b'{"message": "so it is"}')
        elif store.says is not None:
            self._send(200, *store.says)
        else:
            found = [self._found(each) for each in asked["objects"]]
            body = json.dumps({"transfer": "basic", "objects": found}).encode()
            self._send(200, "application/vnd.git-lfs+json", body)

    def _answer_without_end(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.end_headers()
        with suppress(OSError):  # who asked has gone
            self.wfile.write(b'{"transfer": "')
            for _ in range(256):
                self.wfile.write(b"x" * (1 << 20))
                self.store.sent += 1

    def _found(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.store.object_error:
            return asked | {"error": {"code": self.store.object_error, "message": "not today"}}
        href = f"{self.store.address}/{asked['oid']}?{SIGNATURE}"
        return asked | {"actions": {"download": {"href": href}}}

    def do_GET(self) -> None:
        if self.store.download != 200:
            self._send(self.store.download, "text/plain", b"no")
            return
        self.send_response(200)
        content, pace = self.store.content, self.store.pace
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(OSError):  # who asked has gone
            part = len(content) // 30 if pace is not None else len(content)
            for begin in range(0, len(content[: self.store.sent_bytes]), part):
                if pace is not None:
                    pace()
                self.wfile.write(content[: self.store.sent_bytes][begin : begin + part])
            if self.store.sent_bytes is not None:
                self.store.ended.wait()

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="store"')
        if status == 429:
            self.send_header("Retry-After", "4000")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture
def store() -> Iterator[Store]:
    need_git_lfs()
    store = Store()
    handler = type("Handler", (_Handler,), {"store": store})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        store.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield store
        finally:
            store.ended.set()
            server.shutdown()


@pytest.fixture
def with_store(repository: Repository, store: Store) -> Repository:
    """A repository with a large file in the store."""
    _commit_pointer(repository, store, CONTENT)
    return repository


def _commit_pointer(repository: Repository, store: Store, content: bytes) -> None:
    repository.commit(
        {
            ".gitattributes": "*.bin filter=lfs -text\n",
            ".lfsconfig": f"[lfs]\n\turl = {store.address}\n",
            "model.bin": "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n",
        }
    )


def _failure(place: Place, repository: Repository) -> SourceError:
    with pytest.raises(SourceError) as raised:
        place.localize(resolve(repository))
    assert place.names() == {".localize.lock"}
    return raised.value


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"says": ("application/vnd.git-lfs+json", b'{"objects": []}')}, "next to nothing for"),
        ({"says": ("application/vnd.git-lfs+json", b"null")}, "next to nothing for"),
        ({"silent": True}, "next to nothing for"),
        ({"sent_bytes": 5000}, "next to nothing for"),
        ({"batch": 429}, "asked too often"),
    ],
    ids=["no file", "null", "no answer", "half a file", "an hour to wait"],
)
def test_localize__large_file_store_stops__is_given_up_and_named(
    with_store: Repository,
    place: Place,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.setattr(git_lfs_watch, "STALL_S", 2.0)
    vars(store).update(behaviour)

    failed = _failure(place, with_store)

    assert words in failed.message
    assert store.address in failed.message
    assert with_store.url in failed.message


@pytest.mark.slow
def test_localize__large_file_by_a_slow_line__is_waited_for(
    repository: Repository, place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_lfs, "FETCH_TIMEOUT_S", 3.0)
    store.content = CONTENT * 17  # 204 kB, at some 40 kB/s
    store.pace = lambda: store.ended.wait(0.15)
    _commit_pointer(repository, store, store.content)

    receipt = place.localize(resolve(repository))

    assert receipt.duration_s > 4.5
    assert (place.code / "digits" / "model.bin").read_bytes() == store.content


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"login": "ann:right"}, "asks for a password, and there is none for it"),
        ({"batch": 403}, r'does not let us read (403), and says "so it is"'),
        ({"batch": 404}, "no git LFS store of"),
        ({"batch": 500}, "has a problem of its own (500)"),
        ({"batch": 507}, "no space or no bandwidth left (507)"),
        ({"batch": 422}, "refused what it was asked (422)"),
        ({"object_error": 404}, "git lfs push --all origin"),
        ({"object_error": 422}, 'does not give a large file (422), and says "not today"'),
        ({"says": ("text/html", b"<title>Sign in</title>")}, "is no git LFS store"),
        ({"says": ("application/vnd.git-lfs+json", b"}{")}, "is no git LFS store"),
    ],
)
def test_localize__large_file_store_refuses__is_told_in_user_words_with_the_address(
    with_store: Repository, place: Place, store: Store, behaviour: dict[str, Any], words: str
) -> None:
    vars(store).update(behaviour)

    failed = _failure(place, with_store)

    assert words in failed.message
    assert f"{store.address}/objects/batch" in failed.message


def test_localize__password_of_the_large_file_store_is_wrong__is_told_from_none(
    with_store: Repository, place: Place, store: Store
) -> None:
    store.login = "ann:right"
    helper = "!f() { echo username=ann; echo password=opensesame; }; f"
    git(with_store.path, "config", "--global", "credential.helper", helper)

    failed = _failure(place, with_store)

    assert "refused the user or the password that this machine has for it" in failed.message
    assert "opensesame" not in failed.message + str(failed.detail)
    assert store.refused < 100


def test_localize__large_file_store_answers_without_end__is_ended_before_memory_is(
    with_store: Repository, place: Place, store: Store
) -> None:
    store.endless = True

    failed = _failure(place, with_store)

    assert "answers without end" in failed.message
    assert f"{store.address}/objects/batch" in failed.message
    assert store.sent < 200


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "does not let us read (403)"),
        (404, "git lfs push --all origin"),
        (500, "has a problem of its own (500)"),
        (507, "no space or no bandwidth left"),
    ],
)
def test_localize__download_of_a_large_file_is_refused__its_signature_is_not_shown(
    with_store: Repository,
    place: Place,
    store: Store,
    git_config: Path,
    status: int,
    words: str,
) -> None:
    git(with_store.path, "config", "--global", "lfs.transfer.maxretries", "1")
    store.download = status

    failed = _failure(place, with_store)

    assert words in failed.message
    assert f"{store.address}/{OID}" in failed.message
    assert SIGNATURE not in failed.message + str(failed.detail)


def test_localize__some_folders_only__fetches_only_their_large_files(
    repository: Repository, place: Place
) -> None:
    need_git_lfs()
    git(repository.path, "lfs", "install", "--local")
    git(repository.path, "lfs", "track", "*.bin")
    names = ["a/one.bin", "a b,[c]/two.bin", "b/a/not.bin", "b/not.bin", "one.bin"]
    repository.commit({name: name * 100 for name in names})
    source = resolve_git(f"file://{repository.path}", None, sparse=["a", "a b,[c]/two.bin"])

    receipt = place.localize(source)

    assert set(receipt.lfs) == {"a/one.bin", "a b,[c]/two.bin"}
    kept = {path.name for path in (place.cache / "git-lfs/objects").glob("*/*/*")}
    assert kept == set(receipt.lfs.values())
    placed = {path.name for path in (place.code / "digits").rglob("*.bin")}
    assert placed == {"one.bin", "two.bin"}


@pytest.mark.parametrize("where", ["repository", "user"])
def test_localize__large_files_that_are_left_out_of_usual_fetches__arrive(
    repository: Repository, place: Place, where: str
) -> None:
    need_git_lfs()
    git(repository.path, "lfs", "install", "--local")
    git(repository.path, "lfs", "track", "*.bin")
    left_out = "[lfs]\n\tfetchexclude = a\n\tfetchinclude = b\n"
    repository.commit({"a/one.bin": "1", "b/two.bin": "2"})
    if where == "repository":
        repository.commit({".lfsconfig": left_out})
    else:
        git(repository.path, "config", "--global", "lfs.fetchexclude", "a")

    receipt = place.localize(resolve_git(f"file://{repository.path}", None))

    assert set(receipt.lfs) == {"a/one.bin", "b/two.bin"}


class _World:
    """A storage, a folder, and a clock that a test moves."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.storage = tmp_path / "git-lfs"
        self.placed = tmp_path / "model.bin"
        self.placed.write_bytes(b"pointer")
        (self.storage / "incomplete").mkdir(parents=True)
        self.now_s = 0.0
        monkeypatch.setattr("seafloor.code.git_stall.time.monotonic", lambda: self.now_s)
        errors = LfsErrors("https://forge/digits", GitReach())
        self.arrival = Arrival(
            self.storage,
            sizes={"a" * 64: 10**9, "b" * 64: 10**9},
            stored=lambda oid: self.storage / oid,
            placed=(self.placed,),
            url="https://forge/digits",
            talk=StoreTalk(tmp_path / "trace"),
            given_up=errors.given_up,
        )

    def part(self, size_bytes: int) -> None:
        (self.storage / "incomplete" / ("a" * 64 + ".part")).write_bytes(bytes(size_bytes))

    def look_later(self) -> None:
        self.now_s += STALL_S + 1
        self.arrival.look()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _World:
    return _World(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "goes_on",
    [
        lambda world, n: world.part(1000 * (n + 1)),
        lambda world, n: world.part(1000 if n % 2 else 500),  # from the beginning each time
        lambda world, n: (world.storage / ("ab"[n] * 64)).write_bytes(b""),
        lambda world, n: world.placed.write_bytes(bytes(1000 * (n + 1))),
    ],
    ids=["bytes come", "it begins anew", "small files come", "files are put in place"],
)
def test_arrival__something_goes_on__is_not_given_up(
    world: _World, goes_on: Callable[[_World, int], object]
) -> None:
    for number in range(2):
        goes_on(world, number)
        world.look_later()


@pytest.mark.parametrize("size_bytes", [0, 20])
def test_arrival__next_to_nothing_comes__is_given_up(world: _World, size_bytes: int) -> None:
    world.part(size_bytes)
    with pytest.raises(SourceError, match="next to nothing for 90 s"):
        world.look_later()


def test_arrival__all_is_there__is_not_given_up(world: _World) -> None:
    for letter in "ab":
        (world.storage / (letter * 64)).write_bytes(b"")
    world.look_later()
    world.look_later()


def test_talk__much_of_it__is_read_in_parts_and_does_not_stay(tmp_path: Path) -> None:
    talk = StoreTalk(tmp_path / "trace")

    def say(line: str) -> None:
        with talk.path.open("a") as file:
            file.write(line)

    say("10:00:00.123456 trace git-lfs: HTTP: POST https://ann:pw@lfs.example/batch?sig=1\n10:00:0")
    talk.look()
    assert (talk.url, talk.status) == ("https://lfs.example/batch", 0)
    say("0.123456 trace git-lfs: HTTP: 401\n")
    talk.look()
    assert talk.status == 401
    say("10:00:00.123456 trace git-lfs: HTTP: 200\n")
    say('10:00:00.123456 trace git-lfs: HTTP: {"long": "' + "x" * (3 << 20) + '"}\n')
    say("10:00:00.123456 trace git-lfs: HTTP: GET https://lfs.example/file\n")
    say("10:00:00.123456 trace git-lfs: HTTP: 403\n")
    talk.look()
    assert talk.path.stat().st_size == 0
    assert (talk.url, talk.status) == ("https://lfs.example/file", 403)
    assert talk.path.stat().st_mode & 0o077 == 0
    assert talk.heard_bytes > 3 << 20
    assert talk.answer_bytes == 1  # the end of the line


def test_errors__connection_broke_off__does_not_name_files_of_this_machine(tmp_path: Path) -> None:
    said = GitResult(
        2, b"", f'cannot write data to temporary file "{tmp_path}/x": LFS: unexpected EOF\n'
    )
    talk = StoreTalk(tmp_path / "trace")

    failed = LfsErrors("https://forge/digits", GitReach()).failed(said, talk)

    assert "broke off" in failed.message
    assert str(tmp_path) not in failed.message
