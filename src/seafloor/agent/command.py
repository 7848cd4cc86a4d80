"""The agent's command line::

    agent.pyz exec|ship --task-dir DIR [--lock-fd N] [--ready-fd N]
    agent.pyz pod --folder DIR --api-path PATH --attempt N --task NAME [--timeout-s S]
        [--grace-s S] [--message FILE] -- COMMAND…

Exit codes of the first: 0 all was done and delivered; 1 the task's folder cannot be used; 2 wrong
arguments; 3 another agent has the task; 4 the task was started before; 5 the rest is to be
delivered later. How the command ended stands in ``exit.json``, never in the exit code. That of
``pod`` is the command's, or one of these when there was none.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Dict, List, Optional

from .folder import TaskFolder
from .task import Abandoned, BadTask

_USAGE = "usage: agent.pyz exec|ship --task-dir DIR [--lock-fd N] [--ready-fd N]"
_OPTIONS = ("--task-dir", "--lock-fd", "--ready-fd")


class _WrongArguments(Exception):
    """The command line is not one of ours."""


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the agent; return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["pod"]:
        return _pod(given[1:])
    try:
        verb, options = _parse(given)
        folder = TaskFolder(options["--task-dir"])
        lock_fd = _descriptor(options, "--lock-fd")
        ready_fd = _descriptor(options, "--ready-fd")
    except _WrongArguments as error:
        return _say(2, "{}\n{}".format(error, _USAGE))
    try:
        if lock_fd is None and folder.lock() is None:
            return _say(3, "another agent has the task in {}".format(folder.path))
        return _execute(folder, ready_fd) if verb == "exec" else _ship(folder)
    except BadTask as error:
        return _say(1, str(error))
    except OSError as error:
        return _say(1, "{}: {}".format(error.filename or folder.path, error.strerror))


def _pod(arguments: List[str]) -> int:
    from .execute import AlreadyStarted
    from .pod import PodTask, run_pod

    try:
        split = arguments.index("--")
        said = dict(zip(arguments[:split:2], arguments[1:split:2]))  # noqa: B905  # 3.8 has no strict
        pod = PodTask(
            folder=said["--folder"],
            api_path=said["--api-path"],
            attempt=int(said["--attempt"]),
            task=said["--task"],
            timeout_s=float(said["--timeout-s"]) if "--timeout-s" in said else None,
            grace_s=float(said.get("--grace-s", "10")),
            message=said.get("--message", "/dev/termination-log"),
            command=arguments[split + 1 :],
        )
    except (ValueError, KeyError) as error:
        return _say(2, "wrong arguments: {}".format(error))
    try:
        return run_pod(pod, dict(os.environ))  # what the container gives is the command's
    except BadTask as error:
        return _say(1, str(error))
    except AlreadyStarted as error:
        return _say(4, str(error))
    except OSError as error:
        return _say(1, "{}: {}".format(error.filename or pod.folder, error.strerror))


def _execute(folder: TaskFolder, ready_fd: Optional[int]) -> int:
    from .execute import AlreadyStarted, execute

    try:
        execute(folder, ready_fd=ready_fd)
    except AlreadyStarted as error:
        return _say(4, str(error))
    except Abandoned as error:
        return _say(5, str(error))
    return 0


def _ship(folder: TaskFolder) -> int:
    from .salvage import ship

    try:
        ship(folder)
    except Abandoned as error:
        return _say(5, str(error))
    return 0


def _parse(arguments: List[str]) -> "tuple[str, Dict[str, str]]":
    if not arguments or arguments[0] not in ("exec", "ship"):
        raise _WrongArguments("exec or ship?")
    rest = arguments[1:]
    names, values = rest[::2], rest[1::2]
    if len(names) != len(values) or "--task-dir" not in names or set(names) - set(_OPTIONS):
        raise _WrongArguments("wrong options: {}".format(" ".join(rest)))
    return arguments[0], {name: values[at] for at, name in enumerate(names)}


def _descriptor(options: Dict[str, str], name: str) -> Optional[int]:
    """A file descriptor that was handed down; the command must not get it."""
    text = options.get(name)
    if text is None:
        return None
    try:
        fd = int(text)
        os.set_inheritable(fd, False)
    except (ValueError, OSError) as error:
        raise _WrongArguments("{} {} is no open file".format(name, text)) from error
    return fd


def _say(code: int, message: str) -> int:
    # Unbuffered, and without complaint: it stands in a file, whose disk may be what is full.
    with suppress(OSError):
        os.write(2, ("agent: " + message + "\n").encode("utf-8", "backslashreplace"))
    return code
