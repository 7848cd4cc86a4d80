"""Starting the command: fork, a session of its own, exec; and what the user is told if not."""

from __future__ import annotations

import errno
import os
import signal
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

from .code_mount import CodeMount

_PR_SET_PDEATHSIG = 1
_SHELL = "/bin/sh"
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them, and exec would hand that on


class Command(NamedTuple):
    """What is started, and with what.

    Args:
        command: A shell line, or arguments that no shell reads.
        cwd: Where.
        env: All its variables.
        cpus: Processors it is held to, None for all.
        cgroup: ``cgroup.procs`` of the group it joins, None for none.
        code_mount: What puts its code at ``/code``, None for nothing.
    """

    command: Union[str, List[str]]
    cwd: str
    env: "dict[str, str]"
    cpus: Optional[Sequence[int]] = None
    cgroup: Optional[str] = None
    code_mount: Optional[CodeMount] = None

    @property
    def argv(self) -> List[str]:
        """What exec gets."""
        if isinstance(self.command, str):
            return [_SHELL, "-c", self.command]
        return self.command


class Pipes(NamedTuple):
    """Ends of the two pipes."""

    out_fd: int
    err_fd: int


class CannotMount(Exception):
    """``/code`` cannot be made for the command; nothing was started. Its text says why."""


class CannotStart(Exception):
    """The command cannot be started.

    Args:
        message: Why, for the user.
        exit_code: 127 when something does not exist, 126 otherwise, as a shell has it.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def start(command: Command) -> Tuple[int, Pipes]:
    """Start a command; to be called before there are threads.

    It dies with this thread, is leader of a session and a process group of its own, reads nothing
    on standard input, and writes into the pipes.

    Returns:
        Its process id once it has been executed, and the ends to read from.

    Raises:
        CannotStart: there is no such program or folder, or it may not be executed.
        CannotMount: its code cannot be put at ``/code``; without that it may be started.
    """
    prctl = _prctl()
    out_fd, out_child = os.pipe()
    err_fd, err_child = os.pipe()
    report_fd, report_child = os.pipe()
    agent_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == agent_pid:
                _become(command, Pipes(out_child, err_child), report_child)
        finally:
            os._exit(127)
    for fd in (out_child, err_child, report_child):
        os.close(fd)
    report = _read_all(report_fd)
    if report:
        os.close(out_fd)
        os.close(err_fd)
        os.waitpid(pid, 0)
        if report.startswith(b"mount "):
            raise CannotMount(os.strerror(int(report.split()[1])))
        raise _refusal(command, report)
    return pid, Pipes(out_fd, err_fd)


def _become(command: Command, pipes: Pipes, report_fd: int) -> None:
    """In the child: turn into the command, or report at which stage that failed, and how."""
    stage = b"prepare"
    try:
        _arrange(command, pipes)
        if command.code_mount is not None:
            stage = b"mount"
            command.code_mount.enter()
        stage = b"cwd"
        os.chdir(command.cwd)
        stage = b"program"
        os.execvpe(command.argv[0], command.argv, command.env)  # noqa: S606
    except OSError as error:
        os.write(report_fd, b"%s %d" % (stage, error.errno or 0))
    except ValueError:  # a NUL in an argument or a variable
        os.write(report_fd, b"%s %d" % (stage, errno.EINVAL))


def _arrange(command: Command, pipes: Pipes) -> None:
    null_fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null_fd, 0)
    os.dup2(pipes.out_fd, 1)
    os.dup2(pipes.err_fd, 2)
    for number in _RESTORED:
        signal.signal(number, signal.SIG_DFL)
    if command.cgroup is not None:
        with open(command.cgroup, "w", encoding="ascii") as stream:
            stream.write("0")
    if command.cpus is not None:
        os.sched_setaffinity(0, command.cpus)


def _prctl():  # type: ignore[no-untyped-def]  # a foreign function has no type to name
    """The C library's prctl; found before the fork, since loading may need memory and locks."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True).prctl


def _read_all(fd: int) -> bytes:
    parts: List[bytes] = []
    with os.fdopen(fd, "rb", buffering=0) as stream:
        while True:
            part = stream.read(4096)
            if not part:
                return b"".join(parts)
            parts.append(part)


def _refusal(command: Command, report: bytes) -> CannotStart:
    stage, _, number = report.decode().partition(" ")
    code = int(number)
    exit_code = 127 if code == errno.ENOENT else 126
    why = os.strerror(code)
    program = command.argv[0]
    if stage == "cwd":
        return CannotStart(
            "The working folder {} cannot be used: {}.".format(command.cwd, why), exit_code
        )
    if stage == "prepare":
        return CannotStart("The command cannot be started: {}.".format(why), 126)
    return CannotStart(_why_not(program, command.cwd, code, why), exit_code)


def _why_not(program: str, cwd: str, code: int, why: str) -> str:
    path = os.path.join(cwd, program)
    if code == errno.ENOENT and "/" in program and os.path.exists(path):
        return "The program that the first line of {} names does not exist.".format(program)
    if code == errno.ENOENT and "/" in program:
        return "There is no program {} in {}.".format(program, cwd)
    if code == errno.ENOENT:
        return 'There is no program "{}" on the PATH of this run.'.format(program)
    if code == errno.ENOEXEC:
        return "{} is no program that this machine can run: has it a first line #!/…?".format(
            program
        )
    if code == errno.EACCES:
        return "{} may not be executed: make it executable (chmod +x).".format(program)
    return "{} cannot be executed: {}.".format(program, why)
