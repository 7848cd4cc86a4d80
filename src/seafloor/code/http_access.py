"""What a web server is shown of a named secret: that server, and none that it redirects to."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from seafloor.code.git_access import (
    AUTHORITY,
    PASSWORD,
    TOKEN,
    USERNAME,
    check_host,
)
from seafloor.domain.errors import InvalidValue
from seafloor.domain.secrets import Secret

HEADER: Final = "header"
"""Key of a secret: the name of the header whose value is its token."""

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_OURS: Final = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "if-range"),
        *("proxy-authorization", "range", "te", "trailer", "transfer-encoding", "upgrade"),
        "user-agent",
    }
)
_PORTS: Final = {"https": 443, "http": 80}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class HttpAccess:
    """A secret as a web server is shown it.

    Args:
        secret: Its name, for messages.
        origin: Scheme, host and port that are shown it.
        headers: What they are shown.
        authority: Certificate of their authority; None: that of the machine.
    """

    secret: str
    origin: tuple[str, str, int]
    headers: dict[str, str] = field(repr=False)
    authority: str | None = field(default=None, repr=False)

    def is_for(self, url: str) -> bool:
        """Whether an address is shown it."""
        return _origin(url) == self.origin


def http_access(url: str, secret: Secret | None) -> HttpAccess | None:
    """Say what the server of an address is shown.

    Raises:
        InvalidValue: the secret does not name the host, would be sent in the clear, or holds
            nothing that can be sent.
    """
    if secret is None:
        return None
    origin = _origin(url)
    check_host(secret, origin[1], field="code.secret")
    if origin[0] != "https" and origin[1] not in _LOOPBACK:
        raise InvalidValue(
            f"{url} would carry the secret in the clear: use https://.", field="code.secret"
        )
    authority = secret.get(AUTHORITY)
    try:
        text = None if authority is None else authority.decode("ascii")
    except UnicodeDecodeError:
        raise _refused(secret, AUTHORITY, "is no certificate in PEM") from None
    return HttpAccess(secret.name, origin, _headers(url, secret), text)


def _headers(url: str, secret: Secret) -> dict[str, str]:
    user, name = secret.text(USERNAME), secret.text(HEADER)
    key = TOKEN if TOKEN in secret else PASSWORD
    value = secret.text(key)
    if value is None or (key == PASSWORD and user is None):
        raise InvalidValue(
            f'The secret "{secret.name}" has neither {TOKEN} nor {USERNAME} and {PASSWORD}, one of '
            f"which {url} needs.",
            field="code.secret",
        )
    if name is not None:
        if not _HEADER_NAME.match(name) or name.lower() in _OURS:
            raise _refused(secret, HEADER, "is not the name of a header that may be sent")
        return {name: _plain(secret, key, value)}
    if user is not None:
        pair = base64.b64encode(f"{user}:{value}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {_plain(secret, key, value)}"}


def _plain(secret: Secret, key: str, value: str) -> str:
    if not value.isascii():
        raise _refused(secret, key, "cannot stand in a header, which holds ASCII only")
    return value


def _refused(secret: Secret, key: str, why: str) -> InvalidValue:
    return InvalidValue(
        f'The key "{key}" of the secret "{secret.name}" {why}: set it anew with `seafloor secret '
        f"set {secret.name} {key}`.",
        field="code.secret",
    )


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
