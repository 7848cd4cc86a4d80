"""Logged models, and what runs used and produced, in memory."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from seafloor.domain.errors import AlreadyExists, Conflict, LimitExceeded
from seafloor.domain.ids import WorkloadId
from seafloor.domain.models import (
    DatasetInput,
    DatasetSummary,
    LoggedModel,
    LoggedModelState,
    ModelMetric,
    ModelOutput,
    joined_params,
)
from seafloor.domain.search import Lifecycle
from seafloor.stores.metadata.memory.experiments import changed_tags, lives
from seafloor.stores.metadata.memory.rows import Rows
from seafloor.stores.metadata.protocol import WorkloadInputs

_T = TypeVar("_T")


class MemoryModels:
    """``LoggedModelRecords`` in memory."""

    _rows: Rows

    async def model_create(self, model: LoggedModel) -> LoggedModel:
        """See ``LoggedModelRecords``."""
        if model.id in self._rows.models:
            raise AlreadyExists(f"There is a model {model.id} already.", field="model_id")
        if self._rows.experiment(model.experiment_id).deleted_ns is not None:
            raise Conflict("The experiment is deleted: restore it first.", field="experiment_id")
        if model.source_run_id is not None:
            self._rows.of_workload(model.source_run_id)
        made = replace(model, deleted_ns=None)
        self._rows.models[model.id] = made
        return made

    async def model_get(self, model_id: str) -> LoggedModel:
        """See ``LoggedModelRecords``."""
        return self._rows.model(model_id)

    async def model_list(
        self, experiment_ids: Sequence[int], *, lifecycle: Lifecycle = Lifecycle.ACTIVE
    ) -> tuple[LoggedModel, ...]:
        """See ``LoggedModelRecords``."""
        found = [
            one
            for one in self._rows.models.values()
            if one.experiment_id in experiment_ids and lives(one.deleted_ns, lifecycle)
        ]
        return tuple(sorted(found, key=lambda one: (-one.created_ns, one.id)))

    async def model_page(
        self,
        experiment_id: int,
        *,
        lifecycle: Lifecycle = Lifecycle.ACTIVE,
        after: str = "",
        limit: int,
    ) -> tuple[LoggedModel, ...]:
        """See ``LoggedModelRecords``."""
        every = await self.model_list([experiment_id], lifecycle=lifecycle)
        found = sorted((one for one in every if one.id > after), key=lambda one: one.id)
        return tuple(found[:limit])

    async def model_list_of_run(
        self, workload_id: WorkloadId, *, lifecycle: Lifecycle = Lifecycle.ACTIVE
    ) -> tuple[LoggedModel, ...]:
        """See ``LoggedModelRecords``."""
        found = [
            one
            for one in self._rows.models.values()
            if one.source_run_id == workload_id and lives(one.deleted_ns, lifecycle)
        ]
        return tuple(sorted(found, key=lambda one: (one.created_ns, one.id)))

    async def model_update(
        self,
        model_id: str,
        *,
        updated_ns: int,
        state: LoggedModelState | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        delete_tags: Sequence[str] = (),
        deleted_ns: int | None = None,
    ) -> LoggedModel:
        """See ``LoggedModelRecords``."""
        found = self._rows.model(model_id)
        made = replace(
            found,
            updated_ns=updated_ns,
            state=found.state if state is None else state,
            tags=changed_tags(found.tags, set_=tags or {}, delete=delete_tags),
            params=joined_params(found, params or {}),
            deleted_ns=found.deleted_ns if deleted_ns is None else deleted_ns,
        )
        self._rows.models[model_id] = made
        return made

    async def model_metrics_add(self, model_id: str, metrics: Sequence[ModelMetric]) -> None:
        """See ``LoggedModelRecords``."""
        self._rows.model(model_id)
        for metric in metrics:
            self._rows.of_workload(metric.run_id)
        known = self._rows.model_metrics.setdefault(model_id, [])
        seen = {_exact(metric) for metric in known}
        for metric in metrics:
            if _exact(metric) not in seen:
                seen.add(_exact(metric))
                known.append(metric)

    async def model_metrics_get(self, model_id: str) -> tuple[ModelMetric, ...]:
        """See ``LoggedModelRecords``."""
        return tuple(self._rows.model_metrics.get(model_id, ()))

    async def model_metrics_list(
        self, model_ids: Sequence[str]
    ) -> dict[str, tuple[ModelMetric, ...]]:
        """See ``LoggedModelRecords``."""
        found = {one: tuple(self._rows.model_metrics.get(one, ())) for one in model_ids}
        return {model_id: metrics for model_id, metrics in found.items() if metrics}

    async def inputs_add(
        self,
        workload_id: WorkloadId,
        *,
        datasets: Sequence[DatasetInput] = (),
        outputs: Sequence[ModelOutput] = (),
        models: Sequence[str] = (),
    ) -> None:
        """See ``LoggedModelRecords``."""
        rows = self._rows.of_workload(workload_id)
        _join(rows.datasets, datasets)
        _join(rows.outputs, outputs)
        _join(rows.models, models)

    async def inputs_get(
        self, workload_ids: Sequence[WorkloadId], *, chars_max: int | None = None
    ) -> dict[WorkloadId, WorkloadInputs]:
        """See ``LoggedModelRecords``."""
        made: dict[WorkloadId, WorkloadInputs] = {}
        for workload_id in workload_ids:
            rows = self._rows.workloads.get(workload_id)
            if rows is not None and (rows.datasets or rows.models or rows.outputs):
                made[workload_id] = WorkloadInputs(
                    datasets=tuple(rows.datasets),
                    models=tuple(rows.models),
                    outputs=tuple(rows.outputs),
                )
        if made and chars_max is not None:
            # About as long as what a database keeps of it.
            chars = len(msgspec.json.encode(list(made.values())).decode())
            if chars > chars_max:
                raise LimitExceeded(f"There are more than {chars_max} characters.")
        return made

    async def dataset_list(
        self, experiment_ids: Sequence[int], *, limit: int
    ) -> tuple[DatasetSummary, ...]:
        """See ``LoggedModelRecords``."""
        found = {
            DatasetSummary(of, used.name, used.digest, used.tags.get("mlflow.data.context", ""))
            for rows in self._rows.workloads.values()
            if (of := rows.workload.experiment_id) is not None and of in experiment_ids
            for used in rows.datasets
        }
        return tuple(sorted(found)[:limit])


def _exact(metric: ModelMetric) -> tuple[object, ...]:
    """What makes two values one: the float bit for bit."""
    return (replace(metric, value=0.0), struct.pack("<d", metric.value))


def _join(known: list[_T], new: Sequence[_T]) -> None:
    for one in new:
        if one not in known:
            known.append(one)
