"""Logs of runs: ``/api/v1/runs/{run}/logs``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from seafloor.app.application import Application
from seafloor.domain.errors import NotFound, nearest
from seafloor.domain.members import MAIN, task_names_of
from seafloor.domain.names import check_slug
from seafloor.domain.workloads import Workload
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of
from seafloor.http.streams import begun, until_stopping
from seafloor.stores.logs.page import FOLLOW_LINES_MAX
from seafloor.stores.logs.protocol import LogKey, LogPage
from seafloor.wire.logs import LogView, SetupLog, SetupLogs

LINES_MAX = 10_000
_NAMED_MAX = 20
AttemptNumber = Annotated[int | None, QueryParameter(ge=0, le=2**31 - 1)]
StreamName = Literal["out", "err", "agent"]
LineNumber = Annotated[int, QueryParameter(ge=-LINES_MAX, le=2**62)]


async def _key(
    app: Application, run_id: str, attempt: int | None, task: str | None, setup: str | None = None
) -> LogKey:
    """Which log is meant.

    Args:
        task: None: the run's only task, or the first of several.
        setup: What prepared that task; None: the task's own log.

    Raises:
        NotFound: it is a run of several tasks, and has no such one. Of others a client may have
            written under any name.
    """
    workload = await app.runs.get(await app.runs.find(run_id))
    number = workload.attempt if attempt is None else attempt
    names = task_names_of(workload.spec)
    if task is not None and check_slug(task, field="task") not in names and names != (MAIN,):
        raise NotFound(
            f'The run has no task "{task}".{nearest(task, names[:_NAMED_MAX])}', field="task"
        )
    if setup:
        check_slug(setup, field="setup")
    return LogKey(workload.id, number, task or names[0], setup or "")


def _view(key: LogKey, page: LogPage) -> LogView:
    return LogView(
        attempt=key.attempt,
        task=key.task,
        setup=key.setup or None,
        lines=page.lines,
        next_line=page.next_line,
        total_lines=page.total_lines,
        lines_missing=page.lines_missing,
        finished=page.finished,
    )


@get("/runs/{run_id:str}/logs", responses=documented(404), summary="Read log lines")
async def read_log(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AttemptNumber = None,
    task: FromQuery[str | None] = None,
    setup: FromQuery[str | None] = None,
    from_line: LineNumber = 1,
    limit: Annotated[int, QueryParameter(ge=1, le=LINES_MAX)] = 1000,
    stream: FromQuery[StreamName | None] = None,
) -> LogView:
    """Read lines from a number on; a negative one counts from the end."""
    app = application_of(request)
    key = await _key(app, run_id, attempt, task, setup)
    page = await app.stores.logs.page(key, from_line=from_line or 1, limit=limit, stream=stream)
    return _view(key, page)


@get(
    "/runs/{run_id:str}/logs/follow",
    responses=documented(404),
    summary="Follow a log",
    media_type="text/event-stream",
    opt={"headers": {"Last-Event-ID": "The line number to go on from, as the last `id:` said."}},
)
async def follow_log(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AttemptNumber = None,
    task: FromQuery[str | None] = None,
    setup: FromQuery[str | None] = None,
    from_line: LineNumber = 1,
) -> Stream:
    """Server-sent events: each ``data:`` is a ``LogView``, its ``id:`` the next line number.

    Ends when the log is finished, or when its run has ended and nothing of such a log has come.
    """
    app = application_of(request)
    key = await _key(app, run_id, attempt, task, setup)
    begin = from_line or 1
    last_seen = request.headers.get("last-event-id", "")
    if last_seen.isascii() and last_seen.isdigit() and len(last_seen) < 19:
        begin = max(1, int(last_seen))
    pages = _until_over(app, key, begin)
    return Stream(
        _events(key, until_stopping(request, pages)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _until_over(app: Application, key: LogKey, begin: int) -> AsyncGenerator[LogPage]:
    """Follow a log, also one that nobody finishes.

    Whoever launches a command finishes its log. Nobody does of what a tracked run has, nor of an
    attempt or a setup that there was none of: these are over with their run.
    """
    logs = app.stores.logs
    run = await _run_of(app, key)
    if run is None or (run.origin == "tracked" and run.state.is_final):
        page = await logs.page(key, from_line=begin, limit=FOLLOW_LINES_MAX)
        while page.lines:
            yield page
            page = await logs.page(key, from_line=page.next_line, limit=FOLLOW_LINES_MAX)
        yield msgspec.structs.replace(page, finished=True)
        return
    async for page in logs.follow(key, from_line=begin):
        if not page.lines and not page.finished:
            run = await _run_of(app, key)
            if run is None or run.state.is_final:
                yield msgspec.structs.replace(page, finished=True)
                return
        yield page


async def _run_of(app: Application, key: LogKey) -> Workload | None:
    """The run of a log; None when it was purged meanwhile."""
    try:
        return await app.runs.get(key.workload_id)
    except NotFound:
        return None


async def _events(key: LogKey, pages: AsyncIterator[LogPage]) -> AsyncIterator[bytes]:
    async for page in pages:
        if not page.lines and not page.finished:
            yield b": still there\n\n"
            continue
        data = msgspec.json.encode(_view(key, page))
        yield b"id: %d\ndata: %s\n\n" % (page.next_line, data)


@get("/runs/{run_id:str}/logs/setups", responses=documented(404), summary="List setup logs")
async def list_setup_logs(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AttemptNumber = None,
    task: FromQuery[str | None] = None,
) -> SetupLogs:
    """What the containers that prepared a task printed: those that printed something."""
    app = application_of(request)
    key = await _key(app, run_id, attempt, task)
    items: list[SetupLog] = []
    for one in await app.stores.logs.keys(key.workload_id):
        if one.setup and (one.attempt, one.task) == (key.attempt, key.task):
            state = await app.stores.logs.state(one)
            if state.first_time_ns is not None:
                items.append(SetupLog(one.setup, state.lines, state.first_time_ns, state.finished))
    items.sort(key=lambda log: log.first_time_ns)
    return SetupLogs(key.attempt, key.task, tuple(items))


@get(
    "/runs/{run_id:str}/logs/raw",
    responses=documented(404),
    summary="Download a log",
    media_type="application/octet-stream",
)
async def download_log(
    request: AnyRequest,
    run_id: FromPath[str],
    attempt: AttemptNumber = None,
    task: FromQuery[str | None] = None,
    setup: FromQuery[str | None] = None,
    stream: FromQuery[StreamName | None] = None,
) -> Stream:
    """The bytes the task printed."""
    app = application_of(request)
    key = await _key(app, run_id, attempt, task, setup)
    name = f"{key.workload_id}-{key.attempt}-{key.stem.replace('@', '-')}.log"
    return Stream(
        await begun(app.stores.logs.raw(key, stream=stream)),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


ROUTES = [read_log, follow_log, list_setup_logs, download_log]
