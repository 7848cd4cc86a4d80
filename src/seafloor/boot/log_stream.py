"""Where the server's log goes: a file that may be on a full disk must not fail a request."""

from __future__ import annotations

import os
import threading


class LogStream:
    """Writes whole messages to a file; what cannot be written is counted, and said when it can.

    Args:
        fd: Of the file; written to without a buffer, so that nothing waits in memory.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._guard = threading.Lock()
        self._lost = 0
        self._in_line = False

    def write(self, text: str) -> int:
        """Write a message; never raises because of the file."""
        with self._guard:
            before = b"\n" if self._in_line else b""
            if self._lost:
                before += b'{"event": "%d log messages could not be written"}\n' % self._lost
            content = before + text.encode("utf-8", "backslashreplace")
            written = self._write(content)
            if written == len(content):
                self._lost, self._in_line = 0, False
            else:
                self._lost += 1
                self._in_line = self._in_line or written > 0
        return len(text)

    def flush(self) -> None:
        """There is nothing to flush."""

    def _write(self, content: bytes) -> int:
        written = 0
        try:
            while written < len(content):
                written += os.write(self._fd, content[written:])
        except OSError:  # full, or whoever read it is gone: there is nowhere to say so
            return written
        return written
