"""Addresses in what people wrote: what in them could be a secret, and what can be shown."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

# What stands before the last @ of a host; or, where a password holds a slash or a space, before
# the last @ of all. A port is no password.
_USER: Final = re.compile(r"//(?:[^/\s?#]*|[^/\s@:]*:(?!\d{1,5}(?:[/\s?#]|$))[^\n]*)@")
_QUERY: Final = re.compile(r"(//[^\s?#]*)\?\S*")
# How channels of conda are told a token in their address.
_TOKEN: Final = re.compile(r"/t/[^/\s]+")
_SECRET_NAMES: Final = ("sig", "token", "key", "secret", "password", "credential", "auth")


def holds_secret(query: str) -> bool:
    """Whether a parameter of an address's query is named like a password or a signature.

    >>> holds_secret("X-Amz-Signature=00&X-Amz-Date=0"), holds_secret("raw=true")
    (True, False)
    """
    names = [name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)]
    return any(secret in name for name in names for secret in _SECRET_NAMES)


def without_secrets(text: str) -> str:
    """Take out of a text what in its addresses could be a secret: user, password, query, token.

    It says by an ``…`` where something was. A text is shortened after this, never before: half a
    password has no ``@`` by which it is known.

    >>> without_secrets("six @ https://me:word@host/six.whl?sig=1")
    'six @ https://…@host/six.whl?…'
    >>> without_secrets("https://host/t/abc/channel")
    'https://host/t/…/channel'
    >>> without_secrets("git+https://host:8443/six.git@v1")
    'git+https://host:8443/six.git@v1'
    """
    text = _USER.sub("//…@", text)
    return _TOKEN.sub("/t/…", _QUERY.sub(r"\1?…", text))
