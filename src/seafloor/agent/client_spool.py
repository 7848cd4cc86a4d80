"""What the command logged through the client library and could not send before it ended.

The library keeps its records in a folder of the attempt (``SEAFLOOR_HOME``) and waits only a
bounded time at exit. Its own ``sync`` delivers the rest; a launcher that has the library names the
command.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Optional

from .server import ServerAway
from .task import Task

TIMEOUT_S = 600.0
NOT_REACHABLE = 5
"""The exit code of ``seafloor sync`` for a server that does not answer."""


def deliver(task: Task) -> Optional[str]:
    """Send what waits. May be repeated.

    Returns:
        A sentence when something could not be sent for good, None otherwise.

    Raises:
        ServerAway: repeat it later.
    """
    try:
        if not task.sync_command or not _waits(task.sync_dir):
            return None
    except OSError as error:  # its command closed it
        return _stays(error)
    variables = dict(task.env, SEAFLOOR_URL=_url(task.server_file))
    try:
        done = subprocess.run(
            task.sync_command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerAway("sync took more than {:g} s".format(TIMEOUT_S)) from error
    except OSError as error:
        return _stays(error)
    if done.returncode == NOT_REACHABLE:
        raise ServerAway("sync did not reach the server")
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it did not say why"]
        return "Not all that the client library kept could be sent: {}".format(said[-1])
    return None


def _stays(error: OSError) -> str:
    return "What the client library could not send stays on this machine: {}.".format(
        error.strerror
    )


def _waits(folder: str) -> bool:
    try:
        return bool(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _url(server_file: str) -> str:
    try:
        with open(server_file, encoding="utf-8") as stream:
            return str(json.load(stream)["url"])
    except (OSError, ValueError, KeyError) as error:
        raise ServerAway("the server's address cannot be read") from error
