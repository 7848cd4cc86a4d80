"""What runs used and produced, on the wire: datasets, and models that they logged."""

from __future__ import annotations

import msgspec

from seafloor.domain.bounds import Int64, TimeMs, TimeNs
from seafloor.domain.ids import WorkloadId
from seafloor.domain.models import DatasetInput, LoggedModelState
from seafloor.wire.numbers import WireNumber


class ModelUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That a run produced a model at a step."""

    model_id: str
    step: Int64 = 0


class MlflowDataset(msgspec.Struct):
    """A dataset as MLflow's API has it, in requests and answers."""

    name: str = ""
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None


class RunInputs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``GET, POST /api/v1/runs/{id}/inputs``: what a run used, and the models it produced.

    A POST adds; what is there already is not added twice.
    """

    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[str, ...] = ()
    outputs: tuple[ModelUse, ...] = ()


class ModelMetricValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A metric value that a run logged for a model; see ``domain.models.ModelMetric``."""

    key: str
    value: WireNumber
    step: Int64
    time_ms: TimeMs
    run_id: WorkloadId
    dataset_name: str | None = None
    dataset_digest: str | None = None


class LoggedModelPut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``PUT /api/v1/logged-models/{id}``: a model that is brought from elsewhere.

    Params, tags and metrics join those that are there, so a repeat is harmless.

    Args:
        created_ns: UTC.
    """

    experiment_id: Int64
    name: str
    created_ns: TimeNs
    model_type: str = ""
    state: LoggedModelState = LoggedModelState.PENDING
    source_run_id: WorkloadId | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[ModelMetricValue, ...] = ()


class LoggedModelView(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a run logged; see ``domain.models.LoggedModel``."""

    id: str
    experiment_id: int
    name: str
    created_ns: int
    updated_ns: int
    deleted_ns: int | None
    model_type: str
    state: LoggedModelState
    source_run_id: str | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: tuple[ModelMetricValue, ...]


class LoggedModelList(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/logged-models``: of a run, oldest first."""

    items: tuple[LoggedModelView, ...]


class LoggedModelPage(msgspec.Struct, frozen=True):
    """``GET /api/v1/experiments/{id}/logged-models``: a page, by id.

    Args:
        next: The ``cursor`` of the next page; None: this is the last.
    """

    items: tuple[LoggedModelView, ...]
    next: str | None = None
