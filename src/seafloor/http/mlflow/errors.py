"""Errors in the words of MLflow's clients."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from seafloor.domain.errors import SeafloorError
from seafloor.http.errors import bug_message, log_failure, no_route, retry_after, status_of
from seafloor.http.mlflow import words
from seafloor.http.refusals import explain

_log = structlog.get_logger(__name__)

_PATHS = ("/api/2.0/", "/api/3.0/", "/v1/traces")

CODES: dict[str, tuple[str, int]] = {
    "caller": ("BAD_REQUEST", 400),
    "invalid_value": ("INVALID_PARAMETER_VALUE", 400),
    "limit_exceeded": ("INVALID_PARAMETER_VALUE", 400),
    "conflict": ("INVALID_PARAMETER_VALUE", 400),
    "out_of_order": ("INVALID_PARAMETER_VALUE", 400),
    "closed": ("INVALID_PARAMETER_VALUE", 400),
    "stale_lease": ("INVALID_PARAMETER_VALUE", 400),
    # MLflow's status is 500, which its clients repeat for minutes.
    "in_use": ("INVALID_STATE", 400),
    "precondition_failed": ("INVALID_STATE", 412),
    "already_exists": ("RESOURCE_ALREADY_EXISTS", 400),
    "source": ("INVALID_PARAMETER_VALUE", 400),
    "unauthenticated": ("UNAUTHENTICATED", 401),
    "forbidden": ("PERMISSION_DENIED", 403),
    "not_found": ("RESOURCE_DOES_NOT_EXIST", 404),
    "no_such_tag": ("RESOURCE_DOES_NOT_EXIST", 404),
    "pod_rejected": ("INVALID_PARAMETER_VALUE", 400),
    "store": ("INTERNAL_ERROR", 500),
    "store_corrupt": ("DATA_LOSS", 500),
    "cluster": ("INTERNAL_ERROR", 500),
    "internal": ("INTERNAL_ERROR", 500),
    "not_supported": ("NOT_IMPLEMENTED", 501),
    # Clients repeat these for minutes, and a disk may be emptied meanwhile.
    "store_unavailable": ("TEMPORARILY_UNAVAILABLE", 503),
    "store_full": ("TEMPORARILY_UNAVAILABLE", 503),
    "cluster_unavailable": ("TEMPORARILY_UNAVAILABLE", 503),
}
"""Every error code's name and status in MLflow's API."""

_HTTP = {400: "INVALID_PARAMETER_VALUE", 404: "ENDPOINT_NOT_FOUND"}


class MlflowError(msgspec.Struct, frozen=True):
    """What MLflow's clients read of an error."""

    error_code: str
    message: str


def speaks_mlflow(path: str) -> bool:
    """Say whether the one who asks for this path is an MLflow client."""
    return path.startswith(_PATHS)


def envelope(error: SeafloorError) -> tuple[MlflowError, int]:
    """An error's body and status."""
    name, status = CODES[error.code]
    return MlflowError(name, error.message), status


def respond(request: Request[Any, Any, Any], error: SeafloorError) -> Response[Any]:
    """Answer with MLflow's code and status."""
    body, status = envelope(error)
    log_failure(request, error, status)
    headers = retry_after(error)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def respond_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what the framework itself refuses."""
    status = status_of(error)
    if status >= 500:
        return respond_bug(request, error)
    message = no_route(request) if status == 404 else _explained(request, error)
    return Response(
        MlflowError(_HTTP.get(status, "BAD_REQUEST"), message),
        status_code=status,
        media_type="application/json",
    )


def _explained(request: Request[Any, Any, Any], error: HTTPException) -> str:
    text, field = explain(request, error)
    return words.missing(field).message if field and text.endswith("is missing.") else text


def respond_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer a bug: the user sees an id, the log sees the rest."""
    body = MlflowError("INTERNAL_ERROR", bug_message(request, error))
    return Response(body, status_code=500, media_type="application/json")
