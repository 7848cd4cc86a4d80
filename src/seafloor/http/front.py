"""The protocol that speaks HTTP/1.1 on a connection: uvicorn's, with a bound on what is no body.

The parser gathers the lines before a body, and those after a body in chunks, whoever sends them:
nobody has said yet who he is. Without a bound one request took as much memory as was sent, and
joined it anew at each read.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from seafloor.wire.errors import ErrorBody

LINES_BYTES_MAX: Final = 64 * 1024
"""Of all lines before a body; what one read of the connection brings may come on top."""

_TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    _is_in_lines = False
    _has_cycle = False
    _parts_begun = 0
    _lines_bytes = 0

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
        super().on_message_complete()

    def _begin_lines(self) -> None:
        self._is_in_lines = True
        self._parts_begun += 1

    def _refuse(self) -> None:
        # An answer that is on its way must not be written into.
        if not self._has_cycle or self.cycle.response_complete:
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
