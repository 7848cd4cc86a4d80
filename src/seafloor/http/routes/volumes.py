"""Volumes: ``/api/v1/volumes``."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from seafloor.app.volumes import NewVolume, VolumeDetails
from seafloor.domain.errors import InvalidValue
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, check_administrator, check_limit
from seafloor.http.state import application_of
from seafloor.wire.volumes import (
    VolumeCreate,
    VolumeDeleted,
    VolumePage,
    VolumeResize,
    VolumeRestore,
    VolumeSnapshotList,
    VolumeUnderWay,
    VolumeUsage,
    VolumeView,
)

PAGE_MAX = 1000


@get("/volumes", responses=documented(), summary="List volumes")
async def list_volumes(
    request: AnyRequest,
    project: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = 100,
    cursor: FromQuery[str | None] = None,
) -> VolumePage:
    """Volumes by project and name, each with who has it and how its claim fares."""
    app = application_of(request)
    page = await app.volumes.list(
        project=project, limit=check_limit(limit, limit_max=PAGE_MAX), after=_after(cursor)
    )
    items = tuple(_view(details) for details in page.items)
    return VolumePage(items, None if page.last is None else "/".join(page.last))


@post(
    "/volumes", responses=documented(403, 404, 409, 413, 501, 503, 507), summary="Create a volume"
)
async def create_volume(request: AnyRequest, data: JSONBody[VolumeCreate]) -> VolumeView:
    """Make a volume, empty; repeat it when the answer was lost."""
    check_administrator(request)
    made = await application_of(request).volumes.create(
        NewVolume(
            name=data.name,
            project=data.project,
            access_mode=data.access_mode,
            size=data.size,
            storage_class=data.storage_class,
        )
    )
    return _view(made)


@get("/volumes/{name:str}", responses=documented(404), summary="Get a volume")
async def get_volume(
    request: AnyRequest, name: FromPath[str], project: FromQuery[str] = "default"
) -> VolumeView:
    """Get a volume, who has it, and what is being done to it."""
    return _view(await application_of(request).volumes.get(name, project=project))


@delete(
    "/volumes/{name:str}",
    responses=documented(404, 409),
    status_code=200,
    summary="Remove a volume",
)
async def delete_volume(
    request: AnyRequest,
    name: FromPath[str],
    project: FromQuery[str] = "default",
    with_snapshots: FromQuery[bool] = False,
) -> VolumeDeleted:
    """Remove a volume and all that is in it, for good."""
    check_administrator(request)
    volumes = application_of(request).volumes
    await volumes.delete(name, project=project, with_snapshots=with_snapshots)
    return VolumeDeleted(name)


@get("/volumes/{name:str}/usage", responses=documented(404, 501), summary="Count a volume")
async def count_volume(
    request: AnyRequest, name: FromPath[str], project: FromQuery[str] = "default"
) -> VolumeUsage:
    """Count what a volume holds; every file of it is looked at."""
    found = await application_of(request).volumes.count(name, project=project)
    return VolumeUsage(
        files=found.files, content_bytes=found.content_bytes, disk_bytes=found.disk_bytes
    )


@get(
    "/volumes/{name:str}/snapshots", responses=documented(404), summary="List a volume's snapshots"
)
async def list_volume_snapshots(
    request: AnyRequest, name: FromPath[str], project: FromQuery[str] = "default"
) -> VolumeSnapshotList:
    """Every snapshot by number."""
    found = await application_of(request).volumes.snapshots(name, project=project)
    return VolumeSnapshotList(found)


@post(
    "/volumes/{name:str}/snapshots",
    responses=documented(404, 409, 501, 503),
    status_code=202,
    summary="Make a snapshot",
)
async def create_volume_snapshot(
    request: AnyRequest, name: FromPath[str], project: FromQuery[str] = "default"
) -> VolumeView:
    """Begin to keep a volume's content; ``under_way`` says how far it has come."""
    check_administrator(request)
    return _view(await application_of(request).volumes.snapshot(name, project=project))


@post(
    "/volumes/{name:str}/restore",
    responses=documented(404, 409, 501, 503),
    status_code=202,
    summary="Restore a snapshot",
)
async def restore_volume(
    request: AnyRequest,
    name: FromPath[str],
    data: JSONBody[VolumeRestore],
    project: FromQuery[str] = "default",
) -> VolumeView:
    """Begin to give a volume a snapshot's content; until it is whole the old one stays."""
    check_administrator(request)
    volumes = application_of(request).volumes
    return _view(await volumes.restore(name, data.snapshot, project=project))


@post(
    "/volumes/{name:str}/resize",
    responses=documented(403, 404, 409, 413, 501, 503),
    status_code=200,
    summary="Resize a volume",
)
async def resize_volume(
    request: AnyRequest,
    name: FromPath[str],
    data: JSONBody[VolumeResize],
    project: FromQuery[str] = "default",
) -> VolumeView:
    """Give a volume another size; ``claim.resize`` says how the cluster fares with it."""
    check_administrator(request)
    volumes = application_of(request).volumes
    return _view(await volumes.resize(name, data.size, project=project))


def _view(details: VolumeDetails) -> VolumeView:
    found, operation = details.volume, details.volume.operation
    under_way = None
    if operation is not None:
        under_way = VolumeUnderWay(
            kind=operation.kind,
            snapshot=operation.snapshot,
            started_ns=operation.started_ns,
            done_bytes=operation.done_bytes,
            total_bytes=operation.total_bytes,
        )
    return VolumeView(
        id=found.id,
        project=found.project,
        name=found.name,
        access_mode=found.access_mode,
        size_bytes=found.size_bytes,
        storage_class=found.storage_class,
        created_ns=found.created_ns,
        path=details.site.path,
        claim=details.site.claim,
        away=details.site.away,
        holders=details.holders,
        under_way=under_way,
        problem=found.problem,
    )


def _after(cursor: str | None) -> tuple[str, str] | None:
    if cursor is None:
        return None
    project, slash, name = cursor.partition("/")
    if not slash:
        raise InvalidValue("The cursor is not one: pass `next` of the page before.", field="cursor")
    return project, name


ROUTES = [
    list_volumes,
    create_volume,
    get_volume,
    delete_volume,
    count_volume,
    list_volume_snapshots,
    create_volume_snapshot,
    restore_volume,
    resize_volume,
]
