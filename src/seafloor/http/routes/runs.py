"""Runs: ``/api/v1/runs``."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from seafloor.app.run_pages import Wanted
from seafloor.app.runs import COMPARED_MAX, NewLaunchedRun, NewTrackedRun, RunChange
from seafloor.app.tokens import Administrator
from seafloor.domain.errors import Forbidden, InvalidValue
from seafloor.domain.ids import parse_workload_id
from seafloor.domain.search import Columns, Lifecycle, WorkloadQuery
from seafloor.domain.search_grammar import parse_columns, parse_filter, parse_order
from seafloor.domain.workloads import WorkloadState
from seafloor.http.errors import documented
from seafloor.http.requests import (
    AnyRequest,
    check_administrator,
    check_limit,
    check_write,
    principal_of,
)
from seafloor.http.state import application_of, views_of
from seafloor.wire.runs import (
    AttemptPage,
    Comparison,
    EventPage,
    RunCreate,
    RunCreated,
    RunDeleted,
    RunPage,
    RunUpdate,
    RunView,
)
from seafloor.wire.usage import RunUsage

PAGE_MAX = 1000
_EVENTS_MAX: Final = 1000
EXPERIMENT_ID_MAX = 2**63 - 1


@get("/runs", responses=documented(413), summary="List runs")
async def list_runs(
    request: AnyRequest,
    project: FromQuery[str | None] = None,
    experiment: Annotated[int | None, QueryParameter(ge=0, le=EXPERIMENT_ID_MAX)] = None,
    run_state: Annotated[list[WorkloadState] | None, QueryParameter(name="state")] = None,
    filter_text: Annotated[str, QueryParameter(name="filter")] = "",
    order: FromQuery[list[str] | None] = None,
    fields: FromQuery[str | None] = None,
    deleted: FromQuery[Lifecycle] = Lifecycle.ACTIVE,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = 100,
    cursor: FromQuery[str | None] = None,
) -> RunPage:
    """Search runs; the newest first unless ``order`` says otherwise.

    ``fields`` says which params, tags and metrics are wanted, such as ``metrics.loss,params``;
    empty: none; without it: all. A page of runs that hold much (300,000 params, tags and metrics,
    or 16 MiB of them) is shorter than ``limit``, and has a next one.
    """
    query = WorkloadQuery(
        project=project,
        experiment_ids=None if experiment is None else (experiment,),
        states=tuple(run_state) if run_state else None,
        filter=parse_filter(filter_text),
        order=tuple(parse_order(text) for text in order or ()),
        lifecycle=deleted,
        limit=check_limit(limit, limit_max=PAGE_MAX),
        cursor=cursor,
    )
    columns = Columns() if fields is None else parse_columns(fields)
    page = await application_of(request).runs.search(query, Wanted(columns))
    views = views_of(request)
    return RunPage(tuple(views.run(details) for details in page.items), page.next)


@post("/runs", responses=documented(404, 409, 413, 422, 501), summary="Create a run")
async def create_run(request: AnyRequest, data: JSONBody[RunCreate]) -> RunCreated:
    """Create a run: launched (with ``spec``) or tracked (with ``experiment``)."""
    app = application_of(request)
    by = principal_of(request)
    warnings: tuple[str, ...] = ()
    if data.spec is not None:
        _check_launched(data)
        if not isinstance(by, Administrator):
            raise Forbidden("A task's token may track runs, not launch them.")
        launched = await app.runs.create_launched(
            NewLaunchedRun(
                spec=data.spec,
                code=data.code,
                name=data.name,
                user=data.user,
                params=data.params,
                tags=data.tags,
                idempotency_key=data.idempotency_key,
            ),
            by=by,
        )
        created_id = launched.id
        warnings = await app.runs.warnings(launched)
    else:
        if data.code is not None:
            raise InvalidValue("`code` needs a `spec`.", field="code")
        tracked = await app.runs.create_tracked(
            NewTrackedRun(
                experiment=data.experiment,
                project=data.project,
                id=None if data.id is None else parse_workload_id(data.id),
                name=data.name,
                user=data.user,
                params=data.params,
                tags=data.tags,
                started_ns=data.started_ns,
                created_ns=data.created_ns,
            ),
            by=by,
        )
        created_id = tracked.workload.id
    view = views_of(request).run(await app.runs.details(created_id), alone=True)
    return RunCreated(**msgspec.structs.asdict(view), warnings=warnings)


def _check_launched(data: RunCreate) -> None:
    tracked = (data.experiment, data.id, data.started_ns, data.created_ns)
    if any(value is not None for value in tracked):
        raise InvalidValue(
            "`experiment`, `id`, `started_ns` and `created_ns` are for tracked runs; "
            "a launched run has its experiment in the spec.",
            field="spec",
        )


@get("/runs/{run_id:str}", responses=documented(404), summary="Get a run")
async def get_run(request: AnyRequest, run_id: FromPath[str]) -> RunView:
    """Get a run by its id, or by a unique beginning or end of it."""
    app = application_of(request)
    details = await app.runs.details(await app.runs.find(run_id))
    return views_of(request).run(details, alone=True)


@patch("/runs/{run_id:str}", responses=documented(404, 409, 413), summary="Change a run")
async def update_run(
    request: AnyRequest, run_id: FromPath[str], data: JSONBody[RunUpdate]
) -> RunView:
    """Change name, params, tags; of a tracked run also the state."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    change = RunChange(
        name=data.name,
        state=None if data.state is None else WorkloadState(data.state),
        reason=data.reason,
        ended_ns=data.ended_ns,
        params=data.params,
        tags=data.tags,
        delete_tags=data.delete_tags,
    )
    await app.runs.update(workload_id, change)
    return views_of(request).run(await app.runs.details(workload_id), alone=True)


