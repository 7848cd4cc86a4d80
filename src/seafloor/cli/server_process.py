"""The server's process on this machine: starting it in the background, and ending it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.domain.errors import (
    Conflict,
    Forbidden,
    InvalidValue,
    NotSupported,
    SeafloorError,
    StoreFull,
    StoreUnavailable,
)
from seafloor.sdk.client import Client
from seafloor.sdk.discovery import ServerFile, read_server_file
from seafloor.sdk.transport import TransportOptions

LOG_FILE: Final = "server.log"
_LOCK_FILE: Final = "server.lock"
_START_WITHIN_S: Final = 60.0
_STOP_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.02
_ONE_TRY: Final = TransportOptions(connect_s=2.0, read_s=10.0, repeat_s=0.0)
_SAID_BYTES_MAX: Final = 64 * 1024
_REFUSALS: Final[dict[int, type[SeafloorError]]] = {
    2: InvalidValue,
    4: Conflict,
    5: StoreUnavailable,
    7: Forbidden,
}
"""What the exit code of a server that could not start says."""
_STORE_FAILED: Final = 8


@dataclass(frozen=True)
class ServerOptions:
    """How to start a server.

    Args:
        data: Its folder.
        host, port: Where it listens; None: as its settings say.
        metadata, objects: URLs of its database and object store; None: as its settings say.
    """

    data: Path
    host: str | None = None
    port: int | None = None
    metadata: str | None = None
    objects: str | None = None

    def command(self) -> list[str]:
        """The process to start."""
        command = [sys.executable, "-m", "seafloor.boot", "up", "--data", str(self.data)]
        if self.host is not None:
            command += ["--host", self.host]
        if self.port is not None:
            command += ["--port", str(self.port)]
        if self.metadata is not None:
            command += ["--metadata", self.metadata]
        if self.objects is not None:
            command += ["--objects", self.objects]
        return command


def running_server(data: Path, token: str | None) -> ServerFile | None:
    """Find the server that has a data folder open and answers.

    Returns:
        None when none has.

    Raises:
        StoreUnavailable: one has, but does not answer.
    """
    if not is_open(data):
        return None
    deadline_s = time.monotonic() + _START_WITHIN_S
    while True:
        # One that is starting has the lock, and soon a file.
        found = read_server_file(data)
        if found is not None and answers(found, token):
            return found
        if not is_open(data):
            return None
        if time.monotonic() > deadline_s:
            raise StoreUnavailable(
                f'A server has the data folder "{data}" open but does not answer. '
                f"What it says is in {data / LOG_FILE}."
            )
        time.sleep(_POLL_S)


def is_open(data: Path) -> bool:
    """Say whether a server has a data folder open: its lock says so, whatever else is there."""
    try:
        descriptor = os.open(data / _LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def answers(found: ServerFile, token: str | None) -> bool:
    """Say whether a server is well, by its own address: a proxy may start after it."""
    client = Client(found.own_url or found.url, token or "", options=_ONE_TRY)
    try:
        client.health()
    except StoreUnavailable:
        return False
    except SeafloorError:
        return True  # it says no, so it is there
    finally:
        client.close()
    return True


class StartingServer:
    """A server that was started in the background and may not answer yet.

    Args:
        options: How. It outlives this process; what it says goes to ``<data>/server.log``.

    Raises:
        InvalidValue: the data folder cannot be made.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._data = options.data
        self._log = options.data / LOG_FILE
        try:
            options.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._log.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    options.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=options.data,
                    start_new_session=True,
                )
        except OSError as error:
            raise InvalidValue(
                f'The data folder "{options.data}" cannot be used: {error.strerror}. '
                "Give another with --data.",
                field="--data",
            ) from error

    def wait(self, token: str | None) -> ServerFile:
        """Wait until it answers.

        Raises:
            SeafloorError: it ended, with its own words.
            StoreUnavailable: it does not answer in time; it is ended.
        """
        deadline_s = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < deadline_s:
            code = self._process.poll()
            if code is not None:
                raise self._failure(code)
            found = read_server_file(self._data)
            if found is not None and found.pid == self._process.pid and answers(found, token):
                # It is not ours to wait for any more.
                self._process.returncode = 0
                return found
            time.sleep(_POLL_S)
        self._process.kill()
        self._process.wait()
        raise StoreUnavailable(
            f"The server did not answer within {_START_WITHIN_S:.0f} s and was ended. "
            f"What it said is in {self._log}."
        )

    def _failure(self, code: int) -> SeafloorError:
        with self._log.open("rb") as log:
            size_bytes = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size_bytes - _SAID_BYTES_MAX))
            said = log.read().decode("utf-8", "replace").splitlines()
        own = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        if not own and code == _STORE_FAILED:
            return StoreFull(
                f'The server could not write to "{self._data}": is there space left on its disk?'
            )
        if not own:
            return StoreUnavailable(
                f"The server ended when it started (exit code {code}). "
                f"What it said is in {self._log}."
            )
        cls = _REFUSALS.get(code, NotSupported)
        return cls(own[-1])


def stop_server(data: Path) -> ServerFile | None:
    """End the server of a data folder and wait until it has let go of it.

    Returns:
        The server that ran, or None when none did.

    Raises:
        StoreUnavailable: it did not end in time.
        Conflict: it cannot be told to end: it is another user's, or on another machine.
    """
    if not is_open(data):
        return None
    found = read_server_file(data)
    if found is None:
        raise Conflict(f'A server has "{data}" open, but no {data}/server.json says which.')
    try:
        os.kill(found.pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError) as error:
        raise Conflict(
            f"Process {found.pid}, the server at {found.url}, cannot be told to end "
            f"({error.strerror}): is it another user's, or in a container?"
        ) from error
    deadline_s = time.monotonic() + _STOP_WITHIN_S
    while is_open(data):
        if time.monotonic() > deadline_s:
            raise StoreUnavailable(
                f"The server (process {found.pid}) did not end within {_STOP_WITHIN_S:.0f} s."
            )
        time.sleep(_POLL_S)
    return found
