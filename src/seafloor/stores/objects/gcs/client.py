"""Requests to the JSON API: addresses, tokens, and what is no answer."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import httpx

from seafloor.stores.objects.gcs.auth import Tokens
from seafloor.stores.objects.gcs.errors import no_bucket, refusal, unreachable

GOOGLE = "https://storage.googleapis.com"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
LANES = 8
LANE_CONNECTIONS_MAX = 8
"""httpx looks at all connections of a client for each request: so there are several small clients.
Measured with 64 callers at once, one client of 64 connections took thrice the time."""

_PIECE_BYTES = 512 * 1024


class _NoSessions(logging.Filter):
    """Keeps the addresses of uploads out of the log: whoever has one may write."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop a line that names one."""
        return "upload_id=" not in record.getMessage()


_NO_SESSIONS = _NoSessions()
for _name in ("httpx", "httpcore.http11", "httpcore.http2"):
    logging.getLogger(_name).addFilter(_NO_SESSIONS)


@dataclass(frozen=True)
class Call:
    """A request that can be made again.

    Args:
        method: Of HTTP.
        url: With its query.
        right: What it needs, as roles list it.
        headers: Added.
        body: Pieces that are sent one after the other.
        fine: Statuses that are answers; any other raises.
        is_of_bucket: Whether a success says that the bucket exists.
    """

    method: str
    url: str
    right: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Sequence[bytes | memoryview] = ()
    fine: frozenset[int] = frozenset({200})
    is_of_bucket: bool = True


class GcsClient:
    """One bucket over HTTP.

    Used from one event loop.

    Args:
        bucket: Its name.
        tokens: For each request.
        endpoint: Scheme and host.
        trust_env: Whether a proxy or a list of authorities that the process is told to use is
            used; not on loopback.
    """

    def __init__(
        self, bucket: str, tokens: Tokens, *, endpoint: str = GOOGLE, trust_env: bool = False
    ) -> None:
        self.bucket = bucket
        self.endpoint = endpoint
        self._tokens = tokens
        self._bucket_seen = False
        trusted = httpx.create_ssl_context(trust_env=trust_env)
        self._lanes = [_Lane(_http(trusted, trust_env=trust_env)) for _ in range(LANES)]

    def objects_url(self, **query: str) -> str:
        """The address of all objects."""
        return _with_query(f"{self.endpoint}/storage/v1/b/{quote(self.bucket, safe='')}/o", query)

    def object_url(self, key: str, **query: str) -> str:
        """The address of one object; its name is encoded here, once."""
        return _with_query(f"{self.objects_url()}/{quote(key, safe='')}", query)

    def upload_url(self, **query: str) -> str:
        """The address that takes content."""
        path = f"/upload/storage/v1/b/{quote(self.bucket, safe='')}/o"
        return _with_query(self.endpoint + path, query)

    async def call(self, call: Call) -> httpx.Response:
        """Make a request and read its whole answer.

        Raises:
            StoreUnavailable: no answer, or one that asks to come back.
            StoreFull, StoreError, Conflict: refused; see ``errors.refusal``.
        """
        async with self.opened(call) as response:
            try:
                await response.aread()
            except httpx.TransportError as error:
                raise unreachable(error, self.bucket) from error
        return response

    @asynccontextmanager
    async def opened(self, call: Call) -> AsyncGenerator[httpx.Response]:
        """Make a request whose answer is read as it comes.

        What breaks the body raises ``httpx.TransportError``; the rest is as for ``call``.
        """
        lane = min(self._lanes, key=lambda lane: lane.calls)
        lane.calls += 1
        try:
            async with self._answered(lane.http, call) as response:
                yield response
        finally:
            lane.calls -= 1

    @asynccontextmanager
    async def _answered(
        self, http: httpx.AsyncClient, call: Call
    ) -> AsyncGenerator[httpx.Response]:
        response = await self._send(http, call)
        try:
            if response.status_code not in call.fine:
                try:
                    await response.aread()
                except httpx.TransportError as error:
                    raise unreachable(error, self.bucket) from error
                raise refusal(response, self.bucket, call.right)
            if response.is_success and call.is_of_bucket:
                self._bucket_seen = True
            yield response
        finally:
            await response.aclose()

    async def check_bucket(self) -> None:
        """Tell a missing object from a missing bucket: the API answers both with 404.

        Raises:
            InvalidValue: there is no such bucket.
        """
        if self._bucket_seen:
            return
        url = self.objects_url(maxResults="1", fields="kind")
        call = Call("GET", url, "storage.objects.list", fine=frozenset({200, 404}))
        if (await self.call(call)).status_code == 404:
            raise no_bucket(self.bucket)

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        for lane in self._lanes:
            await lane.http.aclose()

    async def _send(self, http: httpx.AsyncClient, call: Call) -> httpx.Response:
        token = await self._tokens.token(http)
        response = await self._send_with(http, call, token)
        if response.status_code == 401 and token:
            # It may have been revoked, or ended by a clock that is not ours.
            await response.aclose()
            self._tokens.refuse(token)
            token = await self._tokens.token(http)
            response = await self._send_with(http, call, token)
        return response

    async def _send_with(self, http: httpx.AsyncClient, call: Call, token: str) -> httpx.Response:
        headers = dict(call.headers)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if call.body or call.method in ("POST", "PUT"):
            headers["Content-Length"] = str(sum(len(piece) for piece in call.body))
        request = http.build_request(
            call.method,
            call.url,
            headers=headers,
            content=_pieces(call.body) if call.body else None,
        )
        try:
            return await http.send(request, stream=True)
        except httpx.TransportError as error:
            raise unreachable(error, self.bucket) from error


@dataclass
class _Lane:
    """A client with few connections, and how many calls it has."""

    http: httpx.AsyncClient
    calls: int = 0


def _http(trusted: ssl.SSLContext, *, trust_env: bool) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=trusted,
        timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(
            max_connections=LANE_CONNECTIONS_MAX, max_keepalive_connections=LANE_CONNECTIONS_MAX
        ),
        headers={"User-Agent": "seafloor"},
        follow_redirects=False,
        trust_env=trust_env,
    )


async def _pieces(body: Sequence[bytes | memoryview]) -> AsyncIterator[bytes]:
    """Give a body in pieces small enough to be copied on their way."""
    for part in body:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE_BYTES):
            yield bytes(view[start : start + _PIECE_BYTES])


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}?{urlencode(query, quote_via=quote, safe='')}" if query else url
