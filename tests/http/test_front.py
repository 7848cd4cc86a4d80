"""Connections whose requests have lines without an end, from whoever reaches the port."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import psutil
import pytest
import uvicorn
from uvicorn.server import ServerState

from live_server import LiveServer
from seafloor.http import front
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


class Connection:
    """A connection without a network, to an application that answers when it is told to."""

    def __init__(self) -> None:
        async def app(_scope: object, _receive: object, send: Any) -> None:
            await self.may_answer.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        self.may_answer = asyncio.Event()
        config = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", log_config=None)
        self.transport = mock.Mock(spec=asyncio.Transport)
        self.transport.is_closing.return_value = False
        self.transport.get_extra_info.return_value = None
        self.transport.close.side_effect = lambda: self.ended.set()
        self.ended = asyncio.Event()
        self.protocol = BoundedProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.transport)
        self.receive = self.protocol.data_received

    @property
    def sent(self) -> bytes:
        return b"".join(call.args[0] for call in self.transport.write.call_args_list)

    async def answered(self) -> None:
        """Have the request answered."""
        self.may_answer.set()
        while b"\r\n\r\n" not in self.sent:
            await asyncio.sleep(0)


async def test_request__lines_too_long__is_told() -> None:
    connection = Connection()
    connection.receive(b"GET / HTTP/1.1\r\nX: ")
    connection.receive(b"a" * LINES_BYTES_MAX)
    assert not connection.ended.is_set()
    connection.receive(b"a")
    assert connection.ended.is_set()
    told, _, body = connection.sent.partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 431 ")
    assert f"content-length: {len(body)}".encode() in told
    assert json.loads(body)["code"] == "limit_exceeded"


_WHOLE = b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HTTP/1.1\r\nX: y\r\n", b"GET"])
@pytest.mark.parametrize("before", [b"", _WHOLE])
async def test_connection__lines_never_end__is_ended(
    monkeypatch: pytest.MonkeyPatch, before: bytes, sent: bytes
) -> None:
    monkeypatch.setattr(front, "LINES_WITHIN_S", 0.05)
    connection = Connection()
    if before:
        connection.receive(before)
        await connection.answered()
        connection.receive(sent or b"\r\n")
    elif sent:
        connection.receive(sent)
    await asyncio.wait_for(connection.ended.wait(), 60)


async def test_connection__that_is_answered_for_long_or_may_be_used_again__stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "LINES_WITHIN_S", 0.01)
    slow, idle, silent = Connection(), Connection(), Connection()
    slow.receive(_WHOLE)
    idle.receive(_WHOLE)
    await idle.answered()
    for _ in range(5):  # as long as it takes to be told of five that are silent, one after another
        await asyncio.wait_for(silent.ended.wait(), 60)
        silent = Connection()
    assert not slow.ended.is_set()
    assert not idle.ended.is_set()
    await slow.answered()


async def test_connection__is_lost__is_looked_at_no_more() -> None:
    connection = Connection()
    handle = connection.protocol._look
    connection.protocol.connection_lost(None)
    assert handle is not None
    assert handle.cancelled()


async def test_connection__the_other_machine_is_gone__is_found_out_by_the_system() -> None:
    """Nothing tells of a machine that was switched off: only who asks it hears nothing."""
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

    class Told(BoundedProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            made.put_nowait(transport)

    async def app(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError("nothing was asked")

    config = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", log_config=None)
    server = await loop.create_server(lambda: Told(config, ServerState(), {}, loop), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    here = (await made.get()).get_extra_info("socket")
    assert here.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert here.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == front.SILENT_PEER_S
    writer.close()
    server.close()
    await server.wait_closed()


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
