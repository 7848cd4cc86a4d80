"""What a git command says is read while it goes on, and kept within bounds.

A server says as much as it likes: on standard error stands what the other side sends for people,
and git itself adds to it. What is kept of that is its beginning and its end.
"""

from __future__ import annotations

import os
import select
import selectors
import subprocess
import time
from collections.abc import Callable
from typing import IO, Final, cast

from seafloor.domain.errors import LimitExceeded

STDOUT_BYTES_MAX: Final = 256 << 20
"""Of standard output, where it is not written to a file: the names of a large working folder."""

WORDS_BYTES_MAX: Final = 64 << 10
"""Of standard error, at its beginning and again at its end."""

_LOOK_S: Final = 0.2
"""Between two looks at what a command is bounded by: a fast disk takes 200 MB in that time."""

_READ_BYTES: Final = 64 << 10
_CUT: Final = "\n[…]\n".encode()


class Words:
    """The beginning and the end of what comes.

    Where something is left out in between, no half line stands beside the gap: it could be half of
    a secret, which nobody finds to take it out.
    """

    def __init__(self) -> None:
        self._begin = bytearray()
        self._end = bytearray()
        self._is_cut = False

    def take(self, block: bytes) -> None:
        """Add what comes next."""
        room = WORDS_BYTES_MAX - len(self._begin)
        self._begin += block[:room]
        self._end += block[room:]
        if len(self._end) > 2 * WORDS_BYTES_MAX:
            del self._end[:-WORDS_BYTES_MAX]
            self._is_cut = True

    @property
    def content(self) -> bytes:
        """What is kept."""
        if not self._is_cut:
            return bytes(self._begin + self._end)
        begin, end = self._begin.rpartition(b"\n")[0], self._end.partition(b"\n")[2]
        return bytes(begin + _CUT + end)


class _Whole:
    """All of what comes, or an error."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.content = bytearray()

    def take(self, block: bytes) -> None:
        if len(self.content) + len(block) > self._bytes_max:
            raise LimitExceeded(
                f"git said more than {self._bytes_max / 1e6:,.0f} MB, which is more than is read."
            )
        self.content += block


def read_output(
    process: subprocess.Popen[bytes],
    *,
    stdin: bytes = b"",
    timeout_s: float,
    watch: Callable[[], None] | None = None,
    stdout_bytes_max: int = STDOUT_BYTES_MAX,
) -> tuple[bytes, bytes]:
    """Give a process its input, and read what it says until it has ended.

    Args:
        process: With pipes, or files in place of them.
        stdin: What it reads, where its standard input is a pipe.
        timeout_s: For all of it.
        watch: Called again and again while it goes on.
        stdout_bytes_max: More on standard output is an error.

    Returns:
        Standard output, which is empty where it is a file, and standard error as ``Words`` has it.

    Raises:
        subprocess.TimeoutExpired: it took longer. The process goes on, as after the others.
        LimitExceeded: it said more on standard output.
        Whatever ``watch`` raises.

    Cost: memory for ``stdout_bytes_max`` at most, whatever the process says.
    """
    deadline_s = time.monotonic() + timeout_s
    said, words = _Whole(stdout_bytes_max), Words()
    left = memoryview(stdin)
    look_s = time.monotonic() + _LOOK_S
    with selectors.DefaultSelector() as pipes:
        for pipe, kept in ((process.stdout, said), (process.stderr, words)):
            if pipe is not None:
                pipes.register(pipe, selectors.EVENT_READ, kept.take)
        if process.stdin is not None:
            pipes.register(process.stdin, selectors.EVENT_WRITE)
        while pipes.get_map():
            now_s = time.monotonic()
            if now_s >= deadline_s:
                raise subprocess.TimeoutExpired(process.args, timeout_s)
            if now_s >= look_s and watch is not None:
                watch()
                look_s = time.monotonic() + _LOOK_S
            for key, _ in pipes.select(min(_LOOK_S, deadline_s - now_s)):
                pipe = cast("IO[bytes]", key.fileobj)
                if pipe is process.stdin:
                    left = _write(pipe, left)
                    is_done = not left
                else:
                    block = os.read(key.fd, _READ_BYTES)
                    key.data(block)
                    is_done = not block
                if is_done:
                    pipes.unregister(pipe)
                    pipe.close()
    process.wait(max(0.0, deadline_s - time.monotonic()))
    return bytes(said.content), words.content


def _write(pipe: IO[bytes], left: memoryview) -> memoryview:
    """Write what a pipe takes without blocking; returns the rest."""
    try:
        return left[os.write(pipe.fileno(), left[: select.PIPE_BUF]) :]
    except BrokenPipeError:  # it does not want the rest, and says why by itself
        return left[:0]
