"""URLs of Azure that give one right on one blob for a while (shared access signatures).

obstore signs the name of a blob as it stands in the URL; Azure checks the decoded one, so that
its URLs for names with a space or an umlaut are refused. With an account key we sign ourselves.
Where an identity signs, which only obstore can ask, such names have no URL.

Format: "Create a service SAS", version 2020-12-06 and later, of Azure's REST reference.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from urllib.parse import quote, urlencode

import obstore
from obstore.store import AzureStore, S3Store

from seafloor.domain.errors import NotSupported
from seafloor.stores.objects.cloud.calls import Calls

API_VERSION = "2023-11-03"
_RIGHTS = {"GET": "r", "PUT": "cw"}
# Clocks differ: a URL that begins now is refused by a server that is a little behind.
_CLOCK_SLACK = timedelta(minutes=5)


class Sign(Protocol):
    """Makes a URL by which anybody can read or write one object."""

    async def __call__(self, method: Literal["GET", "PUT"], key: str, life: timedelta) -> str:
        """Give the URL.

        Raises:
            NotSupported: this key can have none.
        """
        ...


class SignByStore:
    """Has obstore sign, with whatever credentials it found."""

    def __init__(self, bucket: S3Store | AzureStore, calls: Calls) -> None:
        self._bucket = bucket
        self._calls = calls

    async def __call__(self, method: Literal["GET", "PUT"], key: str, life: timedelta) -> str:
        """Give the URL; see ``Sign``."""
        if isinstance(self._bucket, AzureStore) and not is_plain(key):
            raise NotSupported(
                f'"{key}" can have no URL without AZURE_STORAGE_ACCOUNT_KEY: an identity signs '
                "plain names only."
            )
        return await self._calls.run(obstore.sign_async(self._bucket, method, key, life))


class SignByKey:
    """Signs with an account key.

    Args:
        account: Whose key it is.
        container: Of the blobs.
        account_url: Where the account is, without a slash at its end.
        key: Base64.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        account: str,
        container: str,
        account_url: str,
        key: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._resource = f"/blob/{account}/{container}"
        self._url = f"{account_url}/{container}"
        self._key = base64.b64decode(key)
        self._clock = clock

    async def __call__(self, method: Literal["GET", "PUT"], key: str, life: timedelta) -> str:
        """Give the URL; see ``Sign``."""
        now = self._clock()
        start, end = _time(now - _CLOCK_SLACK), _time(now + life)
        rights = _RIGHTS[method]
        signed = [rights, start, end, f"{self._resource}/{key}", "", "", "", API_VERSION, "b"]
        text = "\n".join([*signed, *[""] * 7])
        signature = hmac.digest(self._key, text.encode(), hashlib.sha256)
        query = {
            "sv": API_VERSION,
            "sp": rights,
            "st": start,
            "se": end,
            "sr": "b",
            "sig": base64.b64encode(signature).decode(),
        }
        return f"{self._url}/{quote(key)}?{urlencode(query)}"


def is_plain(key: str) -> bool:
    """Say whether a key stands in a URL as it is."""
    return quote(key, safe="/-_.~") == key


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
