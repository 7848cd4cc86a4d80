"""What the gate answers by itself."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from seafloor.app.clock import SystemClock
from seafloor.app.tokens import TaskPrincipal, Tokens
from seafloor.domain.errors import NotFound, StoreUnavailable
from seafloor.http.access_log import AccessLog
from seafloor.http.gate import Gate
from seafloor.http.meter import RequestMeter
from seafloor.stores.metadata.memory import MemoryMetadataStore


class AwayTokens(Tokens):
    """Tokens whose database does not answer."""

    async def check(self, token: str) -> TaskPrincipal:
        raise StoreUnavailable("The database does not answer: repeat the request.", retry_after_s=7)


async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("let in")


def make_gate(
    inner: ASGIApp, *, meter: RequestMeter | None = None, access_log: AccessLog | None = None
) -> Gate:
    return Gate(
        inner,
        token="secret",  # of these tests
        url="http://127.0.0.1:1",
        tokens=AwayTokens(b"key", MemoryMetadataStore(), SystemClock()),
        meter=meter or RequestMeter(),
        access_log=access_log,
    )


async def answered(gate: Gate, path: str, *, token: bytes = b"secret") -> list[Message]:
    """What a gate sends for a GET."""
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
        "headers": [(b"authorization", b"Bearer " + token)],
    }
    await gate(cast(Scope, scope), receive, send)
    return sent


@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/2.0/mlflow/runs/search"])
async def test_token_of_a_task__the_database_is_away__says_when_to_come_back(path: str) -> None:
    sent = await answered(make_gate(never), path, token=b"sfw1.a.1.b")
    start = cast(dict[str, Any], sent[0])
    assert start["status"] == 503
    assert dict(start["headers"])[b"retry-after"] == b"7"


def breaks_off(error: Exception) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


GONE = NotFound("The run was deleted while it was read.")


@pytest.mark.parametrize("error", [GONE, ExceptionGroup("of tasks", [ExceptionGroup("", [GONE])])])
async def test_answer__breaks_off_for_a_known_reason__is_noted_as_failed_and_why_is_logged(
    error: Exception,
) -> None:
    lines: list[str] = []
    gate = make_gate(breaks_off(error), access_log=AccessLog(lines.append))
    with structlog.testing.capture_logs() as logged:
        sent = await answered(gate, "/api/v1/runs")
    assert [one["type"] for one in sent] == ["http.response.start"]  # no end: the server cuts it
    (told,) = logged
    assert (told["event"], told["message"]) == ("an answer was cut", GONE.message)
    (line,) = lines
    assert json.loads(line)["status"] == 500


async def test_answer__breaks_off_by_a_bug__is_left_to_the_server() -> None:
    with pytest.raises(ExceptionGroup):
        await answered(make_gate(breaks_off(ExceptionGroup("", [KeyError(1)]))), "/api/v1/runs")
