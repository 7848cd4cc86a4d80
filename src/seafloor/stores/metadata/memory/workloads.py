"""Workloads with their labels in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from seafloor.domain.errors import AlreadyExists, Conflict, LimitExceeded
from seafloor.domain.ids import WorkloadId
from seafloor.domain.search import WorkloadQuery
from seafloor.domain.volumes import VolumeUse
from seafloor.domain.workloads import (
    Attempt,
    Ending,
    Workload,
    WorkloadState,
    check_transition,
)
from seafloor.stores.artifacts.memory import MemoryManifestStore
from seafloor.stores.metadata.memory.attempts import begin_attempt
from seafloor.stores.metadata.memory.experiments import changed_tags
from seafloor.stores.metadata.memory.leases import check_claim
from seafloor.stores.metadata.memory.rows import Rows, WorkloadRows
from seafloor.stores.metadata.memory.search import SummaryOf, search
from seafloor.stores.metadata.memory.volumes import check_use
from seafloor.stores.metadata.protocol import (
    Labels,
    NewEvent,
    Transition,
    WorkloadPage,
    check_expected,
)

_FOUND_MAX = 10


class MemoryWorkloads:
    """``WorkloadRecords`` in memory."""

    _rows: Rows
    _manifest: MemoryManifestStore
    _summary_of: SummaryOf
    _now_ns: Callable[[], int]

    async def workload_create(
        self,
        workload: Workload,
        *,
        labels: Labels,
        event: NewEvent,
        idempotency_key: str | None,
        volumes: Sequence[VolumeUse] = (),
    ) -> Workload:
        """See ``WorkloadRecords``."""
        if idempotency_key is not None:
            for rows in self._rows.workloads.values():
                if (rows.workload.project, rows.idempotency_key) == (
                    workload.project,
                    idempotency_key,
                ):
                    return rows.workload
        if workload.id in self._rows.workloads:
            raise AlreadyExists(f"There is a workload {workload.id} already.", field="id")
        self._rows.check_project(workload.project)
        if workload.experiment_id is not None:
            experiment = self._rows.experiment(workload.experiment_id)
            if experiment.deleted_ns is not None:
                raise Conflict(
                    "The experiment is deleted: restore it first.", field="experiment_id"
                )
        now_ns = self._now_ns()
        for use in volumes:
            check_use(self._rows, workload.id, use, now_ns=now_ns)
        made = replace(workload, attempt=1 if workload.origin == "launched" else 0)
        rows = WorkloadRows(
            made, idempotency_key, Labels(params=dict(labels.params), tags=dict(labels.tags))
        )
        rows.volumes = tuple(volumes)
        if made.attempt:
            rows.attempts[made.attempt] = Attempt(made.attempt, made.state, made.created_ns)
        rows.add_event(event, state=made.state)
        self._rows.workloads[made.id] = rows
        return made

    async def workload_get(self, workload_id: WorkloadId) -> Workload:
        """See ``WorkloadRecords``."""
        return self._rows.of_workload(workload_id).workload

    async def workload_find(self, prefix: str) -> tuple[WorkloadId, ...]:
        """See ``WorkloadRecords``."""
        found = [
            rows.workload.id
            for rows in self._rows.workloads.values()
            if rows.workload.id.startswith(prefix) or rows.workload.id.endswith(prefix)
        ]
        return tuple(sorted(found, reverse=True)[:_FOUND_MAX])

    async def workload_search(self, query: WorkloadQuery) -> WorkloadPage:
        """See ``WorkloadRecords``."""
        return search(self._rows.workloads.values(), query, self._summary_of)

    async def workload_update(
        self,
        workload_id: WorkloadId,
        *,
        updated_ns: int,
        name: str | None = None,
        environment: str | None = None,
    ) -> Workload:
        """See ``WorkloadRecords``."""
        rows = self._rows.of_workload(workload_id)
        found = rows.workload
        rows.workload = replace(
            found,
            updated_ns=updated_ns,
            name=found.name if name is None else name,
            environment=found.environment if environment is None else environment,
        )
        return rows.workload

    async def workload_transition(
        self, workload_id: WorkloadId, transition: Transition
    ) -> Workload:
        """See ``WorkloadRecords``."""
        rows = self._rows.of_workload(workload_id)
        found = rows.workload
        check_expected(found, transition)
        claim = transition.claim
        if claim is not None:
            check_claim(self._rows, rows, claim, number=found.attempt)
        check_transition(found.state, transition.state)
        rows.workload = replace(
            found,
            state=transition.state,
            updated_ns=transition.event.time_ns,
            started_ns=_started_ns(found.started_ns, transition),
            ended_ns=_ended_ns(found.ended_ns, transition),
        )
        attempt = rows.attempts.get(found.attempt)
        if attempt is not None:
            rows.attempts[found.attempt] = replace(
                attempt,
                state=transition.state,
                started_ns=_started_ns(attempt.started_ns, transition),
                ended_ns=_ended_ns(attempt.ended_ns, transition),
                ending=_ending(attempt.ending, transition),
            )
            if claim is not None and transition.state is WorkloadState.PREPARING:
                rows.attempts[found.attempt] = replace(
                    rows.attempts[found.attempt], place=claim.place, fence=claim.number
                )
        rows.add_event(transition.event, state=transition.state)
        if transition.further is not None:
            created_ns = transition.further.time_ns
            begin_attempt(rows, created_ns=created_ns, event=transition.further)
        return rows.workload

    async def workload_set_deleted(
        self, workload_id: WorkloadId, *, deleted_ns: int | None
    ) -> None:
        """See ``WorkloadRecords``."""
        rows = self._rows.of_workload(workload_id)
        if (rows.workload.deleted_ns is None) is not (deleted_ns is None):
            rows.workload = replace(rows.workload, deleted_ns=deleted_ns)

    async def workload_purge(self, workload_id: WorkloadId) -> None:
        """See ``WorkloadRecords``."""
        if self._rows.of_workload(workload_id).workload.deleted_ns is None:
            raise Conflict("The run is not deleted: delete it before purging it.")
        del self._rows.workloads[workload_id]
        self._rows.trace_runs = {one for one in self._rows.trace_runs if one[1] != workload_id}
        await self._manifest.manifest_delete(workload_id, "")
        for model_id, model in self._rows.models.items():
            if model.source_run_id == workload_id:
                self._rows.models[model_id] = replace(model, source_run_id=None)
        for model_id, metrics in self._rows.model_metrics.items():
            kept = [metric for metric in metrics if metric.run_id != workload_id]
            self._rows.model_metrics[model_id] = kept


class MemoryLabels:
    """``LabelRecords`` in memory."""

    _rows: Rows

    async def labels_get(
        self,
        workload_ids: Sequence[WorkloadId],
        *,
        params: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        most: int | None = None,
    ) -> dict[WorkloadId, Labels]:
        """See ``LabelRecords``."""
        found = {
            workload_id: Labels(
                params=_wanted(rows.labels.params, params), tags=_wanted(rows.labels.tags, tags)
            )
            for workload_id in workload_ids
            if (rows := self._rows.workloads.get(workload_id)) is not None
        }
        counts = (
            sum(len(labels.params) for labels in found.values()),
            sum(len(labels.tags) for labels in found.values()),
        )
        if most is not None and max(counts) > most:
            raise LimitExceeded(f"There are more than {most} rows.")
        return found

    async def params_log(self, workload_id: WorkloadId, params: Mapping[str, str]) -> None:
        """See ``LabelRecords``."""
        known = self._rows.of_workload(workload_id).labels.params
        for key, value in params.items():
            if known.get(key, value) != value:
                raise Conflict(
                    f'Param "{key}" has the value "{known[key]}" already; it cannot become '
                    f'"{value}".',
                    field=key,
                )
        known.update(params)

    async def tags_change(
        self, workload_id: WorkloadId, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """See ``LabelRecords``."""
        rows = self._rows.of_workload(workload_id)
        tags = changed_tags(rows.labels.tags, set_=set_, delete=delete)
        rows.labels = Labels(params=rows.labels.params, tags=tags)


def _started_ns(old: int | None, transition: Transition) -> int | None:
    return old if transition.started_ns is None else transition.started_ns


def _ended_ns(old: int | None, transition: Transition) -> int | None:
    if not transition.state.is_final:
        return None  # a client that resumes its run leaves the end behind
    return old if transition.ended_ns is None else transition.ended_ns


def _ending(old: Ending | None, transition: Transition) -> Ending | None:
    if not transition.state.is_final:
        return None
    return old if transition.ending is None else transition.ending


def _wanted(labels: Mapping[str, str], keys: Sequence[str] | None) -> dict[str, str]:
    return {key: value for key, value in labels.items() if keys is None or key in keys}
