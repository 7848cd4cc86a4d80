"""Histograms, images, tables, texts and audio of runs: ``/api/v1/runs/{run}/media``."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream

from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import WorkloadId
from seafloor.domain.media import MediaKind, parse_blob_name
from seafloor.domain.metrics import STEP_MAX, STEP_MIN
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, body_stream, check_conditions, check_write, range_of
from seafloor.http.routes.artifacts import KNOWN, RANGE, announced_size
from seafloor.http.state import application_of
from seafloor.http.streams import begun
from seafloor.stores.media.pages import MEDIA_PAGE_MAX
from seafloor.stores.media.protocol import MediaQuery
from seafloor.wire.media import BlobStored, MediaAppend, MediaAppended, MediaKeys, MediaList

_BLOB = "/runs/{run_id:str}/media/blobs/{blob:str}"
_NEVER_INLINE = ("svg", "json")
Step = Annotated[int | None, QueryParameter(ge=STEP_MIN, le=STEP_MAX)]
Limit = Annotated[int, QueryParameter(ge=1, le=MEDIA_PAGE_MAX)]


async def _found(request: AnyRequest, run_id: str) -> WorkloadId:
    app = application_of(request)
    return (await app.runs.get(await app.runs.find(run_id))).id


@post(
    "/runs/{run_id:str}/media",
    responses=documented(404, 409, 413, 507),
    status_code=200,
    summary="Append media records",
)
async def append_media(
    request: AnyRequest, run_id: FromPath[str], data: JSONBody[MediaAppend]
) -> MediaAppended:
    """Append records of any keys, all or none; durable when it answers; a repeat is harmless."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    receipt = await app.stores.media.append(workload_id, data.records)
    return MediaAppended(receipt.records_written, receipt.records_repeated)


@get("/runs/{run_id:str}/media/keys", responses=documented(404), summary="List media keys")
async def list_media_keys(
    request: AnyRequest,
    run_id: FromPath[str],
    limit: Limit = 100,
    cursor: FromQuery[str | None] = None,
) -> MediaKeys:
    """Every key and kind with its count of records and its first and last step, paged."""
    app = application_of(request)
    workload_id = await _found(request, run_id)
    page = await app.stores.media.series(workload_id, limit=limit, cursor=cursor)
    return MediaKeys(page.series, page.next)


@get("/runs/{run_id:str}/media", responses=documented(404), summary="List media records")
async def list_media(
    request: AnyRequest,
    run_id: FromPath[str],
    key: FromQuery[str],
    kind: FromQuery[MediaKind | None] = None,
    step_min: Step = None,
    step_max: Step = None,
    order: FromQuery[Literal["asc", "desc"]] = "asc",
    limit: Limit = 100,
    cursor: FromQuery[str | None] = None,
) -> MediaList:
    """The records of a key in order of step, time and place, or against it, paged."""
    app = application_of(request)
    workload_id = await _found(request, run_id)
    if step_min is not None and step_max is not None and step_min > step_max:
        raise InvalidValue("step_min is above step_max.", field="step_min")
    query = MediaQuery(
        *(key, kind, step_min, step_max), limit=limit, cursor=cursor, backwards=order == "desc"
    )
    page = await app.stores.media.records(workload_id, query)
    return MediaList(key, page.records, page.next)


@put(
    _BLOB,
    responses=documented(404, 409, 413, 507),
    summary="Upload a blob of media",
    request_max_body_size=None,
    opt={"takes_bytes": True},
)
async def put_media_blob(
    request: AnyRequest, run_id: FromPath[str], blob: FromPath[str]
) -> BlobStored:
    """Keep bytes under their sha256; others are refused; visible whole or not at all."""
    app = application_of(request)
    name = parse_blob_name(blob)
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    body = body_stream(request)
    kept, created = await app.stores.media.blob_put(
        workload_id, name, body, size_bytes=announced_size(request)
    )
    async for _ in body:
        pass  # of a blob that was there; one who still sends would not hear the answer
    return BlobStored(kept.sha256, kept.format, kept.size_bytes, created)


@get(
    _BLOB,
    responses=documented(404, 412, 413, 416),
    summary="Download a blob of media",
    media_type="*/*",
    opt={"headers": RANGE | KNOWN},
)
async def get_media_blob(request: AnyRequest, run_id: FromPath[str], blob: FromPath[str]) -> Stream:
    """The bytes of a blob, or a range of them. They never change, so they may be kept for good."""
    app = application_of(request)
    name = parse_blob_name(blob)
    workload_id = await app.runs.find(run_id)
    kept = await app.stores.media.blob_get(workload_id, name)
    etag = f'"{name.sha256}"'
    how = "attachment" if name.format in _NEVER_INLINE else "inline"
    headers = {
        "Content-Type": name.media_type,
        "Content-Disposition": f'{how}; filename="{name.sha256[:12]}.{name.format}"',
        "X-Content-Type-Options": "nosniff",
        # What a drawing could run, it cannot reach anything with.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "ETag": etag,
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    check_conditions(request, headers)
    part = range_of(request, kept.size_bytes, etag=etag)
    return Stream(
        await begun(
            app.stores.media.blob_read(workload_id, name, start=part.start, length=part.length)
        ),
        headers={**headers, **part.headers},
        status_code=part.status,
    )


ROUTES = [append_media, list_media_keys, list_media, put_media_blob, get_media_blob]
