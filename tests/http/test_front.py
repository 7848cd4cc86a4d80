"""Connections whose requests have lines without an end, from whoever reaches the port."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing
from unittest import mock
from urllib.parse import urlsplit

import psutil
import pytest
import uvicorn
from uvicorn.server import ServerState

from live_server import LiveServer
from seafloor.http.front import LINES_BYTES_MAX, BoundedProtocol

SENT_BYTES = 64 * 1024 * 1024
GROWTH_BYTES_MAX = 16 * 1024 * 1024


def connect(server: LiveServer) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def head(server: LiveServer, path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\n".encode()


@pytest.mark.parametrize("where", ["one line", "many lines", "after a body"])
def test_request__lines_without_end__are_cut_off_and_take_no_memory(
    guarded_server: LiveServer, where: str
) -> None:
    assert guarded_server.process is not None
    process = psutil.Process(guarded_server.process.pid)
    before_bytes = process.memory_info().rss
    begin, piece = head(guarded_server, "/health") + b"X: ", b"a" * 65536
    if where == "many lines":
        piece = b"a\r\nX: " * 10_000
    elif where == "after a body":
        chunked = head(guarded_server, "/api/v1/runs/x/artifacts/x", "PUT")
        begin = chunked + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: "
    with closing(connect(guarded_server)) as connection:
        connection.sendall(begin)
        pieces = piece * (SENT_BYTES // len(piece))
        with pytest.raises(ConnectionError):
            connection.sendall(pieces)
    assert process.memory_info().rss - before_bytes < GROWTH_BYTES_MAX


def test_request__lines_too_long__is_told() -> None:
    async def app(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError

    config = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", log_config=None)
    transport = mock.Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    transport.get_extra_info.return_value = None
    protocol = BoundedProtocol(config, ServerState(), {}, asyncio.new_event_loop())
    with closing(protocol.loop):
        protocol.connection_made(transport)
        protocol.data_received(b"GET / HTTP/1.1\r\nX: ")
        protocol.data_received(b"a" * LINES_BYTES_MAX)
        assert not transport.close.called
        protocol.data_received(b"a")
    assert transport.close.called
    told, _, body = transport.write.call_args.args[0].partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 431 ")
    assert f"content-length: {len(body)}".encode() in told
    assert json.loads(body)["code"] == "limit_exceeded"


def test_requests__one_after_the_other__are_all_answered(shared_server: LiveServer) -> None:
    """Long lines, a large body in chunks of which many bring one byte, and lines after it."""
    long = head(shared_server, "/health") + b"X: " + b"a" * 60_000 + b"\r\n\r\n"
    chunks = b"1\r\na\r\n" * 50_000 + b"30000\r\n" + b"a" * 0x30000 + b"\r\n0\r\nX: y\r\n\r\n"
    put = head(shared_server, "/api/v1/runs/x/artifacts/x", "PUT")
    put += b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    last = head(shared_server, "/health") + b"Connection: close\r\n\r\n"
    with closing(connect(shared_server)) as connection:
        connection.sendall(long * 5 + put + long + last)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 ") == 8
    assert answers.count(b"HTTP/1.1 200 ") == 7
