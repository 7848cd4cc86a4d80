"""What handlers ask of a request: who it is from, its body as a stream, its range."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

from seafloor.app.application import Application
from seafloor.app.tokens import Administrator, Principal
from seafloor.domain.artifacts import FileCondition
from seafloor.domain.errors import (
    Forbidden,
    InvalidValue,
    LimitExceeded,
    PreconditionFailed,
    Unauthenticated,
)
from seafloor.domain.ids import WorkloadId

AnyRequest = Request[Any, Any, Any]
_T = TypeVar("_T")

# Twenty digits are more than any size; a longer number is no range, and the whole is sent.
_RANGE = re.compile(r"bytes=([0-9]{0,20})-([0-9]{0,20})\Z")
_OWN_ETAG = re.compile(r'"([0-9a-f]{64})"\Z')
APPEND_BYTES_MAX = 8 * 1024 * 1024


def principal_of(request: AnyRequest) -> Principal:
    """Who asks, as the gate found out.

    Raises:
        Unauthenticated: nobody that is known.
    """
    found: Principal | None = request.state.get("principal")
    if found is None:
        raise Unauthenticated("This server asks for a token.")
    return found


def known(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard of every route that holds something of somebody: whoever asks is known.

    The gate refuses strangers before; this holds whatever path a request came by.

    Raises:
        Unauthenticated: nobody that is known.
    """
    if connection.state.get("principal") is None:
        raise Unauthenticated("This server asks for a token.")


