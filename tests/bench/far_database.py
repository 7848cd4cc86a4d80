"""A database on another machine, on this one: what passes takes half a round trip each way.

``python -m tests.bench.far_database <port> <port of the database> <microseconds>`` is the way.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url
from tests.bench.bench_start import free_port

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def far(url: str, *, round_trip_s: float) -> Iterator[str]:
    """The URL of a database, as it is from farther away."""
    near = make_url(url)
    port = free_port()
    command = [sys.executable, "-m", __name__, str(port), str(near.port)]
    way = subprocess.Popen([*command, str(round(round_trip_s / 2 * 1e6))], cwd=ROOT)
    try:
        _wait_for(port, way)
        yield near.set(port=port).render_as_string(hide_password=False)
    finally:
        way.kill()
        way.wait()


def _wait_for(port: int, way: subprocess.Popen[bytes]) -> None:
    while way.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.01)
    raise RuntimeError("The way to the database ended.")


def _pass(source: socket.socket, target: socket.socket, delay_s: float) -> None:
    with contextlib.suppress(OSError):  # either side is gone
        while data := source.recv(1 << 20):
            time.sleep(delay_s)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def main(arguments: list[str]) -> None:
    """Pass on until the end."""
    port, to, delay_us = map(int, arguments)
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            one, _ = listening.accept()
            other = socket.create_connection(("127.0.0.1", to))
            for side in (one, other):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for ends in ((one, other), (other, one)):
                threading.Thread(target=_pass, args=(*ends, delay_us / 1e6), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
