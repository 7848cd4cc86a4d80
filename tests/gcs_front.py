"""What stands between a test and fake-gcs-server: faults by request, and what that server lacks.

fake-gcs-server takes ``ifGenerationMatch`` for no condition in uploads of several requests and in
copies, takes a question after an upload's state for its end, never forgets a cancelled upload, and
drops the connection of a range past the end without saying so. Here these are as Google documents
them; all else goes through as it is.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

GRAIN_BYTES = 256 * 1024
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


@dataclass
class Asked:
    """A request that came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        """Its query."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def span(self) -> str:
        """Which bytes of an upload it holds."""
        return self.headers.get("content-range", "")

    def is_chunk(self) -> bool:
        """Whether it is a part of an upload's content."""
        return "upload_id" in self.query and self.span not in ("", "bytes */*")


@dataclass
class Said:
    """An answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_sized: bool = True


@dataclass(frozen=True)
class Answer:
    """Answer in the server's place."""

    status: int
    body: object = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class LoseRequest:
    """Reset before the server sees anything."""


@dataclass(frozen=True)
class LoseAnswer:
    """Let the server do it, and reset before it can say so."""


@dataclass(frozen=True)
class KeepPart:
    """Of a chunk, let the first bytes through (whole grains), and reset."""

    size_bytes: int


@dataclass(frozen=True)
class CutRequest:
    """Reset while the body is sent, after so many bytes; whole grains of them are kept."""

    after_bytes: int


@dataclass(frozen=True)
class CutAnswer:
    """Reset after so many bytes of the answer's body."""

    after_bytes: int


@dataclass(frozen=True)
class ChangeAnswer:
    """Let the server do it, and say something else."""

    change: Callable[[Said], Said]


Fault = Answer | LoseRequest | LoseAnswer | KeepPart | CutRequest | CutAnswer | ChangeAnswer


@dataclass
class _Session:
    target: str
    only_new: bool
    size_bytes: int = 0
    final: Said | None = None


