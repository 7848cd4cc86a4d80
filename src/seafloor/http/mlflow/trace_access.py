"""Whose traces are: what a task's token may write to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seafloor.app.tokens import Administrator
from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import parse_workload_id
from seafloor.domain.traces import RUN_KEY, Trace
from seafloor.http.mlflow.runs import active_run
from seafloor.http.mlflow.workspaces import check_traces
from seafloor.http.requests import AnyRequest, check_write, principal_of
from seafloor.http.state import application_of


async def check_trace_writes(request: AnyRequest, trace_ids: Iterable[str]) -> None:
    """Refuse to let a task write to traces that were made in the course of others' runs.

    Raises:
        NotFound: one is of another workspace.
        Forbidden: one is another's.
    """
    trace_ids = list(trace_ids)
    await check_traces(request, trace_ids)
    if isinstance(principal_of(request), Administrator):
        return
    async for trace in application_of(request).traces.some(trace_ids):
        await check_run_of(request, trace)


async def check_run_of(request: AnyRequest, trace: Trace) -> None:
    """Refuse to let a task write a trace of another's run; Forbidden."""
    run_id = trace.metadata.get(RUN_KEY)
    if run_id is None or isinstance(principal_of(request), Administrator):
        return
    try:
        workload_id = parse_workload_id(run_id)
    except InvalidValue:  # no run of ours
        return
    await check_write(request, application_of(request), workload_id)


async def link_to_run(request: AnyRequest, trace_ids: Sequence[str], run_id: str) -> None:
    """Link traces to a run.

    Raises:
        NotFound, Conflict: there is no such run, or it is deleted.
        Forbidden: the run is another's.
    """
    run = await active_run(request, run_id)
    await check_traces(request, trace_ids)
    await application_of(request).stores.metadata.traces_link(trace_ids, run.id)
