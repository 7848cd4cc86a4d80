"""The ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import Litestar, Response, Router, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from seafloor.app.application import Application
from seafloor.domain.errors import InvalidValue, SeafloorError
from seafloor.http import errors
from seafloor.http.access_log import AccessLog
from seafloor.http.gate import Gate
from seafloor.http.meter import RequestMeter
from seafloor.http.mlflow import errors as mlflow_errors
from seafloor.http.mlflow import otlp
from seafloor.http.mlflow.batch_reader import BatchReader
from seafloor.http.mlflow.metric_path import MetricPath
from seafloor.http.mlflow.router import mlflow_router
from seafloor.http.openapi import make_document
from seafloor.http.page import page
from seafloor.http.requests import AnyRequest, NotModified, RangeOutside, known, no_nulls
from seafloor.http.routes import (
    artifacts,
    environments,
    experiments,
    logs,
    media,
    metric_batches,
    metrics,
    models,
    prometheus,
    runs,
    server,
    snapshots,
    tasks,
    traces,
    volumes,
)
from seafloor.http.state import application_of
from seafloor.http.views import Views
from seafloor.wire.errors import ErrorBody

BODY_BYTES_MAX = 64 * 1024 * 1024


_Error = TypeVar("_Error", bound=Exception)
_Answer = Callable[[AnyRequest, _Error], Response[Any]]


@get("/api/openapi.json", guards=[known], include_in_schema=False)
async def openapi_document(request: AnyRequest) -> Response[bytes]:
    """The description of the native API."""
    version = application_of(request).identity.version
    document = msgspec.json.encode(make_document(request.app, version=version))
    return Response(document, media_type="application/json")


def _not_modified(_: AnyRequest, error: NotModified) -> Response[None]:
    return Response(None, status_code=304, headers=error.headers)


def _range_outside(request: AnyRequest, error: RangeOutside) -> Response[ErrorBody]:
    body = ErrorBody(
        code="invalid_value",
        message=f"The range lies outside the {error.size_bytes} bytes that there are.",
        field="Range",
        request_id=errors.request_id(request),
    )
    headers = {"Content-Range": f"bytes */{error.size_bytes}"}
    return Response(body, status_code=416, headers=headers, media_type="application/json")


def _too_deep(request: AnyRequest, error: RecursionError) -> Response[Any]:
    """What is nested beyond the decoder's depth is the caller's; our own code does not recurse."""
    refused = InvalidValue("The request body is nested too deeply.")
    refused.__cause__ = error
    return _by_dialect(errors.respond, mlflow_errors.respond)(request, refused)


def _not_utf_8(request: AnyRequest, error: UnicodeDecodeError) -> Response[Any]:
    """A text in a body, of which the framework knows msgspec's errors alone."""
    if request.method in ("GET", "HEAD"):
        return _by_dialect(errors.respond_bug, mlflow_errors.respond_bug)(request, error)
    refused = InvalidValue("The request body is not JSON: it is not UTF-8.")
    refused.__cause__ = error
    return _by_dialect(errors.respond, mlflow_errors.respond)(request, refused)


def _by_dialect(native: _Answer[_Error], mlflow: _Answer[_Error]) -> _Answer[_Error]:
    """Answer MLflow's clients in their own words."""

    def answer(request: AnyRequest, error: _Error) -> Response[Any]:
        chosen = mlflow if mlflow_errors.speaks_mlflow(request.scope["path"]) else native
        return chosen(request, error)

    return answer


def create_asgi(
    application: Application,
    *,
    reader: BatchReader | None = None,
    access_log: AccessLog | None = None,
) -> Gate:
    """Make the ASGI application of the server.

    Args:
        reader: Reads large batches beside it; it is not closed with it.
        access_log: Gets a line for each request.
    """
    meter = RequestMeter()
    framework = create_framework(application)
    framework.state["meter"] = meter
    inner = metric_batches.BatchPath(MetricPath(framework, application, reader), application)
    identity = application.identity
    return Gate(
        inner,
        token=identity.token,
        url=identity.url,
        tokens=application.tokens,
        meter=meter,
        access_log=access_log,
    )


def create_framework(application: Application) -> Litestar:
    """Make the framework's application, to which the gate is the only entrance."""
    native = Router(
        path="/api/v1",
        guards=[known, no_nulls],
        route_handlers=[
            *server.ROUTES,
            *runs.ROUTES,
            *metrics.ROUTES,
            *media.ROUTES,
            *metric_batches.ROUTES,
            *logs.ROUTES,
            *tasks.ROUTES,
            *artifacts.ROUTES,
            *models.ROUTES,
            *traces.ROUTES,
            *experiments.ROUTES,
            *environments.ROUTES,
            *snapshots.ROUTES,
            *volumes.ROUTES,
        ],
    )
    identity = application.identity
    return Litestar(
        route_handlers=[
            native,
            mlflow_router(),
            *otlp.ROUTES,
            openapi_document,
            server.health,
            server.version,
            prometheus.metrics,
            page,
        ],
        openapi_config=None,
        state=State(
            {
                "application": application,
                "views": Views(identity.url, application.clock),
            }
        ),
        exception_handlers={
            SeafloorError: _by_dialect(errors.respond, mlflow_errors.respond),
            HTTPException: _by_dialect(errors.respond_http, mlflow_errors.respond_http),
            NotModified: _not_modified,
            RangeOutside: _range_outside,
            RecursionError: _too_deep,
            UnicodeDecodeError: _not_utf_8,
            Exception: _by_dialect(errors.respond_bug, mlflow_errors.respond_bug),
        },
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
    )
