"""Where the server listens: one socket, bound before anything else is opened."""

from __future__ import annotations

import errno
import ipaddress
import socket

from seafloor.boot.settings import PORT_DEFAULT, ServerSettings
from seafloor.domain.errors import Conflict, Forbidden, InvalidValue


def check_host(server: ServerSettings) -> None:
    """Refuse to be reachable by others without authentication.

    Raises:
        Forbidden: the host is not a loopback address and there is no token.
    """
    if server.token or _is_loopback(server.host):
        return
    raise Forbidden(
        f"Without authentication the server listens on loopback only, not on {server.host}: "
        "set a token (SEAFLOOR_SERVER__TOKEN, or `token` under [server] in seafloor.toml).",
        field="server.host",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(server: ServerSettings, *, port_last: int | None, port_given: bool) -> socket.socket:
    """Bind and listen.

    A port that the user gave is taken or refused. Otherwise the one of last time is tried, so that
    tasks that outlived a server find the next one, then the default, then any that is free.

    Raises:
        Conflict: the port is in use, or may not be used.
        InvalidValue: the host is not an address of this machine.
    """
    if not 0 <= server.port <= 65535:
        raise InvalidValue("A port is 0..65535.", field="server.port")
    wanted = [server.port] if port_given else [port_last or server.port, PORT_DEFAULT, 0]
    last: OSError | None = None
    for port in wanted:
        try:
            return _bind(server.host, port)
        except socket.gaierror as error:
            raise InvalidValue(
                f'"{server.host}" is not an address of this machine.', field="server.host"
            ) from error
        except OSError as error:
            last = error
    assert last is not None  # noqa: S101  # the list is not empty
    raise _refusal(server, wanted[0], last) from last


def _bind(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    # The protocol is given, so that asyncio sets TCP_NODELAY on what it accepts: without it every
    # answer on a kept connection waits 40 ms for the client's delayed acknowledgement.
    bound = socket.socket(family, kind, proto or socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind(address)
        bound.listen(1024)
    except OSError:
        bound.close()
        raise
    return bound


def _refusal(server: ServerSettings, port: int, error: OSError) -> Conflict | InvalidValue:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Port {port} on {server.host} is in use by another program: "
            "choose one with --port, or --port 0 for a free one.",
            field="server.port",
        )
    if error.errno == errno.EACCES:
        return Conflict(
            f"Port {port} may not be used by this user: choose one above 1023 with --port.",
            field="server.port",
        )
    return InvalidValue(
        f"Cannot listen on {server.host} port {port}: {error.strerror}.", field="server.host"
    )
