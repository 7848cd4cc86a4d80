"""What a git command says is read while it goes on, and kept within bounds.

A server says as much as it likes: on standard error stands what the other side sends for people,
and git itself adds to it. What is kept of that is its beginning and its end.
"""

from __future__ import annotations

import math
import os
import select
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Final, cast

from seafloor.domain.errors import LimitExceeded

STDOUT_BYTES_MAX: Final = 256 << 20
"""Of standard output, where it is not written to a file: the names of a large working folder."""

WORDS_BYTES_MAX: Final = 64 << 10
"""Of standard error, at its beginning and again at its end."""

_LOOK_S: Final = 0.2
"""Between two looks at what a command is bounded by: a fast disk takes 200 MB in that time."""

_LINE_BYTES_MAX: Final = 4096
"""Of a line that is not at its end."""

_READ_BYTES: Final = 64 << 10
_CUT: Final = "\n[…]\n".encode()


class Words:
    """The beginning and the end of what comes, as a terminal would show it.

    Of a line that is written over again and again, as git says how far it is, the last stays.
    Where something is left out in between, no half line stands beside the gap: it could be half of
    a secret, which nobody finds to take it out.
    """

    def __init__(self) -> None:
        self._begin = bytearray()
        self._end = bytearray()
        self._line = b""
        self._is_cut = False

    def take(self, block: bytes) -> None:
        """Add what comes next."""
        text = _last_written(self._line + block)
        end = text.rfind(b"\n") + 1
        if len(text) - end > _LINE_BYTES_MAX:
            end = len(text)
        self._line = text[end:]
        self._keep(text[:end])

    def _keep(self, block: bytes) -> None:
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
            return bytes(self._begin + self._end + self._line)
        begin = self._begin.rpartition(b"\n")[0]
        end = (self._end + self._line).partition(b"\n")[2]
        return bytes(begin + _CUT + end)


def _last_written(text: bytes) -> bytes:
    """Take out of each line what was written over; a line may end with ``\\r\\n`` as well."""
    if b"\r" not in text:
        return text
    lines = text.split(b"\n")
    return b"\n".join(line[line.rstrip(b"\r").rfind(b"\r") + 1 :] for line in lines)


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


class _Bounds:
    """What a process may go on for."""

    def __init__(self, timeout_s: float | None, watch: Callable[[], None] | None) -> None:
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._deadline_s = time.monotonic() + self._timeout_s
        self._watch = watch
        self._look_s = time.monotonic() + _LOOK_S

    def check(self, process: subprocess.Popen[bytes]) -> float:
        """Look whether it may go on; says for how long there is nothing to look at."""
        now_s = time.monotonic()
        if now_s >= self._deadline_s:
            raise subprocess.TimeoutExpired(process.args, self._timeout_s)
        if now_s >= self._look_s and self._watch is not None:
            self._watch()
            self._look_s = time.monotonic() + _LOOK_S
        return min(_LOOK_S, self._deadline_s - now_s)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of one that says nothing more: it may have closed its pipes."""
        while process.poll() is None:
            wait_s = self.check(process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(wait_s)


def read_output(
    process: subprocess.Popen[bytes],
    *,
    stdin: bytes = b"",
    timeout_s: float | None,
    watch: Callable[[], None] | None = None,
    hear: Callable[[int], None] | None = None,
    stdout_bytes_max: int = STDOUT_BYTES_MAX,
) -> tuple[bytes, bytes]:
    """Give a process its input, and read what it says until it has ended.

    Args:
        process: With pipes, or files in place of them.
        stdin: What it reads, where its standard input is a pipe.
        timeout_s: For all of it; None: as long as ``watch`` lets it.
        watch: Called again and again while it goes on.
        hear: Told how many bytes came on standard error, whenever some did.
        stdout_bytes_max: More on standard output is an error.

    Returns:
        Standard output, which is empty where it is a file, and standard error as ``Words`` has it.

    Raises:
        subprocess.TimeoutExpired: it took longer. The process goes on, as after the others.
        LimitExceeded: it said more on standard output.
        Whatever ``watch`` raises.

    Cost: memory for ``stdout_bytes_max`` at most, whatever the process says.
    """
    bounds = _Bounds(timeout_s, watch)
    said, words = _Whole(stdout_bytes_max), Words()
    left = memoryview(stdin)

    def hear_words(block: bytes) -> None:
        words.take(block)
        if hear is not None:
            hear(len(block))

    with selectors.DefaultSelector() as pipes:
        for pipe, take in ((process.stdout, said.take), (process.stderr, hear_words)):
            if pipe is not None:
                pipes.register(pipe, selectors.EVENT_READ, take)
        if process.stdin is not None:
            pipes.register(process.stdin, selectors.EVENT_WRITE)
        while pipes.get_map():
            for key, _ in pipes.select(bounds.check(process)):
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
    bounds.wait(process)
    return bytes(said.content), words.content


def _write(pipe: IO[bytes], left: memoryview) -> memoryview:
    """Write what a pipe takes without blocking; returns the rest."""
    try:
        return left[os.write(pipe.fileno(), left[: select.PIPE_BUF]) :]
    except BrokenPipeError:  # it does not want the rest, and says why by itself
        return left[:0]
