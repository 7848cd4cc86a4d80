"""Ports of this machine: whether one is free, and who has it."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from seafloor.domain.errors import Conflict

_HOST_DEFAULT = "127.0.0.1"
_STATE_LISTEN = "0A"


def check_port_is_free(host: str | None, port: int | None) -> None:
    """Refuse a port that another program has, and say which program.

    The server checks again when it starts, and says the rest (a host that is none, a port that
    needs another user).

    Raises:
        Conflict: it is taken.
    """
    if not port or is_free(host or _HOST_DEFAULT, port):
        return
    who = _holder(port)
    near = next(
        (other for other in range(port + 1, port + 100) if is_free(host or _HOST_DEFAULT, other)), 0
    )
    raise Conflict(
        f"Port {port} is in use by {who or 'another program'}: end that, or use --port {near}.",
        field="--port",
    )


def is_free(host: str, port: int) -> bool:
    """Say whether a program could listen there; also when the host is none of this machine."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _holder(port: int) -> str | None:
    """Name the process that listens on a port, where Linux lets us see it."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            links = {str(link.readlink()) for link in (process / "fd").iterdir()}
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # another user's, or gone
        if links & inodes:
            words = command.decode("utf-8", "replace").replace("\0", " ").strip()
            return f"process {process.name} ({words[:80]})"
    return None


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            cells = line.split()
            if cells[3] == _STATE_LISTEN and int(cells[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{cells[9]}]")
    return found
