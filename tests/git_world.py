"""Real git repositories and a real git server, for tests of everything that touches code."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

from seafloor.code.git import resolve_git
from seafloor.domain.code import GitCode

Files = dict[str, str | bytes]

_LARGE_BYTES = 64 << 10

LAYOUT = {"digits", "current", ".receipt.json", ".localize.folder", ".localize.lock"}
"""What is in the folder that ``digits`` was localised to."""


def git(folder: Path, *arguments: str | Path, stdin: bytes | None = None) -> str:
    """Run git as a user would, in the environment of the test."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=False, capture_output=True, input=stdin
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape").strip()


@dataclass(frozen=True)
class Repository:
    """A repository with a working folder, as a user has it."""

    path: Path

    @classmethod
    def create(cls, path: Path, *options: str) -> Self:
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--initial-branch=main", *options)
        return cls(path)

    def write(self, files: Files) -> None:
        for name, content in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Files | None = None, message: str = "a change") -> str:
        """Write files, commit everything, and give the commit."""
        self.write(files or {})
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--allow-empty", "-m", message)
        return self.head

    def add_submodule(self, repository: Repository, path: str, url: str) -> None:
        """Add a submodule that is said to be elsewhere; it is not yet committed."""
        allowed = ("-c", "protocol.file.allow=always")
        git(self.path, *allowed, "submodule", "--quiet", "add", str(repository.path), path)
        modules = self.path / ".gitmodules"
        here = f"url = {repository.path}\n"
        modules.write_text(modules.read_text().replace(here, f"url = {url}\n"))

    @property
    def head(self) -> str:
        return git(self.path, "rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return str(self.path)


def resolve(repository: Repository, ref: str | None = None) -> GitCode:
    """The commit of a repository that a user would name like this."""
    return resolve_git(repository.url, ref)


def tree_of(folder: Path) -> dict[bytes, tuple[str, bytes]]:
    """Every file and symlink below a folder, but git's own: path to its kind and its content."""
    found: dict[bytes, tuple[str, bytes]] = {}
    # Not by `rglob`, which early versions of Python 3.11 end at a link whose target is too long.
    within = [(here, name) for here, *names in os.walk(folder) for name in chain(*names)]
    for path in (Path(here, name) for here, name in within):
        relative = path.relative_to(folder)
        mode = path.lstat().st_mode
        if ".git" in relative.parts:
            continue
        if stat.S_ISLNK(mode):
            target = os.readlink(path)  # noqa: PTH115 - Path would normalise it
            found[os.fsencode(relative)] = ("link", os.fsencode(target))
        elif stat.S_ISREG(mode):
            kind = "executable" if mode & stat.S_IXUSR else "file"
            found[os.fsencode(relative)] = (kind, path.read_bytes())
    return found


@dataclass
class GitServer:
    """``git http-backend`` behind a small server, with a password if one is wanted.

    Args:
        root: Folder of bare or ordinary repositories.
        user, password: Asked for when set.
        answer: When set, answers every request with this status instead.
        requests: Path and query of every request that came.
        tls: Speak https with this.
        redirect: Send everybody to this address.
        halfway: Called when half of a large answer was sent.
        is_cut: Send half of a large answer and no more.
        pace: Called before each of the hundred parts in which a large answer is then sent.
        page: Answers every request with this instead, as a page to log in at.
        page_for: Only those of this method.
        authorized: How many requests came with credentials.
        shown: The credentials that came, as ``user:password``.
    """

    root: Path
    user: str = ""
    password: str = ""
    answer: int = 0
    protocol: bool = True
    requests: list[str] = field(default_factory=list[str])
    on_request: Callable[[], None] | None = None
    tls: ssl.SSLContext | None = None
    redirect: str = ""
    halfway: Callable[[], object] | None = None
    is_cut: bool = False
    pace: Callable[[], object] | None = None
    page: bytes = b""
    page_for: str = ""
    authorized: int = 0
    shown: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        world = self

        class Handler(_BackendHandler):
            server_world = world

        self._server = _Listening(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{'http' if self.tls is None else 'https'}://{host!s}:{port}"


class _Listening(http.server.ThreadingHTTPServer):
    """Ends an encrypted connection as the protocol wants it."""

    def shutdown_request(self, request: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            with suppress(OSError):
                request = request.unwrap()
        super().shutdown_request(request)


class _BackendHandler(http.server.BaseHTTPRequestHandler):
    """One request handed to git as a CGI program."""

    server_world: GitServer
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""

    def _serve(self) -> None:
        world = self.server_world
        world.requests.append(self.path)
        if world.on_request is not None:
            world.on_request()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        credentials = self.headers.get("Authorization")
        if credentials is not None:
            world.authorized += 1
            world.shown.add(base64.b64decode(credentials.removeprefix("Basic ")).decode())
        if world.redirect:
            self.send_response(302)
            self.send_header("Location", world.redirect + self.path)
            self.end_headers()
            return
        if world.page and world.page_for in {"", self.command}:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(world.page)
            return
        if world.answer:
            self.send_error(world.answer)
            return
        wanted = base64.b64encode(f"{world.user}:{world.password}".encode()).decode()
        if world.user and self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        self._answer(self._ask_git(body))

    def _ask_git(self, body: bytes) -> bytes:
        world = self.server_world
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "GIT_CONFIG_GLOBAL": os.environ.get("GIT_CONFIG_GLOBAL", "/dev/null"),
            "GIT_PROJECT_ROOT": str(world.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1",
        }
        if self.headers.get("Content-Encoding"):
            env["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
        if world.protocol and self.headers.get("Git-Protocol"):
            env["GIT_PROTOCOL"] = self.headers["Git-Protocol"]
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, env=env, check=False
        )
        return done.stdout

    def _answer(self, said: bytes) -> None:
        head, _, content = said.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        self.send_response(int(status.split(" ", 1)[0]))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.end_headers()
        if self.server_world.is_cut and len(content) > _LARGE_BYTES:
            content = content[: len(content) // 2]
        if self.server_world.halfway is not None and len(content) > _LARGE_BYTES:
            half = len(content) // 2
            self.wfile.write(content[:half])
            self.server_world.halfway()
            content = content[half:]
        pace = self.server_world.pace
        part = len(content) // 100 if pace and len(content) > _LARGE_BYTES else len(content)
        with suppress(ConnectionError):  # whoever asked may have gone meanwhile
            for begin in range(0, len(content), part or 1):
                if pace is not None:
                    pace()
                self.wfile.write(content[begin : begin + part])


def copy_as_served(repository: Repository, root: Path, name: str) -> Path:
    """Put a bare copy of a repository where a server finds it."""
    bare = root / name
    root.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(bare, ignore_errors=True)
    git(root, "clone", "--quiet", "--bare", str(repository.path), str(bare))
    return bare