def no_nulls(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard against ``?attempt=null``, which the framework would read as not given at all.

    Raises:
        InvalidValue: a number or a choice is given as ``null``.
    """
    if b"null" not in connection.scope["query_string"]:
        return
    for field in handler.parsed_fn_signature.parameters.values():
        said = field.kwarg_definition
        name = str((said.name if isinstance(said, ParameterKwarg) else None) or field.name)
        takes_null = field.is_optional and not field.has_inner_subclass_of(str)
        if takes_null and "null" in connection.query_params.getall(name, []):
            raise InvalidValue(f"`{name}` cannot be null: leave it out.", field=name)


def check_administrator(request: AnyRequest) -> None:
    """Refuse the tokens of tasks.

    Raises:
        Forbidden: a task asks.
    """
    if not isinstance(principal_of(request), Administrator):
        raise Forbidden("A task's token may not do this.")


async def check_write(request: AnyRequest, app: Application, workload_id: WorkloadId) -> None:
    """Refuse to let a task write to another's workload; see ``Tokens.check_write``."""
    await app.tokens.check_write(principal_of(request), workload_id)


async def body_stream(request: AnyRequest) -> AsyncIterator[bytes]:
    """The body, piece by piece."""
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def body_bytes(request: AnyRequest, *, size_bytes_max: int = APPEND_BYTES_MAX) -> bytes:
    """The whole body, bounded.

    Raises:
        LimitExceeded: it is larger.
    """
    parts: list[bytes] = []
    size_bytes = 0
    async for chunk in body_stream(request):
        size_bytes += len(chunk)
        if size_bytes > size_bytes_max:
            raise LimitExceeded(f"The body is over {size_bytes_max} bytes: send less at once.")
        parts.append(chunk)
    return b"".join(parts)


class ByteRange:
    """A range of bytes that was asked for.

    Args:
        start: First byte.
        length: How many.
        size_bytes: Of the whole.
        partial: Whether a range was asked for at all (else it is the whole).
    """

    def __init__(self, start: int, length: int, *, size_bytes: int, partial: bool) -> None:
        self.start = start
        self.length = length
        self.size_bytes = size_bytes
        self.partial = partial

    @property
    def headers(self) -> dict[str, str]:
        """Content-Length, and Content-Range for a part."""
        made = {"Content-Length": str(self.length), "Accept-Ranges": "bytes"}
        if self.partial:
            end = self.start + self.length - 1
            made["Content-Range"] = f"bytes {self.start}-{end}/{self.size_bytes}"
        return made

    @property
    def status(self) -> int:
        """206 for a part, 200 for the whole."""
        return 206 if self.partial else 200


class NotModified(Exception):
    """Whoever asks has the content already; the answer is 304, with these headers."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(headers["ETag"])
        self.headers = headers


def file_condition(request: AnyRequest) -> FileCondition | None:
    """Read what If-Match and If-None-Match ask of the file that is to be replaced or deleted.

    Returns:
        None: nothing.
    """
    match = request.headers.getall("if-match", [])
    none = _known_etags(request)
    if not match and not none:
        return None
    # A weak tag is of no use for the first (RFC 9110, 13.1.1): it is compared, and is no digest.
    return FileCondition(
        any_of=_digests(",".join(match)) if match else None,
        none_of=_digests(none.replace("W/", "")),
    )


def _digests(etags: str) -> frozenset[str]:
    """What stands in a list of ETags; one that is not of ours is of no file."""
    return frozenset(
        found.group(1) if (found := _OWN_ETAG.match(one.strip())) else one.strip()
        for one in etags.split(",")
    )


def check_conditions(request: AnyRequest, headers: dict[str, str]) -> None:
    """Compare the content that is asked for with If-Match, and with If-None-Match.

    Args:
        headers: Of the content; its ETag among them.

    Raises:
        PreconditionFailed: it is none of those that If-Match names: who reads a file in parts asks
            so that no two of them are of different files.
        NotModified: it is one that If-None-Match says is there already.
    """
    match = request.headers.getall("if-match", [])
    wanted = {one.strip() for one in ",".join(match).split(",")}
    if match and headers["ETag"] not in wanted and "*" not in wanted:
        raise PreconditionFailed(
            f"What is there has the ETag {headers['ETag']}, and If-Match asks for another: read "
            "it again from its beginning.",
            field="If-Match",
        )
    known = {one.strip().removeprefix("W/") for one in _known_etags(request).split(",")}
    if headers["ETag"] in known or "*" in known:
        told = ("ETag", "X-Content-SHA256", "Cache-Control")
        raise NotModified({name: headers[name] for name in told if name in headers})


def _known_etags(request: AnyRequest) -> str:
    """All If-None-Match there are: a header may stand in several lines."""
    return ",".join(request.headers.getall("if-none-match", []))


class RangeOutside(Exception):
    """The range asked for lies outside the content; the answer is 416."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"bytes */{size_bytes}")
        self.size_bytes = size_bytes


def range_of(request: AnyRequest, size_bytes: int, *, etag: str | None = None) -> ByteRange:
    """Read the Range header; several ranges at once are answered with the whole.

    So is a range of another content than there is: who goes on with a download that broke off
    says in If-Range whose beginning he has, and would join it to the end of what replaced it.

    Args:
        etag: Of the content, as it is told; None: it has none, and no If-Range is of it.

    Raises:
        RangeOutside: the range begins past the end.
    """
    header = request.headers.get("range", "")
    found = _RANGE.match(header.strip())
    begun = request.headers.get("if-range")
    is_other = begun is not None and begun.strip() != etag
    if found is None or found.group(0) == "bytes=-" or is_other:
        return ByteRange(0, size_bytes, size_bytes=size_bytes, partial=False)
    first, last = found.groups()
    if not first:
        length = min(int(last), size_bytes)
        if length == 0:
            raise RangeOutside(size_bytes)
        return ByteRange(size_bytes - length, length, size_bytes=size_bytes, partial=True)
    start = int(first)
    end = min(int(last), size_bytes - 1) if last else size_bytes - 1
    if start >= size_bytes or end < start:
        raise RangeOutside(size_bytes)
    return ByteRange(start, end - start + 1, size_bytes=size_bytes, partial=True)


def check_limit(limit: int, *, limit_max: int) -> int:
    """Check a page's size.

    Raises:
        InvalidValue: it is not in 1..limit_max.
    """
    if not 1 <= limit <= limit_max:
        raise InvalidValue(f"limit must be 1..{limit_max}.", field="limit")
    return limit
