"""Artifacts and tf.events files of runs: ``/api/v1/runs/{run}/artifacts``."""

from __future__ import annotations

import mimetypes
from typing import Annotated, Any
from urllib.parse import quote

from litestar import Response, delete, get, head, put
from litestar.params import FromPath, FromQuery, PathParameter, QueryParameter
from litestar.response import Stream

from seafloor.domain.artifacts import ArtifactFile
from seafloor.domain.errors import InvalidValue, NotFound
from seafloor.domain.ids import parse_sha256
from seafloor.domain.names import check_path
from seafloor.http.errors import documented
from seafloor.http.requests import (
    AnyRequest,
    body_stream,
    check_conditions,
    check_limit,
    check_write,
    file_condition,
    range_of,
)
from seafloor.http.state import application_of
from seafloor.http.streams import begun
from seafloor.stores.events.protocol import EventFileKey
from seafloor.wire.artifacts import (
    ArtifactDeleted,
    ArtifactFiles,
    ArtifactFolder,
    EventFileList,
    EventFileView,
)

PAGE_MAX = 1000
_ARTIFACT = "/runs/{run_id:str}/artifacts/{artifact_path:path}"
RANGE = {
    "Range": "`bytes=<first>-<last>`, one range; several are answered with the whole.",
    "If-Range": "The ETag of what the range is of; when it was replaced, all of the new is sent.",
}
KNOWN = {
    "If-Match": "ETags; what has none of them is not sent (412), with `*` whatever is there is.",
    "If-None-Match": "ETags of what is there already; the same is not sent again (304).",
}
_DIGEST = {"X-Content-SHA256": "The sha256 of the body, 64 hex digits; other bytes are refused."}
_ONLY_IF = {
    "If-Match": "ETags; the file is put only in place of one of them, with `*` of any (else 412).",
    "If-None-Match": "ETags that the file there may not have; `*`: only where there is none (412).",
}
_DELETE_ONLY_IF = {
    "If-Match": "ETags; the file is deleted only if it has one of them (else 412).",
    "If-None-Match": "ETags that the file may not have (412).",
}
_SHOWN_INLINE = ("image/png", "image/jpeg", "image/gif", "image/webp", "text/plain")


@get("/runs/{run_id:str}/artifacts", responses=documented(404), summary="List artifacts")
async def list_artifacts(
    request: AnyRequest,
    run_id: FromPath[str],
    folder: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = PAGE_MAX,
    cursor: FromQuery[str | None] = None,
    *,
    recursive: FromQuery[bool] = False,
) -> ArtifactFolder | ArtifactFiles:
    """What is directly below a folder, or with ``recursive`` all files below; both are paged.

    A folder stands where its files do: after ``a-b`` and ``a.b`` if it is called ``a``.
    """
    app = application_of(request)
    workload_id = (await app.runs.get(await app.runs.find(run_id))).id
    if folder:
        check_path(folder, field="folder")
    check_limit(limit, limit_max=PAGE_MAX)
    if cursor is not None and "\0" in cursor:  # nothing is called that, and PostgreSQL refuses it
        raise InvalidValue("The cursor is not one: pass `next` of the page before.", field="cursor")
    if not recursive:
        entries = await app.run_artifacts.children(workload_id, folder, limit=limit, after=cursor)
        end = entries[-1].place if len(entries) == limit else None
        return ArtifactFolder(folder, entries, end)
    files = await app.run_artifacts.list(workload_id, folder, limit=limit, after=cursor)
    return ArtifactFiles(folder, files, files[-1].path if len(files) == limit else None)


def content_headers(path: str) -> dict[str, str]:
    """Type and disposition of a file: what a browser could run is never shown as itself."""
    guessed = mimetypes.guess_type(path)[0] or "application/octet-stream"
    name = path.rsplit("/", 1)[-1]
    how = "inline" if guessed in _SHOWN_INLINE else "attachment"
    return {
        "Content-Type": guessed,
        "Content-Disposition": f"{how}; filename*=UTF-8''{quote(name)}",
        "X-Content-Type-Options": "nosniff",
    }


def file_headers(file: ArtifactFile) -> dict[str, str]:
    """Headers of a kept file."""
    return {
        **content_headers(file.path),
        "ETag": f'"{file.sha256}"',
        "X-Content-SHA256": file.sha256,
    }


@get(
    _ARTIFACT,
    responses=documented(404, 412, 413, 416),
    summary="Download an artifact",
    media_type="*/*",
    opt={"headers": RANGE | KNOWN, "may_be_elsewhere": True},
)
async def get_artifact(
    request: AnyRequest,
    run_id: FromPath[str],
    artifact_path: FromPath[str],
    *,
    direct: FromQuery[bool] = False,
) -> Stream:
    """The bytes of a file, or a range of them.

    With ``direct`` a large file may be answered with 307 to where it lies in the object store, good
    for an hour; whoever goes there compares the bytes with ``X-Content-SHA256`` of this answer.
    """
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    path = check_path(artifact_path.removeprefix("/"))
    file = await app.run_artifacts.head(workload_id, path)
    headers = file_headers(file)
    check_conditions(request, headers)
    url = await app.run_artifacts.read_url(workload_id, file) if direct else None
    if url is not None:
        told = {name: headers[name] for name in ("ETag", "X-Content-SHA256")}
        location = {"Location": url, "Cache-Control": "no-store"}
        return Stream(iter((b"",)), headers={**told, **location}, status_code=307)
    part = range_of(request, file.size_bytes, etag=headers["ETag"])
    return Stream(
        await begun(
            app.run_artifacts.read(workload_id, file, start=part.start, length=part.length)
        ),
        headers={**headers, **part.headers},
        status_code=part.status,
    )


