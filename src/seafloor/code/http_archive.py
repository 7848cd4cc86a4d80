"""An archive on a web server: redirects, proxies, certificates, and connections that break."""

from __future__ import annotations

import contextlib
import netrc
import ssl
import time
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.util import parse_url

from seafloor.code import http_connection
from seafloor.code.archive import RemoteFacts
from seafloor.code.git_access import AUTHORITY
from seafloor.code.git_url import url_for_people
from seafloor.code.http_access import HttpAccess
from seafloor.code.http_connection import watch_connections, watched_body
from seafloor.domain.errors import InvalidValue, SourceError

REDIRECTS_MAX: Final = 5
TRIES_MAX: Final = 5
"""How often in a row a connection may break without a byte having come."""

FACTS_WITHIN_S: Final = 15.0
"""After which facts are not asked for once more: somebody waits for the answer."""

PACE_S: Final = 60.0
PACE_BYTES: Final = 60_000
"""What sends less than so much in so long is given up: at that pace no archive ever arrives."""

_CONNECT_S: Final = 10.0
_READ_BYTES: Final = 256 << 10
_WAIT_FIRST_S: Final = 0.2
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LOGIN: Final = (
    "Name a secret in `code.secret`, or put name and password into the ~/.netrc of the user who "
    "runs the server, or check those there."
)


class _Broken(Exception):
    """The connection broke, or the server is busy; the next try may go better."""


class _Pace:
    """Looks whether bytes come fast enough, over all the connections that bring them.

    Args:
        shown: Where they come from, for the user.
        now: As of ``HttpArchive``.
    """

    def __init__(self, shown: str, now: Callable[[], float]) -> None:
        self._shown = shown
        self._now = now
        self._begun_s = now()
        self._bytes = 0

    def keep(self, size_bytes: int) -> None:
        """Count what came.

        Raises:
            SourceError: it was too little for too long.
        """
        self._bytes += size_bytes
        passed_s = self._now() - self._begun_s
        if passed_s < PACE_S:
            return
        if self._bytes < PACE_BYTES:
            raise SourceError(
                f"{self._shown} sends too slowly: {self._bytes:,} bytes came in the last "
                f"{passed_s:.0f} s. Try again later, or put the archive where it is read faster.",
                field="code.url",
            )
        self._begun_s += passed_s
        self._bytes = 0


