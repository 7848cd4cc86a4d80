"""What a command prints, from its two pipes into the spool."""

from __future__ import annotations

import array
import fcntl
import os
import select
import selectors
import termios
import time
from typing import Callable, Dict, Optional

from .child import Pipes
from .lines import LineSplitter
from .records import ERR, OUT
from .spool import Spool

READ_BYTES = 65536
RETURN_WAIT_S = 0.05
"""How long a line that ended in ``\\r`` waits for a ``\\n``."""
GATHER_S = 0.003
"""After a small read: let more gather, so that a command that writes line by line (all of Python's
do, unbuffered) costs a few hundred reads a second and not one a line."""
_SMALL_BYTES = 8192


class _Stream:
    """One pipe."""

    def __init__(self, number: int, fd: int) -> None:
        self.number = number
        self.fd = fd
        self.splitter = LineSplitter()
        self.return_due_s: Optional[float] = None


class Capture:
    """Reads two pipes, a piece of each in turn, and writes each piece before it reads the next.

    Args:
        pipes: Ends to read from; closed when they are at their end.
        wake_fd: Becomes readable when ``step`` is to return early.
        written: Told after each write.
    """

    def __init__(
        self, pipes: Pipes, spool: Spool, *, wake_fd: int, written: Callable[[], None]
    ) -> None:
        self._spool = spool
        self._written = written
        self._wake_fd = wake_fd
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake_fd, selectors.EVENT_READ)
        self._streams: Dict[int, _Stream] = {}
        for number, fd in ((OUT, pipes.out_fd), (ERR, pipes.err_fd)):
            os.set_blocking(fd, False)
            self._streams[fd] = _Stream(number, fd)
            self._selector.register(fd, selectors.EVENT_READ)

    @property
    def at_end(self) -> bool:
        """Whether nobody can write into the pipes any more."""
        return not self._streams

    def step(self, timeout_s: float) -> bool:
        """Wait for something to read, or to be woken, and take it.

        Returns:
            Whether it was woken.
        """
        woken = False
        read_bytes = 0
        for key, _ in self._selector.select(self._until_return(timeout_s)):
            stream = self._streams.get(key.fd)
            if stream is not None:
                read_bytes += self._read(stream)
            else:
                os.read(self._wake_fd, 4096)
                woken = True
        self._release_returns()
        self._commit()
        if 0 < read_bytes < _SMALL_BYTES and not woken:
            select.select([self._wake_fd], [], [], GATHER_S)
        return woken

    def look(self) -> None:
        """Take what is in the pipes now, and no more: afterwards they are at their end, if that had
        come by then, however long nobody has read them.
        """
        for stream in list(self._streams.values()):
            left_bytes = _waiting_bytes(stream.fd)
            while left_bytes >= 0 and stream.fd in self._streams:
                read_bytes = self._read(stream)
                self._commit()
                if not read_bytes:
                    break
                left_bytes -= read_bytes

    def give_up(self) -> None:
        """Close the pipes though somebody could still write into them."""
        for stream in list(self._streams.values()):
            self._close(stream)
        self._commit()

    def _commit(self) -> None:
        if self._spool.commit():
            self._written()

    def _read(self, stream: _Stream) -> int:
        try:
            data = os.read(stream.fd, READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._close(stream)
            return 0
        self._spool.add(stream.number, time.time_ns(), stream.splitter.feed(data))
        stream.return_due_s = (
            time.monotonic() + RETURN_WAIT_S if stream.splitter.holds_return else None
        )
        return len(data)

    def _close(self, stream: _Stream) -> None:
        self._spool.add(stream.number, time.time_ns(), stream.splitter.finish())
        self._selector.unregister(stream.fd)
        os.close(stream.fd)
        del self._streams[stream.fd]

    def _until_return(self, timeout_s: float) -> float:
        due = [s.return_due_s for s in self._streams.values() if s.return_due_s is not None]
        if not due:
            return timeout_s
        return max(0.0, min(timeout_s, min(due) - time.monotonic()))

    def _release_returns(self) -> None:
        now_s = time.monotonic()
        for stream in self._streams.values():
            if stream.return_due_s is not None and stream.return_due_s <= now_s:
                self._spool.add(stream.number, time.time_ns(), stream.splitter.release())
                stream.return_due_s = None


def _waiting_bytes(fd: int) -> int:
    """How much is in a pipe."""
    found = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, found)
    return found[0]
