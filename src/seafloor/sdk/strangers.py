"""Answers that Seafloor did not write: of a gateway before the server, or of another program."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Final

import msgspec

from seafloor.domain.errors import (
    AlreadyExists,
    Forbidden,
    InvalidValue,
    LimitExceeded,
    NotFound,
    NotSupported,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
)
from seafloor.sdk.ways import proxy_for

_BUSY_STATUSES: Final = frozenset({429, 502, 503, 504})
_NATIVE_PATHS: Final = ("/api/v1/", "/health")
_MLFLOW_PATHS: Final = ("/api/2.0/", "/api/3.0/")
_MLFLOW_CODES: Final[dict[str, type[SeafloorError]]] = {
    "INVALID_PARAMETER_VALUE": InvalidValue,
    "RESOURCE_DOES_NOT_EXIST": NotFound,
    "RESOURCE_ALREADY_EXISTS": AlreadyExists,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": Forbidden,
    "NOT_IMPLEMENTED": NotSupported,
    "DATA_LOSS": StoreCorrupt,
    "TEMPORARILY_UNAVAILABLE": StoreUnavailable,
    "INTERNAL_ERROR": StoreError,
}
_LOOK: Final = "Look at SEAFLOOR_URL or --url: is it the address of a Seafloor server?"
_SHOWN_CHARS_MAX: Final = 500


class NotSeafloor(StoreUnavailable):
    """What answers there is no Seafloor server, so that asking once more at once is no use.

    For whoever logs it is a server that is away: what is logged is kept, and tried again later.
    """

    retryable = False


class _MlflowBody(msgspec.Struct, frozen=True):
    """What MLflow's servers, and Seafloor where it speaks MLflow's API, answer with an error."""

    error_code: str
    message: str = ""


def error_of_stranger(
    url: str, asked: tuple[str, str], status: int, headers: Mapping[str, str], content: bytes
) -> SeafloorError:
    """Make an error of an answer without Seafloor's own envelope.

    Args:
        url: Of the server that was meant.
        asked: Method and path of the request.
        status: No 2xx.
        headers: Of the answer.
        content: Of the answer, or its beginning.
    """
    method, path = asked
    said = f"{url} answered {status}"
    if path.startswith(_MLFLOW_PATHS) and (spoken := _read_mlflow(content)) is not None:
        cls = _MLFLOW_CODES.get(spoken.error_code, StoreError if status >= 500 else InvalidValue)
        shown = spoken.message[:_SHOWN_CHARS_MAX] or spoken.error_code
        return cls(shown, retry_after_s=retry_after_s(headers.get("Retry-After")))
    if status in _BUSY_STATUSES:
        return StoreUnavailable(
            f"{said}: the server, or what stands before it, is busy.",
            retry_after_s=retry_after_s(headers.get("Retry-After")),
        )
    if status >= 500:
        return _failed(said, method, headers.get("X-Request-Id"))
    if status == 407 and (proxy := proxy_for(url)) is not None:
        return StoreUnavailable(
            f"The proxy {proxy.url}, which {proxy.variable} names, asks for a name and a "
            f"password, or for others than it was given. {proxy.remedy}"
        )
    if status == 401:
        return Unauthenticated(f"{said}: a token is asked for. Set SEAFLOOR_TOKEN.")
    if status == 403:
        return Forbidden(f"{said}: your token does not allow this.")
    if 300 <= status < 400:
        return NotSeafloor(f"{said}: {_elsewhere(url, path, headers.get('Location'))}")
    if status == 404 and (method == "HEAD" or not path.startswith(_NATIVE_PATHS)):
        return NotFound(f"{said}: is this the address of a Seafloor server?", field="url")
    if status == 413:
        return LimitExceeded(
            f"{said}: that is too large for what stands before the server. Raise the limit of "
            "that proxy (of nginx: client_max_body_size), and send it again."
        )
    return NotSeafloor(f"{said}, and not as a Seafloor server does. {_LOOK}")


def _failed(said: str, method: str, request_id: str | None) -> SeafloorError:
    if method == "HEAD" and request_id:  # of a server of ours, which has no body there to say more
        return StoreError(f"{said} (request {request_id}): its log says why.")
    return StoreUnavailable(
        f"{said}, and not as a Seafloor server does: a gateway before it failed, or another "
        f"program listens there. {_LOOK}"
    )


def _read_mlflow(content: bytes) -> _MlflowBody | None:
    try:
        return msgspec.json.decode(content, type=_MlflowBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _elsewhere(url: str, path: str, location: str | None) -> str:
    """Say where an answer sends on to, without what may be in that address for one reader only."""
    there = _address(url + path, location) if location else None
    if there is None or there.scheme not in {"http", "https"} or not there.hostname:
        return f"it is somewhere else now, and it is not said where. {_LOOK}"
    host = there.netloc.rpartition("@")[2]
    base = f"{there.scheme}://{host}{there.path.removesuffix(path)}".rstrip("/")
    if there.path.endswith(path) and base != url:
        return f"it is somewhere else now. Set SEAFLOOR_URL to {base}."
    return (
        f"it is somewhere else now, at {there.scheme}://{host}{there.path}. If that is a page for "
        f"logging in, a gateway lets only browsers through to the server. {_LOOK}"
    )


def _address(asked: str, location: str) -> urllib.parse.SplitResult | None:
    try:
        return urllib.parse.urlsplit(urllib.parse.urljoin(asked, location))
    except ValueError:
        return None


def not_understood(url: str, asked: tuple[str, str], content: bytes, why: str) -> StoreError:
    """Make an error of an answer of success that is not what was asked for.

    Args:
        url, asked, content: As for ``error_of_stranger``.
        why: What is wrong with it.
    """
    said = f"The answer of {url} to {' '.join(asked)} is not understood: is it a Seafloor server"
    if not content.lstrip().startswith((b"{", b"[")):
        return NotSeafloor(f"{said}? This is not JSON, but a page, say for logging in. {_LOOK}")
    return StoreCorrupt(f"{said}, and of this version? ({why})")


def retry_after_s(text: str | None) -> float | None:
    """Read a header ``Retry-After`` in seconds; None: there is none."""
    if text is None or not text.isascii() or not text.isdigit():
        return None
    return float(text)
