"""A real HTTP server that takes what agents deliver, by the contract of the native API.

It keeps everything in memory, can be told to answer otherwise, and can die and come back on another
port, with all it has taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, unquote, urlsplit

from seafloor.stores.logs.record import Record, RecordDecoder

_ROUTE: Final = re.compile(
    r"/api/v1/runs/(?P<run>\w+)/"
    r"(?:artifacts/(?P<artifact>.+)"
    r"|attempts/(?P<attempt>\d+)/(?:event-files|tasks/(?P<task>[\w.-]+)/(?P<verb>start|logs|end)))\Z"
)

_KEPT_BYTES_MAX: Final = 4096

Reply = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Delivery:
    """One request.

    Args:
        method, path: Of the request; the path is decoded and has no query.
        query: Its query.
        headers: By lower-case name.
        body: Its bytes.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Received:
    """What arrived for one run.

    Args:
        logs: Spool bytes by task.
        events: Bytes of tf.events files by path.
        artifacts: Files by path.
        starts, ends: Reports, each as often as it came.
    """

    logs: dict[str, bytearray] = field(default_factory=dict[str, bytearray])
    events: dict[str, bytearray] = field(default_factory=dict[str, bytearray])
    artifacts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    starts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    ends: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def records(self, task: str = "main") -> list[Record]:
        """The whole records of a log; fails on damaged ones."""
        return list(RecordDecoder().feed(bytes(self.logs.get(task, b""))))

    def printed(self, stream: int, task: str = "main") -> bytes:
        """What the command wrote to a stream, byte for byte."""
        return b"".join(r.printed for r in self.records(task) if r.stream == stream)

    def said(self, task: str = "main") -> list[str]:
        """Lines of the agent's own."""
        return [r.payload.decode() for r in self.records(task) if r.stream == 2 and not r.is_loss]


class TaskReceiver:
    """The server.

    Args:
        server_file: Gets its address whenever it starts.

    Attributes:
        runs: What arrived, by run.
        requests: Every request, in order; without its body where that is large.
        trouble: Called first with each request; its reply, if any, goes instead of the right one.
    """

    def __init__(self, server_file: Path) -> None:
        self._server_file = server_file
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self.runs: dict[str, Received] = {}
        self.requests: list[Delivery] = []
        self.trouble: Callable[[Delivery], Reply | None] = lambda _: None

    def start(self) -> None:
        """Listen, on a port that it has not had before, and announce it."""
        self._server = _Server(self)
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        part = self._server_file.with_suffix(".part")
        part.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        part.replace(self._server_file)

    def stop(self) -> None:
        """Die: cut every connection and refuse new ones. What it has taken stays."""
        if self._server is not None:
            self._server.die()
            self._server = None

    def run(self, run_id: str) -> Received:
        """What arrived for a run; empty before anything has."""
        with self._lock:
            return self.runs.setdefault(run_id, Received())

    def reply(self, delivery: Delivery) -> Reply:
        """Answer one request."""
        troubled = self.trouble(delivery)
        with self._lock:
            small = len(delivery.body) <= _KEPT_BYTES_MAX
            self.requests.append(delivery if small else replace(delivery, body=b""))
            if troubled is not None:
                return troubled
            found = _ROUTE.match(delivery.path)
            if found is None:
                return 404, {"code": "not_found", "message": f"There is no {delivery.path}."}
            received = self.runs.setdefault(found["run"], Received())
            return _take(received, delivery, found)


def _take(received: Received, delivery: Delivery, found: re.Match[str]) -> Reply:
    if found["artifact"]:
        digest = hashlib.sha256(delivery.body).hexdigest()
        if digest != delivery.headers.get("x-content-sha256"):
            return 400, {"code": "invalid_value", "message": "The digest is another."}
        received.artifacts[found["artifact"]] = delivery.body
        return 200, {"path": found["artifact"], "sha256": digest}
    if delivery.method == "GET":
        return 200, {"state": "preparing"}
    if found["verb"] == "start":
        received.starts.append(json.loads(delivery.body))
        return 200, {"state": "running"}
    if found["verb"] == "end":
        received.ends.append(json.loads(delivery.body))
        return 200, {"state": "succeeded"}
    files = received.logs if found["verb"] else received.events
    name = found["task"] or delivery.query["path"]
    return _append(files.setdefault(name, bytearray()), delivery)


def _append(kept: bytearray, delivery: Delivery) -> Reply:
    offset = int(delivery.query["offset"])
    if offset > len(kept):
        message = f"The next append begins at {len(kept)}, not at {offset}."
        return 409, {"code": "out_of_order", "message": message, "next_offset": len(kept)}
    kept += delivery.body[len(kept) - offset :]
    return 200, {"next_offset": len(kept)}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, receiver: TaskReceiver) -> None:
        self.receiver = receiver
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut is no error here."""

    def die(self) -> None:
        self.shutdown()
        self._thread.join()
        for connection in list(self._open):
            with suppress(OSError):  # closed at this very moment
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        url = urlsplit(self.path)
        size_bytes = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size_bytes)
        if len(body) < size_bytes:  # cut off in the middle
            self.close_connection = True
            return
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        delivery = Delivery(self.command, unquote(url.path), query, headers, body)
        status, document = cast("_Server", self.server).receiver.reply(delivery)
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""
