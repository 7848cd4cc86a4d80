"""Every MLflow route, under ``/api``; the gate leads ``/ajax-api``, MLflow's pages' name, here."""

from __future__ import annotations

from litestar import Router, get

from seafloor.http.mlflow import (
    artifacts,
    assessments,
    datasets,
    experiment_search,
    experiments,
    metrics,
    model_search,
    model_tag,
    models,
    run_pages,
    runs,
    traces,
    workspaces,
)
from seafloor.http.mlflow.entities import Json
from seafloor.http.mlflow.workspaces import in_workspace
from seafloor.http.requests import AnyRequest, known
from seafloor.http.state import application_of


@get("/3.0/mlflow/server-info")
async def server_info(request: AnyRequest) -> Json:
    """What an MLflow client asks before its first upload: everything goes through this server."""
    return {
        "store_type": "SeafloorStore",
        "workspaces_enabled": application_of(request).identity.workspaces,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
        "artifact_serving_enabled": True,
        "presigned_upload_run_id_supported": False,
        "presigned_upload_model_id_supported": False,
        "model_artifact_presigned_downloads_supported": False,
        "artifacts_presigned_only": False,
    }


def mlflow_router() -> Router:
    """Make the router."""
    tracking = Router(
        path="/2.0/mlflow",
        route_handlers=[
            *experiments.ROUTES,
            *experiment_search.ROUTES,
            *datasets.ROUTES,
            *runs.ROUTES,
            *run_pages.ROUTES,
            *model_tag.ROUTES,
            *metrics.ROUTES,
            *models.ROUTES,
            *model_search.ROUTES,
            *traces.OLD_ROUTES,
        ],
        guards=[in_workspace],
    )
    tracing = Router(
        path="/3.0/mlflow",
        route_handlers=[*traces.ROUTES, *assessments.ROUTES],
        guards=[in_workspace],
    )
    places = Router(path="/3.0/mlflow", route_handlers=workspaces.ROUTES)
    files = Router(path="/2.0", route_handlers=artifacts.ROUTES, guards=[in_workspace])
    return Router(
        path="/api",
        route_handlers=[tracking, tracing, files, places, server_info],
        guards=[known],
        include_in_schema=False,
    )
