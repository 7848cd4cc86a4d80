"""Large bodies, sent by threads from the memory where they lie.

``pyreqwest`` (0.15) copies each piece of a body when its turn comes, and holds the interpreter's
lock meanwhile. A thread that hands the pieces to the system itself needs neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from seafloor.stores.objects.gcs.errors import Answer
from seafloor.stores.objects.threads import Threads

CONNECT_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 60.0

SLICE_BYTES: Final = 1024 * 1024
"""What the system is given at once, and has to take within SLICE_TIMEOUT_S."""

SLICE_TIMEOUT_S: Final = 16

SLOWEST_BYTES_PER_S: Final = 64 * 1024
"""What is sent slower is given up."""


THREADS_MAX: Final = 32
"""How many bodies are sent at once; others wait for their turn."""

_IDLE_MAX: Final = 8


class NotSent(ConnectionError):
    """No answer came. Its text has no address: whoever has that of an upload may write."""


class Sender:
    """Connections to one host, with nothing between.

    Args:
        origin: Its scheme, name and port, as a URL.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._threads = Threads(THREADS_MAX, name="seafloor-gcs")
        self._idle = deque[HTTPConnection]()
        self._trust = ssl.create_default_context() if origin.startswith("https:") else None

    def serves(self, url: str) -> bool:
        """Whether an address is of this host."""
        return url.startswith(f"{self._origin}/")

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], pieces: tuple[memoryview, ...]
    ) -> Answer:
        """Send a body and read the whole answer.

        A caller that is cancelled leaves the body unfinished, so that it counts for nothing.

        Args:
            url: One that is served.
            pieces: The body in order. Nobody may write to it, ever.

        Raises:
            NotSent: no answer came.
        """
        target = url.removeprefix(self._origin)
        headers = {**headers, "Content-Length": str(sum(map(len, pieces)))}
        is_given_up = threading.Event()

        def sent() -> Answer:
            try:
                return self._sent(method, target, headers, _slices(pieces, is_given_up))
            except (OSError, HTTPException) as error:
                raise NotSent(f"{type(error).__name__}: {error}") from None

        try:
            return await asyncio.wrap_future(self._threads.submit(sent))
        finally:
            is_given_up.set()

    def close(self) -> None:
        """Send nothing more. Safe to repeat."""
        self._threads.close()
        while self._idle:
            self._idle.pop().close()

    def _sent(
        self, method: str, target: str, headers: Mapping[str, str], body: Iterable[memoryview]
    ) -> Answer:
        connection = self._connected()
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, text in headers.items():
                connection.putheader(name, text)
            connection.endheaders()
            for piece in body:
                connection.send(piece)
            connection.sock.settimeout(ANSWER_TIMEOUT_S)
            answer = connection.getresponse()
            content = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close or len(self._idle) >= _IDLE_MAX:
            connection.close()
        else:
            self._idle.append(connection)
        return Answer(answer.status, answer.headers, content)

    def _connected(self) -> HTTPConnection:
        """A connection that can take a body: one that is idle and still open, or a new one."""
        with contextlib.suppress(IndexError):  # none is idle
            while True:
                connection = self._idle.pop()
                if not _is_readable(connection.sock):
                    return self._limited(connection)
                connection.close()  # the other side closed it
        place = urlsplit(self._origin)
        make = (
            HTTPConnection
            if self._trust is None
            else functools.partial(HTTPSConnection, context=self._trust)
        )
        connection = make(place.hostname or "", place.port, timeout=CONNECT_TIMEOUT_S)
        connection.connect()
        return self._limited(connection)

    def _limited(self, connection: HTTPConnection) -> HTTPConnection:
        if self._trust is None:
            # A socket that blocks takes a fifth less time than one that Python asks before each
            # slice whether it has room. The system has the limit: for a slice of which none is
            # taken, where Python's is for a whole one.
            connection.sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SLICE_TIMEOUT_S, 0)
            )
            connection.sock.settimeout(None)
        else:
            connection.sock.settimeout(SLICE_TIMEOUT_S)
        return connection


def _slices(pieces: tuple[memoryview, ...], is_given_up: threading.Event) -> Iterator[memoryview]:
    limit_s = ANSWER_TIMEOUT_S + sum(map(len, pieces)) / SLOWEST_BYTES_PER_S
    until_s = time.monotonic() + limit_s
    for piece in pieces:
        for start in range(0, len(piece), SLICE_BYTES):
            if is_given_up.is_set():
                raise ConnectionAbortedError("nobody waits for an answer any more")
            if time.monotonic() > until_s:
                raise TimeoutError(f"it was not sent within {limit_s:.0f} s")
            yield piece[start : start + SLICE_BYTES]


def _is_readable(link: socket.socket) -> bool:
    poll = select.poll()
    poll.register(link, select.POLLIN)
    return bool(poll.poll(0))
