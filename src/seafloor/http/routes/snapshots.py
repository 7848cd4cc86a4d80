"""Snapshots of working folders: ``/api/v1/snapshots/{sha256}``."""

from __future__ import annotations

from litestar import Response, get, head, put
from litestar.params import FromPath
from litestar.response import Stream

from seafloor.domain.ids import parse_sha256
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, body_stream, check_administrator
from seafloor.http.state import application_of
from seafloor.http.streams import begun
from seafloor.wire.artifacts import SnapshotStored


@head("/snapshots/{sha256:str}", responses=documented(404), summary="Is a snapshot here?")
async def head_snapshot(request: AnyRequest, sha256: FromPath[str]) -> Response[None]:
    """Say whether a snapshot is kept, and its size."""
    info = await application_of(request).snapshots.check(parse_sha256(sha256))
    return Response(None, headers={"Content-Length": str(info.size_bytes)})


@get(
    "/snapshots/{sha256:str}",
    responses=documented(404),
    summary="Download a snapshot",
    media_type="application/zstd",
)
async def get_snapshot(request: AnyRequest, sha256: FromPath[str]) -> Stream:
    """The bytes of the ``.tar.zst``."""
    snapshots = application_of(request).snapshots
    digest = parse_sha256(sha256)
    info = await snapshots.check(digest)
    return Stream(
        await begun(snapshots.read(digest)),
        media_type="application/zstd",
        headers={"Content-Length": str(info.size_bytes)},
    )


@put(
    "/snapshots/{sha256:str}",
    responses=documented(413, 507),
    summary="Upload a snapshot",
    request_max_body_size=None,
    opt={"takes_bytes": True},
)
async def put_snapshot(request: AnyRequest, sha256: FromPath[str]) -> SnapshotStored:
    """Keep a snapshot; the bytes must have the digest they are named by."""
    check_administrator(request)
    digest = parse_sha256(sha256)
    info, created = await application_of(request).snapshots.put(digest, body_stream(request))
    return SnapshotStored(digest, info.size_bytes, created)


ROUTES = [head_snapshot, get_snapshot, put_snapshot]