@dataclass
class HttpArchive:
    """See ``archive.RemoteFile``.

    Proxies are those of ``http_proxy``, ``https_proxy`` and ``no_proxy``; certificates those of the
    system, or of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``; names and passwords those of ``~/.netrc``,
    shown to the host they are for and to no other that it redirects to. Where there is a named
    secret, it is used in their place.

    Args:
        url: ``https://…`` or ``http://…``.
        access: The secret; None: as this machine is set up.
        wait: Waits so many seconds.
        now: Gives the seconds of a clock that never goes back.
    """

    url: str
    access: HttpAccess | None = None
    wait: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    _pools: dict[tuple[str, bool], urllib3.PoolManager] = field(
        default_factory=dict[tuple[str, bool], urllib3.PoolManager], repr=False
    )

    def facts(self) -> RemoteFacts:
        """Begin to read it, and leave it at that: not every server answers HEAD as it does GET."""
        tries, begun_s = 0, time.monotonic()
        while True:
            try:
                with self._answer(0, None) as answer:
                    return _facts(answer)
            except _Broken as broken:
                late = time.monotonic() - begun_s > FACTS_WITHIN_S
                tries = self._next_try(TRIES_MAX if late else tries, broken)

    def copy(self, facts: RemoteFacts, write: Callable[[bytes], object]) -> None:
        """Read it. After a break it goes on where it stopped if the ETag says that it may."""
        done, tries = 0, 0
        pace = _Pace(self._shown, self.now)
        while True:
            before = done
            try:
                with self._answer(done, facts.etag) as answer:
                    self._check_same(answer, facts)
                    # A server that does not send from the middle sends the beginning again.
                    known = 0 if _continues(answer, done) else done
                    for block in _blocks(answer):
                        pace.keep(len(block))
                        fresh = block[known:]
                        known -= len(block) - len(fresh)
                        write(fresh)
                        done += len(fresh)
                return
            except _Broken as broken:
                tries = self._next_try(0 if done > before else tries, broken)

    @property
    def _shown(self) -> str:
        return url_for_people(self.url)

    def _next_try(self, tries: int, broken: _Broken) -> int:
        if tries + 1 >= TRIES_MAX:
            raise SourceError(
                f"{self._shown} cannot be fetched: {broken}.", field="code.url"
            ) from broken
        self.wait(_WAIT_FIRST_S * 2**tries)
        return tries + 1

    @contextlib.contextmanager
    def _answer(self, start: int, etag: str | None) -> Generator[urllib3.BaseHTTPResponse]:
        """Ask for the bytes from one on, following redirects; all of that has one time.

        Raises:
            SourceError: the answer is final, and not the archive.
            _Broken: another try may go better.
        """
        headers = {"Accept-Encoding": "identity", "User-Agent": "seafloor"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if _is_strong(etag):
                headers["If-Range"] = etag or ""
        url, within_s = self.url, http_connection.ANSWER_WITHIN_S
        deadline_s = time.monotonic() + within_s
        for redirects in range(REDIRECTS_MAX + 1):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise _Broken(f"no answer came within {within_s:g} s, but {redirects} redirects")
            answer = self._send(url, {**headers, **self._credentials(url)}, left_s)
            try:
                if answer.status not in _REDIRECTS:
                    self._check_status(answer, url)
                    yield answer
                    return
                url = self._redirected(url, answer.headers.get("location"))
            finally:
                answer.close()
        raise SourceError(
            f"{self._shown} redirects more than {REDIRECTS_MAX} times.", field="code.url"
        )

    def _own(self, url: str) -> HttpAccess | None:
        """The secret, if an address is shown it."""
        return self.access if self.access is not None and self.access.is_for(url) else None

    def _credentials(self, url: str) -> dict[str, str]:
        own = self._own(url)
        return _of_netrc(url) if own is None else own.headers

    def _send(self, url: str, headers: dict[str, str], within_s: float) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool(url).request(
                "GET",
                url,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=min(_CONNECT_S, within_s), read=within_s),
            )
        except HTTPError as error:
            raise self._unreachable(error, url) from error
        except ValueError as error:  # of which some errors in a URL are
            raise SourceError(f"{self._shown} is not a URL: {error}.", field="code.url") from error

    def _unreachable(self, error: HTTPError, url: str) -> Exception:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        host = urlsplit(url).hostname
        if isinstance(cause, SSLError):
            return SourceError(
                f"The certificate of {host} is not trusted ({_words(cause)}): name the file of "
                f"your own authority in SSL_CERT_FILE. {self._shown} was not read.",
                field="code.url",
            )
        if isinstance(cause, ProxyError):
            return _Broken(f"the proxy does not let us through to {host} ({_words(cause)})")
        if isinstance(cause, NameResolutionError):
            return SourceError(
                f"There is no host {host}: correct the address {self._shown}.", field="code.url"
            )
        if isinstance(cause, NewConnectionError):
            return _Broken(f"{host} cannot be reached ({_words(cause)})")
        return _Broken(f"the connection to {host} broke ({_words(cause)})")

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts, own = urlsplit(url), self._own(url)
        proxy = ""
        # What is not encrypted goes to this machine itself, and to no proxy.
        in_the_clear = own is not None and parts.scheme == "http"
        if not in_the_clear and not urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = urllib.request.getproxies().get(parts.scheme, "")
        key = (proxy, own is not None)
        if key not in self._pools:
            context = self._trust(own)
            if proxy:
                proxy_url = proxy if "://" in proxy else f"http://{proxy}"
                user = parse_url(proxy_url).auth
                headers = urllib3.make_headers(proxy_basic_auth=user) if user else None
                made = urllib3.ProxyManager(proxy_url, proxy_headers=headers, ssl_context=context)
            else:
                made = urllib3.PoolManager(ssl_context=context)
            self._pools[key] = watch_connections(made)
        return self._pools[key]

    def _trust(self, own: HttpAccess | None) -> ssl.SSLContext:
        authority = None if own is None else own.authority
        try:
            return ssl.create_default_context(cadata=authority)
        except ssl.SSLError:
            raise InvalidValue(
                f'The key "{AUTHORITY}" of the secret "{own and own.secret}" is no certificate in '
                "PEM: set it anew.",
                field="code.secret",
            ) from None

    def _redirected(self, url: str, location: str | None) -> str:
        nowhere = SourceError(f"{self._shown} redirects to no address.", field="code.url")
        try:
            target = urljoin(url, location or "")
            parts = urlsplit(target)
            _ = parts.port
        except ValueError as error:
            raise nowhere from error
        schemes = urlsplit(url).scheme, parts.scheme
        if location is None or parts.scheme not in {"http", "https"}:
            raise nowhere
        if schemes == ("https", "http"):
            raise SourceError(
                f"{self._shown} redirects to an address without encryption, which is not followed.",
                field="code.url",
            )
        return target

    def _check_status(self, answer: urllib3.BaseHTTPResponse, url: str) -> None:
        status, own = answer.status, self._own(url)
        if status in {200, 206}:
            return
        if status in _BUSY:
            raise _Broken(f"the server answers {_status(status)}")
        if status == HTTPStatus.UNAUTHORIZED and own is not None:
            said = (
                f'{self._shown} refuses what the secret "{own.secret}" shows it '
                f"({_status(status)}): set it anew with `seafloor secret set {own.secret} …`."
            )
        elif status == HTTPStatus.UNAUTHORIZED:
            said = f"{self._shown} asks for a password, or refuses the one it got. {_LOGIN}"
        elif status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            said = f"The proxy on the way to {self._shown} asks for a password."
        elif status == HTTPStatus.FORBIDDEN and own is not None:
            said = (
                f'{self._shown} may not be read with the secret "{own.secret}" '
                f"({_status(status)}): give its user or token the right to read it."
            )
        elif status == HTTPStatus.FORBIDDEN:
            said = f"{self._shown} may not be read by us ({_status(status)}). {_LOGIN}"
        elif status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            said = (
                f"There is nothing at {self._shown} ({_status(status)}): correct the address. "
                "Some servers say so, too, of what needs a password."
            )
        elif status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            said = f"{self._shown} became shorter while it was read: try again."
        else:
            said = f"{self._shown} was answered with {_status(status)}, not with the archive."
        raise SourceError(said, field="code.url")

    def _check_same(self, answer: urllib3.BaseHTTPResponse, facts: RemoteFacts) -> None:
        found = _facts(answer)
        if found != facts:
            raise SourceError(
                f"{self._shown} was changed while it was read: it was {facts.etag}, "
                f"{facts.size_bytes} bytes and is {found.etag}, {found.size_bytes} bytes. "
                "Try again.",
                field="code.url",
            )


