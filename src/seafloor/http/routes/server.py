"""The server itself: ``/health``, ``/api/v1/server``, plans, and the kinds that come later."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.params import JSONBody

from seafloor.http.errors import documented
from seafloor.http.page import page_is_built
from seafloor.http.requests import AnyRequest, check_administrator
from seafloor.http.state import application_of
from seafloor.wire.server import Health, Plan, PlanCreate, ServerInfo, WorkloadPageLater

NEEDED = ("metadata", "objects")
"""The parts without which a server answers nothing."""
MLFLOW_VERSION = "3.17.2"


@get("/health", responses=documented(), summary="Is the server well?")
async def health(request: AnyRequest) -> Response[Health]:
    """200 when every store answers, else 503; either way what is wrong with which part."""
    app = application_of(request)
    parts = await app.health()
    well = all(said == "ok" for said in parts.values())
    body = Health("ok" if well else "degraded", app.identity.version, parts)
    # Kubernetes sends nobody to a server that says 503: what works beside the requests, such as
    # the sealer at a damaged row of one run, is no reason to answer none.
    answers = all(parts[name] == "ok" for name in NEEDED)
    return Response(body, status_code=200 if answers else 503)


@get("/version", media_type="text/plain", include_in_schema=False)
async def version(request: AnyRequest) -> str:
    """Which MLflow's server this one answers like, then its own version, as bare text.

    MLflow's clients ask: to one below 3.4 they send no spans.
    """
    return f"{MLFLOW_VERSION}+seafloor.{application_of(request).identity.version}"


@get("/server", responses=documented(), summary="Describe the server")
async def server_info(request: AnyRequest) -> ServerInfo:
    """Version, address and settings in effect; secrets are left out."""
    check_administrator(request)
    identity = application_of(request).identity
    return ServerInfo(
        version=identity.version,
        url=identity.url,
        started_ns=identity.started_ns,
        data_dir=identity.data_dir,
        python=identity.python,
        web=page_is_built(),
        authentication="token" if identity.token else "none",
        settings=dict(identity.settings),
    )


@post(
    "/plans",
    responses=documented(404, 413, 422, 501),
    status_code=200,
    summary="Say what a spec would do",
)
async def make_plan(request: AnyRequest, data: JSONBody[PlanCreate]) -> Plan:
    """What creating this run would do; creates nothing."""
    check_administrator(request)  # it may ask other places, with the server's credentials
    return await application_of(request).plans.make(data.spec, data.code)


@get("/notebooks", responses=documented(), summary="List notebooks")
async def list_notebooks(request: AnyRequest) -> WorkloadPageLater:
    """Notebooks: none yet."""
    check_administrator(request)
    return WorkloadPageLater()


@get("/servings", responses=documented(), summary="List servings")
async def list_servings(request: AnyRequest) -> WorkloadPageLater:
    """Servings: none yet."""
    check_administrator(request)
    return WorkloadPageLater()


ROUTES = [
    server_info,
    make_plan,
    list_notebooks,
    list_servings,
]
