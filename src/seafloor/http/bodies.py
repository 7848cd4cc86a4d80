"""Bodies of requests and answers that go past the framework."""

from __future__ import annotations

from typing import cast

from litestar.types import Receive, Send
from litestar.types.asgi_types import HTTPReceiveMessage

_JSON = (b"content-type", b"application/json")


async def whole_body(receive: Receive, messages: list[HTTPReceiveMessage]) -> bytes | None:
    """Read a body, and keep what it came in; None when who asked is gone."""
    parts: list[bytes] = []
    while True:
        message = cast(HTTPReceiveMessage, await receive())
        messages.append(message)
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def answer_json(send: Send, answer: bytes) -> None:
    """Answer 200 with what is JSON already."""
    length = (b"content-length", str(len(answer)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [_JSON, length]})
    await send({"type": "http.response.body", "body": answer, "more_body": False})
