"""``/api/2.0/mlflow/metrics/…``."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import SeriesPoint
from seafloor.http.mlflow import words
from seafloor.http.mlflow.entities import Json, without_empty
from seafloor.http.mlflow.workspaces import run_of
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of
from seafloor.stores.metrics.columns import SeriesColumns
from seafloor.stores.metrics.window import Window
from seafloor.wire.numbers import WireNumber, number_out

HISTORY_MAX = 25_000
RUNS_MAX = 100
INTERVAL_RESULTS_MAX = 2_500

_RunIds = Annotated[list[str], QueryParameter(name="run_id")]
_IntervalRunIds = Annotated[list[str], QueryParameter(name="run_ids")]


@get("/metrics/get-history")
async def get_history(
    request: AnyRequest,
    metric_key: FromQuery[str],
    run_id: FromQuery[str] = "",
    run_uuid: FromQuery[str] = "",
    max_results: FromQuery[int] = HISTORY_MAX,
    page_token: FromQuery[str] = "",
) -> Json:
    if not metric_key:
        raise words.missing("metric_key")
    if max_results < 1:
        raise _not_positive(max_results)
    app = application_of(request)
    found = await run_of(request, run_id, run_uuid)
    limit = min(max_results, HISTORY_MAX)
    with words.page_tokens():
        page = await app.stores.metrics.series_columns(
            found.id, metric_key, limit=limit, cursor=page_token or None
        )
    return without_empty(
        {"metrics": _history(metric_key, page.points), "next_page_token": page.next}
    )


class _Metric(msgspec.Struct, frozen=True, gc=False):
    """A point in MLflow's form: a struct is made and encoded in a third of a dictionary's time."""

    key: str
    value: WireNumber
    timestamp: int
    step: int


def _history(key: str, points: SeriesColumns) -> list[_Metric]:
    floats = points.bits.view(np.float64)
    values: list[WireNumber] = floats.tolist()
    for at in np.flatnonzero(~np.isfinite(floats)).tolist():
        values[at] = number_out(floats[at])
    times: list[int] = points.time_ms.tolist()
    steps: list[int] = points.step.tolist()
    return list(map(_Metric, [key] * len(points), values, times, steps))


def _not_positive(max_results: int) -> InvalidValue:
    return InvalidValue(
        f"Invalid value {max_results} for parameter 'max_results' supplied. "
        "It must be a positive integer.",
        field="max_results",
    )


def _shown(key: str, point: SeriesPoint) -> Json:
    return {
        "key": key,
        "value": number_out(point.value),
        "timestamp": point.time_ms,
        "step": point.step,
    }


async def _runs(request: AnyRequest, texts: list[str], *, field: str) -> list[WorkloadId]:
    """The runs that a request names, each once.

    Raises:
        InvalidValue: none, too many, or one that no run could be named.
        NotFound: one of them does not exist.
    """
    if not 1 <= len(texts) <= RUNS_MAX:
        raise InvalidValue(
            f"GetMetricHistoryBulk request must specify 1 to {RUNS_MAX} values of {field}. "
            f"Got {len(texts)}.",
            field=field,
        )
    return [(await run_of(request, text)).id for text in dict.fromkeys(texts)]


@get("/metrics/get-history-bulk")
async def get_history_bulk(
    request: AnyRequest,
    metric_key: FromQuery[str],
    run_id: _RunIds,
    max_results: FromQuery[int] = HISTORY_MAX,
) -> Json:
    """The first points of several runs, run by run; ``max_results`` counts all of them."""
    app = application_of(request)
    left = min(max_results, HISTORY_MAX)
    if left < 1:
        raise _not_positive(max_results)
    made: list[Json] = []
    for workload_id in sorted(await _runs(request, run_id, field="run_id")):
        if left == 0:
            break
        page = await app.stores.metrics.series(workload_id, metric_key, limit=left)
        left -= len(page.points)
        made += [_shown(metric_key, point) | {"run_id": workload_id} for point in page.points]
    return {"metrics": made}


@get("/metrics/get-history-bulk-interval")
async def get_history_bulk_interval(
    request: AnyRequest,
    metric_key: FromQuery[str],
    run_ids: _IntervalRunIds,
    start_step: FromQuery[int | None] = None,
    end_step: FromQuery[int | None] = None,
    max_results: FromQuery[int] = INTERVAL_RESULTS_MAX,
) -> Json:
    """Of each run at most ``max_results`` points, evenly spread; the last is its last one."""
    app = application_of(request)
    if not 1 <= max_results <= INTERVAL_RESULTS_MAX:
        raise InvalidValue(
            f"max_results must be between 1 and {INTERVAL_RESULTS_MAX}.{words.SEE}",
            field="max_results",
        )
    if (start_step is None) != (end_step is None):
        raise InvalidValue(
            "If either start step or end step are specified, both must be specified.",
            field="start_step",
        )
    if start_step is not None and end_step is not None and start_step > end_step:
        raise InvalidValue(
            f"end_step must be greater than start_step. Found start_step={start_step} and "
            f"end_step={end_step}.",
            field="start_step",
        )
    made: list[Json] = []
    for workload_id in await _runs(request, run_ids, field="run_ids"):
        buckets = await app.stores.metrics.chart(
            workload_id,
            metric_key,
            buckets=max_results,
            window=Window(step_min=start_step, step_max=end_step),
        )
        points = [
            SeriesPoint(each.step_first, each.time_ms_first, each.first) for each in buckets[:-1]
        ] + [SeriesPoint(end.step_last, end.time_ms_last, end.last) for end in buckets[-1:]]
        made += [_shown(metric_key, point) | {"run_id": workload_id} for point in points]
    return {"metrics": made}


ROUTES: list[HTTPRouteHandler] = [get_history, get_history_bulk, get_history_bulk_interval]
