"""HTTP to a server: requests, repeats, and answers turned into values or errors."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import msgspec

from seafloor.domain.errors import (
    InvalidValue,
    OutOfOrder,
    SeafloorError,
    StoreUnavailable,
    error_classes,
)
from seafloor.sdk.quiet import Quiet
from seafloor.sdk.settings import SYSTEM_TLS, Tls, check_url
from seafloor.sdk.strangers import error_of_stranger, not_understood, retry_after_s
from seafloor.sdk.ways import in_short, proxy_for, why_unreachable
from seafloor.wire.errors import ErrorBody

if TYPE_CHECKING:
    import urllib3

T = TypeVar("T")

Query = Iterable[tuple[str, str | int | float | bool | None]]

_ERROR_BYTES_MAX: Final = 64 * 1024
_BACK_OFF_FIRST_S: Final = 0.1
_BACK_OFF_MAX_S: Final = 2.0
_BLOCK_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class TransportOptions:
    """How long a client waits.

    Args:
        connect_s: For a connection.
        read_s: For the next bytes of an answer, and for each piece of a body to be taken.
        repeat_s: How long a call that may be repeated is repeated while the server is away or
            busy; 0: once only.
        tls: For ``https``.
        on_quiet: Called, from a thread, when for ``quiet_s`` neither an answer came nor anything
            moved; None: nobody is told.
    """

    connect_s: float = 5.0
    read_s: float = 60.0
    repeat_s: float = 15.0
    tls: Tls = SYSTEM_TLS
    on_quiet: Callable[[], None] | None = None
    quiet_s: float = 5.0


class Readable(Protocol):
    """A body that is read in pieces, and from its beginning again at each repeat."""

    def read(self, size_bytes: int = -1, /) -> bytes:
        """Read at most so many bytes; none at the end."""
        ...

    def seek(self, offset: int, /) -> int:
        """Go on at an offset."""
        ...


@dataclass(frozen=True)
class Request:
    """One request.

    Args:
        method, path: As in ``docs/reference/api.md``; parts of the path are quoted already.
        query: Names and values; those that are None are left out, booleans are true and false.
        json: Sent as JSON.
        body: Sent as it is; a file is read in pieces, from its beginning at each repeat.
        size_bytes: Of a file.
        headers: More of them.
        repeatable: Whether a second one does no harm; None: by the method.
        read_s: How long to wait for the next bytes of the answer; None: as the transport does.
        may_be_elsewhere: Whether 307 is an answer too; whoever asked goes there himself, without
            this server's token.
    """

    method: str
    path: str
    query: Query = ()
    json: object = None
    body: bytes | Readable | None = None
    size_bytes: int | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    repeatable: bool | None = None
    read_s: float | None = None
    may_be_elsewhere: bool = False

    @property
    def may_repeat(self) -> bool:
        """Whether it may be sent again when it is not known what became of it."""
        return self.method != "POST" if self.repeatable is None else self.repeatable


def quote(part: str) -> str:
    """Make a text fit for one part of a path.

    Raises:
        InvalidValue: it is no text, as an argument of a command that is no UTF-8.
    """
    return _quote(part, safe="")


def quote_path(path: str) -> str:
    """Make a relative path fit for the end of a path.

    Raises:
        InvalidValue: as ``quote``.
    """
    return _quote(path, safe="/")


def _quote(text: str, *, safe: str) -> str:
    try:
        return urllib.parse.quote(text, safe=safe)
    except UnicodeEncodeError as error:
        raise _no_text(text) from error


def _no_text(text: str) -> InvalidValue:
    return InvalidValue(f"{text!r} is not UTF-8 text: nothing is called that.")


def _check_token(token: str | None) -> str | None:
    """A token as a header takes it; one from a file has a line break behind it."""
    kept = token and token.strip()
    if kept and not (kept.isascii() and kept.isprintable() and " " not in kept):
        raise InvalidValue(
            "The token has a space, a line break or a letter beyond ASCII in it, which no token "
            "has. Is it copied whole, and alone?",
            field="token",
        )
    return kept


class Transport:
    """Connections to one server. May be used from several threads.

    Args:
        url: Of the server.
        token: Presented with every request; None or empty: none.
        options: How long to wait.

    Raises:
        InvalidValue: url is no address, or token is none.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        options: TransportOptions | None = None,
    ) -> None:
        self.url = check_url(url, field="url")
        self.options = options if options is not None else TransportOptions()
        self.token = _check_token(token)
        self.reaches_objects = True
        """Whether there may be a way from here to the server's object store."""
        self._quiet = Quiet(self.options.on_quiet, after_s=self.options.quiet_s)
        self._pool: urllib3.PoolManager | None = None

    def close(self) -> None:
        """Close idle connections."""
        if self._pool is not None:
            self._pool.clear()

    def call(self, request: Request, answer: type[T]) -> T:
        """Send a request and read its answer whole.

        Args:
            request: What to send.
            answer: The type of the answer's JSON.

        Raises:
            StoreUnavailable: the server does not answer, is busy for too long, or is none of
                Seafloor's.
            SeafloorError: of the class that the server's answer names.
        """
        content = self.fetch(request)
        try:
            return msgspec.json.decode(content, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            asked = (request.method, request.path)
            raise not_understood(self.url, asked, content, str(error)) from error

    def fetch(self, request: Request) -> bytes:
        """Send a request and read its answer whole, as it is.

        Raises:
            SeafloorError: as ``call``.
        """
        with self.open(request) as response:
            return self._read(response)

    def send(self, request: Request) -> dict[str, str]:
        """Send a request whose answer has nothing to read but its headers (lower-case names)."""
        with self.open(request) as response:
            self._read(response)
            return {name.lower(): value for name, value in response.headers.items()}

    @contextmanager
    def open(self, request: Request) -> Generator[urllib3.BaseHTTPResponse]:
        """Send a request and leave its answer to be read in pieces.

        Yields:
            The response, status 2xx (or 307, see ``Request``); its connection goes back to the
            pool at the end.

        Raises:
            SeafloorError: as ``call``.
        """
        response = self._send_repeatedly(request)
        try:
            yield response
        finally:
            # One that was not read to its end cannot serve another request.
            response.close()
            response.release_conn()

    def waiting(self) -> AbstractContextManager[Callable[[], None]]:
        """Wait for the server, and say so when it takes long; see ``Quiet``."""
        return self._quiet.told()

    def _send_repeatedly(self, request: Request) -> urllib3.BaseHTTPResponse:
        deadline_s = time.monotonic() + (self.options.repeat_s if request.may_repeat else 0.0)
        wait_s = _BACK_OFF_FIRST_S
        while True:
            try:
                return self._send_once(request)
            except StoreUnavailable as error:
                pause_s = max(wait_s, error.retry_after_s or 0.0)
                if not error.retryable or time.monotonic() + pause_s > deadline_s:
                    raise
            time.sleep(pause_s)
            wait_s = min(wait_s * 2, _BACK_OFF_MAX_S)

    def _send_once(self, request: Request) -> urllib3.BaseHTTPResponse:
        # Imported here: a training script that only writes to the spool never needs it.
        import urllib3

        body, headers = self._prepare(request)
        try:
            with self.waiting() as heard:
                response = self._connections().urlopen(
                    request.method,
                    self._address(request),
                    body=body if body is None or isinstance(body, bytes) else _Moving(body, heard),
                    headers=headers,
                    preload_content=False,
                    redirect=False,
                    retries=False,
                    timeout=urllib3.Timeout(
                        connect=self.options.connect_s,
                        read=self.options.read_s if request.read_s is None else request.read_s,
                    ),
                )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error
        if 200 <= response.status < 300 or (request.may_be_elsewhere and _is_elsewhere(response)):
            return response
        try:
            raise self._error(request, response)
        finally:
            response.close()

    def _prepare(self, request: Request) -> tuple[bytes | Readable | None, dict[str, str]]:
        from seafloor import __version__

        headers = {"User-Agent": f"seafloor/{__version__}", "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        body = request.body
        if request.json is not None:
            body = msgspec.json.encode(request.json)
            headers["Content-Type"] = "application/json"
        elif body is not None:
            headers["Content-Type"] = "application/octet-stream"
            if not isinstance(body, bytes):
                body.seek(0)
                headers["Content-Length"] = str(request.size_bytes)
        return body, headers | request.headers

    def _address(self, request: Request) -> str:
        pairs = [
            (name, str(value).lower() if isinstance(value, bool) else str(value))
            for name, value in request.query
            if value is not None
        ]
        try:
            query = f"?{urllib.parse.urlencode(pairs)}" if pairs else ""
        except UnicodeEncodeError as error:
            raise _no_text(str(error.object)) from error
        return f"{self.url}{request.path}{query}"

    def _connections(self) -> urllib3.PoolManager:
        if self._pool is None:
            self._pool = make_pool(self.url, self.options.tls, send_s=self.options.read_s)
        return self._pool

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        import urllib3

        try:
            return response.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            why_unreachable(error, self.url, self.options.tls), detail=repr(error)
        )

    def _error(self, request: Request, response: urllib3.BaseHTTPResponse) -> SeafloorError:
        import urllib3

        asked = (request.method, request.path)
        try:
            content = response.read(_ERROR_BYTES_MAX)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if response.status == 413:
                # What hangs up on a body that is too large may cut its own answer off by that.
                return error_of_stranger(self.url, asked, 413, response.headers, b"")
            return StoreUnavailable(
                f"{self.url} gave an answer {response.status} that cannot be read "
                f"({in_short(error)}): the server, or what stands before it, broke off.",
                detail=repr(error),
            )
        try:
            body = msgspec.json.decode(content, type=ErrorBody)
        except (msgspec.DecodeError, UnicodeDecodeError):
            body = None
        classes = error_classes()
        # Others have errors with a code and a message too; ours are of a request that has an id.
        if body is None or (body.code not in classes and body.request_id is None):
            return error_of_stranger(self.url, asked, response.status, response.headers, content)
        shown = body.message
        if body.request_id is not None and response.status >= 500:
            shown = f"{shown} (request {body.request_id})"
        cls = classes.get(body.code, SeafloorError)
        if cls is OutOfOrder:
            return OutOfOrder(shown, next_offset=body.next_offset or 0, field=body.field)
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        return cls(shown, field=body.field, retry_after_s=wait_s)


class _Moving:
    """A body that tells whenever some of it is taken: as long as that goes on, nobody waits."""

    def __init__(self, body: Readable, heard: Callable[[], None]) -> None:
        self._body = body
        self._heard = heard

    def read(self, size_bytes: int = -1, /) -> bytes:
        self._heard()
        return self._body.read(size_bytes)


def _is_elsewhere(response: urllib3.BaseHTTPResponse) -> bool:
    """Whether the server says where a file lies: it tells the digest too, unlike a login page."""
    return response.status == 307 and "X-Content-SHA256" in response.headers


def make_pool(
    url: str, tls: Tls, *, send_s: float = TransportOptions.read_s
) -> urllib3.PoolManager:
    """Make connections to one address, through the proxy that the environment names for it.

    Args:
        send_s: How long each piece of a body may take to be sent.

    Raises:
        StoreUnavailable: the environment names what is no proxy.
    """
    import urllib3

    from seafloor.sdk.connections import be_patient

    proxy = proxy_for(url)
    make = urllib3.PoolManager
    if proxy is not None:
        make = partial(urllib3.ProxyManager, proxy.url, proxy_headers=proxy.headers)
    pool = make(
        maxsize=8,
        blocksize=_BLOCK_BYTES,
        cert_reqs="CERT_REQUIRED" if tls.is_checked else "CERT_NONE",
        ca_certs=tls.authorities,
        cert_file=tls.certificate,
    )
    be_patient(pool, send_s=send_s)
    return pool