class Front:
    """Listens on loopback and forwards.

    Args:
        endpoint: Of fake-gcs-server.
        certificate: With its key: what is spoken is encrypted. Without, it is a proxy too.
    """

    def __init__(self, endpoint: str, certificate: Path | None = None) -> None:
        self._server = endpoint
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._planned: list[tuple[Callable[[Asked], bool], Fault]] = []
        self.asked: list[Asked] = []
        self.tokens: set[str] | None = None
        self._scheme = "http" if certificate is None else "https"
        trust = None
        if certificate is not None:
            trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trust.load_cert_chain(certificate)
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                target = urlsplit(self.path)._replace(scheme="", netloc="").geturl()
                asked = Asked(self.command, target, headers, b"")
                cut_bytes = front.cut_bytes(asked)
                asked.body = self.rfile.read(size if cut_bytes is None else cut_bytes)
                if len(asked.body) < size:
                    front.keep_of_cut(asked)
                    _reset(self)
                else:
                    front.serve(self, asked)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Listening(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def get_request(self) -> tuple[socket.socket, Any]:
                link, address = super().get_request()
                if trust is not None:
                    # Whoever reads shakes hands: another connection waits for nobody.
                    link = trust.wrap_socket(link, server_side=True, do_handshake_on_connect=False)
                return link, address

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: connections end in the middle on purpose."""

        self._listening = Listening(("127.0.0.1", 0), Handler)
        self.url = f"{self._scheme}://127.0.0.1:{self._listening.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Front]:
        """Serve for a while."""
        thread = threading.Thread(target=self._listening.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown()
            thread.join()
            self._listening.server_close()

    def plan(self, match: Callable[[Asked], bool], *faults: Fault) -> None:
        """Spoil the next requests that match, one fault each."""
        with self._lock:
            self._planned += [(match, fault) for fault in faults]

    @property
    def planned(self) -> int:
        """How many faults have not happened."""
        return len(self._planned)

    @property
    def open_uploads(self) -> int:
        """How many uploads were begun and neither ended nor cancelled."""
        return sum(session.final is None for session in self._sessions.values())

    def serve(self, handler: BaseHTTPRequestHandler, asked: Asked) -> None:
        """Answer one request."""
        with self._lock:
            self.asked.append(asked)
            fault = self._fault(asked)
        if self.tokens is not None:
            token = asked.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in self.tokens:
                _say(handler, Said(401, body=b"{}"))
                return
        if isinstance(fault, Answer):
            _say(handler, Said(fault.status, fault.headers, fault.content))
            return
        if isinstance(fault, LoseRequest):
            _reset(handler)
            return
        if isinstance(fault, KeepPart):
            self._keep_part(asked, fault.size_bytes)
            _reset(handler)
            return
        said = self._done(asked)
        if isinstance(fault, LoseAnswer):
            _reset(handler)
            return
        if isinstance(fault, ChangeAnswer):
            said = fault.change(said)
        _say(handler, said, cut=fault.after_bytes if isinstance(fault, CutAnswer) else None)

    def cut_bytes(self, asked: Asked) -> int | None:
        """How much to read of a request, whose body was not, before it is reset; None: all."""
        with self._lock:
            for number, (match, fault) in enumerate(self._planned):
                if isinstance(fault, CutRequest) and match(asked):
                    del self._planned[number]
                    return fault.after_bytes
        return None

    def keep_of_cut(self, asked: Asked) -> None:
        """Take what the service keeps of a request that was cut: whole grains of a chunk."""
        self.asked.append(asked)
        if asked.is_chunk() and len(asked.body) >= GRAIN_BYTES:
            self._keep_part(asked, len(asked.body))

    def _fault(self, asked: Asked) -> Fault | None:
        for number, (match, fault) in enumerate(self._planned):
            if match(asked):
                del self._planned[number]
                return fault
        return None

    def _keep_part(self, asked: Asked, size_bytes: int) -> None:
        kept = size_bytes // GRAIN_BYTES * GRAIN_BYTES
        start = int(asked.span.removeprefix("bytes ").partition("-")[0])
        headers = {**asked.headers, "content-range": f"bytes {start}-{start + kept - 1}/*"}
        self._done(Asked(asked.method, asked.target, headers, asked.body[:kept]))

    def _done(self, asked: Asked) -> Said:
        upload_id = asked.query.get("upload_id")
        if upload_id is not None:
            return self._upload(upload_id, asked)
        if "/rewriteTo/" in asked.target and asked.query.get("ifGenerationMatch") == "0":
            target = "/storage/v1/" + asked.target.partition("/rewriteTo/")[2].partition("?")[0]
            with self._lock:
                if self._forward(Asked("GET", target, {}, b"")).status == 200:
                    return Said(412, body=b"{}")
                return self._forward(asked)
        said = self._forward(asked)
        if asked.query.get("uploadType") == "resumable" and said.status == 200:
            address = urlsplit(said.headers["Location"])
            said.headers["Location"] = address._replace(scheme=self._scheme).geturl()
            begun = parse_qs(urlsplit(said.headers["Location"]).query)["upload_id"][0]
            only_new = asked.query.get("ifGenerationMatch") == "0"
            name = asked.target.partition("name=")[2].partition("&")[0]
            path = urlsplit(asked.target).path.removeprefix("/upload")
            self._sessions[begun] = _Session(f"{path}/{name}", only_new)
        return said

    def _upload(self, upload_id: str, asked: Asked) -> Said:
        session = self._sessions.get(upload_id)
        if session is None:
            return Said(410, body=b"{}")
        if asked.method == "DELETE":
            del self._sessions[upload_id]
            return Said(499)
        if session.final is not None:
            return session.final
        if asked.span == "bytes */*":
            return _so_far(session.size_bytes)
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", asked.span)
        assert found is not None, asked.span
        start, last, is_last = int(found[1]), int(found[2]), found[3] != "*"
        assert last + 1 - start == len(asked.body)
        if start != session.size_bytes or (not is_last and len(asked.body) % GRAIN_BYTES):
            return Said(400, body=b'{"error": {}}')
        with self._lock:
            if is_last and session.only_new:
                looked = self._forward(Asked("GET", session.target, {}, b""))
                if looked.status == 200:
                    return Said(412, body=b"{}")
            said = self._forward(asked)
        session.size_bytes = last + 1
        if said.status == 200:
            session.final = said
        return said

    def _forward(self, asked: Asked) -> Said:
        host = urlsplit(self._server).netloc
        connection = http.client.HTTPConnection(host, timeout=60)
        try:
            headers = {name: text for name, text in asked.headers.items() if name not in _HOP}
            connection.putrequest(
                asked.method, asked.target, skip_host=True, skip_accept_encoding=True
            )
            for name, text in headers.items():
                connection.putheader(name, text)
            # By the address that was asked the server names where an upload goes on.
            connection.putheader("Host", asked.headers.get("host", urlsplit(self.url).netloc))
            connection.putheader("Content-Length", str(len(asked.body)))
            connection.endheaders(asked.body)
            answer = connection.getresponse()
            kept = {name: text for name, text in answer.getheaders() if name.lower() not in _HOP}
            return Said(answer.status, kept, answer.read())
        finally:
            connection.close()


def _so_far(size_bytes: int) -> Said:
    return Said(308, {"Range": f"bytes=0-{size_bytes - 1}"} if size_bytes else {})


def _say(handler: BaseHTTPRequestHandler, said: Said, *, cut: int | None = None) -> None:
    handler.send_response(said.status)
    for name, text in said.headers.items():
        handler.send_header(name, text)
    if said.is_sized:
        handler.send_header("Content-Length", str(len(said.body)))
    else:
        handler.close_connection = True
        handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(said.body[:cut])
    if cut is not None and cut < len(said.body):
        handler.wfile.flush()
        handler.close_connection = True
        # In good order, so that what was sent arrives.
        handler.connection.shutdown(socket.SHUT_RDWR)


def _reset(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
