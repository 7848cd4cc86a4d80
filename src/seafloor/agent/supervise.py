"""From the start of a command to its end: signals, timeout, memory, stop, and what it prints."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, List, NamedTuple, Optional

from .capture import Capture
from .endings import MEMORY, POD_ENDED, STOPPED, TIMED_OUT, Ending, ending_of
from .folder import TaskFolder
from .limits import ContainerGroup, Limits, used_bytes
from .processes import kill_session, session_members, signal_group
from .spool import Spool
from .task import Task

STOP_FILE = "stop.json"
TICK_S = 0.2
MEMORY_INTERVAL_S = 0.5
DRAIN_S = 5.0
"""How long what the command left running may keep its pipes open after it ended."""

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FORWARDED = (*_ENDING, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """Signals sent to the agent go to whoever ``receive`` names; they also wake the capture.

    What a receiver does not take waits for the next one.
    """

    def __init__(self) -> None:
        self.wake_fd, self._wake_write_fd = os.pipe()
        for fd in (self.wake_fd, self._wake_write_fd):
            os.set_blocking(fd, False)
        self._receiver: Optional[Callable[[int], bool]] = None
        self._waiting: List[int] = []
        signal.set_wakeup_fd(self._wake_write_fd, warn_on_full_buffer=False)
        for number in _FORWARDED:
            signal.signal(number, lambda number, _frame: self._take(number))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def receive(self, receiver: Callable[[int], bool]) -> None:
        """Name who gets signals from now on, those that wait first.

        Args:
            receiver: Says whether it took a signal.
        """
        self._receiver = receiver
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            self._take(number)

    def told_to_end(self) -> bool:
        """Whether a signal waits that would end a command."""
        return any(number in _ENDING for number in self._waiting)

    def _take(self, number: int) -> None:
        if self._receiver is None or not self._receiver(number):
            self._waiting.append(number)


class Running(NamedTuple):
    """A command that runs.

    Args:
        pid: Of its first process, which leads its session and its process group.
        started_s: When, on the monotonic clock.
    """

    pid: int
    started_s: float


class Supervisor:
    """Watches one command until it has ended and all it printed is in the spool."""

    def __init__(
        self, folder: TaskFolder, task: Task, limits: Limits, spool: Spool, running: Running
    ) -> None:
        self._folder = folder
        self._task = task
        self._limits = limits
        self._spool = spool
        self._pid = running.pid
        self._timeout_due_s = None if task.timeout_s is None else running.started_s + task.timeout_s
        self._memory_due_s = running.started_s
        self._kill_due_s: Optional[float] = None
        self._cause: Optional[str] = None
        self._terms = 0
        self._status: Optional[int] = None

    def watch(self, capture: Capture) -> Ending:
        """Return how the command ended, once it has."""
        look_due_s = 0.0
        while self._status is None:
            woken = capture.step(TICK_S)
            now_s = time.monotonic()
            if woken or now_s >= look_due_s:
                look_due_s = now_s + TICK_S
                self._look(now_s)
        self._drain(capture)
        group = self._limits.group
        if (group is not None and group.killed_for_memory()) or (
            self._task.in_pod and self._was_killed() and ContainerGroup().killed_for_memory()
        ):
            self._cause = MEMORY
        return ending_of(
            self._status, cause=self._cause, command=self._task.command, limit=self._limit()
        )

    def forward(self, number: int) -> bool:
        """Hand a signal on to the command, unless it has ended; the second SIGTERM kills it."""
        if self._status is not None:
            return False
        self._terms += number == signal.SIGTERM
        if self._terms > 1:
            self._kill()
        elif number == signal.SIGTERM and self._task.in_pod:
            self._end(self._cause or POD_ENDED, time.monotonic())
        else:
            signal_group(self._pid, number)
        return True

    def _look(self, now_s: float) -> None:
        self._reap()
        if self._cause is None and self._status is None:
            if self._folder.has(STOP_FILE):
                self._end(STOPPED, now_s)
            elif self._timeout_due_s is not None and now_s >= self._timeout_due_s:
                self._end(TIMED_OUT, now_s)
        if self._kill_due_s is not None and now_s >= self._kill_due_s:
            self._kill()
        self._watch_memory(now_s)

    def _reap(self) -> None:
        """Take the status of the command, and of orphans where the agent is process 1."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._status = status

    def _end(self, cause: str, now_s: float) -> None:
        self._cause = cause
        self._kill_due_s = now_s + self._task.grace_s
        signal_group(self._pid, signal.SIGTERM)
        # One that is stopped hears it only when it goes on: it has the grace to save its state too.
        signal_group(self._pid, signal.SIGCONT)

    def _kill(self) -> None:
        self._kill_due_s = None
        kill_session(self._pid)

    def _watch_memory(self, now_s: float) -> None:
        limit_bytes = self._limits.watched_bytes
        if limit_bytes is None or now_s < self._memory_due_s:
            return
        self._memory_due_s = now_s + MEMORY_INTERVAL_S
        if used_bytes(self._pid, limit_bytes) > limit_bytes:
            self._cause = MEMORY
            self._kill()

    def _drain(self, capture: Capture) -> None:
        """Take what is still in the pipes; end what the command left running if it holds them.

        When the command is being ended, its other processes have until the end of the grace.
        """
        due_s = time.monotonic() + DRAIN_S
        while not (capture.at_end and self._nothing_to_await()):
            if time.monotonic() >= (due_s if self._kill_due_s is None else self._kill_due_s):
                capture.look()  # that much time is over, in which the agent may not have run
                break
            capture.step(TICK_S)
            self._reap()
        if self._cause is not None:
            self._kill()
            left = len(session_members(self._pid))
            if left:
                self._spool.say("{} processes of the command were killed and live on.".format(left))
        if capture.at_end:
            return
        count = kill_session(self._pid)
        due_s = time.monotonic() + 1.0
        while not capture.at_end and time.monotonic() < due_s:
            capture.step(TICK_S)
            self._reap()
        capture.look()
        held = not capture.at_end
        capture.give_up()
        if self._cause is None and (count or held):
            self._spool.say(
                "The command ended and left {} processes running that kept its output open for "
                "{:g} s; they were ended.".format(count, DRAIN_S)
                if count
                else "The command ended, but a process outside its session keeps its output open; "
                "what that prints is no longer kept."
            )

    def _nothing_to_await(self) -> bool:
        return self._kill_due_s is None or not session_members(self._pid)

    def _was_killed(self) -> bool:
        """Whether it was ended by SIGKILL, or a shell says so of what it ran."""
        if self._status is None:
            return False
        if os.WIFSIGNALED(self._status):
            return os.WTERMSIG(self._status) == signal.SIGKILL
        return os.WEXITSTATUS(self._status) == 128 + signal.SIGKILL

    def _limit(self) -> str:
        if self._cause == TIMED_OUT:
            return "{:g} s".format(self._task.timeout_s or 0)
        if self._task.in_pod:
            return ContainerGroup().shown_limit()
        return "{:,} bytes".format(self._task.memory_bytes or 0)
