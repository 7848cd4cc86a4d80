"""One process that starts real servers when they are asked for, and stops them when it ends.

All processes of a test session share it: they ask over a socket for a server by name and get its
address. It ends when its standard input does, so nothing outlives a session that was killed.
"""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec
from tests.services._service import Missing, Refused, Service

SOCKET_VARIABLE = "SEAFLOOR_TEST_SERVICES"
START_TIMEOUT_S = 3600.0
"""What the first start may take: one of them is compiled."""
READY_TIMEOUT_S = 60.0


class _Answer(msgspec.Struct, frozen=True):
    """What is said of a server: where it is, why it is missing, or how it failed."""

    service: Service | None = None
    missing: str = ""
    refused: str = ""
    failed: str = ""


class Services:
    """The servers by name, each started once, by whoever asks first."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._locks: dict[str, threading.Lock] = {}
        self._answers: dict[str, _Answer] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> _Answer:
        """Start a server unless it runs, and say where it is."""
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self._answers:
                self._answers[name] = self._start(name)
            return self._answers[name]

    def _start(self, name: str) -> _Answer:
        try:
            module = importlib.import_module(f"tests.services.{name}")
            entered = module.service()
            service = entered.__enter__()
        except Refused as error:
            return _Answer(refused=str(error))
        except Missing as error:
            return _Answer(missing=str(error))
        except Exception as error:  # noqa: BLE001  # told to whoever asked
            return _Answer(failed=f"{type(error).__name__}: {error}")
        with self._lock:
            self._stack.push(entered.__exit__)
        return _Answer(service=service)

    def close(self) -> None:
        """Stop all."""
        self._stack.close()


def names() -> list[str]:
    """The servers there are."""
    folder = Path(__file__).parent
    return sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))


def serve(path: str) -> None:
    """Answer on a socket until standard input ends."""
    services = Services()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path + ".part")
    listening.listen()
    Path(path + ".part").rename(path)  # whoever sees it can connect
    threading.Thread(target=_accept, args=(listening, services), daemon=True).start()
    sys.stdin.buffer.read()
    services.close()


def _accept(listening: socket.socket, services: Services) -> None:
    with ThreadPoolExecutor(16) as pool:
        while True:
            connection, _ = listening.accept()
            pool.submit(_answer, connection, services)


def _answer(connection: socket.socket, services: Services) -> None:
    with connection, connection.makefile("rwb") as stream:
        name = stream.readline().decode().strip()
        stream.write(msgspec.json.encode(services.get(name)) + b"\n")
        stream.flush()


def ask(path: str, name: str) -> Service:
    """The address of a server; it is started when it does not run yet.

    Raises:
        Missing: this machine cannot run it; ``Refused``, whatever were installed.
        RuntimeError: it did not start.
    """
    _wait_for(path)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(START_TIMEOUT_S)
        connection.connect(path)
        with connection.makefile("rwb") as stream:
            stream.write(name.encode() + b"\n")
            stream.flush()
            answer = msgspec.json.decode(stream.readline(), type=_Answer)
    if answer.refused:
        raise Refused(answer.refused)
    if answer.missing:
        raise Missing(answer.missing)
    if answer.service is None:
        raise RuntimeError(answer.failed)
    return answer.service


def _wait_for(path: str) -> None:
    """Return once there is a socket: a session may ask before its supervisor is up."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the supervisor of the services is silent")
        time.sleep(0.02)


class Supervisor:
    """The process, for the time of a test session."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="seafloor-services-")
        self.socket = str(Path(self._folder.name) / "socket")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.services._supervisor", self.socket],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        """Return once it can be asked."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not Path(self.socket).exists():
            assert self._process.poll() is None, "the supervisor of the services ended"
            assert time.monotonic() < deadline, "the supervisor of the services is silent"
            time.sleep(0.02)

    def close(self) -> None:
        """Stop every server and the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


if __name__ == "__main__":
    serve(sys.argv[1])
