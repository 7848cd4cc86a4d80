"""Metrics of runs: ``/api/v1/runs/{run}/metrics``."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from seafloor.app.application import Application
from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import POINTS_PER_APPEND_MAX, STEP_MAX, STEP_MIN, Point
from seafloor.domain.names import check_key
from seafloor.http import views
from seafloor.http.errors import documented
from seafloor.http.requests import AnyRequest, check_write
from seafloor.http.state import application_of
from seafloor.stores.metrics.window import Window
from seafloor.wire.metrics import (
    ChartOut,
    MetricList,
    PointsAppend,
    PointsAppended,
    SeriesPageOut,
)
from seafloor.wire.numbers import number_in

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
) -> SeriesPageOut:
    """Every point once, in order of step, time, value."""
    app = application_of(request)
    workload_id = await _found(app, run_id)
    page = await app.stores.metrics.series(workload_id, key, limit=limit, cursor=cursor)
    return SeriesPageOut(key, tuple(views.series_point(point) for point in page.points), page.next)


@get("/runs/{run_id:str}/metrics/chart", responses=documented(404), summary="Read a chart")
async def read_chart(
    request: AnyRequest,
    run_id: FromPath[str],
    key: FromQuery[str],
    buckets: Annotated[int, QueryParameter(ge=1, le=5000)] = 500,
    step_min: Step = None,
    step_max: Step = None,
) -> ChartOut:
    """At most ``buckets`` buckets with exact extremes."""
    app = application_of(request)
    workload_id = await _found(app, run_id)
    if step_min is not None and step_max is not None and step_min > step_max:
        raise InvalidValue("step_min is above step_max.", field="step_min")
    found = await app.stores.metrics.chart(
        workload_id, key, buckets=buckets, window=Window(step_min=step_min, step_max=step_max)
    )
    return ChartOut(key, tuple(views.bucket(bucket) for bucket in found))


ROUTES = [append_points, list_metrics, read_series, read_chart]
