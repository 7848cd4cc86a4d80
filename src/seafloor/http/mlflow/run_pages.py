"""``/api/2.0/mlflow/runs/search``: pages of whole runs.

A page has tens of thousands of params, tags and metrics, so their shapes here are structs, which
are made and written several times as fast as dictionaries.
"""

from __future__ import annotations

import msgspec
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from seafloor.app.run_pages import Wanted
from seafloor.app.runs import RunDetails
from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import WorkloadQuery
from seafloor.http.mlflow import words
from seafloor.http.mlflow.bodies import Int64, body_of, int64
from seafloor.http.mlflow.entities import Json, dataset_json, run_info_json
from seafloor.http.mlflow.experiments import view_of
from seafloor.http.mlflow.run_search import run_filter, run_order
from seafloor.http.mlflow.workspaces import experiments_of
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of
from seafloor.wire.numbers import WireNumber, number_out

RUNS_MAX = 50_000

_WANTED = Wanted(as_tracked=True)

_encoder = msgspec.json.Encoder()


class _Search(msgspec.Struct):
    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: Int64 = 1000
    order_by: list[str] = []
    page_token: str = ""


class _Pair(msgspec.Struct, gc=False):
    key: str
    value: str


class _Metric(msgspec.Struct, gc=False):
    key: str
    value: WireNumber
    timestamp: int
    step: int


class _Data(msgspec.Struct, omit_defaults=True):
    metrics: list[_Metric] = []
    params: list[_Pair] = []
    tags: list[_Pair] = []


class _Run(msgspec.Struct):
    info: Json
    data: _Data
    inputs: Json = {}
    outputs: Json | msgspec.UnsetType = msgspec.UNSET


class _Page(msgspec.Struct, omit_defaults=True):
    runs: list[_Run] = []
    next_page_token: str | None = None


@post("/runs/search", status_code=200)
async def search(request: AnyRequest) -> Response[bytes]:
    app = application_of(request)
    body = await body_of(request, _Search)
    limit = int64(body.max_results, field="max_results")
    if not 1 <= limit <= RUNS_MAX:
        if limit > RUNS_MAX:
            raise words.invalid(limit, "max_results")
        raise InvalidValue(
            f"Invalid value {limit} for parameter 'max_results' supplied. "
            "It must be a positive integer",
            field="max_results",
        )
    query = WorkloadQuery(
        experiment_ids=tuple(await experiments_of(request, body.experiment_ids)),
        filter=run_filter(body.filter),
        order=run_order(body.order_by),
        lifecycle=view_of(body.run_view_type),
        limit=limit,
        cursor=body.page_token or None,
    )
    with words.page_tokens():
        page = await app.runs.search(query, _WANTED)
    runs = [_run(one) for one in page.items]
    return Response(_encoder.encode(_Page(runs, page.next)), media_type="application/json")


def _run(details: RunDetails) -> _Run:
    workload, inputs = details.workload, details.inputs
    tags = details.labels.tags
    tags["mlflow.runName"] = workload.name
    if workload.user:
        tags.setdefault("mlflow.user", workload.user)
    made = _Run(
        info=run_info_json(workload, details.experiment),
        data=_Data(
            metrics=[
                _Metric(one.key, number_out(one.value), one.time_ms, one.step)
                for one in details.points
            ],
            params=[_Pair(key, value) for key, value in details.labels.params.items()],
            tags=[_Pair(key, value) for key, value in tags.items()],
        ),
    )
    if inputs is not None:
        made.inputs = {
            "dataset_inputs": [dataset_json(dataset) for dataset in inputs.datasets],
            "model_inputs": [{"model_id": model_id} for model_id in inputs.models],
        }
        made.outputs = {
            "model_outputs": [
                {"model_id": output.model_id, "step": output.step} for output in inputs.outputs
            ]
        }
    return made


ROUTES: list[HTTPRouteHandler] = [search]
