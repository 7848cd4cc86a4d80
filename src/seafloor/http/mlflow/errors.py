"""Errors in the words of MLflow's clients."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from seafloor.domain.errors import SeafloorError
from seafloor.http.errors import respond_bug

_CODES: dict[str, tuple[str, int]] = {
    "invalid_value": ("INVALID_PARAMETER_VALUE", 400),
    "limit_exceeded": ("INVALID_PARAMETER_VALUE", 400),
    "conflict": ("INVALID_PARAMETER_VALUE", 400),
    "closed": ("INVALID_PARAMETER_VALUE", 400),
    "already_exists": ("RESOURCE_ALREADY_EXISTS", 400),
    "not_found": ("RESOURCE_DOES_NOT_EXIST", 404),
    "unauthenticated": ("UNAUTHENTICATED", 401),
    "forbidden": ("PERMISSION_DENIED", 403),
    "not_supported": ("NOT_IMPLEMENTED", 501),
    "store_unavailable": ("TEMPORARILY_UNAVAILABLE", 503),
    "store_full": ("TEMPORARILY_UNAVAILABLE", 503),
}
_HTTP = {400: "BAD_REQUEST", 404: "ENDPOINT_NOT_FOUND", 405: "BAD_REQUEST", 413: "BAD_REQUEST"}


class MlflowError(msgspec.Struct, frozen=True):
    """What MLflow's clients read of an error."""

    error_code: str
    message: str


def respond(request: Request[Any, Any, Any], error: SeafloorError) -> Response[Any]:
    """Answer with MLflow's code and status."""
    found = _CODES.get(error.code)
    if found is None:
        return respond_bug(request, error)
    code, status = found
    headers = {"Retry-After": "1"} if error.retryable else {}
    return Response(
        MlflowError(code, error.message),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


def respond_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what the framework itself refuses."""
    code = _HTTP.get(error.status_code, "INTERNAL_ERROR")
    return Response(
        MlflowError(code, error.detail),
        status_code=error.status_code,
        media_type="application/json",
    )
