"""Connections to web servers that end when nothing comes of them, however the server goes about it.

A timeout of a socket counts from byte to byte: a server that sends one now and then, in the middle
of a header or of the size of a chunk, would hold a thread for as long as it likes.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

ANSWER_WITHIN_S: Final = 60.0
"""In which the head of an answer is there, all redirects on the way to it included, and something
of its body each time."""


class Watch:
    """What is told that something came.

    Args:
        within_s: How long nothing may come.

    Attributes:
        ended: Whether nothing came for too long, so that the connection was ended.
    """

    def __init__(self, within_s: float) -> None:
        self.ended = False
        self._within_s = within_s
        self._came = threading.Event()

    def came(self) -> None:
        """Say so."""
        self._came.set()

    def run(self, done: threading.Event, end: Callable[[], None]) -> None:
        """Look now and then until it is done, or until nothing came since the last look."""
        while not done.wait(self._within_s):
            if not self._came.is_set():
                self.ended = True
                end()
                return
            self._came.clear()


@contextmanager
def watched(connection: socket.socket | None, within_s: float | None = None) -> Generator[Watch]:
    """End a connection when nothing comes of it; a reader of it then finds its end.

    Args:
        connection: None: there is none to end.
        within_s: How long nothing may come, if that is less than ``ANSWER_WITHIN_S``.
    """

    def end() -> None:
        # Not what TLS makes of it: that would take its state away from the thread that reads.
        with suppress(OSError):
            if connection is not None:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    watch = Watch(ANSWER_WITHIN_S if within_s is None else min(within_s, ANSWER_WITHIN_S))
    done = threading.Event()
    thread = threading.Thread(target=watch.run, args=(done, end), name="http-watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


@contextmanager
def watched_body(answer: urllib3.BaseHTTPResponse) -> Generator[Watch]:
    """As ``watched``, of the connection that brings the body of an answer."""
    connection = answer.connection
    own = isinstance(connection, _Http | _Https)
    reading = connection.answering if own else None
    with suppress(OSError):  # it is closed already, and there is nothing to read
        if reading is not None:
            # What was left of the time for the answer's head is not the time for its body.
            reading.settimeout(ANSWER_WITHIN_S)
    with watched(reading) as watch:
        yield watch


class _Http(HTTPConnection):
    answering: socket.socket | None = None

    def getresponse(self) -> HTTPResponse:
        self.answering = self.sock
        with _in_time(self.sock, self.timeout):
            return super().getresponse()


class _Https(HTTPSConnection):
    answering: socket.socket | None = None

    def getresponse(self) -> HTTPResponse:
        self.answering = self.sock
        with _in_time(self.sock, self.timeout):
            return super().getresponse()


@contextmanager
def _in_time(connection: socket.socket, within_s: float | None) -> Generator[None]:
    with watched(connection, within_s) as watch:
        yield
        if watch.ended:  # a head that was cut is taken for a whole one
            raise TimeoutError("its answer did not begin in time")


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http  # pyright: ignore[reportAssignmentType]  # urllib3's own is none, either


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https  # pyright: ignore[reportAssignmentType]  # urllib3's own is none, either


def watch_connections(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """Have a manager make such connections only."""
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager
