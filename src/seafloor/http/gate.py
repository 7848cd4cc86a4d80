"""The gate: what every request passes first. Who it is, an id, a line in the log, safe headers.

A plain ASGI wrapper around the framework's application, so that it also covers what the framework
answers by itself.
"""

from __future__ import annotations

import asyncio
import hmac
import random
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec
import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from seafloor.app.tokens import Administrator, Principal, Tokens
from seafloor.domain.errors import Forbidden, InvalidValue, SeafloorError, Unauthenticated
from seafloor.http.access_log import AccessLog
from seafloor.http.errors import LEFT, STATUSES, retry_after
from seafloor.http.meter import RequestMeter
from seafloor.http.mlflow import errors as mlflow_errors
from seafloor.wire.errors import ErrorBody

_log = structlog.get_logger(__name__)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_CLOSED_PATHS = ("/api/", "/v1/")
_PAGES_API = "/ajax-api/"
"""What MLflow's own pages ask under; the same routes as under ``/api/``."""

_SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
        b"style-src 'self' 'unsafe-inline'; frame-ancestors 'self'; object-src 'none'; "
        b"base-uri 'self'",
    ),
]


class Gate:
    """Lets requests in.

    Args:
        inner: The framework's application.
        token: What clients must present; empty: nobody is asked (a loopback server).
        url: The server's own address; pages from there may ask.
        tokens: Checks the tokens of tasks.
        meter: Counts them.
        access_log: Told of each that was answered.

    Attributes:
        stopping: Set by whoever runs the server when it is to stop: answers without an end, such
            as a followed log, end then.
    """

    def __init__(
        self,
        inner: ASGIApp,
        *,
        token: str,
        url: str,
        tokens: Tokens,
        meter: RequestMeter,
        access_log: AccessLog | None,
    ) -> None:
        self._inner = inner
        self._token = token.encode()
        self._own = urlsplit(url).netloc
        self._tokens = tokens
        self._meter = meter
        self._access_log = access_log
        self._random = random.Random()  # noqa: S311  # ids of requests are no secrets
        self.stopping = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other kinds of connection there are none."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "not spoken here"})
            return
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        if scope["path"].startswith(_PAGES_API):
            scope["path"] = "/api/" + scope["path"].removeprefix(_PAGES_API)
        begun = time.perf_counter()
        self._meter.running += 1
        mark = f"{self._random.getrandbits(128):032x}"
        state = scope.setdefault("state", {})
        state["request_id"] = mark
        state["stopping"] = self.stopping
        status = 0

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
            # Of the request's own task, so that it ends with it.
            structlog.contextvars.bind_contextvars(request_id=mark)
            try:
                state["principal"] = await self._admit(scope)
            except SeafloorError as error:
                await _refuse(error, scope["path"], mark, send_noting)
            else:
                status = await self._answer(scope, receive, send_noting, lambda: status)
        finally:
            path, method, duration_s = scope["path"], scope["method"], time.perf_counter() - begun
            self._meter.running -= 1
            self._meter.note(path, method, status or 500, duration_s)
            if self._access_log is not None:
                self._access_log.note(
                    method=method,
                    path=path,
                    status=status or 500,
                    duration_s=duration_s,
                    request_id=mark,
                )

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, begun_with: Callable[[], int]
    ) -> int:
        """Have the framework answer.

        Args:
            begun_with: Gives the status that an answer has begun with, or 0.

        Returns:
            How it is noted: 500 where it broke off. The connection ends then, so that nobody takes
            it for the whole.
        """
        try:
            await self._inner(scope, receive, send)
        except (SeafloorError, ExceptionGroup) as error:
            reason = _reason(cast(Exception, error))
            if reason is None or not begun_with():
                raise
            _log.warning(
                "an answer was cut",
                code=reason.code,
                message=reason.message,
                detail=reason.detail,
                path=scope["path"],
            )
            return 500
        return begun_with() or LEFT  # nobody was there to be answered

    async def _admit(self, scope: Scope) -> Principal | None:
        """Say who asks.

        Returns:
            None for ``/health`` and the page's files, which hold nothing of anybody; routes that
            do refuse it again (``requests.known``).
        """
        method: str = cast(dict[str, Any], scope)["method"]
        _check_path(scope["path"], names_file=method == "PUT")
        _check_letters(scope)
        headers = dict(scope["headers"])
        if not self._token:
            _check_host(headers)
        _check_origin(headers, own=self._own)
        presented = _presented(headers)
        if not self._token and not presented.startswith(b"sfw1."):
            return Administrator()
        if self._token and hmac.compare_digest(presented, self._token):
            return Administrator()
        if presented.startswith(b"sfw1."):
            return await self._tokens.check(presented.decode("ascii", errors="replace"))
        if not scope["path"].startswith(_CLOSED_PATHS):
            return None
        if not presented:
            raise Unauthenticated(
                "This server asks for a token: send `Authorization: Bearer <token>` "
                "(set SEAFLOOR_TOKEN, or MLFLOW_TRACKING_TOKEN for mlflow)."
            )
        raise Unauthenticated("The token is not one of this server.")


