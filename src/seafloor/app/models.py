"""Logged models, and what runs used and produced: the use cases of the native API."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from seafloor.app.clock import Clock
from seafloor.domain.errors import AlreadyExists, Conflict
from seafloor.domain.ids import WorkloadId
from seafloor.domain.models import (
    DatasetInput,
    LoggedModel,
    LoggedModelState,
    ModelMetric,
    ModelOutput,
)
from seafloor.domain.names import check_key, check_name
from seafloor.domain.search import Lifecycle
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.stores.metadata.protocol import MetadataStore, WorkloadInputs


class ModelDetails(msgspec.Struct, frozen=True):
    """A logged model with its metric values."""

    model: LoggedModel
    metrics: tuple[ModelMetric, ...]


class Models:
    """What runs saved as models, and what they used."""

    def __init__(self, metadata: MetadataStore, artifacts: ArtifactStore, clock: Clock) -> None:
        self._metadata = metadata
        self._artifacts = artifacts
        self._clock = clock

    async def put(self, model: LoggedModel, metrics: tuple[ModelMetric, ...]) -> ModelDetails:
        """Keep a model under the id it has; repeating is harmless.

        Model, then metric values, then the state: a model that is ready is whole.

        Raises:
            InvalidValue, LimitExceeded: a name or key is not acceptable. Nothing was written.
            NotFound: no such experiment or run.
            Conflict: another model has the id.
        """
        check_name(model.name)
        for key in (*model.params, *model.tags, *(metric.key for metric in metrics)):
            check_key(key)
        pending = msgspec.structs.replace(model, state=LoggedModelState.PENDING)
        try:
            found = await self._metadata.model_create(pending)
        except AlreadyExists:
            found = await self._metadata.model_get(model.id)
            _check_same(found, model)
        if metrics:
            await self._metadata.model_metrics_add(model.id, metrics)
        if model.state is LoggedModelState.READY:
            await self._artifacts.seal(model.id)
        found = await self._metadata.model_update(
            model.id,
            updated_ns=self._clock.now_ns(),
            state=model.state,
            params=model.params,
            tags=model.tags,
        )
        return await self._details(found)

    async def get(self, model_id: str) -> ModelDetails:
        """Get one, deleted ones too, or NotFound."""
        return await self._details(await self._metadata.model_get(model_id))

    async def of_run(
        self, workload_id: WorkloadId, *, lifecycle: Lifecycle = Lifecycle.ACTIVE
    ) -> tuple[ModelDetails, ...]:
        """Those that a run logged, oldest first."""
        found = await self._metadata.model_list_of_run(workload_id, lifecycle=lifecycle)
        return await self._all_details(found)

    async def page(
        self, experiment_id: int, *, lifecycle: Lifecycle, after: str, limit: int
    ) -> tuple[ModelDetails, ...]:
        """The next ones of an experiment by id, after one of these; those of no run too.

        Raises:
            NotFound: no such experiment.
        """
        await self._metadata.experiment_get(experiment_id)
        found = await self._metadata.model_page(
            experiment_id, lifecycle=lifecycle, after=after, limit=limit
        )
        return await self._all_details(found)

    async def _all_details(self, models: Sequence[LoggedModel]) -> tuple[ModelDetails, ...]:
        metrics = await self._metadata.model_metrics_list([model.id for model in models])
        return tuple(ModelDetails(model, metrics.get(model.id, ())) for model in models)

    async def _details(self, model: LoggedModel) -> ModelDetails:
        return ModelDetails(model, await self._metadata.model_metrics_get(model.id))

    async def inputs(self, workload_id: WorkloadId) -> WorkloadInputs:
        """What a run used and produced."""
        found = await self._metadata.inputs_get([workload_id])
        return found.get(workload_id, WorkloadInputs())

    async def add_inputs(
        self,
        workload_id: WorkloadId,
        *,
        datasets: tuple[DatasetInput, ...],
        models: tuple[str, ...],
        outputs: tuple[ModelOutput, ...],
    ) -> None:
        """Note what a run used and produced; repeats are one."""
        await self._metadata.inputs_add(
            workload_id, datasets=datasets, models=models, outputs=outputs
        )


def _check_same(found: LoggedModel, wanted: LoggedModel) -> None:
    if (found.experiment_id, found.source_run_id) != (wanted.experiment_id, wanted.source_run_id):
        raise Conflict(f"Another model has the id {found.id}.", field="model_id")
