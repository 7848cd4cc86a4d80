"""The short way of ``log-batch`` and ``log-metric``, which training calls at every step.

A request that is as clients send it (metrics of one run, nothing odd about them) is decoded to
points and appended without the framework's detours. Everything else, and every refusal, goes the
ordinary way, so that there is one place that says what is wrong. An append may so be tried twice,
which is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.types.asgi_types import (
    HTTPReceiveMessage,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
)

from seafloor.app.application import Application
from seafloor.domain.errors import InvalidValue, LimitExceeded, SeafloorError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import Point
from seafloor.domain.names import check_key
from seafloor.http.mlflow.runs import METRICS_MAX

BODY_BYTES_MAX = 4 * 1024 * 1024
_HEX = frozenset("0123456789abcdef")
_HEADERS = ((b"content-type", b"application/json"), (b"content-length", b"2"))
_EMPTY: HTTPResponseBodyEvent = {"type": "http.response.body", "body": b"{}", "more_body": False}


class _Metric(
    Point, frozen=True, array_like=False, kw_only=True, gc=False, rename={"time_ms": "timestamp"}
):
    """A point as MLflow's clients write it."""

    key: str
    value: float
    time_ms: int
    step: int = 0
    model_id: str = ""


class _OneMetric(_Metric, frozen=True, gc=False, kw_only=True):
    run_id: str


class _Batch(msgspec.Struct, frozen=True):
    run_id: str
    metrics: list[_Metric]
    params: list[msgspec.Raw] = []
    tags: list[msgspec.Raw] = []


_ONE = msgspec.json.Decoder(_OneMetric)
_MANY = msgspec.json.Decoder(_Batch)


class MetricPath:
    """An ASGI application that takes what is simple and passes on the rest.

    Args:
        inner: The framework's application.
        application: Whose metric store is appended to.
    """

    def __init__(self, inner: ASGIApp, application: Application) -> None:
        self._inner = inner
        self._app = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        read = _READERS.get(scope["path"]) if scope["type"] == "http" else None
        if read is None or not _is_simple(cast(dict[str, Any], scope)):
            await self._inner(scope, receive, send)
            return
        messages: list[HTTPReceiveMessage] = []
        body = await _whole(receive, messages)
        if body is not None and await self._append(scope, read(body)):
            await send(_start())
            await send(_EMPTY)
        else:
            await self._inner(scope, _again(messages, receive), send)

    async def _append(self, scope: Scope, found: tuple[str, Sequence[Point]] | None) -> bool:
        principal = scope["state"].get("principal")
        if found is None or principal is None:
            return False
        workload_id = WorkloadId(found[0])
        try:
            await self._app.tokens.check_write(principal, workload_id)
            await self._app.stores.metrics.append(workload_id, found[1], attempt=None)
        except SeafloorError:
            return False
        return True


def _is_simple(scope: dict[str, Any]) -> bool:
    """Whether it is JSON of a length that is said."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    return (
        scope["method"] == "POST"
        and headers.get(b"content-type", b"").startswith(b"application/json")
        and length.isdigit()
        and int(length) <= BODY_BYTES_MAX
    )


def _start() -> HTTPResponseStartEvent:
    return {"type": "http.response.start", "status": 200, "headers": [*_HEADERS]}


async def _whole(receive: Receive, messages: list[HTTPReceiveMessage]) -> bytes | None:
    """Read the body, and keep what it came in; None when who asked is gone."""
    parts: list[bytes] = []
    while True:
        message = cast(HTTPReceiveMessage, await receive())
        messages.append(message)
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(messages: list[HTTPReceiveMessage], receive: Receive) -> Receive:
    """Give what was read once more, and then what comes."""
    waiting = iter(messages)

    async def next_message() -> Any:
        kept = next(waiting, None)
        return await receive() if kept is None else kept

    return next_message


def _read_one(body: bytes) -> tuple[str, Sequence[Point]] | None:
    try:
        found = _ONE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _checked(found.run_id, [found])


def _read_many(body: bytes) -> tuple[str, Sequence[Point]] | None:
    try:
        found = _MANY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found.params or found.tags or not 1 <= len(found.metrics) <= METRICS_MAX:
        return None
    return _checked(found.run_id, found.metrics)


_READERS = {
    "/api/2.0/mlflow/runs/log-metric": _read_one,
    "/api/2.0/mlflow/runs/log-batch": _read_many,
}


@lru_cache(maxsize=16_384)
def _is_key(text: str) -> bool:
    try:
        check_key(text)
    except (InvalidValue, LimitExceeded):
        return False
    return True


def _checked(run_id: str, metrics: Sequence[_Metric]) -> tuple[str, Sequence[Point]] | None:
    """A run and its points; None when anything is odd."""
    if len(run_id) != 32 or not _HEX.issuperset(run_id):
        return None
    if not all(_is_key(metric.key) and not metric.model_id for metric in metrics):
        return None
    return run_id, metrics
