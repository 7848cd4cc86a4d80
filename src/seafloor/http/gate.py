"""The gate: what every request passes first. Who it is, an id, a line in the log, safe headers.

A plain ASGI wrapper around the framework's application, so that it also covers what the framework
answers by itself.
"""

from __future__ import annotations

import hmac
import time
import uuid
from urllib.parse import urlsplit

import msgspec
import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from seafloor.app.tokens import Administrator, Principal, Tokens
from seafloor.domain.errors import Forbidden, SeafloorError, Unauthenticated
from seafloor.http.errors import STATUSES
from seafloor.wire.errors import ErrorBody

_log = structlog.get_logger("seafloor.http.request")

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_OPEN_PATHS = {"/health", "/version"}
_SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
        b"frame-ancestors 'self'; object-src 'none'; base-uri 'self'",
    ),
]


class Gate:
    """Lets requests in.

    Args:
        inner: The framework's application.
        token: What clients must present; empty: nobody is asked (a loopback server).
        tokens: Checks the tokens of tasks.
    """

    def __init__(self, inner: ASGIApp, *, token: str, tokens: Tokens) -> None:
        self._inner = inner
        self._token = token.encode()
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        begun = time.perf_counter()
        mark = uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = mark
        status = 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers += [pair for pair in _SAFE_HEADERS if pair[0] not in present]
                headers.append((b"x-request-id", mark.encode()))
                message["headers"] = headers
            await send(message)

        try:
            with structlog.contextvars.bound_contextvars(request_id=mark):
                try:
                    state["principal"] = await self._admit(scope)
                except SeafloorError as error:
                    await _refuse(error, mark, send_noting)
                else:
                    await self._inner(scope, receive, send_noting)
        finally:
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=round((time.perf_counter() - begun) * 1000, 2),
                request_id=mark,
            )

    async def _admit(self, scope: Scope) -> Principal | None:
        """Say who asks.

        Returns:
            None for the open paths and the page's files, which hold nothing of anybody.
        """
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if not self._token:
            _check_host(headers)
        _check_origin(headers)
        presented = _presented(headers)
        if presented is not None and presented.startswith("sfw1."):
            return await self._tokens.check(presented)
        if not self._token:
            return Administrator()
        if presented is not None and hmac.compare_digest(presented.encode(), self._token):
            return Administrator()
        path = scope["path"]
        if path in _OPEN_PATHS or not path.startswith(("/api/", "/ajax-api/", "/v1/")):
            return None
        if presented is None:
            raise Unauthenticated(
                "This server asks for a token: send `Authorization: Bearer <token>` "
                "(set SEAFLOOR_TOKEN, or MLFLOW_TRACKING_TOKEN for mlflow)."
            )
        raise Unauthenticated("The token is not one of this server.")


def _presented(headers: dict[bytes, str]) -> str | None:
    kind, _, value = headers.get(b"authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" and value.strip() else None


def _check_host(headers: dict[bytes, str]) -> None:
    """Refuse other names on a server without authentication (DNS rebinding).

    Raises:
        Forbidden: the Host header names another machine.
    """
    host = urlsplit(f"//{headers.get(b'host', 'localhost')}").hostname
    if host not in _LOOPBACK:
        raise Forbidden(
            "A server without authentication answers to localhost only; this request was "
            "addressed to another name."
        )


def _check_origin(headers: dict[bytes, str]) -> None:
    """Refuse pages of other sites.

    Raises:
        Forbidden: a browser says that another site's page asks.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return
    if urlsplit(origin).netloc != headers.get(b"host"):
        raise Forbidden("Pages of other sites may not ask this server.")


async def _refuse(error: SeafloorError, mark: str, send: Send) -> None:
    body = msgspec.json.encode(
        ErrorBody(code=error.code, message=error.message, field=error.field, request_id=mark)
    )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    status = STATUSES[error.code]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
