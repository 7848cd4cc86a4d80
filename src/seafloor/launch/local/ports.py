"""Ports of this machine for the tasks of a distributed run: chosen once for an attempt, and kept.

A port cannot be held for a program that will open it itself. So ports are taken from below those
that systems give to outgoing connections, none twice among the attempts that have a folder here,
and each is tried; until the first agent of the attempt has begun they are tried again and changed
if another program has come in between. From then on the tasks know them. One that is taken later is
an error of the command that wants it, and the next attempt gets others.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from seafloor.agent.folder import TaskFolder
from seafloor.domain.errors import PodRejected
from seafloor.launch.local.folders import AttemptFolders

PORTS: Final = range(20_000, 30_000)
PORTS_FILE: Final = "ports.json"
_ANYWHERE: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104  # for a moment


class Ports:
    """The ports of the attempts in a working folder, which one process has.

    Args:
        work_dir: Of the launcher.
    """

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._guard = threading.Lock()

    def of(self, folders: AttemptFolders, count: int, *, begun: bool) -> tuple[int, ...]:
        """The ports of an attempt: those that it has, else free ones, which it has from now on.

        Durable before they are returned. Blocking.

        Args:
            folders: Of the attempt; they are there.
            count: How many it needs.
            begun: Whether a task of it may know its ports, so that they stay.

        Raises:
            PodRejected: too few are free.
            OSError: they cannot be written down.
        """
        with self._guard:
            there = _recorded(folders.root)
            if len(there) == count and (begun or all(is_free(port) for port in there)):
                return there
            made = self._choose(folders, count)
            TaskFolder(str(folders.root)).write(PORTS_FILE, {"ports": made}, durable=True)
            return made

    def _choose(self, folders: AttemptFolders, count: int) -> tuple[int, ...]:
        others = {
            port
            for file in self._work_dir.glob(f"*/*/{PORTS_FILE}")
            if file.parent != folders.root
            for port in _recorded(file.parent)
        }
        found: list[int] = []
        for port in _from_somewhere(folders.root.parent.name):
            if port not in others and is_free(port):
                found.append(port)
                if len(found) == count:
                    return tuple(found)
        raise PodRejected(
            f"Fewer than {count} ports from {PORTS.start} to {PORTS.stop - 1} are free on this "
            "machine, and the tasks need them to find each other."
        )


def _from_somewhere(workload_id: str) -> Iterator[int]:
    """All ports, beginning where few other runs do: the servers of a machine do not ask each other.

    Args:
        workload_id: Hexadecimal digits of which the last are by chance.
    """
    first = int(workload_id[-8:], 16) % len(PORTS)
    yield from PORTS[first:]
    yield from PORTS[:first]


def is_free(port: int) -> bool:
    """Whether a program could listen on a port, at any address of this machine."""
    for family, address in _ANYWHERE.items():
        try:
            probe = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # a machine without IPv6
            continue
        with probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:  # IPv6 is there, and turned off
                    return False
    return True


def _recorded(root: Path) -> tuple[int, ...]:
    """The ports that an attempt has; none when it has no whole record of them."""
    document = None
    with suppress(ValueError):  # cut short by a crash of the machine, which ended every task
        document = TaskFolder(str(root)).read(PORTS_FILE)
    ports: object = None if document is None else document.get("ports")
    if not isinstance(ports, list):
        return ()
    return tuple(one for one in cast("list[object]", ports) if isinstance(one, int))
