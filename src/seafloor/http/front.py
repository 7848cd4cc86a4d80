"""The protocol that speaks HTTP/1.1 on a connection: uvicorn's, with bounds on what is no body.

The parser gathers the lines before a body, and those after a body in chunks, whoever sends them:
nobody has said yet who he is. Without a bound one request took as much memory as was sent, and
joined it anew at each read; and who never sent the last line, or none, had a connection for ever.
So had a machine that was switched off in the middle of a request: nothing tells of its end.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from seafloor.wire.errors import ErrorBody

LINES_BYTES_MAX: Final = 64 * 1024
"""Of all lines before a body; what one read of the connection brings may come on top."""

LINES_WITHIN_S: Final = 60.0
"""In which all lines before a body have come, counted from the connection or the last request; a
connection on which a request may come again later has uvicorn's time."""

SILENT_PEER_S: Final = 60
"""Of a connection on which nothing moves, before the other machine is asked whether it is there."""

_ASK_EVERY_S: Final = 15
_ASKED_MAX: Final = 4

_TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    _is_in_lines = False
    _has_cycle = False
    _parts_begun = 0
    _lines_bytes = 0
    _moved_s = 0.0  # when it was made, or a request's lines were all there, or a request was
    _look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin."""
        super().connection_made(transport)
        _ask_silent_peer(transport.get_extra_info("socket"))
        self._moved_s = self.loop.time()
        self._look = self.loop.call_later(LINES_WITHIN_S, self._look_for_lines)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; end the connection when the lines have no end."""
        began, was_in_lines = self._parts_begun, self._is_in_lines
        super().data_received(data)
        if not self._is_in_lines:
            return
        if not was_in_lines or began != self._parts_begun:
            self._lines_bytes = 0  # they begin somewhere in this piece
            return
        self._lines_bytes += len(data)
        if self._lines_bytes > LINES_BYTES_MAX and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        """Before the first line of a request."""
        self._begin_lines()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """After the last line of a request, before its body."""
        self._is_in_lines = False
        self._moved_s = self.loop.time()
        super().on_headers_complete()
        self._has_cycle = True

    def on_chunk_header(self) -> None:
        """Before the bytes of a chunk; after the last chunk there may be lines again."""
        self._begin_lines()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body."""
        self._is_in_lines = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        """After a request."""
        self._is_in_lines = False
        self._moved_s = self.loop.time()
        super().on_message_complete()

    def _look_for_lines(self) -> None:
        """End a connection on which neither a request is answered nor its lines come to an end."""
        waits = self.timeout_keep_alive_task is None and not self._is_answering
        left_s = self._moved_s + LINES_WITHIN_S - self.loop.time() if waits else LINES_WITHIN_S
        if left_s <= 0:
            self.transport.close()
            return
        self._look = self.loop.call_later(left_s, self._look_for_lines)

    @property
    def _is_answering(self) -> bool:
        return self._has_cycle and not self.cycle.response_complete

    def _begin_lines(self) -> None:
        self._is_in_lines = True
        self._parts_begun += 1

    def _refuse(self) -> None:
        # An answer that is on its way must not be written into.
        if not self._is_answering:
            said = f"The headers have more than {LINES_BYTES_MAX} bytes: send fewer."
            body = msgspec.json.encode(ErrorBody(code="limit_exceeded", message=said))
            lines = (
                f"HTTP/1.1 {_TOO_LARGE.value} {_TOO_LARGE.phrase}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                "connection: close",
            )
            self.transport.write("\r\n".join((*lines, "", "")).encode() + body)
        self.transport.close()


def _ask_silent_peer(connection: socket.socket | None) -> None:
    """Have the system end a connection when the machine at its other end is gone.

    One that is there answers, however long its program does nothing.
    """
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENT_PEER_S),
        ("TCP_KEEPINTVL", _ASK_EVERY_S),
        ("TCP_KEEPCNT", _ASKED_MAX),
    ):
        option = getattr(socket, name, None)  # not every system lets it be chosen
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
