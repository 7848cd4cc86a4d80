"""What listens on loopback, at another address of this machine too: for those who come by that."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_CHUNK: Final = 65_536


@contextmanager
def forwarded(address: tuple[str, int], port: int) -> Iterator[str]:
    """Hand connections to an address on to a port of loopback; give ``<host>:<port>``.

    Args:
        address: Host and port; port 0 is one that is free there.
        port: Of loopback.
    """
    with _Forward(address, port) as forward:
        thread = threading.Thread(target=forward.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{address[0]}:{forward.server_address[1]}"
        finally:
            forward.shutdown()
            thread.join()
            forward.cut()


class _Forward(socketserver.ThreadingTCPServer):
    """A thread for each direction of each connection; its end waits for all of them."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], port: int) -> None:
        super().__init__(address, _Connection)
        self.port = port
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False

    @contextmanager
    def kept(self, ends: set[socket.socket]) -> Iterator[None]:
        """Have the ends of a connection cut when all are."""
        with self._lock:
            self._open |= ends
            if self._is_cut:
                _cut(ends)
        try:
            yield
        finally:
            with self._lock:
                self._open -= ends

    def cut(self) -> None:
        """Cut all connections, those too that were let in a moment ago."""
        with self._lock:
            self._is_cut = True
            _cut(self._open)


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Copy both ways until both sides are done, or one is gone."""
        here, forward = self.request, self.server
        assert isinstance(forward, _Forward)
        try:
            there = socket.create_connection(("127.0.0.1", forward.port))
        except OSError:
            return
        with there, forward.kept({here, there}):
            back = threading.Thread(target=_copy, args=(there, here))
            back.start()
            _copy(here, there)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        _cut({source, target})


def _cut(ends: set[socket.socket]) -> None:
    for end in ends:
        with contextlib.suppress(OSError):  # it is gone
            end.shutdown(socket.SHUT_RDWR)
