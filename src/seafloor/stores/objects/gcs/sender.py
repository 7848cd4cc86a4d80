"""Large bodies, sent by threads from the memory where they lie.

``pyreqwest`` (0.15) copies each piece of a body when its turn comes, and holds the interpreter's
lock meanwhile. A thread that hands the pieces to the system itself needs neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from seafloor.domain.errors import StoreError
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


def can_trust(url: str) -> bool:
    """Whether Python knows authorities that vouch for an address, if it needs any."""
    known = ssl.get_default_verify_paths()
    return not url.startswith("https:") or bool(known.cafile or known.capath)


class NotSent(ConnectionError):
    """No answer came. Its text has no address: whoever has that of an upload may write."""


class NotBegun(NotSent):
    """Nothing was sent, since what was to come before it was not answered as hoped."""


class Sending:
    """A body on its way. The thread that sends it goes on with the one that follows.

    Args:
        send: Sends it, and gives the answer; told when to leave it unfinished.

    Attributes:
        took_s: How long it took until it was answered; infinitely long before that.
    """

    def __init__(self, send: Callable[[threading.Event], Answer]) -> None:
        self.took_s = math.inf
        self._send: Callable[[threading.Event], Answer] | None = send
        self._future: Future[Answer] = Future()
        self._is_given_up = threading.Event()
        self._lock = threading.Lock()
        self._is_over = False
        self._next: Sending | None = None

    async def answer(self) -> Answer:
        """Wait for the answer. A caller that is cancelled gives the body up.

        Raises:
            NotSent: no answer came.
        """
        try:
            return await asyncio.wrap_future(self._future)
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Leave what is not yet sent unsent, so that the body counts for nothing."""
        self._is_given_up.set()
        self._future.cancel()

    def is_followed_by(self, following: Sending) -> bool:
        """Have another one sent by the same thread, unless this one is over."""
        with self._lock:
            if self._is_over:
                return False
            self._next = following
            return True

    def was_answered(self, as_hoped: Callable[[Answer], bool]) -> bool:
        """Of one that is over: whether an answer came and is as hoped."""
        is_answered = not self._future.cancelled() and self._future.exception() is None
        return is_answered and as_hoped(self._future.result())

    def run(self) -> None:
        """Send it, once."""
        # Not kept: it knows the one before, and that one knew the one before it.
        send, self._send = self._send, None
        if send is None or not self._future.set_running_or_notify_cancel():
            return
        begun_s = time.monotonic()
        try:
            answer = send(self._is_given_up)
            self.took_s = time.monotonic() - begun_s
            self._future.set_result(answer)
        except NotSent as error:
            self._future.set_exception(error)
        finally:
            if not self._future.done():
                # A bug. It ends this thread, and Python logs it.
                self._future.set_exception(StoreError("A body was not sent: see the server's log."))

    def end(self) -> Sending | None:
        """Be over, and give the one that follows."""
        with self._lock:
            self._is_over = True
            following, self._next = self._next, None
            return following


@dataclass(frozen=True)
class After:
    """What has to be answered before a body is sent.

    Args:
        sending: The body before.
        as_hoped: Whether its answer lets the next one be sent; asked in a thread.
    """

    sending: Sending
    as_hoped: Callable[[Answer], bool]


class Sender:
    """Connections to one host, with nothing between.

    Args:
        origin: Its scheme, name and port, as a URL.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._threads = Threads(THREADS_MAX, name="seafloor-gcs")
        self._idle = deque[HTTPConnection]()
        self._is_closed = False
        self._trust = ssl.create_default_context() if origin.startswith("https:") else None

    def serves(self, url: str) -> bool:
        """Whether an address is of this host."""
        return url.startswith(f"{self._origin}/")

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        pieces: tuple[memoryview, ...],
        *,
        after: After | None = None,
    ) -> Sending:
        """Have a body sent.

        Args:
            url: One that is served.
            pieces: The body in order. Nobody may write to it, ever.
            after: Sent before, and by the same thread: between two of them nothing waits for the
                loop.
        """
        target = url.removeprefix(self._origin)
        headers = {**headers, "Content-Length": str(sum(map(len, pieces)))}
        rest = deque(pieces)  # what was sent is kept by the caller only, who may need it again

        def sent(is_given_up: threading.Event) -> Answer:
            if after is not None and not after.sending.was_answered(after.as_hoped):
                raise NotBegun("what was to come before it was not taken")
            try:
                return self._sent(method, target, headers, _slices(rest, is_given_up))
            except (OSError, HTTPException) as error:
                raise NotSent(f"{type(error).__name__}: {error}") from None

        sending = Sending(sent)
        if after is None or not after.sending.is_followed_by(sending):
            self._threads.submit(functools.partial(self._run, sending))
        return sending

    def close(self) -> None:
        """Take no more; what is being sent is, and its connection closed. Safe to repeat."""
        self._is_closed = True
        self._threads.close()
        while self._idle:
            self._idle.pop().close()

    def _run(self, sending: Sending) -> None:
        """Send a body, and then those that follow."""
        following: Sending | None = sending
        while following is not None:
            running = following
            is_sound = False
            try:
                running.run()
                is_sound = True
            finally:
                following = running.end()
                if not is_sound and following is not None:
                    self._threads.submit(functools.partial(self._run, following))

    def _sent(
        self, method: str, target: str, headers: Mapping[str, str], body: Iterable[memoryview]
    ) -> Answer:
        connection = self._connected()
        is_kept = False
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, text in headers.items():
                connection.putheader(name, text)
            # A socket that blocks takes a fifth less time than one that Python asks before each
            # slice whether it has room. The system has the limit then: for a slice of which none
            # is taken, where Python's is for a whole one.
            connection.sock.settimeout(None if self._trust is None else SLICE_TIMEOUT_S)
            connection.endheaders()
            for piece in body:
                connection.sock.sendall(piece)
            connection.sock.settimeout(ANSWER_TIMEOUT_S)
            answer = connection.getresponse()
            content = answer.read()
            has_room = not self._is_closed and len(self._idle) < _IDLE_MAX
            is_kept = has_room and not answer.will_close
        finally:
            if is_kept:
                self._idle.append(connection)
            else:
                connection.close()
        return Answer(answer.status, answer.headers, content)

    def _connected(self) -> HTTPConnection:
        """A connection that can take a body: one that is idle and still open, or a new one."""
        with contextlib.suppress(IndexError):  # none is idle
            while True:
                connection = self._idle.pop()
                if not _is_readable(connection.sock):
                    return connection
                connection.close()  # the other side closed it
        place = urlsplit(self._origin)
        make = (
            HTTPConnection
            if self._trust is None
            else functools.partial(HTTPSConnection, context=self._trust)
        )
        connection = make(place.hostname or "", place.port, timeout=CONNECT_TIMEOUT_S)
        connection.connect()
        limit = struct.pack("ll", SLICE_TIMEOUT_S, 0)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        return connection


def _slices(pieces: deque[memoryview], is_given_up: threading.Event) -> Iterator[memoryview]:
    limit_s = ANSWER_TIMEOUT_S + sum(map(len, pieces)) / SLOWEST_BYTES_PER_S
    until_s = time.monotonic() + limit_s
    while pieces:
        piece = pieces.popleft()
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
