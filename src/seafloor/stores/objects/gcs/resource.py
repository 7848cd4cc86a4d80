"""What the API says of an object."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar

import msgspec

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.objects.gcs.errors import Answer
from seafloor.stores.objects.protocol import ObjectInfo

FIELDS = "name,size,generation,timeCreated,crc32c"
"""What is asked for of an object."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEAR_NS = 3_600 * 10**9


_Told = TypeVar("_Told")


class Resource(msgspec.Struct, frozen=True, rename="camel"):
    """An object, in the API's own fields."""

    name: str
    generation: str
    time_created: datetime
    size: str = "0"
    crc32c: str = ""

    def info(self) -> ObjectInfo:
        """Say it in the protocol's words."""
        return ObjectInfo(
            key=self.name,
            size_bytes=int(self.size),
            modified_ns=modified_ns(self.time_created, int(self.generation)),
            etag=self.generation,
        )


class Listing(msgspec.Struct, frozen=True, rename="camel"):
    """One answer to a listing; its kind tells an empty one from what is none."""

    kind: Literal["storage#objects"]
    items: tuple[Resource, ...] = ()
    prefixes: tuple[str, ...] = ()
    next_page_token: str = ""


class Rewrite(msgspec.Struct, frozen=True, rename="camel"):
    """One answer to a copy within the service."""

    done: bool
    rewrite_token: str = ""
    resource: Resource | None = None


def modified_ns(created: datetime, generation: int) -> int:
    """Say when an object was put, so that two puts of one key never have the same time.

    Google tells times in milliseconds, within which a key can be put twice. The generation rises
    with every put; it is the time of the put in microseconds, but that is not promised. So it is
    taken as the time if it is near the time that was told; if not, it fills in the digits below a
    millisecond.

    >>> moment = datetime(2026, 1, 1, tzinfo=UTC)
    >>> modified_ns(moment, 1767225600000123)
    1767225600000123000
    >>> modified_ns(moment, 7)
    1767225600000000007
    """
    told_ns = (created - _EPOCH) // timedelta(microseconds=1) * 1000
    exact_ns = generation * 1000
    if abs(exact_ns - told_ns) < _NEAR_NS:
        return exact_ns
    return told_ns // 10**6 * 10**6 + generation % 10**6


def decoded(answer: Answer, kind: type[_Told]) -> _Told:
    """Read an answer of the API.

    Raises:
        StoreUnavailable: it is not one; something between here and there answered.
    """
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreUnavailable(
            "What answered is not Google Cloud Storage: look at the proxies on the way.",
            detail=f"{answer.status}: {answer.content[:200]!r}",
        ) from error


def crc32c_text(value: int) -> str:
    """A checksum as the API writes it.

    >>> crc32c_text(0)
    'AAAAAA=='
    """
    return base64.b64encode(value.to_bytes(4)).decode()
