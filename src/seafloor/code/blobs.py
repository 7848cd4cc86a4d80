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
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol

SYMLINK_MODE = "120000"
EXECUTABLE_MODE = "100755"
SHARE_MIN = 2000
"""Fewer files than this are not worth a process."""

PROCESSES_MAX = 4
_POINTER_START = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES_MAX = 1024
_READ_BYTES = 1 << 20
# By the length of an id in hex digits.
_SUMS = {40: partial(hashlib.sha1, usedforsecurity=False), 64: hashlib.sha256}
# What is no file must not hold up who opens it.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Blob(Protocol):
    """A file or symlink as it should be: git's mode, the id of its blob, its relative path."""

    @property
    def mode(self) -> str: ...

    @property
    def id(self) -> str: ...

    @property
    def path(self) -> bytes: ...


class Compared(NamedTuple):
    """What is there, of all that was asked about.

    Args:
        size_bytes: Sum of the sizes; what is not there has none.
        wrong: Positions of what is not as it should be.
        pointers: Positions of what is, and begins as a pointer of git LFS.
    """

    size_bytes: int
    wrong: tuple[int, ...] = ()
    pointers: tuple[int, ...] = ()


def compare(folder: bytes, blobs: Sequence[Blob]) -> Compared:
    """Compare files with what they should be, by as many processes as are worth it.

    Raises:
        OSError: a file cannot be read for another reason than that it is missing.
    """
    count = min(os.cpu_count() or 1, PROCESSES_MAX, len(blobs) // SHARE_MIN) or 1
    size = -(-len(blobs) // count) or 1
    with ExitStack() as stack:
        others = [
            (at, stack.enter_context(_Other(folder, blobs[at : at + size])))
            for at in range(size, len(blobs), size)
        ]
        found = _examine_all(folder, blobs[:size])
        for at, other in others:
            more = other.result()
            found = Compared(
                found.size_bytes + more.size_bytes,
                (*found.wrong, *(at + place for place in more.wrong)),
                (*found.pointers, *(at + place for place in more.pointers)),
            )
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
            b"%b %b %b" % (each.mode.encode(), each.id.encode(), each.path) for each in self._blobs
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

    def result(self) -> Compared:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        said = self._process.stdout.read().splitlines()
        if self._process.wait() != 0 or len(said) != 3:
            # Whatever it could not read is read here, where errors have a name.
            return _examine_all(self._folder, self._blobs)
        size_bytes, wrong, pointers = (tuple(map(int, line.split())) for line in said)
        return Compared(size_bytes[0], wrong, pointers)


def _examine_all(folder: bytes, blobs: Sequence[Blob]) -> Compared:
    total_bytes = 0
    wrong: list[int] = []
    pointers: list[int] = []
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for place, blob in enumerate(blobs):
            same, size_bytes, is_pointer = _examine(root, blob)
            total_bytes += size_bytes
            if not same:
                wrong.append(place)
            elif is_pointer:
                pointers.append(place)
    finally:
        os.close(root)
    return Compared(total_bytes, tuple(wrong), tuple(pointers))


def _examine(root: int, blob: Blob) -> tuple[bool, int, bool]:
    """Whether it is what should be, its size, whether it begins as a pointer of git LFS."""
    # Four calls of the system for a small file, on bytes, from the root on: this is done for every
    # file of every start.
    if blob.mode == SYMLINK_MODE:
        return _examine_link(root, blob)
    try:
        descriptor = os.open(blob.path, _FLAGS, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return False, 0, False
    except OSError:  # a symlink, perhaps: those are not followed
        status = os.stat(blob.path, dir_fd=root, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            raise
        return False, status.st_size, False
    try:
        status = os.fstat(descriptor)
        executable = bool(status.st_mode & stat.S_IXUSR)
        if not stat.S_ISREG(status.st_mode) or executable != (blob.mode == EXECUTABLE_MODE):
            return False, status.st_size, False
        # One byte more than there should be: what comes back short was the end.
        start = os.read(descriptor, min(status.st_size + 1, _READ_BYTES))
        digest = _SUMS[len(blob.id)](b"blob %d\0%b" % (status.st_size, start))
        if len(start) != status.st_size:
            while block := os.read(descriptor, _READ_BYTES):
                digest.update(block)
    finally:
        os.close(descriptor)
    is_pointer = status.st_size < _POINTER_BYTES_MAX and start.startswith(_POINTER_START)
    return digest.hexdigest() == blob.id, status.st_size, is_pointer


def _examine_link(root: int, blob: Blob) -> tuple[bool, int, bool]:
    try:
        status = os.stat(blob.path, dir_fd=root, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False, 0, False
    if not stat.S_ISLNK(status.st_mode):
        return False, status.st_size, False
    target = os.readlink(blob.path, dir_fd=root)
    digest = _SUMS[len(blob.id)](b"blob %d\0%b" % (status.st_size, target))
    return digest.hexdigest() == blob.id, status.st_size, False


class _Asked(NamedTuple):
    mode: str
    id: str
    path: bytes


def _main(folder: str, asked: BinaryIO, answers: BinaryIO) -> None:
    lines = (line.split(b" ", 2) for line in asked.read().split(b"\0"))
    blobs = [_Asked(mode.decode(), name.decode(), path) for mode, name, path in lines]
    found = _examine_all(os.fsencode(folder), blobs)
    for numbers in ((found.size_bytes,), found.wrong, found.pointers):
        answers.write(b" ".join(b"%d" % number for number in numbers) + b"\n")


if __name__ == "__main__":
    _main(sys.argv[1], sys.stdin.buffer, sys.stdout.buffer)
