"""Whether files are the blobs that git has, byte for byte; a share of them in another process.

Reading and hashing tens of thousands of small files keeps one processor busy for most of a second,
and threads of one Python do not share it. So this file is a program, too: it needs nothing but the
standard library, starts in 20 ms, and compares what it is told on its standard input.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import BinaryIO, NamedTuple

SYMLINK_MODE = "120000"
EXECUTABLE_MODE = "100755"
SHARE_MIN = 2000
"""Fewer files than this are not worth a process."""

PROCESSES_MAX = 4
_POINTER_START = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES_MAX = 1024
_READ_BYTES = 1 << 20


class Blob(NamedTuple):
    """A file or symlink as it should be.

    Args:
        mode: Git's.
        id: Of the blob.
        path: Relative.
    """

    mode: str
    id: str
    path: bytes


class Found(NamedTuple):
    """What is there.

    Args:
        same: Whether it is what should be.
        size_bytes: Its size; 0 when it is not there.
        is_pointer: Whether it begins as a pointer of git LFS.
    """

    same: bool
    size_bytes: int
    is_pointer: bool = False


def compare(folder: bytes, blobs: Sequence[Blob]) -> list[Found]:
    """Compare files with what they should be, by as many processes as are worth it.

    Raises:
        OSError: a file cannot be read for another reason than that it is missing.
    """
    count = min(os.cpu_count() or 1, PROCESSES_MAX, len(blobs) // SHARE_MIN) or 1
    size = -(-len(blobs) // count)
    shares = [blobs[at : at + size] for at in range(0, len(blobs), size or 1)] or [blobs]
    with ExitStack() as stack:
        others = [stack.enter_context(_Other(folder, share)) for share in shares[1:]]
        found = [_examine(folder, blob) for blob in shares[0]]
        for other in others:
            found += other.result()
    return found


class _Other:
    """A process that compares a share, and ends with the context."""

    def __init__(self, folder: bytes, blobs: Sequence[Blob]) -> None:
        self._folder = folder
        self._blobs = blobs
        command = [sys.executable, "-I", "-S", __file__, os.fsdecode(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> _Other:
        lines = [
            b"%b %b %b" % (mode.encode(), id_.encode(), path) for mode, id_, path in self._blobs
        ]
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        # It reads all before it says anything, so neither waits for the other. One that has ended
        # already says nothing, and its share is done here.
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"\0".join(lines))
            self._process.stdin.close()
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):  # of what it did not read
            self._process.__exit__(None, None, None)

    def result(self) -> list[Found]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        said = self._process.stdout.read().split()
        if self._process.wait() != 0 or len(said) != 3 * len(self._blobs):
            # Whatever it could not read is read here, where errors have a name.
            return [_examine(self._folder, blob) for blob in self._blobs]
        numbers = iter(map(int, said))
        return [
            Found(bool(same), size_bytes, bool(is_pointer))
            for same, size_bytes, is_pointer in zip(numbers, numbers, numbers, strict=True)
        ]


def _examine(folder: bytes, blob: Blob) -> Found:
    # Calls of the system on bytes: with paths and files as objects this takes a third more
    # processor time, and it is done for every file of every start.
    path = folder + b"/" + blob.path
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Found(same=False, size_bytes=0)
    digest = hashlib.sha1(usedforsecurity=False) if len(blob.id) == 40 else hashlib.sha256()
    digest.update(b"blob %d\0" % status.st_size)
    if blob.mode == SYMLINK_MODE:
        if not stat.S_ISLNK(status.st_mode):
            return Found(same=False, size_bytes=status.st_size)
        digest.update(os.readlink(path))  # noqa: PTH115 - Path would normalise it
        return Found(same=digest.hexdigest() == blob.id, size_bytes=status.st_size)
    executable = bool(status.st_mode & stat.S_IXUSR)
    if not stat.S_ISREG(status.st_mode) or executable != (blob.mode == EXECUTABLE_MODE):
        return Found(same=False, size_bytes=status.st_size)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        block = start = os.read(descriptor, _READ_BYTES)
        while block:
            digest.update(block)
            block = os.read(descriptor, _READ_BYTES)
    finally:
        os.close(descriptor)
    return Found(
        same=digest.hexdigest() == blob.id,
        size_bytes=status.st_size,
        is_pointer=status.st_size < _POINTER_BYTES_MAX and start.startswith(_POINTER_START),
    )


def _main(folder: str, asked: BinaryIO, answers: BinaryIO) -> None:
    said: list[bytes] = []
    for line in asked.read().split(b"\0"):
        mode, name, path = line.split(b" ", 2)
        found = _examine(os.fsencode(folder), Blob(mode.decode(), name.decode(), path))
        said.append(b"%d %d %d" % found)
    answers.write(b"\n".join(said))


if __name__ == "__main__":
    _main(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
