"""Requests to the JSON API: addresses, tokens, and what is no answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import quote

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, RequestError
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response

from seafloor.domain.errors import InvalidValue
from seafloor.stores.objects.gcs.auth import Tokens
from seafloor.stores.objects.gcs.errors import Answer, no_bucket, refusal, unreachable

GOOGLE = "https://storage.googleapis.com"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
SLOWEST_BYTES_PER_S = 64 * 1024
"""What is sent slower is given up."""

READ_AHEAD_BYTES = 64 * 1024
"""What of an answer is taken before it is asked for. An answer that ends before is none."""

IDLE_CONNECTIONS_MAX = 64


class Call(msgspec.Struct, frozen=True):
    """A request that can be made again.

    Args:
        method: Of HTTP.
        url: With its query.
        right: What it needs, as roles list it.
        headers: Added.
        body: At once or in pieces, none empty. Nobody may write to it, ever, for a request that
            failed may still be sending it.
        fine: Statuses that are answers; any other raises.
        is_of_bucket: Whether a success says that the bucket exists.
    """

    method: str
    url: str
    right: str
    headers: Mapping[str, str] = {}
    body: bytes | tuple[memoryview, ...] = b""
    fine: frozenset[int] = frozenset({200})
    is_of_bucket: bool = True

    @property
    def body_bytes(self) -> int:
        """How long the body is."""
        if isinstance(self.body, bytes):
            return len(self.body)
        return sum(map(len, self.body))


class GcsClient:
    """One bucket over HTTP.

    Used from one event loop; the bytes themselves are moved by threads outside of it.

    Args:
        bucket: Its name.
        tokens: For each request.
        endpoint: Scheme and host.
        trust_env: Whether a proxy that the process is told to use is used; not on loopback.

    Raises:
        InvalidValue: this machine has no list of authorities to trust.
    """

    def __init__(
        self, bucket: str, tokens: Tokens, *, endpoint: str = GOOGLE, trust_env: bool = False
    ) -> None:
        self.bucket = bucket
        self.endpoint = endpoint
        self._tokens = tokens
        self._bucket_seen = False
        self._objects_url = f"{endpoint}/storage/v1/b/{quote(bucket, safe='')}/o"
        self._upload_url = f"{endpoint}/upload/storage/v1/b/{quote(bucket, safe='')}/o"
        self._http = _http(trust_env=trust_env)
        # The time between two pieces of an answer is bounded apart: it would also bound how long
        # a chunk of an upload may take.
        self._streams = _http(trust_env=trust_env, read_timeout_s=ANSWER_TIMEOUT_S)

    def objects_url(self, **query: str) -> str:
        """The address of all objects."""
        return _with_query(self._objects_url, query)

    def object_url(self, key: str, **query: str) -> str:
        """The address of one object; its name is encoded here, once."""
        return _with_query(f"{self._objects_url}/{quote(key, safe='')}", query)

    def upload_url(self, **query: str) -> str:
        """The address that takes content."""
        return _with_query(self._upload_url, query)

    async def call(self, call: Call) -> Answer:
        """Make a request and read its whole answer.

        Raises:
            StoreUnavailable: no answer, or one that asks to come back.
            StoreFull, StoreError, Conflict: refused; see ``errors.refusal``.
        """
        limit = timedelta(seconds=ANSWER_TIMEOUT_S + call.body_bytes / SLOWEST_BYTES_PER_S)
        token = await self._tokens.token(self._http)
        try:
            response = await _request(self._http, call, token).timeout(limit).build().send()
            if response.status == 401 and token:
                token = await self._renewed(token)
                response = await _request(self._http, call, token).timeout(limit).build().send()
            content = bytes(await response.bytes())
        except RequestError as error:
            raise unreachable(error, self.bucket) from None
        answer = Answer(response.status, response.headers, content)
        self._check(answer, call)
        return answer

    @asynccontextmanager
    async def opened(self, call: Call) -> AsyncGenerator[Response]:
        """Make a request whose answer is read as it comes.

        What breaks the body raises ``RequestError``; the rest is as for ``call``.
        """
        token = await self._tokens.token(self._http)
        request = _streaming(self._streams, call, token)
        try:
            response = await request.__aenter__()
            if response.status == 401 and token:
                await request.__aexit__(None, None, None)
                token = await self._renewed(token)
                request = _streaming(self._streams, call, token)
                response = await request.__aenter__()
        except RequestError as error:
            raise unreachable(error, self.bucket) from None
        try:
            content = b""
            if response.status not in call.fine:
                try:
                    content = bytes(await response.bytes())
                except RequestError as error:
                    raise unreachable(error, self.bucket) from None
            self._check(Answer(response.status, response.headers, content), call)
            yield response
        finally:
            await request.__aexit__(None, None, None)

    async def check_bucket(self) -> None:
        """Tell a missing object from a missing bucket: the API answers both with 404.

        Raises:
            InvalidValue: there is no such bucket.
        """
        if self._bucket_seen:
            return
        url = self.objects_url(maxResults="1", fields="kind")
        call = Call("GET", url, "storage.objects.list", fine=frozenset({200, 404}))
        if (await self.call(call)).status == 404:
            raise no_bucket(self.bucket)

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._http.close()
        await self._streams.close()

    async def _renewed(self, token: str) -> str:
        """Another token: this one may have been revoked, or ended by a clock that is not ours."""
        self._tokens.refuse(token)
        return await self._tokens.token(self._http)

    def _check(self, answer: Answer, call: Call) -> None:
        if answer.status not in call.fine:
            raise refusal(answer, self.bucket, call.right)
        if answer.is_success and call.is_of_bucket:
            self._bucket_seen = True


def _request(http: Client, call: Call, token: str) -> RequestBuilder:
    request = http.request(call.method, call.url)
    if call.headers:
        request.headers(call.headers)
    if token:
        request.header("Authorization", f"Bearer {token}", is_sensitive=True)
    pieces = (call.body,) if isinstance(call.body, bytes) else call.body
    if len(pieces) == 1 and pieces[0]:
        request.body_bytes(pieces[0])  # sent from where it lies; of several each is copied
    elif call.method in ("POST", "PUT"):
        # Google refuses a request that does not say how long it is.
        request.header("Content-Length", str(call.body_bytes))
        if call.body_bytes:
            request.body_stream(pieces)
    return request


def _streaming(http: Client, call: Call, token: str) -> StreamRequest:
    return _request(http, call, token).streamed_read_buffer_limit(READ_AHEAD_BYTES).build_streamed()


def _http(*, trust_env: bool, read_timeout_s: float | None = None) -> Client:
    builder = (
        ClientBuilder()
        .user_agent("seafloor")
        # Several transfers are encrypted at once, and a busy machine lets them wait less.
        .runtime_multithreaded(True)
        .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT_S))
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .follow_redirects(False)
        .referer(False)
        # What is kept compressed is given as it is kept.
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
    )
    if read_timeout_s is not None:
        builder = builder.read_timeout(timedelta(seconds=read_timeout_s))
    if not trust_env:
        builder = builder.no_proxy()
    try:
        return builder.build()
    except BuilderError as error:
        raise InvalidValue(
            "This machine has no list of authorities to trust: install ca-certificates, or name "
            "one in SSL_CERT_FILE.",
            field="SSL_CERT_FILE",
        ) from error


def _with_query(url: str, query: Mapping[str, str]) -> str:
    if not query:
        return url
    pairs = [f"{name}={quote(text, safe='')}" for name, text in query.items()]
    return f"{url}?{'&'.join(pairs)}"
