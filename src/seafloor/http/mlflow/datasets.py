"""``/api/2.0/mlflow/experiments/search-datasets``, which MLflow's pages ask."""

from __future__ import annotations

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler

from seafloor.domain.errors import InvalidValue
from seafloor.domain.models import DatasetSummary
from seafloor.http.mlflow.bodies import body_of
from seafloor.http.mlflow.entities import Json, without_empty
from seafloor.http.mlflow.workspaces import experiments_of
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of

EXPERIMENTS_MAX = 20
SUMMARIES_MAX = 1000


class _Search(msgspec.Struct):
    experiment_ids: list[str] = []


@post("/experiments/search-datasets", status_code=200)
async def search_datasets(request: AnyRequest) -> Json:
    """Which datasets the runs of experiments used."""
    body = await body_of(request, _Search)
    if not body.experiment_ids:
        raise InvalidValue(
            "SearchDatasets request must specify at least one experiment_id.",
            field="experiment_ids",
        )
    if len(body.experiment_ids) > EXPERIMENTS_MAX:
        raise InvalidValue(
            f"SearchDatasets request cannot specify more than {EXPERIMENTS_MAX} experiment_ids. "
            f"Received {len(body.experiment_ids)} experiment_ids.",
            field="experiment_ids",
        )
    found = await application_of(request).stores.metadata.dataset_list(
        await experiments_of(request, body.experiment_ids), limit=SUMMARIES_MAX
    )
    return without_empty({"dataset_summaries": [_shown(one) for one in found]})


def _shown(summary: DatasetSummary) -> Json:
    return without_empty(
        {
            "experiment_id": str(summary.experiment_id),
            "name": summary.name,
            "digest": summary.digest,
            "context": summary.context,
        }
    )


ROUTES: list[HTTPRouteHandler] = [search_datasets]
