"""Has large batches read beside the server's own thread, while that answers others.

Reading a batch takes longer than all else that is done for it, and Python computes in one thread at
a time. So a second process (``batch_process``) reads what comes while others wait. It is a help
and no more: when it is not there, is behind, or does not answer, the caller reads by himself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import cast

import structlog

from seafloor.http.mlflow.batch_process import FORMATS, LENGTH, ReadBatch, read_again

BYTES_MIN = 16 * 1024
"""What is smaller is read sooner than it is sent there."""
WAITING_MAX = 4
"""Of more it would be the one that is waited for."""
ANSWER_S = 2.0
"""After so long it hangs: it is ended, and what it had is read here."""
START_S = 60.0
"""It imports for half a second, on a machine that has nothing else to do."""
START_PAUSE_S = 10.0
"""Between two starts, so that one that cannot live is not started all the time."""

_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
"""Secrets of the server are none of its business."""

_log = structlog.get_logger(__name__)


class BatchReader:
    """The process, started when it is first of use.

    Use it as an async context manager, within the loop that calls it.

    Args:
        environment: The server's variables, of which it gets those that it needs to start.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._variables = {name: environment[name] for name in _VARIABLES if name in environment}
        self._link: _Link | None = None
        self._starting: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._start_at = 0.0
        self._off = len(os.sched_getaffinity(0)) < 2  # it would take its turns from the server

    async def __aenter__(self) -> BatchReader:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._off = True
        if self._starting is not None:
            self._starting.cancel()
            with suppress(asyncio.CancelledError):
                await self._starting
        await self._end()

    @property
    def pid(self) -> int | None:
        """Of the process, while it reads."""
        return None if self._ready() is None or self._process is None else self._process.pid

    async def read(self, body: bytes) -> ReadBatch | None:
        """Read the body of a ``log-batch``; None: it was not read, whatever the reason."""
        link = self._ready()
        if link is None:
            self._start()
            return None
        if len(link.waiting) >= WAITING_MAX:
            return None
        return read_again(await link.ask(body))

    def _ready(self) -> _Link | None:
        return self._link if self._link is not None and self._link.is_ready else None

    def _start(self) -> None:
        if self._off or self._starting is not None or time.monotonic() < self._start_at:
            return
        self._start_at = time.monotonic() + START_PAUSE_S
        self._starting = asyncio.create_task(
            self._bring_up(),
            name="batch reader",
            context=Context(),  # it is of no request
        )

    async def _bring_up(self) -> None:
        """Start the process; it is of use from its first word on."""
        ours, its = socket.socketpair()
        try:
            with its:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # what lies in the folder where the server was started is not imported
                    "-m",
                    "seafloor.http.mlflow.batch_process",
                    stdin=its.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    env=self._variables,
                    start_new_session=True,  # signals of a terminal are meant for the server
                )
            loop = asyncio.get_running_loop()
            _, self._link = await loop.create_unix_connection(lambda: _Link(self._gone), sock=ours)
            async with asyncio.timeout(START_S):
                await self._link.here
        except OSError as error:
            _log.warning("batches are read by the server alone", reason=str(error) or "no start")
            if self._link is not None:
                self._link.drop()
        else:
            _log.info("large batches are read by another process", pid=self._process.pid)
        finally:
            if self._link is None:
                ours.close()
            self._starting = None

    def _gone(self) -> None:
        """The process ended, or hangs."""
        self._link = None
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _end(self) -> None:
        if self._link is not None:
            self._link.drop()
        self._gone()
        if self._process is not None:
            await self._process.wait()


class _Link(asyncio.Protocol):
    """The server's end of the socket.

    Args:
        gone: Called when nothing more will come.

    Attributes:
        here: Done when the process has said that it is there, and writes what we read.
        is_ready: Whether it can be asked.
        waiting: Who waits for an answer and since when, in the order in which they come.
    """

    def __init__(self, gone: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._gone = gone
        self._came = bytearray()
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._dropped = False
        self.is_ready = False
        self.here: asyncio.Future[None] = self._loop.create_future()
        self.here.add_done_callback(_looked_at)
        self.waiting: deque[tuple[float, asyncio.Future[bytes]]] = deque()

    async def ask(self, body: bytes) -> bytes:
        """Send a body; what was made of it, or nothing when the process is gone."""
        if self._transport is None:
            return b""
        told: asyncio.Future[bytes] = self._loop.create_future()
        self.waiting.append((self._loop.time(), told))
        self._transport.writelines([LENGTH.pack(len(body)), body])
        if self._watch is None:
            self._watch = self._loop.call_later(ANSWER_S, self._look)
        return await told

    def drop(self) -> None:
        """Wait for nothing more; the process ends by it."""
        self._dropped = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._came += data
        while len(self._came) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._came)[0]
            if len(self._came) < end:
                return
            content = bytes(self._came[LENGTH.size : end])
            del self._came[:end]
            if not self.is_ready:
                self._meet(content)
                continue
            _, told = self.waiting.popleft()
            if not told.done():  # else who asked was cancelled
                told.set_result(content)

    def _meet(self, formats: bytes) -> None:
        """Take the first word of the process."""
        if self.here.done():
            return
        self.is_ready = formats == FORMATS
        if self.is_ready:
            self.here.set_result(None)
        else:
            self.here.set_exception(OSError(f"it writes {formats!r}, not {FORMATS!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``. Who waits reads by himself."""
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
        if not self.here.done():
            self.here.set_exception(exc or ConnectionResetError("the process ended"))
        elif not self._dropped:
            _log.warning("batches are read by the server alone", reason="the process ended")
        for _, told in self.waiting:
            if not told.done():
                told.set_result(b"")
        self.waiting.clear()
        self._gone()

    def _look(self) -> None:
        """See whether the one that was asked first has waited for too long."""
        self._watch = None
        if not self.waiting:
            return
        left_s = self.waiting[0][0] + ANSWER_S - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            _log.warning("batches are read by the server alone", reason="no answer")
            self.drop()


def _looked_at(here: asyncio.Future[None]) -> None:
    """Have an error of it that nobody waits for any more said by nobody."""
    if not here.cancelled():
        here.exception()
