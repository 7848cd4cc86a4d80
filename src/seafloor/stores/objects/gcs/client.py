"""Requests to the JSON API: addresses, tokens, and what is no answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import lru_cache
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import BuilderError, RequestError
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response, ResponseBodyReader

from seafloor.domain.errors import InvalidValue
from seafloor.stores.objects.gcs.auth import Tokens
from seafloor.stores.objects.gcs.errors import Answer, no_bucket, refusal, told, unreachable
from seafloor.stores.objects.gcs.sender import (
    ANSWER_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    SLOWEST_BYTES_PER_S,
    After,
    NotBegun,
    NotSent,
    Sender,
    Sending,
    can_trust,
)

GOOGLE = "https://storage.googleapis.com"
READ_AHEAD_BYTES = 1024 * 1024
"""What of an answer is taken before it is asked for. An answer that ends before is none."""
PIECE_BYTES = 512 * 1024
"""How much of an encrypted answer is given at once."""

IDLE_CONNECTIONS_MAX = 64
_AGENT = "seafloor"


class Call(msgspec.Struct, frozen=True):
    """A request that can be made again.

    Args:
        method: Of HTTP.
        url: With its query.
        right: What it needs, as roles list it.
        headers: Added.
        body: At once.
        pieces: A large body, in the place of ``body``; none is empty. Nobody may write to them,
            ever, for a request that failed may still be sending them.
        fine: Statuses that are answers; any other raises.
        is_of_bucket: Whether a success says that the bucket exists.
    """

    method: str
    url: str
    right: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    pieces: tuple[memoryview, ...] = ()
    fine: frozenset[int] = frozenset({200})
    is_of_bucket: bool = True

    @property
    def body_bytes(self) -> int:
        """How long the body is."""
        return len(self.body) or sum(map(len, self.pieces))


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
        # A way through a proxy is the other client's, which speaks with all kinds of them; and so
        # is one whose end Python could not trust: some come without the system's authorities.
        is_direct = not (trust_env and _has_proxy(endpoint))
        self._sender = Sender(endpoint) if is_direct and can_trust(endpoint) else None
        self._is_plain = endpoint.startswith("http:")

    def objects_url(self, **query: str) -> str:
        """The address of all objects."""
        return _with_query(self._objects_url, query)

    def object_url(self, key: str, **query: str) -> str:
        """The address of one object; its name is encoded here, once."""
        return _with_query(f"{self._objects_url}/{_quoted(key)}", query)

    def upload_url(self, **query: str) -> str:
        """The address that takes content."""
        return _with_query(self._upload_url, query)

    async def begin(self, call: Call, after: After | None) -> Sending | None:
        """Have the body of a request sent as soon as the one before it was answered as hoped.

        Returns:
            What ``call`` is told of it; None: bodies do not go that way here.
        """
        if self._sender is None or not call.pieces or not self._sender.serves(call.url):
            return None
        headers = _authorized(call, await self._tokens.token(self._http))
        return self._sender.send(call.method, call.url, headers, call.pieces, after=after)

    async def call(self, call: Call, begun: Sending | None = None) -> Answer:
        """Make a request and read its whole answer.

        Args:
            begun: What ``begin`` gave for it.

        Raises:
            StoreUnavailable: no answer, or one that asks to come back.
            StoreFull, StoreError, Conflict: refused; see ``errors.refusal``.
        """
        token = await self._tokens.token(self._http)
        answer = await self._answered(call, token, begun)
        if answer.status == 401 and token:
            answer = await self._answered(call, await self._renewed(token))
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
            raise unreachable(told(error), self.bucket) from None
        try:
            content = b""
            if response.status not in call.fine:
                try:
                    content = bytes(await response.bytes())
                except RequestError as error:
                    raise unreachable(told(error), self.bucket) from None
            self._check(Answer(response.status, response.headers, content), call)
            yield response
        finally:
            await request.__aexit__(None, None, None)

    async def next_piece(self, body: ResponseBodyReader) -> bytes | None:
        """The next bytes of an answer that was opened; None at its end.

        As they come from the system they are some 200 KiB: to put them together first would copy
        them once more. What comes encrypted is 16 KiB, of which each would cost a turn of the loop.
        """
        piece = await (body.read_chunk() if self._is_plain else body.read(PIECE_BYTES))
        return None if piece is None else piece.to_bytes()

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
        if self._sender is not None:
            self._sender.close()

    async def _renewed(self, token: str) -> str:
        """Another token: this one may have been revoked, or ended by a clock that is not ours."""
        self._tokens.refuse(token)
        return await self._tokens.token(self._http)

    async def _answered(self, call: Call, token: str, begun: Sending | None = None) -> Answer:
        try:
            if begun is not None:
                with contextlib.suppress(NotBegun):
                    return await begun.answer()
            begun = await self.begin(call, None)
            if begun is not None:
                return await begun.answer()
            limit = timedelta(seconds=ANSWER_TIMEOUT_S + call.body_bytes / SLOWEST_BYTES_PER_S)
            request = _request(self._http, call, token).timeout(limit).build()
            response = await request.send()
            return Answer(response.status, response.headers, bytes(await response.bytes()))
        except RequestError as error:
            raise unreachable(told(error), self.bucket) from None
        except NotSent as error:
            raise unreachable(str(error), self.bucket) from None

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
    if call.body:
        request.body_bytes(call.body)
    elif call.method in ("POST", "PUT"):
        # Google refuses a request that does not say how long it is.
        request.header("Content-Length", str(call.body_bytes))
        if call.pieces:
            request.body_stream(call.pieces)
    return request


def _authorized(call: Call, token: str) -> dict[str, str]:
    right = {"Authorization": f"Bearer {token}"} if token else {}
    return {**call.headers, "User-Agent": _AGENT, **right}


def _streaming(http: Client, call: Call, token: str) -> StreamRequest:
    return _request(http, call, token).streamed_read_buffer_limit(READ_AHEAD_BYTES).build_streamed()


def _has_proxy(url: str) -> bool:
    """Whether the process is told to use a proxy for an address."""
    place = urlsplit(url)
    proxies = getproxies()
    named = proxies.get(place.scheme) or proxies.get("all")
    return bool(named) and not proxy_bypass(place.hostname or "")


def _http(*, trust_env: bool, read_timeout_s: float | None = None) -> Client:
    builder = (
        ClientBuilder()
        .user_agent(_AGENT)
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
    pairs = [f"{name}={_quoted(text)}" for name, text in query.items()]
    return f"{url}?{'&'.join(pairs)}"


@lru_cache(maxsize=256)  # most of a query is the same for all objects
def _quoted(text: str) -> str:
    # Folder by folder: a part in which nothing is encoded is found to be so in no time.
    return "%2F".join([quote(part, safe="") for part in text.split("/")])
