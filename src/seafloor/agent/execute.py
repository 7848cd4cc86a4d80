"""``exec``: run one command, keep what it prints, deliver it, say how it ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from .capture import Capture
from .child import CannotMount, CannotStart, Command, Pipes, start
from .code_mount import CodeMount, VolumeMount, copy_instead
from .endings import Ending
from .folder import TaskFolder, boot_id
from .limits import Limits, arrange_limits
from .permission import refusal
from .processes import process
from .spool import Spool, Syncer
from .supervise import STOP_FILE, Running, Signals, Supervisor
from .task import Abandoned, Task, Volume, read_task

if TYPE_CHECKING:
    from .shipping import Shipping

AGENT_FILE = "agent.json"
EXIT_FILE = "exit.json"
_DEFAULTS = {"PYTHONUNBUFFERED": "1"}  # what a killed task had printed is not in its own buffers
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class AlreadyStarted(Exception):
    """An agent has had this task before: a command is never started twice."""


class Means(NamedTuple):
    """What whoever runs an agent may want of it beside.

    Args:
        note_ending: Told how the command ended, before the rest is delivered.
        receipts: Reported with the start: what was localised, by its folder.
    """

    note_ending: Optional[Callable[[Ending], None]] = None
    receipts: Optional[Dict[str, Any]] = None


_NO_MEANS = Means()


class _Parts(NamedTuple):
    """What an execution works with."""

    folder: TaskFolder
    task: Task
    spool: Spool
    signals: Signals
    means: Means


def execute(folder: TaskFolder, *, ready_fd: Optional[int], means: Means = _NO_MEANS) -> None:
    """Run the task of a folder, whose lock this process holds.

    Args:
        ready_fd: Gets a byte once the task is certain to be found again, and is closed.
        means: What else is wanted.

    Raises:
        BadTask: there is no task in the folder.
        AlreadyStarted: and it stays with what that agent left.
        OSError: nothing can be written there. The command was not started.
        Abandoned: the command has ended and ``exit.json`` says how; the rest is not delivered. Or
            a pod was told to end while it waited for other tasks: the command was not started.
    """
    task = read_task(folder)
    if folder.has(AGENT_FILE):
        raise AlreadyStarted("an agent has had the task in {} before".format(folder.path))
    parts = _Parts(folder, task, Spool(folder.spool), Signals(), means)
    folder.reserve(EXIT_FILE)
    folder.write(AGENT_FILE, _agent_document(folder, None))
    folder.reserve(AGENT_FILE)
    if ready_fd is not None:
        # The launcher may have been killed meanwhile; this task goes on without it.
        with suppress(BrokenPipeError):
            os.write(ready_fd, b"1")
        os.close(ready_fd)
    limits = _limits(parts)
    try:
        ending, delivery = _run(parts, limits)
    finally:
        if limits.group is not None:
            limits.group.remove()
    ended = _note_ending(parts, ending)
    if means.note_ending is not None:
        means.note_ending(ending)
    delivery.finish(ended)


def _limits(parts: _Parts) -> Limits:
    task = parts.task
    limits = arrange_limits(
        dict(_DEFAULTS, **task.env),
        "seafloor-{}-{}-{}".format(task.workload_id, task.attempt, task.task),
        memory_bytes=task.memory_bytes,
        cpu_count=task.cpu_count,
    )
    for sentence in limits.said:
        parts.spool.say(sentence)
    return limits


def _run(parts: _Parts, limits: Limits) -> "Tuple[Ending, _Delivery]":
    """Start the command and watch it to its end; delivery goes on meanwhile."""
    reason = _why_not(parts)
    if reason is not None:
        parts.spool.say(reason)
        return Ending(reason), _Delivery(parts, None)
    procs = None if limits.group is None else limits.group.procs
    command = Command(parts.task.command, parts.task.cwd, limits.env, limits.cpus, procs)
    try:
        pid, pipes = _start(parts, command)
    except CannotStart as error:
        parts.spool.say(error.message)
        return Ending(error.message, error.exit_code), _Delivery(parts, None)
    running = Running(pid, time.monotonic())
    time_ns = time.time_ns()
    parts.folder.write_reserved(AGENT_FILE, _agent_document(parts.folder, pid))
    delivery = _Delivery(parts, (time_ns, pid))
    supervisor = Supervisor(parts.folder, parts.task, limits, parts.spool, running)
    parts.signals.receive(supervisor.forward)
    return supervisor.watch(_capture(parts, pipes, delivery)), delivery


def _why_not(parts: _Parts) -> Optional[str]:
    """Say why the command must not be started; None when it may be.

    Raises:
        Abandoned: a pod was told to end; see ``refusal``.
    """

    def told_to_end() -> bool:
        folder = parts.folder
        return parts.signals.told_to_end() or folder.has(STOP_FILE) or not folder.exists()

    try:
        refused = refusal(parts.task, told_to_end=told_to_end)
    except Abandoned:
        if parts.task.in_pod:  # it may be started again, as another pod
            raise
        return "Stopped before its command was started."
    return None if refused is None else "The command was not started: {}".format(refused)


def _start(parts: _Parts, command: Command) -> Tuple[int, Pipes]:
    """Start the command, with its code at ``/code`` and its volumes where they are wanted.

    What this machine does not allow is left out, and said.
    """
    task = parts.task
    why = ""
    for code, volumes in _tries(task):
        env = dict(command.env)
        for one in task.volumes:
            env[one.variable] = one.path if volumes else one.source
        made = None
        if code or volumes:
            wanted = [VolumeMount(one.source, one.path, one.read_only) for one in volumes]
            made = CodeMount(code or {"stage": task.stage}, wanted)
        elif task.code_mount is not None:
            _copy_code(task.code_mount)
        try:
            started = start(command._replace(code_mount=made, env=env))
        except CannotMount as error:
            why = str(error)
            continue
        for sentence in _missing(task, why or "it is not wanted", code=bool(code), volumes=volumes):
            parts.spool.say(sentence)
        return started
    raise AssertionError("a start without mounts is tried last")


def _tries(task: Task) -> "List[Tuple[Optional[Dict[str, str]], List[Volume]]]":
    """What to put where, the best first; each is tried when the one before cannot be had."""
    volumes = task.volumes if task.stage else []
    none: List[Volume] = []
    tries: "List[Tuple[Optional[Dict[str, str]], List[Volume]]]" = []
    for code in (task.code_mount, None):
        tries += [(code, volumes), (code, none)]
    return [one for at, one in enumerate(tries) if one not in tries[:at]]


def _copy_code(wanted: Dict[str, str]) -> None:
    try:
        copy_instead(wanted)
    except OSError as error:
        raise CannotStart("The code cannot be copied: {}.".format(error), 126) from error


def _missing(task: Task, why: str, *, code: bool, volumes: "List[Volume]") -> List[str]:
    said: List[str] = []
    if task.code_mount is not None and not code:
        said.append("/code cannot be had here ({}): use $SEAFLOOR_CODE_DIR.".format(why))
    for one in task.volumes if not volumes else []:
        rights = ", where nothing keeps it from being written to" if one.read_only else ""
        said.append(
            "{} cannot be had here ({}): use ${}{}.".format(one.path, why, one.variable, rights)
        )
    return said


def _capture(parts: _Parts, pipes: Pipes, delivery: "_Delivery") -> Capture:
    return Capture(pipes, parts.spool, wake_fd=parts.signals.wake_fd, written=delivery.written)


def _agent_document(folder: TaskFolder, command_pid: Optional[int]) -> Dict[str, Any]:
    """Who watches what; start times and the boot tell a process from a later one."""
    command = None if command_pid is None else process(command_pid)
    agent = process(os.getpid())
    return {
        "boot_id": boot_id(),
        "place": folder.place(),
        "pid": os.getpid(),
        "start_ticks": agent.start_ticks if agent else 0,
        "command_pid": command_pid,
        "command_start_ticks": command.start_ticks if command else None,
    }


def _note_ending(parts: _Parts, ending: Ending) -> Dict[str, Any]:
    ended = {
        "time_ns": time.time_ns(),
        "ending": ending.document(),
        "lines": parts.spool.lines,
        "lines_lost": parts.spool.lines_lost,
        "log_bytes": parts.spool.size_bytes,
    }
    parts.folder.give_back_rights()
    try:
        parts.folder.write_reserved(EXIT_FILE, ended, durable=True)
    except OSError as error:
        # The server is told all the same, if this process lives to do it.
        parts.spool.say("How the command ended cannot be written: {}.".format(error.strerror))
    return ended


class _Delivery:
    """Shipping and syncing, in their threads; to be made after the command was started.

    Args:
        started: When (UTC, ns) and as which process; None when it could not be started.
    """

    def __init__(self, parts: _Parts, started: "Optional[Tuple[int, int]]") -> None:
        # An import of tens of milliseconds, which the start of the command must not wait for.
        from .shipping import Shipping

        self._signals = parts.signals
        self._shipping: "Shipping" = Shipping(parts.folder, parts.task, parts.spool)
        if started is not None:
            self._shipping.command_started(
                time_ns=started[0],
                pid=started[1],
                receipts=parts.means.receipts or parts.task.receipts,
            )
        self._in_pod = parts.task.in_pod
        self._syncer = Syncer(parts.spool)
        self._syncer.start()
        self._spool = parts.spool
        self._thread = threading.Thread(target=self._run, name="ship", daemon=True)
        # Until delivery comes to its end: a bug in its thread must not look like success.
        self._given_up: Optional[Abandoned] = Abandoned("delivery broke off")
        self._thread.start()

    def written(self) -> None:
        """Be told that the spool has grown."""
        self._syncer.written()
        self._shipping.written()

    def finish(self, ended: Dict[str, Any]) -> None:
        """Deliver all that is left, however long that takes; a signal ends the wait.

        Raises:
            Abandoned: it was given up.
        """
        self._signals.receive(self._receive)
        self._syncer.stop()
        if self._syncer.problem is not None:
            self._spool.say(self._syncer.problem)
        self._shipping.command_ended(ended)
        self._thread.join()
        if self._given_up is not None:
            raise self._given_up

    def _receive(self, number: int) -> bool:
        # A pod takes with it what is not delivered: there is the time until it is killed.
        if number in _ENDING_SIGNALS and not self._in_pod:
            self._shipping.abandon()
        return True

    def _run(self) -> None:
        try:
            self._shipping.run()
            self._given_up = None
        except Abandoned as error:
            self._given_up = error
