"""``X-MLFLOW-WORKSPACE``: the only workspace of MLflow's routes is the project ``default``."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from seafloor.domain.errors import NotFound
from seafloor.domain.experiments import DEFAULT_PROJECT

_NAME_CHARS_MAX = 64


def in_default(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard against writing to ``default`` what was meant for elsewhere.

    Raises:
        NotFound: another workspace is named.
    """
    name = connection.headers.get("x-mlflow-workspace", "").strip()
    if name not in ("", DEFAULT_PROJECT):
        raise NotFound(
            f"Workspace '{name[:_NAME_CHARS_MAX]}' not found: MLflow's clients work in "
            f"'{DEFAULT_PROJECT}' on this server.",
            field="x-mlflow-workspace",
        )
