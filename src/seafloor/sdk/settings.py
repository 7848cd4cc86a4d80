"""Settings of the client: the one place that reads the environment."""

from __future__ import annotations

import logging
import os
import stat
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import parse_workload_id
from seafloor.sdk.spool_room import SPOOL_BYTES_MAX, SpoolRoom

_log = logging.getLogger("seafloor")

VARIABLES: Final = {
    "url": "SEAFLOOR_URL",
    "token": "SEAFLOOR_TOKEN",
    "home": "SEAFLOOR_HOME",
    "data": "SEAFLOOR_DATA",
    "project": "SEAFLOOR_PROJECT",
    "experiment": "SEAFLOOR_EXPERIMENT",
    "run_id": "SEAFLOOR_RUN_ID",
    "attempt": "SEAFLOOR_ATTEMPT",
    "exit_wait_s": "SEAFLOOR_EXIT_WAIT_S",
    "spool_max": "SEAFLOOR_SPOOL_MAX",
    "spool_free_min": "SEAFLOOR_SPOOL_FREE_MIN",
}
"""Field of ``Settings`` to the variable that sets it."""


_OF_A_SERVER: Final = ("SEAFLOOR_STORES__", "SEAFLOOR_LAUNCH__")


@dataclass(frozen=True)
class Tls:
    """How an ``https`` server is known, and knows us.

    Args:
        is_checked: Whether its certificate is checked.
        authorities: File of certificates that are believed; None: the system's.
        certificate: File of our own certificate and its key; None: none.
    """

    is_checked: bool = True
    authorities: str | None = None
    certificate: str | None = None


SYSTEM_TLS: Final = Tls()


@dataclass(frozen=True)
class Settings:
    """What the client works with.

    Args:
        url: Of the server; None: the one that ``data`` tells of.
        token: Sent as ``Authorization: Bearer``; None: none.
        home: Where the client keeps what is its own (the spool, details of crashes).
        data: Data folder of the server on this machine.
        project: Where runs go.
        experiment: Of runs that name none; None: ``Default``.
        run_id: The run this process is a task of; None outside a launched task.
        attempt: Which attempt of it; None outside a launched task.
        exit_wait_s: How long a process that ends waits for what it logged to be sent.
        spool_max: Bytes that all runs may have in the spool together.
        spool_free_min: Bytes that the spool leaves free on its disk; None: 1 GiB, or a twentieth
            of the disk where that is less.
        tls: For ``https``; set by who calls us, not by a variable.
        origins: Field to where its value is from: ``default`` or the name of a variable.
    """

    url: str | None
    token: str | None
    home: Path
    data: Path
    project: str = "default"
    experiment: str | None = None
    run_id: str | None = None
    attempt: int | None = None
    exit_wait_s: float = 10.0
    spool_max: int = SPOOL_BYTES_MAX
    spool_free_min: int | None = None
    tls: Tls = SYSTEM_TLS
    origins: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def spool(self) -> Path:
        """Where records wait to be sent, one folder a run."""
        return self.home / "spool"

    def spool_room(self) -> SpoolRoom:
        """How much this process may put there."""
        return SpoolRoom(
            self.spool, size_bytes_max=self.spool_max, free_bytes_min=self.spool_free_min
        )


@dataclass(frozen=True)
class ServerVariables:
    """What this process's variables say of the server that they are of, as in a server's pod.

    Args:
        token: That opens it.
        set_up: They say where its stores are, or how runs are launched.
    """

    token: str | None
    set_up: bool


