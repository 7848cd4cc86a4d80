"""Models: what a run saved as one. (MLflow calls this a logged model.)"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from seafloor.domain.errors import Conflict
from seafloor.domain.ids import WorkloadId


class LoggedModelState(StrEnum):
    """Where a logged model stands."""

    PENDING = "pending"
    READY = "ready"
    UPLOAD_FAILED = "upload_failed"


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a run logged; its files are artifacts of owner ``id``.

    Args:
        id: ``m-`` and 32 hex digits.
        experiment_id: Where it belongs.
        name: As the user gave it.
        model_type: Free text of the client, or "".
        state: Pending until the client has uploaded all.
        source_run_id: The run that logged it, or None.
        params, tags: Key to value.
        created_ns, updated_ns, deleted_ns: UTC.
    """

    id: str
    experiment_id: int
    name: str
    created_ns: int
    updated_ns: int
    model_type: str = ""
    state: LoggedModelState = LoggedModelState.PENDING
    source_run_id: WorkloadId | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    deleted_ns: int | None = None


def joined_params(model: LoggedModel, params: Mapping[str, str]) -> dict[str, str]:
    """The params of a model with more of them; Conflict when one has another value already."""
    for key, value in params.items():
        known = model.params.get(key, value)
        if known != value:
            raise Conflict(
                f"Changing param values is not allowed. Param with key='{key}' was already logged "
                f"with value='{known}' for model ID='{model.id}'. Attempted logging new value "
                f"'{value}'.",
                field="params",
            )
    return {**model.params, **params}


class ModelMetric(msgspec.Struct, frozen=True):
    """A metric value that a run logged for a model.

    Args:
        run_id: The run.
        dataset_name, dataset_digest: What it was measured on, or None.
    """

    key: str
    value: float
    step: int
    time_ms: int
    run_id: WorkloadId
    dataset_name: str | None = None
    dataset_digest: str | None = None


class DatasetInput(msgspec.Struct, frozen=True):
    """A dataset that a run used.

    Args:
        name, digest: What names it.
        source_type, source, schema, profile: As the client said, unread.
        tags: Key to value; ``mlflow.data.context`` is its context.
    """

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None
    tags: dict[str, str] = {}


class DatasetSummary(msgspec.Struct, frozen=True, order=True):
    """That runs of an experiment used a dataset, as ``context`` (``""``: none was told)."""

    experiment_id: int
    name: str
    digest: str
    context: str


class ModelOutput(msgspec.Struct, frozen=True):
    """That a run produced (or used) a model at a step."""

    model_id: str
    step: int = 0
