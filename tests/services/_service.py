"""What every real server of the tests is made of: an address, a daemon, a build made once."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec


class Service(msgspec.Struct, frozen=True):
    """A real server that answers.

    Args:
        name: Of the server and its version, for people.
        url: Where it is, as Seafloor or its own clients take it.
        env: Variables that a client sets to reach it.
        note: What a person who tries it by hand should know.
    """

    name: str
    url: str
    env: dict[str, str] = {}
    note: str = ""


class Missing(Exception):
    """A server that this machine cannot run; the message says what would lift it."""


class Refused(Missing):
    """A server that this machine does not let us run: nothing that could be installed lifts it."""


def cache_folder() -> Path:
    """Where downloads and builds are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "seafloor-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is built once per machine, aside, and appears whole.

    Args:
        name: Of the folder; holds whatever the build depends on, such as a version.
        make: Fills an empty folder.
    """
    folder = cache_folder() / name
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=f"{name}.part-") as part:
                building = Path(part) / "made"
                building.mkdir()
                make(building)
                building.rename(folder)
    return folder


_OUTGOING_MIN = 32_768
"""From here on Linux gives ports to connections that go out, at any moment."""

_given: set[int] = set()
_giving = threading.Lock()


def free_port(*, offsets: Sequence[int] = (0,)) -> int:
    """A port that is free on loopback, with those at the given distances from it.

    A process gets none of them a second time: the first who asked may not listen there yet. Nor
    does another session beside it get the same for the same test, by whose name ``random`` is
    seeded.
    """
    dice = random.SystemRandom()
    with _giving:
        for _ in range(500):
            port = dice.randint(12_000, _OUTGOING_MIN - 1 - max(offsets))
            with_offsets = {port + offset for offset in offsets}
            if _given.isdisjoint(with_offsets) and all(_is_free(each) for each in with_offsets):
                _given.update(with_offsets)
                return port
    raise Missing("no free port was found")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Daemon:
    """A process in a session of its own, with its output in a file.

    Args:
        command: Program and arguments.
        log: Takes what it prints.
        env: Added to the environment.
    """

    def __init__(
        self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.log = log
        self._env = {**os.environ, **(env or {})}
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    def wait_until(self, answers: Callable[[], bool], *, timeout_s: float = 180.0) -> None:
        """Return once it answers; fail with the end of its log when it ended or took too long."""
        deadline = time.monotonic() + timeout_s
        while not answers():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                how = f"ended with {code}" if code is not None else f"silent for {timeout_s:g} s"
                tail = self.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.command[0]} {how}:\n{tail}")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Signal the process and its children."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def pause(self) -> None:
        """Stop it without ending it; on return not one of its threads runs any more."""
        self.signal(signal.SIGSTOP)
        self.wait_until(self._is_stopped)

    def _is_stopped(self) -> bool:
        # A signal is on its way for a while: what still runs answers.
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        try:
            states = [(thread / "stat").read_text().rpartition(") ")[2][0] for thread in threads]
        except (FileNotFoundError, ProcessLookupError):
            return False  # one ended between the look and the reading: not all are stopped
        return set(states) == {"T"}

    def kill(self) -> None:
        """End it with -9 and wait until it is gone. Safe to repeat."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Start it again after it ended, with the same arguments."""
        assert self.process.poll() is not None, "it still runs"
        self.process = self._start()


@contextmanager
def daemon(
    command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None
) -> Iterator[Daemon]:
    """Run a process; its state is a temporary folder's, so it is ended with -9."""
    running = Daemon(command, log, env=env)
    try:
        yield running
    finally:
        running.kill()


def accepts(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
