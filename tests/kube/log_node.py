"""A server that answers for logs as a cluster does."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def printed(count: int, *, start: int = 0) -> str:
    """Lines as a node has them, two of them at each time."""
    return "".join(
        f"2026-11-28T10:00:{number // 2:02}.000000001Z line {number}\n"
        for number in range(start, count)
    )


class Node:
    """Answers for logs; counts who asks.

    Attributes:
        logs: What each container printed.
        refusals: Answered first, one to a request: a status and headers.
        cut: After how many bytes the next answers break off, one to a request.
        live: Those whose answer stays open, until the test ends.
    """

    def __init__(self) -> None:
        self.logs: dict[str, str] = {}
        self.refusals: list[tuple[int, dict[str, str], str]] = []
        self.cut: list[int] = []
        self.live: set[str] = set()
        self.over = threading.Event()
        self.asked: list[str] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = re.search(r"container=([a-z-]+)", self.path)
                name = found[1] if found else ""
                node.asked.append(name)
                if node.refusals:
                    status, headers, message = node.refusals.pop(0)
                    self._begin(status, headers)
                    self._piece(json.dumps({"message": message}).encode())
                    self._piece(b"")
                    return
                self._begin(200, {})
                data = node.logs[name].encode()
                if node.cut:
                    self._piece(data[: node.cut.pop(0)])
                    self.close_connection = True
                    return
                if data:
                    self._piece(data)
                if name in node.live:
                    node.over.wait(60)
                self._piece(b"")

            def _begin(self, status: int, headers: dict[str, str]) -> None:
                self.send_response(status)
                for header, value in {**headers, "Transfer-Encoding": "chunked"}.items():
                    self.send_header(header, value)
                self.end_headers()

            def _piece(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Not to the test's output."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


async def until(look: Callable[[], object | Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while True:
            found = look()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)
