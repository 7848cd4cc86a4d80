"""The folder of a task: its documents, each written whole or not at all, and its lock."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from contextlib import suppress
from typing import Any, Dict, Optional

FORMAT_VERSION = 1
_RESERVE_BYTES = 8192
_DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
_CLOSED_BY_COMMANDS = 4  # the task's folder, and those above it up to its workload's
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

Document = Dict[str, Any]


class TaskFolder:
    """Paths and documents of one task.

    Args:
        path: The folder; it exists.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def file(self, name: str) -> str:
        """Path of a file in the folder."""
        return os.path.join(self.path, name)

    @property
    def spool(self) -> str:
        """Path of the log spool."""
        return self.file("log.spool")

    def exists(self) -> bool:
        """Whether the folder is still there: somebody may have removed the whole."""
        self.give_back_rights()
        return os.path.isdir(self.path)

    def give_back_rights(self) -> None:
        """Let this user into the folder, whose command may have closed it, or those around it.

        What is not this user's is left as it is: whoever wants to go in is told so by the system.
        """
        if _is_open(self.path):
            return
        around = [self.path]
        while len(around) < _CLOSED_BY_COMMANDS:
            around.append(os.path.dirname(around[-1]))
        for path in reversed(around):
            with suppress(OSError):
                status = os.lstat(path)
                if stat.S_ISDIR(status.st_mode) and not _is_open(path):
                    os.chmod(path, stat.S_IMODE(status.st_mode) | stat.S_IRWXU)

    def has(self, name: str) -> bool:
        """Whether a document is there."""
        return os.path.exists(self.file(name))

    def read(self, name: str) -> Optional[Document]:
        """Read a document; None when it is not there.

        Raises:
            ValueError: it is not a JSON object.
        """
        try:
            with os.fdopen(open_file(self.file(name)), "rb") as stream:
                found = json.loads(stream.read(_DOCUMENT_BYTES_MAX))
        except FileNotFoundError:
            return None
        if not isinstance(found, dict):
            raise ValueError(name + " is not a JSON object")  # noqa: TRY004  # as a bad JSON is
        return found  # pyright: ignore[reportUnknownVariableType]  # keys of JSON are str

    def write(self, name: str, content: Document, *, durable: bool = False) -> None:
        """Write a document so that a reader sees all of it or nothing.

        Args:
            durable: Whether it must outlive a crash of the machine; else only one of this process,
                and after a crash of the machine it may be there and empty.

        Raises:
            OSError: the disk is full, or fails. What was there before is still there.
        """
        fd = os.open(
            self.file(name + ".part"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_TRUNC, 0o600
        )
        self._publish(fd, name, content, durable=durable)

    def reserve(self, name: str) -> None:
        """Take the space that ``write_reserved`` needs, while there is some.

        Raises:
            OSError: there is none.
        """
        fd = self._open_reserve(name)
        try:
            left = memoryview(b" " * _RESERVE_BYTES)
            while left:
                left = left[os.pwrite(fd, left, _RESERVE_BYTES - len(left)) :]
        finally:
            os.close(fd)

    def write_reserved(self, name: str, content: Document, *, durable: bool = False) -> None:
        """Write a document as ``write`` does, into the space taken for it: no disk is too full.

        Raises:
            OSError: the disk fails.
        """
        self._publish(self._open_reserve(name), name, content, durable=durable)

    def _open_reserve(self, name: str) -> int:
        return os.open(self.file(name + ".part"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _publish(self, fd: int, name: str, content: Document, *, durable: bool) -> None:
        data = json.dumps(dict({"format_version": FORMAT_VERSION}, **content)).encode() + b"\n"
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(fd, data[written:], written)
            os.ftruncate(fd, len(data))
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(self.file(name + ".part"), self.file(name))
        if durable:
            self._sync()

    def _sync(self) -> None:
        """Make the names in the folder durable."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def place(self) -> str:
        """What tells this folder from a copy of it.

        Raises:
            OSError: it is not there.
        """
        status = os.stat(self.path)
        return "{}:{}".format(status.st_dev, status.st_ino)

    def lock(self) -> Optional[int]:
        """Take the lock for as long as this process lives.

        Returns:
            Its file descriptor, or None when another agent has it.
        """
        fd = os.open(self.file("agent.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd


def open_file(path: str) -> int:
    """Open a file of the folder to read it, where its command may have put anything else.

    Returns:
        Its descriptor.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no file: whoever reads a pipe waits for one who writes to it.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(path + " is no file")
    # A pipe that was put there this moment is empty.
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def _is_open(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK | os.X_OK)


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not say."""
    try:
        with open(_BOOT_ID, encoding="ascii") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return ""
