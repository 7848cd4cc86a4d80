"""What Google Cloud Storage says, in Seafloor's words."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from typing import Protocol

import msgspec
from pyreqwest.exceptions import RequestError

from seafloor.domain.errors import (
    Conflict,
    InvalidValue,
    SeafloorError,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

SILENT_RETRY_AFTER_S = 0.5
"""What to wait when no answer came."""

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_RATE = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_QUOTA = frozenset({"quotaExceeded", "dailyLimitExceeded"})
_HELD = frozenset({"retentionPolicyNotMet", "objectUnderActiveHold"})
_DETAIL_BYTES_MAX = 500


class Headers(Protocol):
    """Headers, whatever the case of their names."""

    def get(self, name: str, default: str, /) -> str:
        """The first of a name."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """What was answered to a request, or to one of a batch.

    Args:
        status: Of HTTP.
        headers: Of HTTP.
        content: The body; empty for one that is a stream.
    """

    status: int
    headers: Headers
    content: bytes = b""

    @property
    def is_success(self) -> bool:
        """Whether it was done."""
        return 200 <= self.status < 300


class _Reason(msgspec.Struct, frozen=True):
    reason: str = ""


class _Failure(msgspec.Struct, frozen=True):
    errors: tuple[_Reason, ...] = ()


class _Failed(msgspec.Struct, frozen=True):
    error: _Failure


def unreachable(why: str, bucket: str) -> StoreUnavailable:
    """Say that no answer came, and why.

    To be raised without its cause, which tells the address: whoever has that of an upload may
    write.
    """
    return StoreUnavailable(
        f'Google Cloud Storage does not answer for the bucket "{bucket}": '
        "look at the network between it and this server, then repeat.",
        detail=why,
        retry_after_s=SILENT_RETRY_AFTER_S,
    )


def told(error: RequestError) -> str:
    """What happened at the bottom, without an address."""
    causes = error.details["causes"] or [{"message": error.message}]
    return f"{type(error).__name__}: {causes[-1]['message']}"


def refusal(answer: Answer, bucket: str, right: str) -> SeafloorError:
    """Say why a request was refused.

    Args:
        answer: Its answer, whose body was read. What the caller takes for an answer (404, 412)
            was seen before.
        bucket: To name it.
        right: What the request needs, as roles list it (``storage.objects.get``).
    """
    status, reasons = answer.status, _reasons(answer.content)
    detail = f"{status}: {answer.content[:_DETAIL_BYTES_MAX]!r}"
    if status == 507 or reasons & _QUOTA:
        return StoreFull(
            f'The quota of the bucket "{bucket}" is used up: raise it or free some, then repeat.',
            detail=detail,
        )
    if status in _PASSING or reasons & _RATE:
        return StoreUnavailable(
            f'Google Cloud Storage is busy (status {status} for the bucket "{bucket}"): repeat.',
            detail=detail,
            retry_after_s=retry_after_s(answer.headers),
        )
    if status == 401:
        return StoreError(
            f'Google Cloud Storage does not accept the credentials for the bucket "{bucket}": '
            "look at GOOGLE_APPLICATION_CREDENTIALS, or the account that this machine runs as.",
            detail=detail,
        )
    if reasons & _HELD:
        return Conflict(
            f'The bucket "{bucket}" keeps the object by a retention policy or a hold: '
            "lift it, or wait until it ends."
        )
    if status == 403:
        return StoreError(
            f'The credentials may not do this in the bucket "{bucket}": '
            f"give their account {right} there (roles/storage.objectUser has it).",
            detail=detail,
        )
    return StoreError(
        f'Google Cloud Storage refused a request for the bucket "{bucket}" (status {status}): '
        "the log says more.",
        detail=detail,
    )


def no_bucket(bucket: str) -> InvalidValue:
    """Say that the bucket does not exist."""
    return InvalidValue(
        f'There is no bucket "{bucket}" in Google Cloud Storage: create it, '
        "or correct the URL of the object store.",
        field="stores.objects",
    )


def retry_after_s(headers: Headers) -> float | None:
    """Read how long an answer asks to wait: seconds or a date; None when it does not say."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _reasons(body: bytes) -> set[str]:
    try:
        found = msgspec.json.decode(body, type=_Failed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return set()
    return {each.reason for each in found.error.errors}
