"""Web servers that send too little, too slowly or without end: told of, and holding up nobody."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from archive_world import ArchiveServer, Place, Served, make_archive, sha256_of
from seafloor.boot.archives import remote_opener
from seafloor.code import free_space, http_archive, http_connection
from seafloor.code.archive import ArchiveRequest, RemoteFacts, resolve_archive
from seafloor.code.http_archive import HttpArchive
from seafloor.domain.code import ArchiveCode
from seafloor.domain.errors import SourceError, StoreFull
from seafloor.domain.ids import Sha256

MB = 1_000_000
HEAD = b'HTTP/1.1 200 OK\r\nETag: "a"\r\n'
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

Answer = Callable[[socket.socket], None]


class Dripping:
    """A server that answers whoever comes in a way of its own, until the test is over."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: None
        self.over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}/digits.tar"

    def close(self) -> None:
        self.over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def drip(self, drop: bytes) -> Answer:
        """Send so much again and again, and never come to an end."""

        def answer(connection: socket.socket) -> None:
            while not self.over.wait(0.01):
                connection.sendall(drop)

        return answer

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._say, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _say(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            self.answer(connection)


@pytest.fixture
def server() -> Iterator[Dripping]:
    made = Dripping()
    yield made
    made.close()


def _after(begin: bytes, then: Answer) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(begin)
        then(connection)

    return answer


def test_copy__archive_that_only_drips__is_given_up(server: Dripping) -> None:
    server.answer = _after(HEAD + b"Content-Length: 1000000\r\n\r\n", server.drip(b"x"))
    clock = count(0.0, 15.0)
    archive = HttpArchive(server.url, wait=lambda _: None, now=lambda: next(clock))
    with pytest.raises(
        SourceError, match=r"/digits\.tar sends too slowly: \d+ bytes came in the last 60 s\. Try"
    ):
        archive.copy(archive.facts(), lambda _: None)


def test_copy__drips_from_one_connection_to_the_next__is_given_up(server: Dripping) -> None:
    """Each try gets a little further, so that there would be no end of tries."""
    at = count(1)

    def answer(connection: socket.socket) -> None:
        # One more byte than the last time, after which the connection breaks.
        body = b"x" * next(at)
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + body)

    server.answer = answer
    clock = count(0.0, 15.0)
    archive = HttpArchive(server.url, wait=lambda _: None, now=lambda: next(clock))
    facts = RemoteFacts(1_000_000, '"a"')
    with pytest.raises(SourceError, match="sends too slowly"):
        archive.copy(facts, lambda _: None)


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP", HEAD])
def test_facts__head_that_never_ends__is_given_up(
    server: Dripping, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(http_connection, "ANSWER_WITHIN_S", 0.2)
    server.answer = _after(begin, server.drip(b"x" if begin != HEAD else b"X: y\r\n"))
    archive = HttpArchive(server.url, wait=lambda _: None)
    with pytest.raises(SourceError, match=r"/digits\.tar cannot be fetched: the connection"):
        archive.facts()


def test_facts__redirects_each_just_in_time__have_one_time_for_all(
    server: Dripping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "ANSWER_WITHIN_S", 1.0)
    asked = count(1)

    def redirect(connection: socket.socket) -> None:
        server.over.wait(0.4)  # the server's own pace: less than the time of one answer
        to = f"{server.url}?{next(asked)}".encode()
        connection.sendall(
            b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: " + to + b"\r\n\r\n"
        )

    server.answer = redirect
    archive = HttpArchive(server.url, wait=lambda _: None)
    monkeypatch.setattr(http_archive, "TRIES_MAX", 1)
    with pytest.raises(SourceError, match=r"/digits\.tar cannot be fetched: (no answer|the conn)"):
        archive.facts()
    assert next(asked) <= 4


def test_copy__body_after_slow_redirects__has_its_own_time(
    server: Dripping, monkeypatch: pytest.MonkeyPatch
) -> None:
    within_s, redirected_s, body_s = 30.0, 27.5, 3.0
    monkeypatch.setattr(http_connection, "ANSWER_WITHIN_S", within_s)
    passed_s = 0.0

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"Content-Length: 2\r\n\r\nx")
        server.over.wait(body_s)  # more than the redirects left of the time for the head
        connection.sendall(b"y")

    def redirect(connection: socket.socket) -> None:
        nonlocal passed_s
        passed_s = redirected_s  # by the clock, of which the head is given the rest
        server.answer = answer
        to = f"{server.url}?1".encode()
        connection.sendall(
            b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: " + to + b"\r\n\r\n"
        )

    server.answer = redirect
    monkeypatch.setattr(http_archive, "TRIES_MAX", 1)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s)
    monkeypatch.setattr(http_archive, "time", clock)
    came: list[bytes] = []
    HttpArchive(server.url).copy(RemoteFacts(2, '"a"'), came.append)
    assert b"".join(came) == b"xy"


