"""Errors at the edge: one table from code to status, one envelope."""

from __future__ import annotations

from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException
from litestar.openapi import ResponseSpec

from seafloor.domain.errors import OutOfOrder, SeafloorError
from seafloor.http.refusals import explain
from seafloor.wire.errors import ErrorBody

_log = structlog.get_logger(__name__)

STATUSES: dict[str, int] = {
    "caller": 400,
    "invalid_value": 400,
    "not_found": 404,
    "no_such_tag": 409,  # what the path names is there
    "already_exists": 409,
    "precondition_failed": 412,
    "conflict": 409,
    "in_use": 409,
    "out_of_order": 409,
    "closed": 409,
    "stale_lease": 409,
    "unauthenticated": 401,
    "forbidden": 403,
    "limit_exceeded": 413,
    "source": 422,
    "store": 500,
    "store_unavailable": 503,
    "store_full": 507,
    "store_corrupt": 500,
    "not_supported": 501,
    "cluster": 502,
    "cluster_unavailable": 503,
    "pod_rejected": 422,
    "internal": 500,
}
"""Every error code's status. ``docs/reference/errors.md`` says what to do about each."""

LEFT = 499
"""Of a request whose sender went away before it was whole: for the log and the meter alone."""

_HTTP_CODES = {
    400: "invalid_value",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "not_supported",
    413: "limit_exceeded",
}


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """The errors that are a route's own, for the OpenAPI document, which adds the common ones."""
    return {
        status: ResponseSpec(data_container=ErrorBody, description=DESCRIPTIONS[status])
        for status in statuses
    }


DESCRIPTIONS = {
    400: "A field has a value that cannot be accepted.",
    401: "The request carries no valid token.",
    403: "The token does not allow this.",
    404: "There is no such object.",
    409: "The name is taken, or the object's state does not allow this.",
    412: "It is not what `If-Match` or `If-None-Match` ask for; nothing was changed.",
    413: "Too large, too many or too long.",
    416: "The range asked for lies outside the content.",
    422: "Code or packages could not be had from where the user said.",
    501: "This version or backend cannot do that.",
    503: "A backend does not answer; repeat the request.",
    507: "No space is left; nothing was written.",
}


def respond(request: Request[Any, Any, Any], error: SeafloorError) -> Response[ErrorBody]:
    """Answer with the error's envelope and status."""
    status = STATUSES[error.code]
    log_failure(request, error, status)
    headers = retry_after(error)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = ErrorBody(
        code=error.code,
        message=error.message,
        field=error.field,
        request_id=request_id(request),
        next_offset=error.next_offset if isinstance(error, OutOfOrder) else None,
    )
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def retry_after(error: SeafloorError) -> dict[str, str]:
    """The header that says when to ask again; none where that would not help."""
    if not error.retryable and error.retry_after_s is None:
        return {}
    return {"Retry-After": str(max(1, round(error.retry_after_s or 1)))}


def log_failure(request: Request[Any, Any, Any], error: SeafloorError, status: int) -> None:
    """Log what an operator should know of a refusal; callers' own mistakes are not logged."""
    if status < 500 and not error.detail:
        return
    expected = status in (501, 503, 507) or status < 500
    _log.warning(
        "request failed",
        code=error.code,
        message=error.message,
        detail=error.detail,
        path=request.scope["path"],
        exc_info=None if expected else error,
    )


def respond_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorBody]:
    """Answer what the framework itself refuses (a wrong type, an unknown path) in our envelope."""
    status = status_of(error)
    if status >= 500:
        return respond_bug(request, error)
    message, field = (no_route(request), None) if status == 404 else explain(request, error)
    body = ErrorBody(
        code=_HTTP_CODES.get(status, "caller"),
        message=message,
        field=field,
        request_id=request_id(request),
    )
    found = error.headers or {}
    headers = {key.title(): value for key, value in found.items() if key.lower() == "allow"}
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def status_of(error: HTTPException) -> int:
    """The status of what the framework itself refuses; to it, who goes away is a bug of ours."""
    gone = "client disconnected prematurely"
    if isinstance(error, InternalServerException) and error.detail == gone:
        return LEFT
    return error.status_code


def no_route(request: Request[Any, Any, Any]) -> str:
    """Say that nothing is at this address."""
    return f"There is no {request.method} {request.scope['path'][:200]} here."


def respond_bug(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorBody]:
    """Answer a bug: the user sees an id, the log sees the rest."""
    message = bug_message(request, error)
    body = ErrorBody(code="internal", message=message, request_id=request_id(request))
    return Response(body, status_code=500, media_type="application/json")


def bug_message(request: Request[Any, Any, Any], error: Exception) -> str:
    """Log a bug and make the sentence by which the user can report it."""
    mark = request_id(request)
    _log.error("request met a bug", request_id=mark, path=request.scope["path"], exc_info=error)
    return f"Seafloor met an error of its own; the server's log has it under {mark}."


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id that the gate gave the request."""
    return str(request.state["request_id"])
