"""``/api/2.0/mlflow/metrics/…``."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from seafloor.domain.errors import InvalidValue
from seafloor.http.mlflow.bodies import run_id_of
from seafloor.http.mlflow.entities import Json, without_empty
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of
from seafloor.wire.numbers import number_out

HISTORY_MAX = 25_000


@get("/metrics/get-history")
async def get_history(
    request: AnyRequest,
    metric_key: FromQuery[str],
    run_id: FromQuery[str] = "",
    run_uuid: FromQuery[str] = "",
    max_results: FromQuery[int] = HISTORY_MAX,
    page_token: FromQuery[str] = "",
) -> Json:
    if max_results < 1:
        raise InvalidValue("max_results must be positive.", field="max_results")
    app = application_of(request)
    found = await app.runs.get(run_id_of(run_id, run_uuid))
    page = await app.stores.metrics.series(
        found.id, metric_key, limit=min(max_results, HISTORY_MAX), cursor=page_token or None
    )
    return without_empty(
        {
            "metrics": [
                {
                    "key": metric_key,
                    "value": number_out(point.value),
                    "timestamp": point.time_ms,
                    "step": point.step,
                }
                for point in page.points
            ],
            "next_page_token": page.next,
        }
    )


ROUTES: list[HTTPRouteHandler] = [get_history]
