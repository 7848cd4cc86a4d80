"""Private package indexes and channels on loopback, and a canary to look for."""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from untouched import everything_below

CANARY = f"canary-{uuid.uuid4().hex}"
"""Another one in every process: nobody else on this machine may be the one who shows it."""

BASIC = base64.b64encode(f"captain:{CANARY}".encode()).decode()


class Guarded(ThreadingHTTPServer):
    """Files below a folder for who says the right thing; notes what anybody could see meanwhile."""

    daemon_threads = True

    def __init__(self, folder: Path, *, wanted: str) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.wanted = wanted
        self.asked: list[tuple[str, str | None]] = []
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(SimpleHTTPRequestHandler):
    def do_HEAD(self) -> None:
        if self._may():
            super().do_HEAD()

    def do_GET(self) -> None:
        if self._may():
            super().do_GET()

    def _may(self) -> bool:
        assert isinstance(self.server, Guarded)
        said = self.headers.get("Authorization")
        self.server.asked.append((self.path, said))
        for process in psutil.process_iter(["cmdline", "environ"]):
            shown = f"{process.info['cmdline']} {process.info['environ']}"
            if CANARY in shown or BASIC in shown:
                self.server.seen.append(shown)
        if said != self.server.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        return said == self.server.wanted

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is there
        pass


@contextmanager
def guarded(folder: Path, *, wanted: str = f"Basic {BASIC}") -> Iterator[Guarded]:
    with Guarded(folder, wanted=wanted) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def simple_index(folder: Path, wheel: Path) -> None:
    page = folder / "simple" / wheel.name.partition("-")[0]
    page.mkdir(parents=True)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (page / "index.html").write_text(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>')
    wheel.rename(page / wheel.name)


def assert_nowhere(folder: Path, server: Guarded, *texts: object) -> None:
    """The canary is in no file below a folder, on no command line, in no variable, in no text."""
    assert server.seen == []
    for path in everything_below(folder):
        if path.is_file():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # a server put it where it belongs, or away, since it was listed
            assert CANARY.encode() not in data, path
            assert BASIC.encode() not in data, path
    for text in texts:
        assert CANARY not in str(text)
        assert BASIC not in str(text)
