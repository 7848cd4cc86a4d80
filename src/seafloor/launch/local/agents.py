"""Agents as processes: started, told apart from dead ones, and cleaned up after."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from seafloor.agent.folder import TaskFolder, boot_id, open_file
from seafloor.agent.processes import process, session_members
from seafloor.domain.errors import PodRejected

ERROR_FILE: Final = "agent.err"
_LOCK_FD: Final = 3
_PIPE_FD: Final = 4
_FD_MIN: Final = 64
_SHOWN_BYTES_MAX: Final = 2000


class Spawned(NamedTuple):
    """An agent that was started.

    Args:
        pid: Its process.
        pipe_fd: Becomes readable when the agent says that it is ready; at its end when it is gone.
    """

    pid: int
    pipe_fd: int


@dataclass
class Agents:
    """The agents of this machine, as far as one working folder goes.

    An agent leads a session of its own: nothing that happens to this process reaches it. Whether
    one lives is told by its lock alone. The lock is taken here and handed down, so that of two who
    want to start the same task one succeeds, and a started agent is held to be alive at once.
    """

    _guard: threading.Lock = field(default_factory=threading.Lock)
    _pids: set[int] = field(default_factory=set[int])

    def lives(self, folder: Path) -> bool:
        """Whether an agent has the task of a folder."""
        with self._guard:
            fd = _take_lock(folder)
        if fd is None:
            return True
        os.close(fd)
        return False

    def lock(self, folder: Path) -> int | None:
        """Take the lock of a task; None when an agent lives."""
        with self._guard:
            return _take_lock(folder)

    def spawn(self, pyz: Path, verb: str, folder: Path, *, lock_fd: int) -> Spawned:
        """Start an agent that has the lock.

        Raises:
            PodRejected: it cannot be started.
        """
        read_fd, write_fd = os.pipe()
        handed = [_high(lock_fd), _high(write_fd)]
        argv = [sys.executable, "-I", "-S", str(pyz), verb, "--task-dir", str(folder)]
        argv += ["--lock-fd", str(_LOCK_FD), "--ready-fd", str(_PIPE_FD)]
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            pid = os.posix_spawn(
                sys.executable,
                argv,
                {"LC_ALL": "C.UTF-8"},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, str(folder / ERROR_FILE), append, 0o600),
                    (os.POSIX_SPAWN_DUP2, handed[0], _LOCK_FD),
                    (os.POSIX_SPAWN_DUP2, handed[1], _PIPE_FD),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        except OSError as error:
            os.close(read_fd)
            raise PodRejected(f"The task's agent cannot be started: {error.strerror}.") from error
        finally:
            for fd in (*handed, write_fd):
                os.close(fd)
        self._pids.add(pid)
        return Spawned(pid, read_fd)

    def wait(self, pid: int) -> None:
        """Wait for an agent that is ending: its pipe may be closed a moment before its lock."""
        with suppress(ChildProcessError):  # reaped already
            os.waitpid(pid, 0)
        self._pids.discard(pid)

    def reap(self) -> None:
        """Let go of agents that have ended."""
        for pid in list(self._pids):
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._pids.discard(pid)


def _take_lock(folder: Path) -> int | None:
    fd = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _high(fd: int) -> int:
    """A copy out of the way of the numbers that the agent gets them under."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FD_MIN)


async def read_pipe(fd: int, *, timeout_s: float | None) -> bytes:
    """Wait until a pipe has something to read, and read it; empty at its end. Closes it.

    Raises:
        TimeoutError: nothing came in time.
    """
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(fd, wake)
    try:
        async with asyncio.timeout(timeout_s):
            await readable
        return os.read(fd, 1)
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def last_words(folder: Path) -> str:
    """The last line an agent wrote about itself."""
    try:
        with os.fdopen(open_file(str(folder / ERROR_FILE)), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _SHOWN_BYTES_MAX))
            lines = stream.read(_SHOWN_BYTES_MAX).decode("utf-8", "replace").split("\n")
    except (FileNotFoundError, ValueError):
        return ""
    return next((line for line in reversed(lines) if line.strip()), "")


def end_leftovers(folder: Path) -> int:
    """End what still lives of the command of a dead agent; return how many processes that were.

    Only what is certainly of that command: the machine was not started anew since, the folder is
    no copy of one whose agent may live (agents of older versions do not tell), and the
    process with the command's id, if there is one, was started when the command was. A session's id
    is not given to another while a member lives, so members without their leader are its own if
    none of them is older than it.
    """
    documents = TaskFolder(str(folder))
    try:
        noted = documents.read("agent.json")
    except ValueError:  # cut short by a crash of the machine, which ended every process
        return 0
    if noted is None or noted.get("boot_id") != boot_id():
        return 0
    if noted.get("place", documents.place()) != documents.place():
        return 0
    session, started = noted.get("command_pid"), noted.get("command_start_ticks")
    if not isinstance(session, int) or not isinstance(started, int):
        return 0
    leader = process(session)
    if leader is not None and leader.start_ticks != started:
        return 0
    ended = 0
    for member in session_members(session):
        if member.start_ticks >= started:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member.pid, signal.SIGKILL)
                ended += 1
    return ended
