"""Clients that cost next to nothing: requests made beforehand, sent over one kept connection each.

What is measured with them is the server; the same bytes go to each side.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

SENDS_MAX = 30


class RawClient:
    """One connection to a server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._address = (parts.hostname, parts.port)
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(self._address, timeout=300)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waiting = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def made(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> bytes:
        """The bytes of a request."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def send(self, request: bytes) -> bytes:
        """Send a request and give the body of its answer; what is no 200 is an error.

        When the connection is closed it is sent again, as clients do: the peer ends its workers
        when the machine is so busy that they do not answer it.
        """
        for _ in range(SENDS_MAX - 1):
            try:
                return self._send(request)
            except ConnectionError:
                time.sleep(1.0)
                self._connect()
        return self._send(request)

    def _send(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        while b"\r\n\r\n" not in self._waiting:
            self._more()
        head, _, rest = self._waiting.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        sizes = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        if not sizes:
            raise RuntimeError(f"no length in {head!r}")
        self._waiting = rest
        while len(self._waiting) < sizes[0]:
            self._more()
        body, self._waiting = self._waiting[: sizes[0]], self._waiting[sizes[0] :]
        if b" 200" not in lines[0]:
            raise RuntimeError(f"{lines[0]!r}: {body[:500]!r}")
        return body

    def ask(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Send and read JSON."""
        raw = b"" if body is None else json.dumps(body).encode()
        return json.loads(self.send(self.made(method, path, raw)))

    def _more(self) -> None:
        found = self._socket.recv(1 << 20)
        if not found:
            raise ConnectionResetError("the server closed the connection")
        self._waiting += found


Make = Callable[[RawClient, int], Sequence[bytes]]
"""Prepares a client's requests, given its number."""


Work = Callable[[RawClient, int], None]
"""What a client then does, timed, given its number."""


def _work(url: str, prepare: Make, work: Work | None, number: int, ready, go, told) -> None:
    with RawClient(url) as client:
        requests = prepare(client, number)
        ready.put(number)
        go.wait()
        begun = time.perf_counter()
        for request in requests:
            client.send(request)
        if work is not None:
            work(client, number)
        told.put((begun, time.perf_counter()))


def seconds(url: str, make: Make, *, clients: int) -> float:
    """How long clients, a process each, take to send all that they prepared."""
    return spans(url, make, None, clients=clients)


def spans(url: str, make: Make, work: Work | None, *, clients: int) -> float:
    """The same, with what they do after it."""
    context = multiprocessing.get_context("fork")
    ready, told, go = context.Queue(), context.Queue(), context.Event()
    workers = [
        context.Process(target=_work, args=(url, make, work, number, ready, go, told))
        for number in range(clients)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.get(timeout=300)
    go.set()
    taken = [told.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    return max(end for _, end in taken) - min(begin for begin, _ in taken)