def read_server_variables() -> ServerVariables:
    """Read them from the environment."""
    variables = os.environ  # noqa: TID251 - the one place
    set_up = any(name.startswith(_OF_A_SERVER) for name in variables)
    return ServerVariables(variables.get("SEAFLOOR_SERVER__TOKEN") or None, set_up)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    Args:
        environment: Variables; None: those of this process. A variable that is empty is not set.

    Raises:
        InvalidValue: a variable holds something that cannot be; ``field`` is its name.
    """
    variables = os.environ if environment is None else environment  # noqa: TID251 - the one place
    found = {name: variables.get(variable, "") for name, variable in VARIABLES.items()}
    home = _folder(found["home"], field="SEAFLOOR_HOME") if found["home"] else _own_home()
    run_id = found["run_id"]
    return Settings(
        url=_url(found["url"]),
        token=found["token"] or None,
        home=home,
        data=_folder(found["data"], field="SEAFLOOR_DATA") if found["data"] else home / "data",
        project=found["project"] or "default",
        experiment=found["experiment"] or None,
        run_id=parse_workload_id(run_id, field="SEAFLOOR_RUN_ID") if run_id else None,
        attempt=_attempt(found["attempt"]),
        exit_wait_s=_seconds(found["exit_wait_s"], default_s=10.0),
        spool_max=_bytes(found["spool_max"], field="SEAFLOOR_SPOOL_MAX") or SPOOL_BYTES_MAX,
        spool_free_min=_bytes(found["spool_free_min"], field="SEAFLOOR_SPOOL_FREE_MIN"),
        origins={name: VARIABLES[name] if text else "default" for name, text in found.items()},
    )


def _folder(text: str, *, field: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidValue(
            f'"{text}": that user has no home here. Set {field} to a whole path.', field=field
        ) from error


def _own_home() -> Path:
    try:
        return (Path.home() / ".seafloor").absolute()
    except RuntimeError:
        return temporary_home()


@cache
def temporary_home() -> Path:
    """Make a folder for a user of whom no home is known, as of a container's without a name.

    Raises:
        InvalidValue: there is none that is this user's alone.
    """
    import tempfile  # few need it

    uid = os.getuid()
    home = Path(tempfile.gettempdir(), f"seafloor-{uid}").absolute()
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        status = home.lstat()
        # Anybody may make folders there: one of another user's could name a server of his.
        is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == uid
        problem = "" if is_own and not status.st_mode & 0o022 else "it is not this user's alone"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise InvalidValue(
            f"This user has no home, and {home} cannot be used instead: {problem}. "
            "Set SEAFLOOR_HOME to a folder.",
            field="SEAFLOOR_HOME",
        )
    _log.warning(
        "seafloor: this user has no home: %s is used instead, and may not last; set SEAFLOOR_HOME",
        home,
    )
    return home


def check_url(text: str, *, field: str) -> str:
    """Check the address of a server.

    Returns:
        It, without a slash at its end.

    Raises:
        InvalidValue: it is not one.

    >>> check_url("http://127.0.0.1:5000/", field="url")
    'http://127.0.0.1:5000'
    """
    url = text.strip().rstrip("/")
    scheme, separator, rest = url.partition("://")
    is_plain = scheme in {"http", "https"} and bool(separator) and rest.split() == [rest]
    if not is_plain or not _has_host(url):
        raise InvalidValue(
            f'"{text}" is not the address of a server: write it like "http://127.0.0.1:5000".',
            field=field,
        )
    return url


def _has_host(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # noqa: B018 - looks whether it is a number, and one that a port can be
    except ValueError:
        return False
    return bool(parts.hostname)


def _url(text: str) -> str | None:
    return check_url(text, field="SEAFLOOR_URL") if text else None


def _attempt(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InvalidValue(
            f'"{text}" is not the number of an attempt: attempts count 1, 2, …',
            field="SEAFLOOR_ATTEMPT",
        )
    return int(text)


def _seconds(text: str, *, default_s: float) -> float:
    if not text:
        return default_s
    try:
        seconds = float(text)
    except ValueError as error:
        raise InvalidValue(
            f'"{text}" is not a number of seconds.', field="SEAFLOOR_EXIT_WAIT_S"
        ) from error
    if not 0 <= seconds <= 86_400:
        raise InvalidValue("Seconds to wait must be 0..86400.", field="SEAFLOOR_EXIT_WAIT_S")
    return seconds


def _bytes(text: str, *, field: str) -> int | None:
    if not text:
        return None
    from seafloor.domain.quantities import parse_memory  # few set one

    return parse_memory(text, field=field)