def _facts(answer: urllib3.BaseHTTPResponse) -> RemoteFacts:
    """Size and ETag; a time of change does where there is no ETag."""
    etag = answer.headers.get("etag")
    modified = answer.headers.get("last-modified")
    if etag is None and modified is not None:
        etag = f"last-modified: {modified}"
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        size = answer.headers.get("content-range", "").rpartition("/")[2]
    else:
        size = answer.headers.get("content-length", "")
    return RemoteFacts(int(size) if size.isascii() and size.isdigit() else None, etag)


def _is_strong(etag: str | None) -> bool:
    return etag is not None and etag.startswith('"')


def _continues(answer: urllib3.BaseHTTPResponse, start: int) -> bool:
    """Whether an answer begins where the last one broke."""
    said = answer.headers.get("content-range", "")
    return answer.status == HTTPStatus.PARTIAL_CONTENT and said.startswith(f"bytes {start}-")


def _blocks(answer: urllib3.BaseHTTPResponse) -> Generator[bytes]:
    try:
        with watched_body(answer) as watch:
            # What is there, and not all that was asked for: of a slow one that is hours away.
            while block := answer.read1(_READ_BYTES):
                watch.came()
                yield block
    except HTTPError as error:
        raise _Broken(f"the connection broke ({_words(error)})") from error
    if watch.ended:  # where no size was said, that looks like the end
        raise _Broken("nothing came any more")


def _of_netrc(url: str) -> dict[str, str]:
    try:
        found = netrc.netrc().authenticators(urlsplit(url).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return {}
    if found is None:
        return {}
    name, _, password = found
    return urllib3.make_headers(basic_auth=f"{name}:{password}")


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _words(error: Exception) -> str:
    """The end of what urllib3 says, without its objects."""
    first = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return first.rpartition(": ")[2].strip(" .'\"") or type(error).__name__
