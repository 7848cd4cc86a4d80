"""A throwaway MariaDB: made by ``mariadb-install-db``, durable, ended at will."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
from tests.services._nobody import as_nobody
from tests.services._service import Daemon, Missing, daemon, free_port


@dataclass(frozen=True)
class MariaDB:
    """A server that answers.

    Args:
        url: Of an empty database, as its superuser, who needs no password on loopback.
        daemon: Its process; ``crash`` and ``start`` end it and bring it back on the same data.
    """

    url: str
    daemon: Daemon
    port: int

    def crash(self) -> None:
        """End it at once, as a lost machine does: nothing is flushed and nobody is told."""
        self.daemon.kill()

    def start(self) -> None:
        """Start it again on the same data and port; return once it answers."""
        self.daemon.restart()
        self.daemon.wait_until(lambda: _answers(self.port))


@contextmanager
def mariadb(*, buffers_mib: int = 128) -> Iterator[MariaDB]:
    """Run a server that keeps what it acknowledged, in a temporary folder.

    Args:
        buffers_mib: Memory for its tables; as it comes, and as the how-to says for more runs.
    """
    install, program = (_program(name) for name in ("mariadb-install-db", "mariadbd"))
    with tempfile.TemporaryDirectory(prefix="seafloor-mariadb-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        data = folder / "data"
        made = subprocess.run(
            as_nobody(
                *(install, "--no-defaults", f"--datadir={data}", "--skip-test-db"),
                "--auth-root-authentication-method=normal",
            ),
            check=False,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise Missing(f"mariadb-install-db failed: {(made.stdout + made.stderr)[-500:]}")
        port = free_port()
        command = as_nobody(
            *(program, "--no-defaults", f"--datadir={data}", "--bind-address=127.0.0.1"),
            *(f"--port={port}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"),
            *("--skip-name-resolve", "--skip-log-bin", "--max-connections=300"),
            # What a process has handed to the kernel's asynchronous I/O may still be written when
            # it is gone, over what the next one wrote to the same page meanwhile.
            "--innodb-use-native-aio=0",
            f"--innodb-buffer-pool-size={buffers_mib << 20}",
        )
        with daemon(command, folder / "log") as running:
            running.wait_until(lambda: _answers(port))
            with pymysql.connect(host="127.0.0.1", port=port, user="root") as connection:
                connection.cursor().execute("CREATE DATABASE seafloor")
            yield MariaDB(f"mariadb://root@127.0.0.1:{port}/seafloor", running, port)


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Missing("apt-get install mariadb-server")
    return found


def _answers(port: int) -> bool:
    try:
        pymysql.connect(host="127.0.0.1", port=port, user="root", connect_timeout=5).close()
    except pymysql.OperationalError:
        return False
    return True
