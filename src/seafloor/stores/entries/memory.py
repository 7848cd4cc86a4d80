"""The entry store in memory: the model."""

from __future__ import annotations

from seafloor.domain.errors import Conflict
from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import check_transition
from seafloor.stores.entries.protocol import Entries
from seafloor.stores.metadata.memory.experiments import changed_tags
from seafloor.stores.metadata.memory.store import MemoryMetadataStore
from seafloor.stores.metadata.protocol import check_expected
from seafloor.stores.metrics.batch import Batch
from seafloor.stores.metrics.columns import points_of
from seafloor.stores.metrics.memory import MemoryMetricStore
from seafloor.stores.metrics.points import triples_by_key


class MemoryEntryStore:
    """Entries of two stores in memory; the contract is ``EntryStore``, durability aside."""

    def __init__(self, metadata: MemoryMetadataStore, metrics: MemoryMetricStore) -> None:
        self._metadata = metadata
        self._metrics = metrics

    async def write(self, workload_id: WorkloadId, entries: Entries, *, updated_ns: int) -> None:
        """Check everything, then write everything."""
        found = await self._metadata.workload_get(workload_id)
        if found.deleted_ns is not None:
            raise Conflict("The run was deleted: restore it before writing to it.")
        given = entries.points
        points = given.singles() if isinstance(given, Batch) else given
        if len(points):
            triples_by_key(points_of(points))
        for model_id in entries.model_metrics:
            await self._metadata.model_get(model_id)
        labels = (await self._metadata.labels_get([workload_id]))[workload_id]
        changed_tags(labels.tags, set_=entries.tags, delete=entries.delete_tags)
        if entries.transition is not None:
            check_expected(found, entries.transition)
            check_transition(found.state, entries.transition.state)
        # Of what follows only params can still be refused, so they come first.
        await self._metadata.params_log(workload_id, entries.params)
        if len(points):
            await self._metrics.append(workload_id, points, attempt=None)
        for model_id, metrics in entries.model_metrics.items():
            await self._metadata.model_metrics_add(model_id, metrics)
        await self._metadata.tags_change(workload_id, set_=entries.tags, delete=entries.delete_tags)
        if entries.name is not None:
            await self._metadata.workload_update(
                workload_id, updated_ns=updated_ns, name=entries.name
            )
        if entries.transition is not None:
            await self._metadata.workload_transition(workload_id, entries.transition)
