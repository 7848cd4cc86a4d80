"""The ASGI application."""

from __future__ import annotations

from litestar import Litestar, Response, Router
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.types import ASGIApp

from seafloor.app.application import Application
from seafloor.domain.errors import SeafloorError
from seafloor.http import errors
from seafloor.http.gate import Gate
from seafloor.http.mlflow.router import mlflow_router
from seafloor.http.page import page
from seafloor.http.requests import AnyRequest, RangeOutside
from seafloor.http.routes import (
    artifacts,
    environments,
    experiments,
    logs,
    metrics,
    runs,
    server,
    snapshots,
    tasks,
)
from seafloor.http.views import Views

BODY_BYTES_MAX = 64 * 1024 * 1024


def _range_outside(_: AnyRequest, error: RangeOutside) -> Response[None]:
    headers = {"Content-Range": f"bytes */{error.size_bytes}"}
    return Response(None, status_code=416, headers=headers)


def create_asgi(application: Application) -> ASGIApp:
    """Make the ASGI application of the server."""
    native = Router(
        path="/api/v1",
        route_handlers=[
            *runs.ROUTES,
            *metrics.ROUTES,
            *logs.ROUTES,
            *tasks.ROUTES,
            *artifacts.ROUTES,
            *experiments.ROUTES,
            *environments.ROUTES,
            *snapshots.ROUTES,
        ],
    )
    inner = Litestar(
        route_handlers=[native, mlflow_router(), *server.ROUTES, page],
        openapi_config=OpenAPIConfig(
            title="Seafloor",
            version=application.identity.version,
            path="/api",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        state=State(
            {
                "application": application,
                "views": Views(application.identity.url, application.clock),
            }
        ),
        exception_handlers={
            SeafloorError: errors.respond,
            HTTPException: errors.respond_http,
            RangeOutside: _range_outside,
            Exception: errors.respond_bug,
        },
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,
    )
    return Gate(inner, token=application.identity.token, tokens=application.tokens)
