"""Archives for tests: made in every form, served over http with faults, and localised."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import zstandard

from seafloor.boot.archives import remote_opener
from seafloor.code.cache_bounds import DEFAULT, CacheBounds
from seafloor.code.localize import Means, localize
from seafloor.domain.code import ArchiveCode, LocalizedCode, Receipt
from seafloor.domain.ids import Sha256

FORMS = ("tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "zip")
TREE = {
    "train.py": b"print('an archive')\n",
    "package/__init__.py": b"",
    "package/data.bin": bytes(range(256)) * 1000,
    "größe/ü.txt": b"not ASCII",
    "run.sh": b"#!/bin/sh\necho run\n",
}
EXECUTABLE = frozenset({"run.sh"})
LINK = ("package/link", "../train.py")


def make_archive(form: str, files: dict[str, bytes] | None = None) -> bytes:
    """Pack files as a user would: an exec bit, and a link that stays inside."""
    return _zip(files or TREE) if form == "zip" else packed(form, tar_of(files or TREE))


def packed(form: str, tar: bytes) -> bytes:
    """Compress a tar."""
    match form:
        case "tar.zst":
            return zstandard.compress(tar)
        case "tar":
            return tar
        case _:
            program = {"tar.gz": "gzip", "tar.bz2": "bzip2", "tar.xz": "xz"}[form]
            done = subprocess.run([program, "-c"], input=tar, capture_output=True, check=True)
            return done.stdout


def tar_of(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755 if name in EXECUTABLE else 0o644
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo(LINK[0])
        link.type, link.linkname = tarfile.SYMTYPE, LINK[1]
        tar.addfile(link)
    return raw.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (0o100755 if name in EXECUTABLE else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(info, content)
        info = zipfile.ZipInfo(LINK[0])
        info.create_system, info.external_attr = 3, 0o120777 << 16
        made.writestr(info, LINK[1])
    return raw.getvalue()


def expected_tree(files: dict[str, bytes] | None = None) -> dict[bytes, tuple[str, bytes]]:
    """What ``tree_of`` finds of what ``make_archive`` packs."""
    found = {
        name.encode(): ("executable" if name in EXECUTABLE else "file", content)
        for name, content in (files or TREE).items()
    }
    return {**found, LINK[0].encode(): ("link", LINK[1].encode())}


def sha256_of(content: bytes) -> Sha256:
    return Sha256(hashlib.sha256(content).hexdigest())


@dataclass
class Place:
    """A code folder and a cache, and what was said on the way."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])
    said: list[str] = field(default_factory=list[str])
    bounds: CacheBounds = DEFAULT

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    def localize(self, source: LocalizedCode, *, code: Path | None = None) -> Receipt:
        opener = remote_opener(self.variables)
        means = Means(self.cache, _no_snapshot, opener, self.said.append, bounds=self.bounds)
        return localize(source, code_dir=code or self.code, means=means)

    def archive(self, content: bytes, name: str = "digits.tar") -> ArchiveCode:
        """Put an archive into a file; the source that is known by its digest."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return ArchiveCode(path.as_uri(), "digits", sha256=sha256_of(content))

    def names(self) -> set[str]:
        return {path.name for path in self.code.iterdir()}


def _no_snapshot(sha256: Sha256, _path: Path) -> None:
    raise AssertionError(f"this code is no snapshot, and {sha256} was asked for")


@dataclass
class Served:
    """How a web server answers for a path.

    Args:
        content: Of the file.
        etag: None: it says none.
        cut_after: So many bytes of an answer are sent before the connection is cut; each is used
            once.
        ranges: Whether it sends from the middle.
        status: Instead of the content, while there are any.
        location: Where it redirects to.
        login: What it asks for, as ``name:password``.
        header: What it asks for instead, as ``Name: value``.
        modified: Of ``Last-Modified``.
        before: Called before each answer.
    """

    content: bytes = b""
    etag: str | None = '"first"'
    cut_after: list[int] = field(default_factory=list[int])
    ranges: bool = True
    status: list[int] = field(default_factory=list[int])
    location: str | None = None
    login: str | None = None
    header: str | None = None
    modified: str | None = None
    before: Callable[[], None] = lambda: None


class ArchiveServer:
    """A web server of files, on the loopback interface."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._server = http.server.ThreadingHTTPServer((host, 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def wrap(self, context: object) -> None:
        """Speak TLS."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"world": self})


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: ArchiveServer

    def do_GET(self) -> None:
        self.world.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        served = self.world.files.get(self.path)
        if served is None:
            self._say(404)
            return
        served.before()
        if served.status:
            self._say(served.status.pop(0))
        elif served.location is not None:
            self._say(302, location=served.location)
        elif (served.login is not None and not self._knows(served.login)) or (
            served.header is not None and not self._has(served.header)
        ):
            self._say(401)
        else:
            self._send(served)

    def _knows(self, login: str) -> bool:
        wanted = base64.b64encode(login.encode()).decode()
        return self.headers.get("Authorization") == f"Basic {wanted}"

    def _has(self, header: str) -> bool:
        name, _, value = header.partition(": ")
        return self.headers.get(name) == value

    def _say(self, status: int, *, location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if location is not None:
            self.send_header("Location", location)
        self.end_headers()

    def _send(self, served: Served) -> None:
        # Before the head is sent: whoever has that may have told us more for the next answer.
        cut = served.cut_after.pop(0) if served.cut_after else None
        body = self._begin(served)
        try:
            self.wfile.write(body[:cut])
            if cut is not None:
                self.close_connection = True
                self.connection.shutdown(2)
        except OSError:
            self.close_connection = True  # who only looks does not read

    def _begin(self, served: Served) -> bytes:
        """Send the head of an answer; what is to follow."""
        start = 0
        wanted = self.headers.get("Range")
        fits = self.headers.get("If-Range") in {None, served.etag}
        if wanted and served.ranges and fits:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            size = len(served.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        body = served.content[start:]
        self.send_header("Content-Length", str(len(body)))
        for name, value in (("ETag", served.etag), ("Last-Modified", served.modified)):
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        return body

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
