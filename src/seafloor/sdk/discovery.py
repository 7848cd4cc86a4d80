"""Finding a server: the address that the user set, or the one that a data folder tells of."""

from __future__ import annotations

from pathlib import Path

import msgspec

from seafloor.domain.errors import StoreUnavailable
from seafloor.sdk.processes import lives
from seafloor.sdk.settings import Settings

SERVER_FILE = "server.json"


class ServerFile(msgspec.Struct, frozen=True):
    """``<data>/server.json``: written by a server when it answers, removed when it ends.

    A server that was killed leaves it behind, so it says where a server was, not that it is.

    Args:
        url: Where it answers.
        pid: Its process on this machine.
        version: Of the server.
        started_ns: UTC.
        own_url: Where it answers on this machine, whatever stands before it; empty: at ``url``.
    """

    url: str
    pid: int
    version: str
    started_ns: int
    own_url: str = ""


def read_server_file(data: Path) -> ServerFile | None:
    """Read what the server of a data folder wrote of itself.

    Returns:
        None when there is no such file, or one that says nothing (torn by a full disk).
    """
    try:
        content = (data / SERVER_FILE).read_bytes()
    except OSError:
        return None
    try:
        return msgspec.json.decode(content, type=ServerFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def find_server(settings: Settings) -> str | None:
    """Say where a server should be.

    Returns:
        The address from the settings, or that of the server that runs on the data folder of this
        machine, or None.
    """
    if settings.url is not None:
        return settings.url
    found = read_server_file(settings.data)
    if found is None or not lives(found.pid):
        return None
    return found.url.rstrip("/")


def require_server(settings: Settings) -> str:
    """Say where a server should be.

    Raises:
        StoreUnavailable: there is none; the message says how to have one.
    """
    url = find_server(settings)
    if url is None:
        raise StoreUnavailable(
            f'No server runs on "{settings.data}". Start one with `seafloor up --detach`, '
            "or set SEAFLOOR_URL to the address of yours."
        )
    return url
