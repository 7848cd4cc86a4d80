"""A proxy that opens tunnels (``CONNECT``), asks for a password if it has one, and remembers."""

from __future__ import annotations

import base64
import socket
import socketserver
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

_BLOCK_BYTES = 64 << 10


@dataclass
class ConnectProxy:
    """On loopback, for as long as the context lasts.

    Args:
        user, password: Asked for when set.
        hosts: Addresses of names that only it knows.
        targets: Where tunnels were opened to, ``host:port``.
        seen: All bytes that came from clients, inside of tunnels too.
        refused: How many tunnels were not opened.
    """

    user: str = ""
    password: str = ""
    hosts: dict[str, str] = field(default_factory=dict[str, str])
    targets: list[str] = field(default_factory=list[str])
    seen: bytearray = field(default_factory=bytearray)
    refused: int = 0

    def __post_init__(self) -> None:
        world = self

        class Handler(_Handler):
            proxy = world

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def allows(self, head: list[str]) -> bool:
        """Whether a request names the user and the password that are wanted."""
        wanted = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return not self.user or f"Proxy-Authorization: Basic {wanted}" in head


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    allow_reuse_address = True


class _Handler(socketserver.StreamRequestHandler):
    proxy: ConnectProxy

    def handle(self) -> None:
        head = self._head()
        if not head:
            return
        method, target, _ = head[0].split(" ", 2)
        if method != "CONNECT" or not self.proxy.allows(head):
            self.proxy.refused += 1
            self.wfile.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="proxy"\r\n'
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            return
        host, _, port = target.rpartition(":")
        self.proxy.targets.append(target)
        address = self.proxy.hosts.get(host, host), int(port)
        with socket.create_connection(address, timeout=30) as upstream:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(upstream, self.connection, None))
            back.start()
            _pump(self.connection, upstream, self.proxy.seen)
            back.join()

    def _head(self) -> list[str]:
        lines: list[str] = []
        while line := self.rfile.readline().rstrip(b"\r\n"):
            self.proxy.seen += line
            lines.append(line.decode())
        return lines


def _pump(source: Any, target: Any, seen: bytearray | None) -> None:
    """Copy until the source says no more, and say so to the target."""
    with suppress(OSError):  # one side hung up
        while block := source.recv(_BLOCK_BYTES):
            if seen is not None:
                seen += block
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