@head(
    _ARTIFACT,
    responses=documented(404, 412, 413),
    summary="Describe an artifact",
    opt={"headers": KNOWN},
)
async def head_artifact(
    request: AnyRequest, run_id: FromPath[str], artifact_path: FromPath[str]
) -> Response[None]:
    """Size, type and digest of a file."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    file = await app.run_artifacts.head(workload_id, check_path(artifact_path.removeprefix("/")))
    whole = {"Content-Length": str(file.size_bytes), "Accept-Ranges": "bytes"}
    headers = {**file_headers(file), **whole}
    check_conditions(request, headers)
    return Response(None, headers=headers)


@put(
    _ARTIFACT,
    responses=documented(404, 409, 412, 413, 507),
    summary="Upload an artifact",
    request_max_body_size=None,
    opt={"takes_bytes": True, "headers": _DIGEST | _ONLY_IF},
)
async def put_artifact(
    request: AnyRequest, run_id: FromPath[str], artifact_path: FromPath[str]
) -> ArtifactFile:
    """Keep a file; the digest and size announced are checked; visible whole or not at all.

    ``If-Match`` and ``If-None-Match`` are compared with the file that is there at the moment at
    which this one becomes visible: of several who send the same condition at once, one puts his.
    """
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    await app.runs.check_active(workload_id)
    announced = request.headers.get("x-content-sha256")
    kept = await app.run_artifacts.put(
        workload_id,
        check_path(artifact_path.removeprefix("/")),
        body_stream(request),
        sha256=None if announced is None else parse_sha256(announced, field="X-Content-SHA256"),
        size_bytes=announced_size(request),
        only_if=file_condition(request),
    )
    await app.run_artifacts.check_kept(workload_id)
    return kept


def announced_size(request: AnyRequest) -> int | None:
    """The Content-Length, if any.

    Raises:
        InvalidValue: it is not a number; or the body is a part only, which would replace the whole,
            or is encoded: its coding would be forgotten, and whoever reads it would take it for
            the file.
    """
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"}:
        raise InvalidValue(
            "A file is kept byte for byte: send it without Content-Encoding, or, if it is to be "
            f'compressed, under a name that says so ("{coding[:20]}").',
            field="Content-Encoding",
        )
    if "content-range" in request.headers:
        raise InvalidValue(
            "A file is put whole: send it without Content-Range.", field="Content-Range"
        )
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise InvalidValue("Content-Length must be a number.", field="Content-Length")
    return int(text)


@delete(
    _ARTIFACT,
    responses=documented(404, 409, 412, 413),
    status_code=200,
    summary="Delete an artifact",
    opt={"headers": _DELETE_ONLY_IF},
)
async def delete_artifact(
    request: AnyRequest, run_id: FromPath[str], artifact_path: FromPath[str]
) -> ArtifactDeleted:
    """Delete a file, or a folder with all files below.

    ``If-Match`` and ``If-None-Match`` are compared as for an upload; a folder has no ETag.
    """
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    await app.runs.check_active(workload_id)
    path = check_path(artifact_path.removeprefix("/"))
    deleted = await app.stores.artifacts.delete(workload_id, path, only_if=file_condition(request))
    if not deleted:
        raise NotFound(f'The run has no artifact "{path}".', field="path")
    return ArtifactDeleted(deleted)


@get("/runs/{run_id:str}/event-files", responses=documented(404), summary="List tf.events files")
async def list_event_files(request: AnyRequest, run_id: FromPath[str]) -> EventFileList:
    """The tf.events files of a run, and how far each was decoded."""
    app = application_of(request)
    workload_id = (await app.runs.get(await app.runs.find(run_id))).id
    files = await app.stores.event_files.list(workload_id)
    return EventFileList(
        tuple(
            EventFileView(
                path=file.path,
                attempt=file.attempt,
                size_bytes=file.size_bytes,
                records=file.records,
                scalars=file.scalars,
                problem=file.problem,
            )
            for file in files
        )
    )


@get(
    "/runs/{run_id:str}/event-files/{attempt:int}/{file_path:path}",
    responses=documented(404, 413, 416),
    summary="Download a tf.events file",
    media_type="*/*",
    opt={"headers": RANGE},
)
async def get_event_file(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: Annotated[int, PathParameter(ge=0, le=2**31 - 1)],
    file_path: FromPath[str],
) -> Stream:
    """The bytes of a tf.events file, or a range of them."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    path = check_path(file_path.removeprefix("/"))
    files: list[Any] = [
        file
        for file in await app.stores.event_files.list(workload_id)
        if file.attempt == attempt and file.path == path
    ]
    if not files:
        raise NotFound(f'Attempt {attempt} has no tf.events file "{path}".', field="path")
    part = range_of(request, files[0].size_bytes)
    key = EventFileKey(workload_id, attempt, path)
    return Stream(
        await begun(app.stores.event_files.read(key, start=part.start, length=part.length)),
        headers={**content_headers(path), **part.headers},
        status_code=part.status,
    )


ROUTES = [
    list_artifacts,
    get_artifact,
    head_artifact,
    put_artifact,
    delete_artifact,
    list_event_files,
    get_event_file,
]
