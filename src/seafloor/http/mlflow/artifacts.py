"""``/api/2.0/mlflow-artifacts/artifacts/…`` and ``/api/2.0/mlflow/artifacts/list``.

A client is told that a run's artifacts are at ``mlflow-artifacts:/<experiment>/<run>/artifacts``,
a logged model's at ``mlflow-artifacts:/<experiment>/models/<model>/artifacts`` and a trace's at
``mlflow-artifacts:/<experiment>/traces/<trace>/artifacts``; the paths here are what follows the
colon. The experiment in them is not looked at: ids are unique without it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from litestar import Response, delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from seafloor.domain.artifacts import ArtifactEntry
from seafloor.domain.errors import InvalidValue, NotFound, SeafloorError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.names import check_path
from seafloor.http.mlflow.entities import Json, artifact_root
from seafloor.http.mlflow.models import writable_model
from seafloor.http.mlflow.runs import active_run
from seafloor.http.mlflow.trace_access import check_trace_writes
from seafloor.http.mlflow.workspaces import (
    check_run,
    model_of,
    project_of,
    run_of,
    trace_of_id,
)
from seafloor.http.requests import AnyRequest, body_stream, range_of
from seafloor.http.routes.artifacts import announced_size, file_headers
from seafloor.http.state import application_of

_PATH = re.compile(
    r"(?P<experiment>[0-9]{1,18})/"
    r"(?:(?P<run>[0-9a-f]{32})|models/(?P<model>m-[0-9a-f]{32})|traces/tr-(?P<trace>[0-9a-f]{32}))"
    r"/artifacts(?:/(?P<rest>.+))?\Z",
    re.DOTALL,
)


def _owner_and_path(text: str) -> tuple[str, str]:
    """Read what a path names: whose artifacts, and which of them (``""``: all).

    Raises:
        InvalidValue: it leads elsewhere, be it after another decoding.
    """
    found = _PATH.match(text.removeprefix("/"))
    if found is None:
        raise InvalidValue("Invalid path", field="path")
    rest = found.group("rest") or ""
    for decoded in {rest, unquote(rest)} - {""}:
        try:
            check_path(decoded)
        except SeafloorError as error:
            raise InvalidValue("Invalid path", field="path") from error
    if found.group("trace"):
        return f"t-{found.group('trace')}", rest
    return found.group("run") or found.group("model"), rest


async def _check_owner(request: AnyRequest, owner: str) -> None:
    """Refuse what is of another workspace; NotFound."""
    if project_of(request) is None:
        return
    if owner.startswith("m-"):
        await model_of(request, owner)
    elif owner.startswith("t-"):
        await trace_of_id(request, _trace_of(owner))
    else:
        await check_run(request, WorkloadId(owner))


async def _check_writable(request: AnyRequest, owner: str) -> WorkloadId | None:
    """Refuse who may not write; give the run that a model's files go with."""
    if owner.startswith("m-"):
        return (await writable_model(request, owner)).source_run_id
    if owner.startswith("t-"):
        trace_id = _trace_of(owner)
        await application_of(request).traces.get(trace_id)
        await check_trace_writes(request, [trace_id])
    else:
        await active_run(request, owner)
    return None


def _entry(entry: ArtifactEntry, *, whole: bool) -> Json:
    path = entry.path if whole else entry.path.rsplit("/", 1)[-1]
    if entry.is_folder:
        return {"path": path, "is_dir": True}
    return {"path": path, "is_dir": False, "file_size": entry.size_bytes}


@get("/mlflow-artifacts/artifacts")
async def list_by_location(request: AnyRequest, path: FromQuery[str] = "") -> Json:
    owner, folder = _owner_and_path(path)
    await _check_owner(request, owner)
    entries = await application_of(request).stores.artifacts.children(owner, folder)
    return {"files": [_entry(entry, whole=False) for entry in entries]} if entries else {}


@get("/mlflow/artifacts/list")
async def list_by_run(
    request: AnyRequest,
    run_id: FromQuery[str] = "",
    run_uuid: FromQuery[str] = "",
    path: FromQuery[str] = "",
) -> Json:
    app = application_of(request)
    run = await run_of(request, run_id, run_uuid)
    experiment = await app.experiments.get(run.experiment_id or 0)
    if path:
        check_path(path)
    entries = await app.stores.artifacts.children(run.id, path)
    listing: Json = {"root_uri": f"{artifact_root(experiment)}/{run.id}/artifacts"}
    if entries:
        listing["files"] = [_entry(entry, whole=True) for entry in entries]
    return listing


@get("/mlflow/logged-models/{model_id:str}/artifacts/directories")
async def list_by_model(
    request: AnyRequest, model_id: FromPath[str], artifact_directory_path: FromQuery[str] = ""
) -> Json:
    app = application_of(request)
    model = await model_of(request, model_id)
    if model.deleted_ns is not None:
        raise NotFound(f"Logged model with ID '{model_id}' not found.")
    experiment = await app.experiments.get(model.experiment_id)
    if artifact_directory_path:
        check_path(artifact_directory_path)
    entries = await app.stores.artifacts.children(model.id, artifact_directory_path)
    listing: Json = {"root_uri": f"{artifact_root(experiment)}/models/{model.id}/artifacts"}
    if entries:
        listing["files"] = [_entry(entry, whole=True) for entry in entries]
    return listing


@get("/mlflow-artifacts/artifacts/{artifact_path:path}")
async def download(request: AnyRequest, artifact_path: FromPath[str]) -> Stream:
    app = application_of(request)
    owner, path = _owner_and_path(artifact_path)
    await _check_owner(request, owner)
    if not path:
        raise InvalidValue("The path names a folder: list it instead.", field="path")
    try:
        file = await app.stores.artifacts.head(owner, path)
    except NotFound:
        if await app.stores.artifacts.children(owner, path):
            raise InvalidValue(f"'{path}' is a folder: list it instead.", field="path") from None
        raise
    headers = file_headers(file)
    part = range_of(request, file.size_bytes, etag=headers["ETag"])
    return Stream(
        app.stores.artifacts.read(
            owner, path, start=part.start, length=part.length, sha256=file.sha256
        ),
        headers={**headers, **part.headers},
        status_code=part.status,
    )


@put("/mlflow-artifacts/artifacts/{artifact_path:path}", request_max_body_size=None)
async def upload(request: AnyRequest, artifact_path: FromPath[str]) -> Response[None]:
    owner, path = _owner_and_path(artifact_path)
    run_id = await _check_writable(request, owner)
    app = application_of(request)
    await app.stores.artifacts.put(
        owner, check_path(path), body_stream(request), size_bytes=announced_size(request)
    )
    if owner.startswith("t-"):
        await app.traces.check_kept(_trace_of(owner))
    elif not owner.startswith("m-"):
        await app.run_artifacts.check_kept(WorkloadId(owner))
    elif run_id is not None:
        await app.run_artifacts.check_model_kept(owner, run_id)
    return Response(None)


def _trace_of(owner: str) -> str:
    return f"tr-{owner.removeprefix('t-')}"


@delete("/mlflow-artifacts/artifacts/{artifact_path:path}", status_code=200)
async def remove(request: AnyRequest, artifact_path: FromPath[str]) -> Json:
    owner, path = _owner_and_path(artifact_path)
    await _check_writable(request, owner)
    artifacts = application_of(request).stores.artifacts
    if path:
        await artifacts.delete(owner, path)
    else:
        await artifacts.delete_all(owner)
    return {}


ROUTES: list[HTTPRouteHandler] = [
    list_by_location,
    list_by_run,
    list_by_model,
    download,
    upload,
    remove,
]
