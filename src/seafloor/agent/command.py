"""The agent's command line::

    agent.pyz exec|ship --task-dir DIR [--lock-fd N] [--ready-fd N]

Exit codes: 0 all was done and delivered; 1 the task's folder cannot be used; 2 wrong arguments;
3 another agent has the task; 4 the task was started before; 5 the rest is to be delivered later.
How the command ended stands in ``exit.json``, never in the exit code.
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
    try:
        verb, options = _parse(sys.argv[1:] if arguments is None else arguments)
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
