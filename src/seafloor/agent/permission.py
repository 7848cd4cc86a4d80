"""One question before the command is started: may this attempt still be?

A server that was paused may have started this agent long after another server began the run anew.
Only a clear no keeps a command from being started: a server that is dead, slow or lost for words
never does. A task of several is told to wait until all are there; once told so, or when it was
started as one that waits, it asks until the answer is another one.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, NamedTuple, Optional, Tuple

from .task import Abandoned, Task

if TYPE_CHECKING:
    import socket

WAIT_S = 3.0
_ANSWER_BYTES_MAX = 65536
_REFUSALS = (403, 409)
_WAITING = "waiting"
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.5, 4.0
_LOOK_S = 0.1


class _Place(NamedTuple):
    """Where a server is."""

    scheme: str
    host: str
    port: int
    prefix: str


def refusal(task: Task, *, told_to_end: Callable[[], bool]) -> Optional[str]:
    """Say why the command must not be started, in the server's words; None when it may be.

    Cost: one request of its own connection, a millisecond or two on one machine; at most WAIT_S.
    One that has to wait asks every few seconds.

    Args:
        told_to_end: Whether this agent was told to end, which ends a wait.

    Raises:
        Abandoned: it was, while it waited. Nothing was done, so there is nothing to tell of.
    """
    waiting, pause_s = task.waits, _PAUSE_MIN_S
    while True:
        try:
            status, answer = _ask(task)
        except (OSError, ValueError, LookupError, TypeError):  # also of what is no answer of ours
            status, answer = 0, {}
        if status in _REFUSALS and "code" in answer:
            return str(answer.get("message", "the server gives no reason"))
        waiting = answer.get("state") == _WAITING or (waiting and status != 200)
        if not waiting:
            return None
        _pause(pause_s, told_to_end)
        pause_s = min(_PAUSE_MAX_S, pause_s * 1.5)


def _pause(pause_s: float, told_to_end: Callable[[], bool]) -> None:
    import random

    # Many tasks that wait for the same must not all ask at the same moment.
    due_s = time.monotonic() + pause_s * random.uniform(0.5, 1.0)  # noqa: S311
    while time.monotonic() < due_s:
        if told_to_end():
            raise Abandoned("told to end while it waited for the other tasks")
        time.sleep(_LOOK_S)


def _ask(task: Task) -> "Tuple[int, Dict[str, Any]]":
    # Imported when the agent is up: what it imports first delays every command.
    import socket

    with open(task.server_file, "rb") as stream:
        place = _place(json.loads(stream.read())["url"])
    due_s = time.monotonic() + WAIT_S
    # HTTP/1.0: the answer is one piece and ends with the connection. http.client would take longer
    # to import than the answer takes to come.
    lines = [
        "GET {}{}/start HTTP/1.0".format(place.prefix, task.task_path),
        "Host: {}:{}".format(place.host, place.port),
        "Accept: application/json",
    ]
    if task.token is not None:
        lines.append("Authorization: Bearer " + task.token)
    with socket.create_connection((place.host, place.port), timeout=WAIT_S) as plain:
        connection = plain if place.scheme == "http" else _encrypted(plain, place.host)
        with connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            received = b""
            while len(received) < _ANSWER_BYTES_MAX:
                connection.settimeout(max(0.001, due_s - time.monotonic()))
                piece = connection.recv(_ANSWER_BYTES_MAX)
                if not piece:
                    break
                received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(None, 2)[1]) if head.startswith(b"HTTP/1.") else 0
    return status, dict(json.loads(body))


def _encrypted(plain: "socket.socket", host: str) -> "socket.socket":
    import ssl

    return ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def _place(url: str) -> _Place:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return _Place(parts.scheme, parts.hostname or "", parts.port or default, parts.path.rstrip("/"))
