"""A server that says nothing for a while: the user is told, and what goes on is not cut."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from seafloor.sdk.artifacts import fetch_file
from seafloor.sdk.quiet import Quiet
from seafloor.sdk.transport import Request, Transport, TransportOptions

SIZE_BYTES = 32 * 1024 * 1024
"""More than the two sides of a connection hold on their way."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
def told() -> threading.Event:
    return threading.Event()


@pytest.fixture
def served(
    told: threading.Event,
) -> Iterator[Callable[[Callable[[socket.socket], None]], Transport]]:
    """A server that handles one connection as it is told, and a client that tells of quiet."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        servers: list[threading.Thread] = []

        def serve(handle: Callable[[socket.socket], None]) -> Transport:
            def accept() -> None:
                with closing(listening.accept()[0]) as connection:
                    while b"\r\n\r\n" not in connection.recv(65536, socket.MSG_PEEK):
                        pass
                    handle(connection)

            servers.append(threading.Thread(target=accept))
            servers[0].start()
            # A time to connect that is over long before anybody is told.
            options = TransportOptions(
                connect_s=0.1, read_s=60.0, repeat_s=0.0, on_quiet=told.set, quiet_s=0.5
            )
            return Transport(f"http://127.0.0.1:{listening.getsockname()[1]}", options=options)

        yield serve
        for server in servers:
            server.join(timeout=30)
            assert not server.is_alive()


def test_send__nobody_takes_the_body_for_long__is_told_and_not_cut(
    served: Callable[[Callable[[socket.socket], None]], Transport], told: threading.Event
) -> None:
    taken: list[int] = []

    def handle(connection: socket.socket) -> None:
        assert told.wait(30)
        size_bytes = 0
        while size_bytes < SIZE_BYTES:  # the headers are beside it
            piece = connection.recv(1 << 20)
            assert piece
            size_bytes += len(piece)
        taken.append(size_bytes)
        connection.sendall(HEAD % 2 + b"{}")

    transport = served(handle)
    body = io.BytesIO(bytes(SIZE_BYTES))
    request = Request("PUT", "/", body=body, size_bytes=SIZE_BYTES)
    assert transport.call(request, dict) == {}
    assert taken[0] >= SIZE_BYTES
    transport.close()


def test_call__no_answer_for_long__is_told_and_awaited(
    served: Callable[[Callable[[socket.socket], None]], Transport], told: threading.Event
) -> None:
    def handle(connection: socket.socket) -> None:
        assert told.wait(30)
        connection.sendall(HEAD % 2 + b"{}")

    transport = served(handle)
    assert transport.call(Request("GET", "/"), dict) == {}
    transport.close()


def test_fetch__it_stops_in_the_middle__is_told_and_awaited(
    served: Callable[[Callable[[socket.socket], None]], Transport],
    told: threading.Event,
    tmp_path: Path,
) -> None:
    def handle(connection: socket.socket) -> None:
        connection.sendall(HEAD % 8 + b"half")
        assert told.wait(30)
        connection.sendall(b"half")

    transport = served(handle)
    assert fetch_file(transport, "/", tmp_path / "file") == 8
    assert (tmp_path / "file").read_bytes() == b"halfhalf"
    transport.close()


def test_quiet__heard_now_and_then__is_told_once_for_each_time_it_is_quiet() -> None:
    told = threading.Semaphore(0)
    with Quiet(told.release, after_s=0.05).told() as heard:
        for _ in range(3):
            assert told.acquire(timeout=30)
            heard()
        assert told.acquire(timeout=30)
    with Quiet(None, after_s=0.0).told() as heard:
        heard()
    assert not told.acquire(blocking=False)


def test_quiet__several_wait_at_once__is_told_once_and_not_while_one_hears() -> None:
    told = threading.Semaphore(0)
    quiet = Quiet(told.release, after_s=0.5)
    with quiet.told(), quiet.told() as heard, quiet.told():
        assert told.acquire(timeout=30)
        heard()
        with quiet.told():
            assert told.acquire(timeout=30)
    with quiet.told():
        assert told.acquire(timeout=30)
    assert not told.acquire(blocking=False)