def _presented(headers: dict[bytes, bytes]) -> bytes:
    kind, _, value = headers.get(b"authorization", b"").partition(b" ")
    return value.strip() if kind.lower() == b"bearer" else b""


def _check_path(path: str, *, names_file: bool) -> None:
    """Refuse empty parts: the framework would read ``//api``, ``a//b`` and ``a/`` as other paths.

    Raises:
        InvalidValue: there is one.
    """
    if "//" in path or (names_file and path.endswith("/")):
        raise InvalidValue("The address has an empty part (`//`).", field="path")


def _check_letters(scope: Scope) -> None:
    """Refuse bytes that are no text: each would be read as the same letter, U+FFFD.

    Of two files whose names differ in such bytes alone the second would replace the first.

    Raises:
        InvalidValue: path or query are not UTF-8.
    """
    if "\ufffd" in scope["path"] and not _is_text(scope["raw_path"]):
        raise InvalidValue("The address is not UTF-8: percent-encode names as UTF-8.", field="path")
    query = scope["query_string"]
    if (b"%" in query or not query.isascii()) and not _is_text(query):
        raise InvalidValue("The query is not UTF-8: percent-encode values as UTF-8.", field="query")


def _is_text(encoded: bytes) -> bool:
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_host(headers: dict[bytes, bytes]) -> None:
    """Refuse other names on a server without authentication (DNS rebinding).

    Raises:
        Forbidden: the Host header names another machine.
    """
    if _host_name(headers.get(b"host", b"localhost")) not in _LOOPBACK:
        raise Forbidden(
            "A server without authentication answers to localhost only; this request was "
            "addressed to another name."
        )


@lru_cache(maxsize=256)
def _host_name(host: bytes) -> str | None:
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname
    except ValueError:  # brackets that do not close
        return None


def _check_origin(headers: dict[bytes, bytes], *, own: str) -> None:
    """Refuse pages of other sites.

    Raises:
        Forbidden: a browser says that another site's page asks.
    """
    origin = headers.get(b"origin")
    if origin is None:
        return
    asker = origin.decode("latin-1").partition("://")[2]
    if asker not in (headers.get(b"host", b"").decode("latin-1"), own) or not asker:
        raise Forbidden("Pages of other sites may not ask this server.")


def _reason(error: Exception) -> SeafloorError | None:
    """The error of ours that an error is, or a group of them; None: there is another in it."""
    if isinstance(error, SeafloorError):
        return error
    if not isinstance(error, ExceptionGroup):
        return None
    group = cast("ExceptionGroup[Exception]", error)
    reasons = [_reason(one) for one in group.exceptions]
    return None if None in reasons else reasons[0]


async def _refuse(error: SeafloorError, path: str, mark: str, send: Send) -> None:
    if mlflow_errors.speaks_mlflow(path):
        shown, status = mlflow_errors.envelope(error)
        body = msgspec.json.encode(shown)
    else:
        status = STATUSES[error.code]
        body = msgspec.json.encode(
            ErrorBody(code=error.code, message=error.message, field=error.field, request_id=mark)
        )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    headers += [
        (name.lower().encode(), value.encode()) for name, value in retry_after(error).items()
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
