"""Beginnings of addresses: what a secret is for, when a source has several."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from seafloor.domain.errors import InvalidValue

_CHARS_MAX: Final = 2048
_PORT_MAX: Final = 65535
_PORTS: Final = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
_HOST: Final = r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)"
_BARE: Final = re.compile(_HOST + r"(?::(?P<port>[0-9]{1,5}))?(?:/(?P<path>.*))?\Z", re.IGNORECASE)
_SCP: Final = re.compile(r"(?:[^/:@\s]+@)?" + _HOST + r":(?P<path>[^/].*|/.+)\Z", re.IGNORECASE)


@dataclass(frozen=True)
class UrlPrefix:
    """A host, or a host and the beginning of what follows it.

    Args:
        host: In lower case, without brackets.
        scheme: ``https``, ``http``, ``ssh`` or ``git``; None: any.
        port: None: any.
        path: Its parts, ``.git`` taken off the last.
    """

    host: str
    scheme: str | None = None
    port: int | None = None
    path: tuple[str, ...] = ()

    @property
    def length(self) -> tuple[int, bool, bool]:
        """By which the longer of two is known that both begin one address."""
        return len(self.path), self.port is not None, self.scheme is not None

    def begins(self, address: UrlPrefix) -> bool:
        """Whether an address, read by ``parse_url_prefix``, begins with this.

        >>> parse_url_prefix("example.com/team").begins(
        ...     parse_url_prefix("git@example.com:team/app.git")
        ... )
        True
        >>> parse_url_prefix("example.com/te").begins(
        ...     parse_url_prefix("https://example.com/team/app.git")
        ... )
        False
        """
        return (
            self.host == address.host
            and self.scheme in {None, address.scheme}
            and self.port in {None, address.port}
            and address.path[: len(self.path)] == self.path
        )


def parse_url_prefix(text: str, *, field: str = "secrets") -> UrlPrefix:
    """Read ``host``, ``host:port``, ``host/path``, ``https://host/path`` or ``git@host:path``.

    Where a scheme stands and no port, its usual one is meant.

    Raises:
        InvalidValue: it is none of these, or holds a password.
    """
    found = _read(text) if len(text) <= _CHARS_MAX and text.isprintable() else None
    if found is None or not 0 < (found.port or 1) <= _PORT_MAX:
        shown = re.sub(r"//.*@", "//…@", text)  # what could be a password
        raise InvalidValue(
            f'"{shown[:80]}" is not the beginning of an address: give a host, as in "example.com", '
            'or more of it, as in "example.com/team" or "https://example.com:8443/team".',
            field=field,
        )
    return found


def _read(text: str) -> UrlPrefix | None:
    if "://" in text:
        return _schemed(text)
    bare = _BARE.match(text)
    if bare:
        port = bare["port"]
        return UrlPrefix(
            _host(bare["host"]), None, int(port) if port else None, _path(bare["path"])
        )
    scp = _SCP.match(text)
    return UrlPrefix(_host(scp["host"]), "ssh", 22, _path(scp["path"])) if scp else None


def _schemed(text: str) -> UrlPrefix | None:
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None
    usual = _PORTS.get(scheme)
    if not host or usual is None or parts.password is not None or parts.query or parts.fragment:
        return None
    return UrlPrefix(host, scheme, port or usual, _path(parts.path))


def _host(text: str) -> str:
    return text.strip("[]").lower()


def _path(text: str | None) -> tuple[str, ...]:
    path = posixpath.normpath(f"/{(text or '').strip('/')}").strip("/").removesuffix(".git")
    return tuple(path.split("/")) if path else ()
