"""Which kind of MLflow's places a text names."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

from seafloor.domain.errors import SourceError
from seafloor.sdk.imports.mlflow.api import Credentials, MlflowApi
from seafloor.sdk.imports.mlflow.folder import FolderSource
from seafloor.sdk.imports.mlflow.rest import RestSource
from seafloor.sdk.imports.mlflow.sqlite import SqliteSource
from seafloor.sdk.imports.records import Source
from seafloor.sdk.imports.report import Report


def open_mlflow(
    place: str, *, artifacts: Path | None, credentials: Credentials, report: Report
) -> Source:
    """Open the URL of a server, an SQLite database, or an ``mlruns`` folder.

    Args:
        place: ``http://…``, ``sqlite:///…``, or a path.
        artifacts: The folder behind ``mlflow-artifacts:``, for what is no server.
        credentials: For a server; those in its URL count before them.
        report: Told of what has no place.

    Raises:
        SourceError: there is nothing there that can be read.
        StoreUnavailable: the server does not answer.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return _open_path(Path(place), artifacts, report)
    if scheme in {"http", "https"}:
        url, credentials = _split_credentials(place, credentials)
        return RestSource(MlflowApi(url, credentials), report)
    if scheme == "sqlite":
        return SqliteSource(Path(rest.removeprefix("/")), artifacts, report)
    if scheme == "file":
        return _open_path(Path(urllib.parse.unquote(rest)), artifacts, report)
    raise SourceError(
        f'"{scheme}://" cannot be read directly: start `mlflow server --backend-store-uri '
        f"{scheme}://…` and give its URL."
    )


def _open_path(path: Path, artifacts: Path | None, report: Report) -> Source:
    if path.is_dir():
        return FolderSource(path, artifacts, report)
    return SqliteSource(path, artifacts, report)


def _split_credentials(place: str, credentials: Credentials) -> tuple[str, Credentials]:
    parts = urllib.parse.urlsplit(place)
    if parts.username is not None:
        credentials = Credentials(
            urllib.parse.unquote(parts.username), urllib.parse.unquote(parts.password or "")
        )
    netloc = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit(
        (parts.scheme, netloc, parts.path.rstrip("/"), "", "")
    ), credentials
