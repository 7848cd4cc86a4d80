"""Traces, whole, as exports and imports need them: ``/api/v1/traces``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream

from seafloor.app.application import Application
from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.ids import parse_workload_id
from seafloor.domain.search import Operator
from seafloor.domain.span_documents import read_span
from seafloor.domain.traces import (
    Span,
    SpanBatch,
    Trace,
    TraceComparison,
    TraceQuery,
    TraceSubject,
    check_id,
    check_trace,
)
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, body_bytes, check_administrator
from seafloor.http.state import application_of
from seafloor.wire.traces import (
    LINES,
    SPANS_BYTES_MAX,
    SPANS_PER_CALL_MAX,
    SpansAdded,
    TraceList,
    TracePut,
    TraceView,
)

PAGE_MAX = 500
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)]


async def _views(app: Application, traces: Sequence[Trace]) -> tuple[TraceView, ...]:
    ids = [trace.id for trace in traces]
    runs = await app.stores.metadata.trace_runs(ids)
    counts = await app.stores.metadata.span_counts(ids)
    return tuple(
        TraceView(trace, runs.get(trace.id, ()), counts.get(trace.id, 0)) for trace in traces
    )


@get("/traces", responses=documented(400), summary="List traces")
async def list_traces(
    request: AnyRequest,
    experiment_id: FromQuery[int],
    run_id: FromQuery[str | None] = None,
    limit: Limit = 100,
    cursor: FromQuery[str | None] = None,
) -> TraceList:
    """The traces of an experiment, newest first; with ``run_id`` those of a run or linked to it."""
    app = application_of(request)
    of_run = ()
    if run_id is not None:
        wanted = parse_workload_id(run_id, field="run_id")
        of_run = (TraceComparison(TraceSubject.ATTRIBUTE, "run_id", Operator.EQ, wanted),)
    query = TraceQuery(
        experiment_ids=(experiment_id,), comparisons=of_run, limit=limit, cursor=cursor
    )
    page = await app.stores.metadata.trace_search(query)
    return TraceList(await _views(app, page.items), page.next)


@get("/traces/{trace_id:str}", responses=documented(404), summary="Get a trace")
async def get_trace(request: AnyRequest, trace_id: FromPath[str]) -> TraceView:
    """A trace without its spans."""
    app = application_of(request)
    (view,) = await _views(app, [await app.traces.get(trace_id)])
    return view


@get("/traces/{trace_id:str}/spans", responses=documented(404), summary="Read spans")
async def get_spans(request: AnyRequest, trace_id: FromPath[str]) -> Stream:
    """The documents of a trace's spans, one a line; the root's first."""
    app = application_of(request)
    trace = await app.traces.get(trace_id)

    async def lines() -> AsyncIterator[bytes]:
        async for document in app.traces.documents(trace.id):
            yield document + b"\n"

    return Stream(lines(), media_type=LINES)


@post(
    "/traces/{trace_id:str}/spans",
    responses=documented(400, 404, 409, 413),
    status_code=200,
    summary="Bring spans",
)
async def add_spans(
    request: AnyRequest, trace_id: FromPath[str], experiment_id: FromQuery[int]
) -> SpansAdded:
    """Keep documents of spans, one a line, all or none; they replace those of the same ids.

    A trace that is not known yet is made of them.
    """
    check_administrator(request)
    app = application_of(request)
    raw = await body_bytes(request, size_bytes_max=SPANS_BYTES_MAX)
    spans = await asyncio.to_thread(_read, raw)  # as much as it may be takes a second
    batch = SpanBatch(trace_id=check_id(trace_id), experiment_id=experiment_id, spans=spans)
    await app.stores.metadata.spans_add([batch])
    return SpansAdded(len(spans))


def _read(raw: bytes) -> tuple[Span, ...]:
    spans: dict[str, Span] = {}
    for line in raw.split(b"\n"):
        if line.strip():
            span = read_span(line)
            spans[span.id] = span
    if not spans:
        raise InvalidValue("There is no span in the body: one document a line is expected.")
    if len(spans) > SPANS_PER_CALL_MAX:
        raise LimitExceeded(f"A request has at most {SPANS_PER_CALL_MAX} spans.")
    return tuple(spans.values())


@put("/traces/{trace_id:str}", responses=documented(400, 404, 409, 413), summary="Bring a trace")
async def put_trace(
    request: AnyRequest, trace_id: FromPath[str], data: JSONBody[TracePut]
) -> TraceView:
    """Keep a trace that was made elsewhere, exactly as it is said; its spans stay as they are."""
    check_administrator(request)
    app = application_of(request)
    if data.trace.id != trace_id:
        raise InvalidValue("The trace has another id than the address.", field="trace.id")
    check_trace(data.trace)
    runs = [parse_workload_id(one, field="runs") for one in data.runs]
    await app.stores.metadata.trace_put(data.trace, runs)
    (view,) = await _views(app, [await app.traces.get(trace_id)])
    return view


ROUTES = [list_traces, get_trace, get_spans, add_spans, put_trace]
