"""Environments: ``/api/v1/environments``."""

from __future__ import annotations

from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream

from seafloor.http import views
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, check_administrator
from seafloor.http.state import application_of
from seafloor.http.streams import begun
from seafloor.wire.environments import (
    EnvironmentCreate,
    EnvironmentDeleted,
    EnvironmentList,
    EnvironmentView,
)


@get("/environments", responses=documented(), summary="List environments")
async def list_environments(
    request: AnyRequest, project: FromQuery[str | None] = None
) -> EnvironmentList:
    """Every living version."""
    found = await application_of(request).environments.list(project=project)
    return EnvironmentList(tuple(views.environment(details) for details in found))


@post(
    "/environments", responses=documented(404, 413, 422, 501, 507), summary="Create an environment"
)
async def create_environment(
    request: AnyRequest, data: JSONBody[EnvironmentCreate]
) -> EnvironmentView:
    """Lock an environment and keep it as the next version of its name."""
    check_administrator(request)
    return views.environment(await application_of(request).environments.create(data.spec))


@get("/environments/{reference:str}", responses=documented(404), summary="Get an environment")
async def get_environment(
    request: AnyRequest, reference: FromPath[str], project: FromQuery[str] = "default"
) -> EnvironmentView:
    """Get ``<name>@<version>``, or the newest version of ``<name>``."""
    found = await application_of(request).environments.get(reference, project=project)
    return views.environment(found)


@delete(
    "/environments/{reference:str}",
    responses=documented(404),
    status_code=200,
    summary="Delete an environment",
)
async def delete_environment(
    request: AnyRequest, reference: FromPath[str], project: FromQuery[str] = "default"
) -> EnvironmentDeleted:
    """Delete one version or all of a name, and what is built of them."""
    check_administrator(request)
    environments = application_of(request).environments
    versions, freed_bytes = await environments.delete(reference, project=project)
    return EnvironmentDeleted(versions, freed_bytes)


@get(
    "/environment-archives/{sha256:str}/{name:str}",
    responses=documented(404),
    summary="Download a file of a stored environment",
    media_type="application/octet-stream",
)
async def get_environment_archive(
    request: AnyRequest, sha256: FromPath[str], name: FromPath[str]
) -> Stream:
    """Its record ``environment.json``, or the archive that the record names."""
    found = await application_of(request).environments.archive_file(sha256, name)
    return Stream(
        await begun(found.data),
        media_type="application/octet-stream",
        headers={"Content-Length": str(found.size_bytes)},
    )


ROUTES = [
    list_environments,
    create_environment,
    get_environment,
    delete_environment,
    get_environment_archive,
]
