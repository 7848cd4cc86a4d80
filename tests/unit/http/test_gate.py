"""What the gate answers by itself."""

from __future__ import annotations

from typing import Any, cast

import pytest
from litestar.types import Message, Receive, Scope, Send

from seafloor.app.clock import SystemClock
from seafloor.app.tokens import TaskPrincipal, Tokens
from seafloor.domain.errors import StoreUnavailable
from seafloor.http.gate import Gate
from seafloor.http.meter import RequestMeter
from seafloor.stores.metadata.memory import MemoryMetadataStore


class AwayTokens(Tokens):
    """Tokens whose database does not answer."""

    async def check(self, token: str) -> TaskPrincipal:
        raise StoreUnavailable("The database does not answer: repeat the request.", retry_after_s=7)


async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("let in")


@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/2.0/mlflow/runs/search"])
async def test_token_of_a_task__the_database_is_away__says_when_to_come_back(path: str) -> None:
    gate = Gate(
        never,
        token="secret",  # of this test
        url="http://127.0.0.1:1",
        tokens=AwayTokens(b"key", MemoryMetadataStore(), SystemClock()),
        meter=RequestMeter(),
        access_log=None,
    )
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is to be read")

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer sfw1.a.1.b")],
    }
    await gate(cast(Scope, scope), receive, send)
    start = cast(dict[str, Any], sent[0])
    assert start["status"] == 503
    assert dict(start["headers"])[b"retry-after"] == b"7"
