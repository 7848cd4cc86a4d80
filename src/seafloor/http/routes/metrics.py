"""Metrics of runs: ``/api/v1/runs/{run}/metrics``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream

from seafloor.app.application import Application
from seafloor.app.charts import ChartAxis
from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import POINTS_PER_APPEND_MAX, STEP_MAX, STEP_MIN, Point
from seafloor.domain.names import check_key
from seafloor.http import views
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, check_write
from seafloor.http.state import application_of
from seafloor.http.streams import begun
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.segment import ArrowEncoder
from seafloor.stores.metrics.window import Window
from seafloor.wire.metrics import (
    ChartOut,
    ChartsOut,
    ChartsQuery,
    MetricList,
    MetricTableOut,
    MetricTableQuery,
    PointsAppend,
    PointsAppended,
    RunChartOut,
    SeriesPageOut,
)
from seafloor.wire.numbers import number_in

ARROW = "application/vnd.apache.arrow.stream"

Step = Annotated[int | None, QueryParameter(ge=STEP_MIN, le=STEP_MAX)]


async def _found(app: Application, run_id: str) -> WorkloadId:
    return (await app.runs.get(await app.runs.find(run_id))).id


@post(
    "/runs/{run_id:str}/metrics",
    responses=documented(404, 409, 413, 507),
    status_code=200,
    summary="Append points",
)
async def append_points(
    request: AnyRequest, run_id: FromPath[str], data: JSONBody[PointsAppend]
) -> PointsAppended:
    """Append points of any keys; durable when it answers; a repeat is harmless."""
    app = application_of(request)
    workload_id = await app.runs.find(run_id)
    await check_write(request, app, workload_id)
    workload = await app.runs.check_active(workload_id)
    if len(data.points) > POINTS_PER_APPEND_MAX:
        raise LimitExceeded(f"At most {POINTS_PER_APPEND_MAX} points at once.", field="points")
    if not data.points:
        return PointsAppended(0, 0)
    points = [
        Point(check_key(point.key), number_in(point.value), point.step, point.time_ms)
        for point in data.points
    ]
    receipt = await app.stores.metrics.append(workload_id, points, attempt=workload.attempt)
    return PointsAppended(receipt.points_written, receipt.points_repeated)


@get("/runs/{run_id:str}/metrics", responses=documented(404), summary="List metrics")
async def list_metrics(request: AnyRequest, run_id: FromPath[str]) -> MetricList:
    """Every key with its summary."""
    app = application_of(request)
    workload_id = await _found(app, run_id)
    found = (await app.stores.metrics.summaries([workload_id])).get(workload_id, ())
    return MetricList({summary.key: views.metric_view(summary) for summary in found})


@get("/runs/{run_id:str}/metrics/series", responses=documented(404), summary="Read a series")
async def read_series(
    request: AnyRequest,
    run_id: FromPath[str],
    key: FromQuery[str],
    limit: Annotated[int, QueryParameter(ge=1, le=POINTS_PER_APPEND_MAX)] = 10_000,
    cursor: FromQuery[str | None] = None,
    step_min: Step = None,
    step_max: Step = None,
    attempt: FromQuery[int | None] = None,
) -> SeriesPageOut:
    """Every point once, in order of step, time, value."""
    app = application_of(request)
    workload_id = await _found(app, run_id)
    page = await app.stores.metrics.series(
        workload_id,
        key,
        limit=limit,
        cursor=cursor,
        window=_window(step_min, step_max, attempt=attempt),
    )
    return SeriesPageOut(key, tuple(views.series_point(point) for point in page.points), page.next)


@get(
    "/runs/{run_id:str}/metrics/arrow",
    responses=documented(404),
    media_type=ARROW,
    summary="Read a whole series as an Arrow stream",
)
async def read_arrow(
    request: AnyRequest,
    run_id: FromPath[str],
    key: FromQuery[str],
    step_min: Step = None,
    step_max: Step = None,
    attempt: FromQuery[int | None] = None,
) -> Stream:
    """Columns attempt, step, time_ms and value; every point once, in order of step, time, value."""
    app = application_of(request)
    run = await app.runs.get(await app.runs.find(run_id))
    window = _window(step_min, step_max, attempt=attempt)
    pieces = await begun(app.charts.columns(run, key, window=window))
    return Stream(_arrow(pieces), media_type=ARROW)


async def _arrow(pieces: AsyncIterator[SeriesColumns]) -> AsyncIterator[bytes]:
    encoder = await asyncio.to_thread(ArrowEncoder)
    async for piece in pieces:
        yield await asyncio.to_thread(encoder.add, piece)
    yield encoder.finish()


def _window(
    step_min: int | None,
    step_max: int | None,
    time_ms_min: int | None = None,
    time_ms_max: int | None = None,
    attempt: int | None = None,
) -> Window:
    if step_min is not None and step_max is not None and step_min > step_max:
        raise InvalidValue("step_min is above step_max.", field="step_min")
    if time_ms_min is not None and time_ms_max is not None and time_ms_min > time_ms_max:
        raise InvalidValue("time_ms_min is above time_ms_max.", field="time_ms_min")
    return Window(step_min, step_max, time_ms_min, time_ms_max, attempt)


def _axis(x: Literal["step", "time", "relative_time"], x_key: str | None) -> ChartAxis:
    if x_key is None:
        return ChartAxis(x)
    if x != "step":
        raise InvalidValue("Give either x or x_key.", field="x_key")
    return ChartAxis("metric", check_key(x_key))


@get("/runs/{run_id:str}/metrics/chart", responses=documented(404), summary="Read a chart")
async def read_chart(
    request: AnyRequest,
    run_id: FromPath[str],
    key: FromQuery[str],
    buckets: Annotated[int, QueryParameter(ge=1, le=5000)] = 500,
    step_min: Step = None,
    step_max: Step = None,
    time_ms_min: Step = None,
    time_ms_max: Step = None,
    attempt: FromQuery[int | None] = None,
    x: FromQuery[Literal["step", "time", "relative_time"]] = "step",
    x_key: FromQuery[str | None] = None,
) -> ChartOut:
    """At most ``buckets`` buckets with exact extremes.

    They are in order of ``x``; with ``x_key``, in order of step, and ``x`` of the answer has what
    that metric was.
    """
    app = application_of(request)
    run = await app.runs.get(await app.runs.find(run_id))
    window = _window(step_min, step_max, time_ms_min, time_ms_max, attempt)
    found = await app.charts.chart(run, key, buckets=buckets, window=window, axis=_axis(x, x_key))
    return ChartOut(key, *views.chart(found))


@post(
    "/metrics/charts",
    responses=documented(404, 413),
    status_code=200,
    summary="Read charts of many runs and keys",
)
async def read_charts(request: AnyRequest, data: JSONBody[ChartsQuery]) -> ChartsOut:
    """One chart for each run and key that has points."""
    app = application_of(request)
    run_ids = [await app.runs.find(run_id) for run_id in data.runs]
    found = await app.charts.charts(
        run_ids,
        [check_key(key) for key in data.keys],
        buckets=data.buckets,
        window=_window(data.step_min, data.step_max, data.time_ms_min, data.time_ms_max),
        axis=_axis(data.x, data.x_key),
    )
    made = (RunChartOut(one.key, *views.chart(one), run=one.workload_id) for one in found)
    return ChartsOut(tuple(made))


@post(
    "/metrics/table",
    responses=documented(404),
    status_code=200,
    summary="Compare the metrics of many runs",
)
async def read_table(request: AnyRequest, data: JSONBody[MetricTableQuery]) -> MetricTableOut:
    """The last, least and greatest value of each series; no series is read."""
    app = application_of(request)
    run_ids = [await _found(app, run_id) for run_id in dict.fromkeys(data.runs)]
    found = await app.stores.metrics.summaries(run_ids, keys=data.keys)
    return MetricTableOut(
        {
            run_id: {one.key: views.metric_view(one) for one in found.get(run_id, ())}
            for run_id in run_ids
        }
    )


ROUTES = [
    append_points,
    list_metrics,
    read_series,
    read_arrow,
    read_chart,
    read_charts,
    read_table,
]
