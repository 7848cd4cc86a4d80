"""The way to an address: past which proxy it leads, and why it does not lead there."""

from __future__ import annotations

import base64
import ssl
import urllib.parse
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from seafloor.domain.errors import StoreUnavailable
from seafloor.sdk.settings import Tls

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS: Final = {"http": 80, "https": 443}

# Of OpenSSL's X509_V_ERR_*: signed by nobody who is known, or for another name.
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME: Final = frozenset({62, 64})
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})


@dataclass(frozen=True)
class Proxy:
    """What stands between here and an address.

    Args:
        variable: Of the environment, that names it.
        url: Where it is, without name and password.
        headers: By which it knows who comes.
    """

    variable: str
    url: str
    headers: dict[str, str]

    @property
    def remedy(self) -> str:
        """What to do when it does not let through."""
        return (
            f"Correct {self.variable} (a name and a password stand in it as "
            "http://NAME:PASSWORD@HOST:PORT), or name the host in no_proxy."
        )


def proxy_for(url: str) -> Proxy | None:
    """The proxy that the environment names for an address, None: there is none.

    ``http_proxy``, ``https_proxy`` and ``no_proxy`` are read as the standard library does, in
    either case; no proxy is asked for this machine itself.

    Raises:
        StoreUnavailable: what is named is no proxy that is known here.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urllib.parse.urlsplit(url)
    host = parts.hostname
    if host is None or host in _LOOPBACK_NAMES:
        return None
    port = parts.port or _PORTS.get(parts.scheme, 0)
    named = getproxies().get(parts.scheme)
    if not named or proxy_bypass(host) or proxy_bypass(f"{host}:{port}"):
        return None
    return _read(named, variable=f"{parts.scheme}_proxy")


def _read(named: str, *, variable: str) -> Proxy:
    """Take apart what a variable holds, which often has no ``http://`` before it."""
    text = named if "://" in named else f"http://{named}"
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urllib.parse.SplitResult("", "", "", "", "")
    if parts.scheme not in _PORTS or not host:
        kind = f"is a proxy of the kind {parts.scheme}" if host else "is no address of a proxy"
        raise StoreUnavailable(
            f"What {variable} names {kind}: write it as http://HOST:PORT, or name the host that "
            "you want to reach in no_proxy."
        )
    headers: dict[str, str] = {}
    if parts.username is not None:
        pair = (
            f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        )
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    shown = f"[{host}]" if ":" in host else host
    return Proxy(variable, f"{parts.scheme}://{shown}:{port or _PORTS[parts.scheme]}", headers)


def why_unreachable(error: BaseException, url: str, tls: Tls) -> str:
    """Say why a connection to a server failed, and what to do, without addresses of others.

    Args:
        error: What urllib3 or the system raised.
        url: Of the server.
        tls: What is believed.
    """
    import urllib3

    proxy = proxy_for(url)
    if proxy is not None and isinstance(error, urllib3.exceptions.ProxyError):
        return (
            f"The proxy {proxy.url}, which {proxy.variable} names, does not lead to {url} "
            f"({in_short(error)}). {proxy.remedy}"
        )
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _not_believed(cause, url, tls)
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            return f"{url} does not speak TLS: does its address begin with http://?"
    return (
        f"The server at {url} does not answer ({in_short(error)}). "
        "Is it running? `seafloor doctor` tells more."
    )


def _not_believed(error: ssl.SSLCertVerificationError, url: str, tls: Tls) -> str:
    said = error.verify_message.rstrip(".")
    if error.verify_code in _OTHER_NAME:
        return f"The certificate of {url} is of another name ({said}): use one that stands in it."
    if error.verify_code not in _UNKNOWN_AUTHORITY:
        return (
            f"The certificate of {url} is not valid ({said}): have it renewed, and look whether "
            "this machine's clock is right."
        )
    if tls.authorities is not None:
        return f'The certificate of {url} is of no authority in "{tls.authorities}" ({said}).'
    believed = ssl.get_default_verify_paths()
    where = f'what stands in "{believed.cafile}" is' if believed.cafile else "no such file is"
    return (
        f"The certificate of {url} is of no authority that is known here ({said}). Name the file "
        f"with the authority's certificate in SSL_CERT_FILE; {where} believed now."
    )


def in_short(error: BaseException) -> str:
    """Say in a few words why a connection failed: what the system said, without addresses."""
    import urllib3

    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        if isinstance(cause, TimeoutError | urllib3.exceptions.ReadTimeoutError):
            return "it takes too long"
        if type(cause) is OSError and cause.args:  # of a tunnel: what the proxy answered
            return str(cause).lower()
    return type(error).__name__


def _causes(error: BaseException) -> Generator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