@pytest.mark.parametrize("drop", [b"0", b"5;x=y"])
def test_copy__chunk_whose_size_never_ends__is_given_up(
    server: Dripping, monkeypatch: pytest.MonkeyPatch, drop: bytes
) -> None:
    server.answer = _after(CHUNKED, server.drip(drop))
    archive = HttpArchive(server.url, wait=lambda _: None)
    monkeypatch.setattr(http_connection, "ANSWER_WITHIN_S", 0.2)
    with pytest.raises(SourceError, match="cannot be fetched"):
        archive.copy(archive.facts(), lambda _: None)


def test_localize__slow_archive__keeps_nobody_waiting_who_wants_another(
    tmp_path: Path, server: Dripping
) -> None:
    """The keys begin alike: by their first digit they had one lock."""
    place, begun, waits = Place(tmp_path), threading.Event(), threading.Event()

    def stand(_connection: socket.socket) -> None:
        begun.set()
        waits.wait()

    def localize_slow() -> None:
        with pytest.raises(SourceError):
            place.localize(slow, code=tmp_path / "of-slow")

    slow = ArchiveCode(server.url, "slow", sha256=Sha256("a" * 64))
    server.answer = _after(HEAD + b"Content-Length: 1000000\r\n\r\n", stand)
    with ArchiveServer() as other:
        source = _alike(other, "a")
        thread = threading.Thread(target=localize_slow)
        thread.start()
        assert begun.wait(60)
        assert place.localize(source).files
    assert thread.is_alive()
    server.answer = lambda _: None  # the next tries get nothing
    waits.set()
    thread.join()
    locks = [path.name for path in (tmp_path / "cache/archives").glob("*.lock")]
    assert locks == []


def _alike(server: ArchiveServer, digit: str) -> ArchiveCode:
    """An archive whose sha256 begins with a digit."""
    for number in count():
        content = make_archive("tar", {"number.txt": str(number).encode()})
        if (sha256 := sha256_of(content)).startswith(digit):
            server.files["/other.tar"] = Served(content)
            request = ArchiveRequest(f"{server.url}/other.tar", sha256=sha256)
            return resolve_archive(request, remote_opener({}))
    raise AssertionError("there is no end of numbers")


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_localize__archive_without_end__is_refused_before_the_disk_is_full(
    tmp_path: Path, server: Dripping, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, left = Place(tmp_path), free_space.LEFT_BYTES
    free = [left + 100 * MB]

    def usage(folder: Path) -> Usage:
        written = sum(path.stat().st_size for path in folder.glob("*.partial-*"))
        return Usage(1000 * left, 0, free[0] - written)

    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"

    def pour(connection: socket.socket) -> None:
        connection.sendall(CHUNKED)
        for _ in range(400):  # without end, were it for us
            connection.sendall(chunk)

    server.answer = pour
    source = resolve_archive(ArchiveRequest(server.url), remote_opener({}))
    assert source.size_bytes is None
    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(
        StoreFull, match=r"^The archive http://.*/digits\.tar is larger than the disk of .* can ho"
    ) as refused:
        place.localize(source)
    assert "268.4 MB stay free. Free some and try again." in refused.value.message
    assert {path.suffix for path in (tmp_path / "cache/archives").iterdir()} <= {".lock"}
    assert place.names() == {".localize.lock"}


def test_localize__archive_that_becomes_larger_than_the_disk__is_refused_before_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    size_bytes = free_space.LOOK_EVERY_BYTES
    source = place.archive(make_archive("tar.gz", {"zeros.bin": bytes(size_bytes)}))
    free_bytes = free_space.LEFT_BYTES + size_bytes - 1
    usage = Usage(1000 * free_bytes, 0, free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(StoreFull, match=r"What becomes of the archive file:.* is larger than the"):
        place.localize(source)
    assert place.names() == {".localize.lock"}
    usage = Usage(1000 * free_bytes, 0, free_bytes + 1)
    assert place.localize(source).files == 2
