"""A TCP proxy that misbehaves as networks and overloaded servers do, when a test says so.

Faults are counted down, not drawn: ``proxy.plan(Cut(after_bytes=100), connections=2)`` spoils the
next two connections and leaves the others alone. A fault applies to connections (or, for
``Answer``, HTTP requests) that begin after it was planned.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

_CHUNK_BYTES = 64 * 1024
_HEAD_BYTES_MAX = 64 * 1024
_HELD_S_MAX = 60.0


@dataclass(frozen=True)
class Cut:
    """Reset the connection once so many bytes of the answer came through."""

    after_bytes: int = 0


@dataclass(frozen=True)
class CutRequest:
    """Reset the connection once so many bytes of the request went through."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Truncate:
    """End the answer in good order after so many bytes, as a server does that was stopped."""

    after_bytes: int


@dataclass(frozen=True)
class Delay:
    """Hold back the first byte of the answer."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """Hold back the first byte of the answer until a test lets it go."""

    released: threading.Event


@dataclass(frozen=True)
class Silence:
    """Take the request and never answer, as a firewall does that lost its table."""


@dataclass(frozen=True)
class Answer:
    """Answer an HTTP request in the server's place, and close.

    Args:
        status: 500, 503, 429 …
        headers: Added to the answer.
        body: Its body.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"the proxy says no"


Fault = Cut | CutRequest | Truncate | Delay | Hold | Silence | Answer


class FaultProxy:
    """Listens on a free port of loopback and forwards to a server.

    Args:
        port: Of the server, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._planned: deque[Fault] = deque()
        self._open: set[socket.socket] = set()
        self._down = False
        self._closing = False
        self.connections = 0
        self.spoiled = 0
        self._threads = [threading.Thread(target=self._accept, name="fault-proxy", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def plan(self, fault: Fault, *, connections: int = 1) -> None:
        """Spoil the next connections; those that are open are cut, so that new ones begin."""
        with self._lock:
            self._planned.extend([fault] * connections)
        self.cut_all()

    @property
    def planned(self) -> int:
        """How many connections are still to be spoiled."""
        with self._lock:
            return len(self._planned)

    def forget(self) -> None:
        """Plan nothing any more."""
        with self._lock:
            self._planned.clear()

    def cut_all(self) -> None:
        """Reset every open connection."""
        with self._lock:
            for each in self._open:
                _reset(each)

    def go_down(self) -> None:
        """Reset every connection and every new one, until ``come_up``."""
        with self._lock:
            self._down = True
        self.cut_all()

    def come_up(self) -> None:
        """Forward again."""
        with self._lock:
            self._down = False

    def close(self) -> None:
        """Close every connection and stop listening. Safe to repeat."""
        with self._lock:
            self._closing = True
        # Wakes the thread that waits in accept().
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        self.cut_all()
        for thread in self._threads:
            thread.join(timeout=10.0)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            with self._lock:
                if self._closing:
                    client.close()
                    return
                down = self._down
                fault = None if down or not self._planned else self._planned.popleft()
                self.connections += 1
                self.spoiled += fault is not None
                self._open.add(client)
            if down:
                self._end(client)
                continue
            thread = threading.Thread(target=self._serve, args=(client, fault), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, fault: Fault | None) -> None:
        server: socket.socket | None = None
        try:
            if isinstance(fault, Answer):
                _answer(client, fault)
                return
            server = socket.create_connection(self._target, timeout=10.0)
            server.settimeout(None)
            with self._lock:
                self._open.add(server)
            _forward(client, server, fault)
        except OSError:  # what a fault or one of the two ends did: both see it
            return
        finally:
            self._end(client)
            if server is not None:
                self._end(server)

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)
            if self._down:
                _reset(connection)
            connection.close()


def _reset(connection: socket.socket) -> None:
    """Have the other end see a reset, and the thread that waits for this one wake up."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


def _answer(client: socket.socket, answer: Answer) -> None:
    """Read one request whole, as far as its length is told, and answer it."""
    received = b""
    while b"\r\n\r\n" not in received and len(received) < _HEAD_BYTES_MAX:
        chunk = client.recv(_CHUNK_BYTES)
        if not chunk:
            return
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    if b"expect: 100-continue" not in head.lower():
        _skip(client, _content_length(head) - len(body))
    headers = [("Content-Length", str(len(answer.body))), ("Connection", "close"), *answer.headers]
    lines = [f"HTTP/1.1 {answer.status} Said by the proxy", *(f"{k}: {v}" for k, v in headers)]
    client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body)
    client.shutdown(socket.SHUT_WR)
    # What else is on its way is read, or closing would reset the answer away.
    client.settimeout(2.0)
    while client.recv(_CHUNK_BYTES):
        pass


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _skip(client: socket.socket, rest_bytes: int) -> None:
    while rest_bytes > 0:
        chunk = client.recv(min(rest_bytes, _CHUNK_BYTES))
        if not chunk:
            return
        rest_bytes -= len(chunk)


def _forward(client: socket.socket, server: socket.socket, fault: Fault | None) -> None:
    """Carry bytes both ways until one end closes or the fault says so."""
    up_left = fault.after_bytes if isinstance(fault, CutRequest) else None
    down_left = fault.after_bytes if isinstance(fault, Cut | Truncate) else None
    delay_s = fault.seconds if isinstance(fault, Delay) else 0.0
    open_ends = {client, server}
    while open_ends:
        readable = _wait_readable(open_ends)
        if client in readable:
            chunk = client.recv(_CHUNK_BYTES)
            if up_left is not None and len(chunk) >= up_left:
                server.sendall(chunk[:up_left])
                _reset(client)
                return
            up_left = None if up_left is None else up_left - len(chunk)
            _pass_on(chunk, client, server, open_ends)
        if server in readable:
            chunk = server.recv(_CHUNK_BYTES)
            if isinstance(fault, Silence) and chunk:
                continue
            if delay_s:
                time.sleep(delay_s)  # the fault itself, not a wait for a condition
                delay_s = 0.0
            if isinstance(fault, Hold):
                fault.released.wait(_HELD_S_MAX)
            if down_left is not None and len(chunk) >= down_left:
                client.sendall(chunk[:down_left])
                if isinstance(fault, Cut):
                    _reset(client)
                return
            down_left = None if down_left is None else down_left - len(chunk)
            _pass_on(chunk, server, client, open_ends)


def _wait_readable(ends: Iterable[socket.socket]) -> set[socket.socket]:
    """Wait until something comes of one of them; ``select`` knows no descriptor beyond 1,023."""
    by_descriptor = {end.fileno(): end for end in ends}
    poll = select.poll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    return {by_descriptor[descriptor] for descriptor, _ in poll.poll()}


def _pass_on(
    chunk: bytes, source: socket.socket, target: socket.socket, open_ends: set[socket.socket]
) -> None:
    if chunk:
        target.sendall(chunk)
        return
    open_ends.discard(source)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
