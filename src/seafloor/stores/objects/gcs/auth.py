"""Who Seafloor is for Google: a service account's key, a person's login, the machine's role.

No token, key or answer that holds one stands in a message, a ``repr`` or a log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import msgspec
from pyreqwest.client import Client
from pyreqwest.exceptions import RequestError
from pyreqwest.response import Response

from seafloor.domain.errors import InvalidValue, NotSupported, StoreError, StoreUnavailable
from seafloor.stores.objects.gcs.errors import retry_after_s, told
from seafloor.stores.objects.gcs.signing import ServiceKey

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
REFRESH_BEFORE_S = 225.0
"""A token is renewed so long before it ends, so that none ends on its way."""

_TIMEOUT = timedelta(seconds=60)
_FILE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_METADATA_HOST = "metadata.google.internal"
_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 an address
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Tokens(Protocol):
    """Gives what a request carries."""

    async def token(self, http: Client) -> str:
        """A token that is good now; empty: requests carry none.

        Raises:
            StoreError: Google refuses the credentials.
            StoreUnavailable: whoever gives tokens does not answer.
        """
        ...

    def refuse(self, token: str) -> None:
        """Give this token no more: it was not accepted."""
        ...


class Anonymous:
    """No token at all."""

    async def token(self, http: Client) -> str:  # noqa: ARG002 of the protocol
        """Nothing."""
        return ""

    def refuse(self, token: str) -> None:
        """Do nothing."""


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = 3600.0

    def __repr__(self) -> str:
        return "_Granted()"


Ask = Callable[[Client], Awaitable[Response]]


class CachedTokens:
    """Tokens from a server of Google's, kept until shortly before they end.

    Args:
        ask: Asks for one.
        whose: Names the account in messages.
        clock: Monotonic seconds.
    """

    def __init__(
        self, ask: Ask, whose: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._whose = whose
        self._clock = clock
        self._token = ""
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def token(self, http: Client) -> str:
        """Give the token that is kept, or get one; many callers ask once."""
        async with self._lock:
            if not self._token or self._clock() >= self._until_s:
                begun_s = self._clock()
                granted = await self._granted(http)
                self._token = granted.access_token
                self._until_s = begun_s + granted.expires_in - REFRESH_BEFORE_S
            return self._token

    def refuse(self, token: str) -> None:
        """Get another one next time, unless that was done already."""
        if token == self._token:
            self._token = ""

    async def _granted(self, http: Client) -> _Granted:
        try:
            response = await self._ask(http)
            content = bytes(await response.bytes())
        except RequestError as error:
            raise StoreUnavailable(
                f"No token can be had for {self._whose}: nobody answers there. Look at the "
                f"network; outside of Google's machines, set {_FILE_VARIABLE} to a key file.",
                detail=told(error),
            ) from None
        status = response.status
        if status in (408, 429) or status >= 500:
            raise StoreUnavailable(
                f"No token can be had for {self._whose} now (status {status}): repeat.",
                retry_after_s=retry_after_s(response.headers),
            )
        if status != 200:
            raise StoreError(
                f"Google refuses {self._whose} (status {status}): make new credentials, see that "
                "the account is not disabled, and that this machine's clock is right.",
            )
        try:
            return msgspec.json.decode(content, type=_Granted)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Without the cause: what could not be read may hold a token.
            raise StoreError(
                f"What answered for a token for {self._whose} is not Google: look at the address."
            ) from None


@dataclass(frozen=True)
class Credentials:
    """What one has to reach a bucket.

    Args:
        tokens: For requests.
        key: Signs URLs; None where there is no key.
    """

    tokens: Tokens
    key: ServiceKey | None = None


class _File(msgspec.Struct, frozen=True):
    """A credentials file, as far as one of the kinds needs it."""

    type: str = ""
    client_email: str = ""
    private_key: str = ""
    private_key_id: str = ""
    token_uri: str = _TOKEN_URL
    client_id: str = ""
    client_secret: str = ""
    refresh_token: str = ""

    def __repr__(self) -> str:
        return f"_File(type={self.type!r})"


def find_credentials(variables: Mapping[str, str]) -> Credentials:
    """Choose the credentials: the file that is named, else the role of the machine.

    Raises:
        InvalidValue: the file is missing or is not one.
        NotSupported: it is of a kind that Seafloor cannot use.
    """
    name = variables.get(_FILE_VARIABLE, "")
    if name:
        return _from_file(Path(name))
    host = variables.get("GCE_METADATA_HOST") or _METADATA_HOST
    return Credentials(CachedTokens(_machine(host), f"this machine's role (at {host})"))


def _from_file(path: Path) -> Credentials:
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not such a file"
        raise InvalidValue(
            f"{_FILE_VARIABLE} names {path}, which cannot be read as credentials ({why}).",
            field=_FILE_VARIABLE,
        ) from None
    if file.type == "service_account":
        key = ServiceKey(
            email=file.client_email, private_key=file.private_key, key_id=file.private_key_id
        )
        return Credentials(
            CachedTokens(_service(key, file.token_uri), f"the service account {key.email}"), key
        )
    if file.type == "authorized_user":
        return Credentials(CachedTokens(_person(file), f"the login in {path}"))
    raise NotSupported(
        f'{path} holds credentials of the kind "{file.type}", which Seafloor cannot use: give it '
        'the key of a service account ("service_account"), or run it on a machine of Google\'s '
        "with a role and without this variable.",
        field=_FILE_VARIABLE,
    )


def _service(key: ServiceKey, token_url: str) -> Ask:
    async def ask(http: Client) -> Response:
        assertion = key.assertion(audience=token_url, scope=SCOPE)
        return await _posted(http, token_url, {"grant_type": _JWT_GRANT, "assertion": assertion})

    return ask


def _person(file: _File) -> Ask:
    async def ask(http: Client) -> Response:
        return await _posted(
            http,
            file.token_uri,
            {
                "grant_type": "refresh_token",
                "client_id": file.client_id,
                "client_secret": file.client_secret,
                "refresh_token": file.refresh_token,
            },
        )

    return ask


def _machine(host: str) -> Ask:
    async def ask(http: Client) -> Response:
        url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        request = http.get(url).header("Metadata-Flavor", "Google")
        return await request.timeout(_TIMEOUT).build().send()

    return ask


async def _posted(http: Client, url: str, form: Mapping[str, str]) -> Response:
    return await http.post(url).form(form).timeout(_TIMEOUT).build().send()
