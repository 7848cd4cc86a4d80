"""``/api/2.0/mlflow-artifacts/artifacts/…`` and ``/api/2.0/mlflow/artifacts/list``.

A client is told that a run's artifacts are at ``mlflow-artifacts:/<experiment>/<run>/artifacts``,
a logged model's at ``mlflow-artifacts:/<experiment>/models/<model>/artifacts`` and a trace's at
``mlflow-artifacts:/<experiment>/traces/<trace>/artifacts``; the paths here are what follows the
colon. The experiment in them is not looked at: ids are unique without it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import unquote

import msgspec
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
from seafloor.http.requests import (
    AnyRequest,
    body_stream,
    check_conditions,
    file_condition,
    range_of,
)
from seafloor.http.routes.artifacts import announced_size, file_headers
from seafloor.http.state import application_of
from seafloor.http.streams import begun

_LISTED_AT_ONCE = 1000

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


async def _listing(
    request: AnyRequest, owner: str, folder: str, *, root_uri: str | None = None
) -> Stream:
    """Answer with all that is directly below a folder, however much, a page of it in memory.

    MLflow's server gives a folder whole, and no client of it asks for a second page.

    Args:
        root_uri: Told beside the files, whose paths are then whole; None: names only.
    """
    artifacts = application_of(request).stores.artifacts
    first = await artifacts.children(owner, folder, limit=_LISTED_AT_ONCE)

    root = b"" if root_uri is None else b'"root_uri":' + msgspec.json.encode(root_uri)

    async def pieces() -> AsyncIterator[bytes]:
        page = first
        yield b"{" + root
        before = (b"," if root else b"") + b'"files":['
        while page:
            lines = [msgspec.json.encode(_entry(one, whole=bool(root))) for one in page]
            yield before + b",".join(lines)
            before = b","
            if len(page) < _LISTED_AT_ONCE:
                break
            after = page[-1].place
            page = await artifacts.children(owner, folder, limit=_LISTED_AT_ONCE, after=after)
        yield b"]}" if first else b"}"

    return Stream(pieces(), media_type="application/json")


@get("/mlflow-artifacts/artifacts")
async def list_by_location(request: AnyRequest, path: FromQuery[str] = "") -> Stream:
    owner, folder = _owner_and_path(path)
    await _check_owner(request, owner)
    return await _listing(request, owner, folder)


@get("/mlflow/artifacts/list")
async def list_by_run(
    request: AnyRequest,
    run_id: FromQuery[str] = "",
    run_uuid: FromQuery[str] = "",
    path: FromQuery[str] = "",
) -> Stream:
    app = application_of(request)
    run = await run_of(request, run_id, run_uuid)
    experiment = await app.experiments.get(run.experiment_id or 0)
    if path:
        check_path(path)
    root_uri = f"{artifact_root(experiment)}/{run.id}/artifacts"
    return await _listing(request, run.id, path, root_uri=root_uri)


@get("/mlflow/logged-models/{model_id:str}/artifacts/directories")
async def list_by_model(
    request: AnyRequest, model_id: FromPath[str], artifact_directory_path: FromQuery[str] = ""
) -> Stream:
    app = application_of(request)
    model = await model_of(request, model_id)
    if model.deleted_ns is not None:
        raise NotFound(f"Logged model with ID '{model_id}' not found.")
    experiment = await app.experiments.get(model.experiment_id)
    if artifact_directory_path:
        check_path(artifact_directory_path)
    root_uri = f"{artifact_root(experiment)}/models/{model.id}/artifacts"
    return await _listing(request, model.id, artifact_directory_path, root_uri=root_uri)


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
        if await app.stores.artifacts.children(owner, path, limit=1):
            raise InvalidValue(f"'{path}' is a folder: list it instead.", field="path") from None
        raise
    headers = file_headers(file)
    check_conditions(request, headers)
    part = range_of(request, file.size_bytes, etag=headers["ETag"])
    return Stream(
        await begun(
            app.stores.artifacts.read(
                owner, path, start=part.start, length=part.length, sha256=file.sha256
            )
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
        owner,
        check_path(path),
        body_stream(request),
        size_bytes=announced_size(request),
        only_if=file_condition(request),
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
        await artifacts.delete(owner, path, only_if=file_condition(request))
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