@delete(
    "/runs/{run_id:str}", responses=documented(404, 409), status_code=200, summary="Delete a run"
)
async def delete_run(
    request: AnyRequest, run_id: FromPath[str], *, purge: FromQuery[bool] = False
) -> RunDeleted:
    """Delete a run (restorable), or with ``purge`` remove everything of it for good."""
    check_administrator(request)
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    freed_bytes = 0
    if purge:
        freed_bytes = await app.runs.purge(workload_id)
    else:
        await app.runs.delete(workload_id)
    return RunDeleted(workload_id, purge, freed_bytes)


@get("/runs/{run_id:str}/usage", responses=documented(404), summary="What a run takes")
async def get_usage(request: AnyRequest, run_id: FromPath[str]) -> RunUsage:
    """The bytes that a run takes in the object store, a deleted one too."""
    app = application_of(request)
    return await app.usage.of_run((await app.runs.get(await app.runs.find(run_id))).id)


@post("/runs/{run_id:str}/restore", responses=documented(404), status_code=200, summary="Undelete")
async def restore_run(request: AnyRequest, run_id: FromPath[str]) -> RunView:
    """Undo a deletion."""
    check_administrator(request)
    app = application_of(request)
    restored = await app.runs.restore(await app.runs.find(run_id))
    return views_of(request).run(await app.runs.details(restored.id), alone=True)


@post(
    "/runs/{run_id:str}/stop", responses=documented(404, 409), status_code=200, summary="Stop a run"
)
async def stop_run(request: AnyRequest, run_id: FromPath[str]) -> RunView:
    """Ask for a run to end; one that has ended stays as it is."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    await app.runs.stop(workload_id)
    return views_of(request).run(await app.runs.details(workload_id), alone=True)


@post("/runs/{run_id:str}/attempts", responses=documented(404, 409), summary="Run again")
async def retry_run(request: AnyRequest, run_id: FromPath[str]) -> RunView:
    """Run a launched run again, as a further attempt."""
    check_administrator(request)
    app = application_of(request)
    retried = await app.runs.retry(await app.runs.find(run_id))
    return views_of(request).run(await app.runs.details(retried.id), alone=True)


@get("/runs/{run_id:str}/attempts", responses=documented(404), summary="List attempts")
async def list_attempts(request: AnyRequest, run_id: FromPath[str]) -> AttemptPage:
    """Every start of the run: receipts, environment, ending; and its tasks, if it has several."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    attempts = await app.runs.attempts(workload_id)
    return AttemptPage(attempts, await app.runs.tasks(workload_id))


@get("/runs/{run_id:str}/events", responses=documented(404), summary="List events")
async def list_events(
    request: AnyRequest,
    run_id: FromPath[str],
    after: Annotated[int, QueryParameter(ge=0, le=2**63 - 1)] = 0,
) -> EventPage:
    """What happened, in the user's words; at most 1,000 after a sequence number."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    found = await app.runs.events(workload_id, after=after, limit=_EVENTS_MAX)
    return EventPage(found, found[-1].sequence if len(found) == _EVENTS_MAX else None)


@get("/comparisons", responses=documented(404), summary="Compare runs")
async def compare_runs(request: AnyRequest, run: FromQuery[list[str]]) -> Comparison:
    """Lay 2 to 20 runs side by side."""
    app = application_of(request)
    if len(run) > COMPARED_MAX:
        raise InvalidValue(f"Compare 2 to {COMPARED_MAX} different runs.", field="run")
    ids = [await app.runs.find(text) for text in run]
    return views_of(request).comparison(await app.runs.compare(ids))


ROUTES = [
    list_runs,
    create_run,
    get_run,
    update_run,
    delete_run,
    get_usage,
    restore_run,
    stop_run,
    retry_run,
    list_attempts,
    list_events,
    compare_runs,
]
