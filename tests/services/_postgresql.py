"""A throwaway PostgreSQL: made by ``initdb``, durable, ended at will."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from tests.services._nobody import as_nobody
from tests.services._service import Daemon, Missing, daemon, free_port


@dataclass(frozen=True)
class PostgreSQL:
    """A server that answers.

    Args:
        url: Of its first database, as its superuser, who needs no password on loopback.
        daemon: Its process; ``crash`` and ``start`` end it and bring it back on the same data.
    """

    url: str
    daemon: Daemon

    def crash(self) -> None:
        """End it at once, as a lost machine does: nothing is flushed and nobody is told."""
        # Its children are in sessions of their own; this way they end before it does.
        self.daemon.signal(signal.SIGQUIT)
        self.daemon.process.wait()

    def start(self) -> None:
        """Start it again on the same data and port; return once it answers."""
        self.daemon.restart()
        self.daemon.wait_until(lambda: _answers(self.url))


@contextmanager
def postgresql(programs: Path, *, buffers_mib: int = 128) -> Iterator[PostgreSQL]:
    """Run a server that keeps what it acknowledged, in a temporary folder.

    Args:
        programs: The folder with ``initdb`` and ``postgres``.
        buffers_mib: Memory for its tables; as it comes, and as the how-to says for more runs.
    """
    with tempfile.TemporaryDirectory(
        prefix="seafloor-postgresql-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        made = subprocess.run(
            as_nobody(
                *(str(programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres"),
                *("-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            ),
            check=False,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise Missing(f"initdb failed: {made.stderr[-500:]}")
        port = free_port()
        command = as_nobody(
            *(str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
            # Every worker of a test session has its own databases, each with its own readers.
            *("-c", "max_connections=300", "-c", f"shared_buffers={buffers_mib}MB"),
        )
        with daemon(command, folder / "log") as running:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            running.wait_until(lambda: _answers(url))
            server = PostgreSQL(url, running)
            try:
                yield server
            finally:
                if running.process.poll() is None:
                    server.crash()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:  # it accepts connections before it takes them
        return False
    return True
