"""What agents deliver: ``/api/v1/runs/{run}/attempts/{n}/…``."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter

from seafloor.app.application import Application
from seafloor.app.tasks import TaskReport
from seafloor.domain.ids import WorkloadId
from seafloor.domain.names import check_slug
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, body_bytes, check_write
from seafloor.http.state import application_of
from seafloor.stores.events.protocol import EventFileKey
from seafloor.stores.logs.protocol import LogKey
from seafloor.wire.tasks import Accepted, Appended, TaskEnd, TaskStart

AttemptNumber = Annotated[int, PathParameter(ge=1, le=2**31 - 1)]
AnyAttemptNumber = Annotated[int, PathParameter(ge=0, le=2**31 - 1)]
Offset = Annotated[int, QueryParameter(ge=0, le=2**62)]
_TASK = "/runs/{run_id:str}/attempts/{attempt:int}/tasks/{task:str}"
_EVENT_FILES = "/runs/{run_id:str}/attempts/{attempt:int}/event-files"


async def _own(request: AnyRequest, app: Application, run_id: str) -> WorkloadId:
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    return workload_id


@get(
    f"{_TASK}/start",
    responses=documented(404, 409),
    summary="Whether a task may be started",
    tags=["agent"],
)
async def task_may_start(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AttemptNumber,
    task: FromPath[str],
) -> Accepted:
    """Say whether the command may be started; 409 when the attempt is over.

    The state ``waiting``: not yet, since not all tasks of a distributed run were let in.
    """
    app = application_of(request)
    workload_id = await _own(request, app, run_id)
    check_slug(task, field="task")
    return Accepted(await app.tasks.may_start(workload_id, attempt, task))


@post(
    f"{_TASK}/start",
    responses=documented(404, 409),
    status_code=200,
    summary="A task was started",
    tags=["agent"],
)
async def task_started(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AttemptNumber,
    task: FromPath[str],
    data: JSONBody[TaskStart],
) -> Accepted:
    """Note that the command was started."""
    app = application_of(request)
    workload_id = await _own(request, app, run_id)
    check_slug(task, field="task")
    found = await app.tasks.task_started(
        workload_id, attempt, task, time_ns=data.time_ns, receipts=data.receipts
    )
    return Accepted(found.state)


@post(
    f"{_TASK}/logs",
    responses=documented(404, 409, 413, 507),
    status_code=200,
    summary="Append to a log",
    tags=["agent"],
    opt={"takes_bytes": True},
)
async def append_log(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AttemptNumber,
    task: FromPath[str],
    offset: Offset,
) -> Appended:
    """Append bytes of the agent's spool at an offset."""
    app = application_of(request)
    workload_id = await _own(request, app, run_id)
    key = LogKey(workload_id, attempt, check_slug(task, field="task"))
    data = await body_bytes(request)
    return Appended(await app.tasks.append_log(key, offset=offset, data=data))


@post(
    _EVENT_FILES,
    responses=documented(404, 409, 413, 507),
    status_code=200,
    summary="Append to a tf.events file",
    tags=["agent"],
    opt={"takes_bytes": True},
)
async def append_event_file(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AnyAttemptNumber,
    file_path: Annotated[str, QueryParameter(name="path")],
    offset: Offset,
) -> Appended:
    """Append bytes of a tf.events file at an offset; of a tracked run to attempt 0."""
    app = application_of(request)
    workload_id = await _own(request, app, run_id)
    key = EventFileKey(workload_id, attempt, file_path)
    data = await body_bytes(request)
    return Appended(await app.tasks.append_event_file(key, offset=offset, data=data))


@post(
    f"{_TASK}/end",
    responses=documented(404, 409),
    status_code=200,
    summary="A task ended",
    tags=["agent"],
)
async def task_ended(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AttemptNumber,
    task: FromPath[str],
    data: JSONBody[TaskEnd],
) -> Accepted:
    """Bring the attempt, or one task of several, to its end; everything was delivered before."""
    app = application_of(request)
    workload_id = await _own(request, app, run_id)
    check_slug(task, field="task")
    report = TaskReport(
        time_ns=data.time_ns,
        ending=data.ending,
        log_bytes=data.log_bytes,
        output_failed=tuple(data.output_failed),
        output_failed_more=data.output_failed_more,
    )
    found = await app.tasks.task_ended(workload_id, attempt, task, report)
    return Accepted(found.state)


ROUTES = [task_may_start, task_started, append_log, append_event_file, task_ended]
