"""The metadata store: small records. One protocol per noun, joined at the end.

True of every method: it is one transaction, all or none, durable when it returns; a repeat after
StoreUnavailable is harmless; times come in by parameter (a store has no clock); a driver's error
never leaves the store, only ``domain.errors`` do. Deleted objects stay readable by id, with
``deleted_ns`` set, until they are purged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from seafloor.domain.code import Receipt
from seafloor.domain.environments import Environment
from seafloor.domain.errors import Conflict, InvalidValue
from seafloor.domain.experiments import Experiment
from seafloor.domain.ids import WorkloadId
from seafloor.domain.leases import Claim, Lease
from seafloor.domain.models import (
    DatasetInput,
    DatasetSummary,
    LoggedModel,
    LoggedModelState,
    ModelMetric,
    ModelOutput,
)
from seafloor.domain.search import Lifecycle, WorkloadQuery
from seafloor.domain.traces import Assessment, SpanBatch, Trace, TraceQuery
from seafloor.domain.volumes import VolumeUse
from seafloor.domain.workloads import Attempt, Ending, Event, Workload, WorkloadState
from seafloor.stores.artifacts.protocol import ManifestStore
from seafloor.stores.metadata.project_records import ProjectRecords
from seafloor.stores.metadata.task_records import TaskRecords
from seafloor.stores.metadata.volume_records import VolumeRecords

LEASE_TTL_NS_MAX = 86_400 * 1_000_000_000


class NewEvent(msgspec.Struct, frozen=True):
    """An event to append; the store numbers it."""

    time_ns: int
    actor: str
    message: str
    kind: str = "note"


class Labels(msgspec.Struct, frozen=True):
    """Params and tags of one workload."""

    params: dict[str, str]
    tags: dict[str, str]


class WorkloadPage(msgspec.Struct, frozen=True):
    """One page of workloads; ``next`` is the cursor of the next, None at the end."""

    items: tuple[Workload, ...]
    next: str | None = None


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A change of state of a workload's newest attempt, with the event that tells of it.

    Args:
        expected: The states it may come from; in another the call is a Conflict.
        state: The state to enter.
        event: Appended in the same transaction, as a state event.
        ending: How it ended, for a final state.
        started_ns: Set when it enters ``running``.
        ended_ns: Set when it enters a final state.
        attempt: Its number; when it is not the newest any more the call is a Conflict. None: the
            newest, whichever that is.
        claim: In whose name; see ``AttemptRecords``. Entering ``preparing`` gives the attempt the
            place of the claim. None: of nobody's (a user's wish, an agent's report).
        further: With a final state: a further attempt begins at once, with this event.
    """

    expected: tuple[WorkloadState, ...]
    state: WorkloadState
    event: NewEvent
    ending: Ending | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    attempt: int | None = None
    claim: Claim | None = None
    further: NewEvent | None = None


def check_expected(workload: Workload, transition: Transition) -> None:
    """Refuse a transition that a store must not make of this workload.

    Raises:
        Conflict: the workload is in none of the states that it may come from, or it is of an
            attempt that is not the newest any more, or would begin a further one though this one
            goes on.
    """
    if workload.state not in transition.expected:
        raise Conflict(f"The run is {workload.state}; it cannot become {transition.state}.")
    if transition.attempt is not None and transition.attempt != workload.attempt:
        raise Conflict(f"Attempt {transition.attempt} is over: {workload.attempt} is the newest.")
    if transition.further is not None and not transition.state.is_final:
        raise Conflict(f"The newest attempt is {transition.state}: it must end first.")


class ExperimentRecords(Protocol):
    """Experiments. Id 0, ``Default`` of project ``default``, always exists."""

    async def experiment_create(self, experiment: Experiment) -> Experiment:
        """Create an experiment; its ``id`` is given by the store (the one passed is ignored).

        Raises:
            AlreadyExists: the name is taken within the project, be it by a deleted one.
            NotFound: no such project.
        """
        ...

    async def experiment_get(self, experiment_id: int) -> Experiment:
        """Get one by id, or NotFound."""
        ...

    async def experiment_get_many(self, ids: Collection[int]) -> dict[int, Experiment]:
        """Get those of some experiments that there are, deleted ones too."""
        ...

    async def experiment_get_by_name(self, project: str, name: str) -> Experiment:
        """Get one by name, deleted ones too, or NotFound with the nearest name."""
        ...

    async def experiment_list(
        self, *, project: str | None, lifecycle: Lifecycle
    ) -> tuple[Experiment, ...]:
        """All of them, newest first."""
        ...

    async def experiment_update(
        self,
        experiment_id: int,
        *,
        updated_ns: int,
        name: str | None = None,
        spec: dict[str, Any] | None = None,
        set_tags: Mapping[str, str] | None = None,
        delete_tags: Sequence[str] = (),
    ) -> Experiment:
        """Change the fields that are not None, and tags, all of it or none.

        Raises:
            AlreadyExists: the name is taken.
            NoSuchTag: a tag to delete is missing.
        """
        ...

    async def experiment_tags_change(
        self, experiment_id: int, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """Set and delete tags; NotFound when a tag to delete is missing (nothing is changed)."""
        ...

    async def experiment_set_deleted(self, experiment_id: int, *, deleted_ns: int | None) -> None:
        """Delete (with a time) or restore (with None) it and its runs; repeating is harmless.

        Restoring restores the runs that went with it (those with the same ``deleted_ns``).
        """
        ...


class WorkloadRecords(Protocol):
    """Workloads."""

    async def workload_create(
        self,
        workload: Workload,
        *,
        labels: Labels,
        event: NewEvent,
        idempotency_key: str | None,
        volumes: Sequence[VolumeUse] = (),
    ) -> Workload:
        """Create a workload, its labels, its first event and, if ``launched``, attempt 1.

        The event is a state event, whatever its kind says. It holds its volumes until it is at its
        end, and again from each further attempt on.

        Returns:
            The workload, with the number of its attempt; an earlier one when the idempotency key
            is known in the project.

        Raises:
            AlreadyExists: the id is taken.
            NotFound: no such project, experiment or volume.
            Conflict: the experiment is deleted, or a volume is another's (``domain.volumes``).
        """
        ...

    async def workload_get(self, workload_id: WorkloadId) -> Workload:
        """Get one by id, deleted ones too, or NotFound."""
        ...

    async def workload_find(self, prefix: str) -> tuple[WorkloadId, ...]:
        """The ids that begin or end with these hex digits (at most ten), for people's short ids."""
        ...

    async def workload_search(self, query: WorkloadQuery) -> WorkloadPage:
        """Search.

        Paging is stable: what is created, changed or deleted meanwhile neither shifts nor repeats
        the others.

        Raises:
            InvalidValue: a comparison or order that means nothing, a limit out of bounds, or a
                cursor that is not of this query.
            LimitExceeded: too many comparisons or values, or too long a pattern
                (``stores.metadata.comparisons``).
        """
        ...

    async def workload_update(
        self,
        workload_id: WorkloadId,
        *,
        updated_ns: int,
        name: str | None = None,
        environment: str | None = None,
    ) -> Workload:
        """Change the fields that are not None."""
        ...

    async def workload_transition(
        self, workload_id: WorkloadId, transition: Transition
    ) -> Workload:
        """Enter a state, in the workload and in its newest attempt, with its event.

        The event's time becomes ``updated_ns``. Entering a state that is not final clears
        ``ended_ns`` and the attempt's ending.

        Raises:
            Conflict: the state is none of ``expected``, or the state machine has no such arrow
                (``domain.workloads.check_transition``), or a newer attempt began. Nothing was
                written.
            StaleLease: the claim is none any more. Nothing was written.
        """
        ...

    async def workload_set_deleted(
        self, workload_id: WorkloadId, *, deleted_ns: int | None
    ) -> None:
        """Delete (with a time) or restore (with None); repeating is harmless."""
        ...

    async def workload_purge(self, workload_id: WorkloadId) -> None:
        """Remove every row of a deleted workload, points too; Conflict while it lives.

        Values that it logged for models go with it; models that it made stay, without a source.
        """
        ...


class AttemptRecords(Protocol):
    """Attempts and events of workloads.

    What a reconciler writes carries its claim. It is compared in the transaction and refused
    (StaleLease) when the lease of the place has another fence by now, or the newest attempt is of
    another place. An attempt without a place is anybody's.
    """

    async def attempt_create(
        self, workload_id: WorkloadId, *, created_ns: int, event: NewEvent
    ) -> Attempt:
        """Begin the next attempt in ``queued``.

        Raises:
            Conflict: the newest one is not final, or a volume of its is another's by now.
            NotFound: a volume is gone.
        """
        ...

    async def attempt_list(self, workload_id: WorkloadId) -> tuple[Attempt, ...]:
        """All attempts by number."""
        ...

    async def attempts_newest(
        self, workload_ids: Sequence[WorkloadId]
    ) -> dict[WorkloadId, Attempt]:
        """The newest attempts of many workloads at once; those without any are absent."""
        ...

    async def attempt_record(
        self,
        workload_id: WorkloadId,
        number: int,
        *,
        receipts: Mapping[str, Receipt] | None = None,
        environment: str | None = None,
        environment_digest: str | None = None,
        launching_ns: int | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Add what was prepared, and when its agent is about to be started.

        Receipts join those that are there; the first ``launching_ns`` stays.

        Raises:
            NotFound: no such attempt.
            StaleLease: the claim is none any more, or the attempt is not the newest, or, with
                ``launching_ns``, it is over. Nothing was written.
        """
        ...

    async def event_append(
        self, workload_id: WorkloadId, event: NewEvent, *, claim: Claim | None = None
    ) -> Event:
        """Append an event; StaleLease when the claim is none any more."""
        ...

    async def event_list(
        self, workload_id: WorkloadId, *, after: int = 0, limit: int = 1000
    ) -> tuple[Event, ...]:
        """Events with a sequence above ``after``, in order."""
        ...


class LeaseRecords(Protocol):
    """Leases. Their time is the store's own: the clocks of its users need not agree.

    A name is ``<kind>/<what>``.
    """

    async def lease_take(
        self, name: str, *, holder: str, ttl_ns: int, supersede: bool = False
    ) -> Lease:
        """Take a lease that is free or has ended, or renew one's own.

        Args:
            holder: Who; one that no other process, earlier or later, has. Not empty.
            ttl_ns: How long it lasts from now, > 0.
            supersede: Take it even if another has it: for who knows that the other is dead.

        Returns:
            The lease as it is now: the caller's exactly if its ``holder`` is.
        """
        ...

    async def lease_renew(self, lease: Lease, *, ttl_ns: int) -> Lease:
        """Make one's lease last from now on; also one that has ended and nobody took.

        Raises:
            StaleLease: another took it, or it was broken.
        """
        ...

    async def lease_release(self, lease: Lease) -> None:
        """End one's lease now; nothing happens when it is not one's own any more."""
        ...

    async def lease_break(self, name: str, *, ended_ns: int) -> Lease:
        """Shut out the last holder of a lease: raise its fence, without taking it.

        Args:
            ended_ns: For how long it must have ended, >= 0.

        Raises:
            NotFound: there is none.
            Conflict: it has not ended so long ago. Nothing was changed.
        """
        ...

    async def lease_list(self, kind: str) -> tuple[Lease, ...]:
        """All leases of a kind, by name, ended ones too."""
        ...


def check_lease_terms(holder: str, ttl_ns: int) -> None:
    """Refuse what no store must take for a lease.

    Raises:
        InvalidValue: nobody is to hold it, or for no time.
    """
    if not holder:
        raise InvalidValue("A lease has a holder.", field="holder")
    if not 0 < ttl_ns <= LEASE_TTL_NS_MAX:
        raise InvalidValue("A lease lasts between 1 ns and a day.", field="ttl_ns")


class InstallationRecords(Protocol):
    """What all servers on one store share."""

    async def installation_value(self, name: str, *, first: bytes) -> bytes:
        """Get a value that never changes; ``first`` becomes it when there is none yet.

        Of several that come first at once, one wins and all get its value.
        """
        ...


class LabelRecords(Protocol):
    """Params and tags of workloads."""

    async def labels_get(
        self,
        workload_ids: Sequence[WorkloadId],
        *,
        params: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        most: int | None = None,
    ) -> dict[WorkloadId, Labels]:
        """Params and tags of many workloads at once; only unknown ids are absent.

        Args:
            params, tags: Only those with these keys; None: all.
            most: So many params and so many tags are read at most; None: however many there are.

        Raises:
            LimitExceeded: there are more than that.
        """
        ...

    async def params_log(self, workload_id: WorkloadId, params: Mapping[str, str]) -> None:
        """Add params, all or none. The same value again is fine.

        Raises:
            Conflict: a key has another value already; the message names key, old and new value.
            NotFound: no such workload.
        """
        ...

    async def tags_change(
        self, workload_id: WorkloadId, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """Delete tags, then set tags (the last write wins).

        Raises:
            NotFound: no such workload, or a tag to delete is missing. Nothing was changed.
        """
        ...


class EnvironmentRecords(Protocol):
    """Environments: versions that never change."""

    async def environment_create(self, environment: Environment) -> Environment:
        """Add the next version of a name (``version`` passed is ignored).

        When the newest living version has the same digest and requirements, that one is returned.
        """
        ...

    async def environment_get(
        self, project: str, name: str, *, version: int | None = None
    ) -> Environment:
        """Get a version (None: the newest living one), or NotFound with the nearest name.

        An exact version is found deleted too.
        """
        ...

    async def environment_list(self, *, project: str | None) -> tuple[Environment, ...]:
        """All living versions, by name and version."""
        ...

    async def environment_delete(
        self, project: str, name: str, *, version: int | None, deleted_ns: int
    ) -> int:
        """Delete one version or all; return how many; NotFound when there is none."""
        ...


class LoggedModelRecords(Protocol):
    """Logged models, and what runs used and produced."""

    async def model_create(self, model: LoggedModel) -> LoggedModel:
        """Create a logged model.

        Raises:
            AlreadyExists: the id is taken.
            NotFound: no such experiment or source run.
            Conflict: the experiment is deleted.
        """
        ...

    async def model_get(self, model_id: str) -> LoggedModel:
        """Get one, deleted ones too, or NotFound."""
        ...

    async def model_list(
        self, experiment_ids: Sequence[int], *, lifecycle: Lifecycle = Lifecycle.ACTIVE
    ) -> tuple[LoggedModel, ...]:
        """Those of some experiments, newest first."""
        ...

    async def model_page(
        self,
        experiment_id: int,
        *,
        lifecycle: Lifecycle = Lifecycle.ACTIVE,
        after: str = "",
        limit: int,
    ) -> tuple[LoggedModel, ...]:
        """The next ones of an experiment by id, after one of these; () for an unknown one."""
        ...

    async def model_list_of_run(
        self, workload_id: WorkloadId, *, lifecycle: Lifecycle = Lifecycle.ACTIVE
    ) -> tuple[LoggedModel, ...]:
        """Those that a run logged, oldest first; () for an unknown run."""
        ...

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
        """Change the fields that are given; params and tags join those that are there.

        Raises:
            NotFound: no such model, or a tag to delete is missing. Nothing was changed.
            Conflict: a param has another value already. Nothing was changed.
        """
        ...

    async def model_metrics_add(self, model_id: str, metrics: Sequence[ModelMetric]) -> None:
        """Note metric values that a run logged for a model; exact repeats are one.

        Raises:
            NotFound: no such model, or no such run of a value. Nothing was noted.
        """
        ...

    async def model_metrics_get(self, model_id: str) -> tuple[ModelMetric, ...]:
        """All metric values of a model."""
        ...

    async def model_metrics_list(
        self, model_ids: Sequence[str]
    ) -> dict[str, tuple[ModelMetric, ...]]:
        """The same for many models at once; models without any are absent."""
        ...

    async def inputs_add(
        self,
        workload_id: WorkloadId,
        *,
        datasets: Sequence[DatasetInput] = (),
        outputs: Sequence[ModelOutput] = (),
        models: Sequence[str] = (),
    ) -> None:
        """Note the datasets and models a run used and the models it produced; repeats are one."""
        ...

    async def inputs_get(
        self, workload_ids: Sequence[WorkloadId], *, chars_max: int | None = None
    ) -> dict[WorkloadId, WorkloadInputs]:
        """The same for many runs at once; runs without any are absent.

        Args:
            chars_max: So much is read at most, as it is kept; None: however much there is.

        Raises:
            LimitExceeded: there is more than that. Nothing of it was read.
        """
        ...

    async def dataset_list(
        self, experiment_ids: Sequence[int], *, limit: int
    ) -> tuple[DatasetSummary, ...]:
        """The datasets that runs of experiments used, deleted runs' too, each once, in order."""
        ...


class WorkloadInputs(msgspec.Struct, frozen=True):
    """What a run used and produced."""

    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[str, ...] = ()
    outputs: tuple[ModelOutput, ...] = ()


class TracePage(msgspec.Struct, frozen=True):
    """One page of traces; ``next`` is the cursor of the next, None at the end."""

    items: tuple[Trace, ...]
    next: str | None = None


class TraceRecords(Protocol):
    """Traces and their spans. A trace goes with all of its spans, labels and assessments."""

    async def trace_tell(self, trace: Trace) -> Trace:
        """Note what a client tells of a trace as a whole, before or after its spans came.

        Its assessments join those that are there; one of a known id replaces it.

        Returns:
            The trace as it is now; see ``domain.traces.told``.

        Raises:
            NotFound: no such experiment.
            Conflict: the experiment is deleted.
        """
        ...

    async def spans_add(self, batches: Sequence[SpanBatch]) -> None:
        """Add spans; one of a known id replaces it, so that a repeat is harmless.

        Traces that are not known are created; see ``domain.traces.with_spans``.

        Raises:
            NotFound: no such experiment. Nothing was written.
            Conflict: the experiment of a new trace is deleted. Nothing was written.
        """
        ...

    async def trace_list(self, ids: Sequence[str]) -> tuple[Trace, ...]:
        """Those of some traces that there are, in the order of the ids.

        Of many bytes of assessments only the first traces come, at least one
        (``trace_search.SAID_BYTES_MAX``): ask again for those behind the last of them. Empty: none
        of them is there.
        """
        ...

    async def trace_put(self, trace: Trace, runs: Sequence[WorkloadId]) -> None:
        """Make a trace exactly what is said, its assessments and links too; its spans stay.

        Raises:
            NotFound: no such experiment or run. Nothing was written.
            Conflict: the experiment is deleted, or the trace is in another. Nothing was written.
        """
        ...

    async def trace_runs(self, ids: Sequence[str]) -> dict[str, tuple[WorkloadId, ...]]:
        """Which runs traces are linked to, in order of their ids; only those that are linked."""
        ...

    async def span_counts(self, ids: Sequence[str]) -> dict[str, int]:
        """How many spans traces have; only those that have any."""
        ...

    async def trace_search(self, query: TraceQuery) -> TracePage:
        """Search. Paging is stable, as that of ``workload_search`` is.

        A search for contents of spans may give a page with fewer traces than asked for, or none,
        though it has a next one: it looks at so many spans for each.

        Raises:
            InvalidValue: a comparison or order that means nothing, a limit out of bounds, or a
                cursor that is not of this query.
            LimitExceeded: too many comparisons, values or orders.
        """
        ...

    async def span_ids(self, trace_id: str) -> tuple[str, ...]:
        """The spans of a trace: the root first, then by when they began; () for an unknown one."""
        ...

    async def span_documents(self, trace_id: str, ids: Sequence[str]) -> dict[str, bytes]:
        """The documents of those of some spans that there are, in the order of the ids.

        Of many bytes only the first come, at least one (``traces.DOCUMENTS_BYTES_MAX``): ask again
        for those behind the last of them. Empty: none of them is there.
        """
        ...

    async def trace_tags_change(
        self, trace_id: str, *, set_: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """Delete tags, then set tags.

        Raises:
            NotFound: no such trace, or a tag to delete is missing. Nothing was changed.
        """
        ...

    async def traces_link(self, trace_ids: Sequence[str], run_id: WorkloadId) -> None:
        """Link traces to a run, so that a search for the run's finds them; unknown ones are not.

        Raises:
            NotFound: no such run.
        """
        ...

    async def trace_prompts_link(self, trace_id: str, prompts: Sequence[str]) -> None:
        """Say in ``PROMPTS_TAG`` of a trace that it used versions of prompts.

        Those that are told there stay, also what is added at the same time.

        Args:
            prompts: Each ``<name>/<version>``.

        Raises:
            NotFound: no such trace.
            InvalidValue, LimitExceeded: as ``with_prompts`` says; nothing is written.
        """
        ...


class TraceEndRecords(Protocol):
    """The end of traces, and what is said of them."""

    async def trace_oldest(
        self,
        experiment_id: int,
        *,
        limit: int,
        until_ms: int | None = None,
        ids: Sequence[str] | None = None,
    ) -> tuple[str, ...]:
        """The ids of an experiment's traces, oldest first.

        Args:
            until_ms: Only those that began no later.
            ids: Only of these.
        """
        ...

    async def traces_delete(self, ids: Sequence[str]) -> int:
        """Remove traces with all that belongs to them; say how many there were."""
        ...

    async def assessment_put(self, assessment: Assessment) -> None:
        """Add an assessment, or replace the one of its id.

        Another that a new one overrides is no longer valid.

        Raises:
            NotFound: no such trace, or none of the id that it overrides. Nothing was written.
            LimitExceeded: it is new, and the trace has ``ASSESSMENTS_MAX``. Nothing was written.
        """
        ...

    async def assessment_change(
        self, trace_id: str, assessment_id: str, change: Callable[[Assessment], Assessment]
    ) -> Assessment:
        """Make another of an assessment; changes at the same time are made one after the other.

        Args:
            change: Makes it of the stored one; keeps both ids. It may be asked more than once, and
                what it raises is raised.

        Raises:
            NotFound: no such trace, or it has no such assessment. Nothing was written.
        """
        ...

    async def assessment_delete(self, trace_id: str, assessment_id: str) -> None:
        """Remove an assessment; one that it overrode is valid again. Repeating is harmless."""
        ...


class MetadataStore(
    ProjectRecords,
    ExperimentRecords,
    WorkloadRecords,
    AttemptRecords,
    LeaseRecords,
    InstallationRecords,
    LabelRecords,
    EnvironmentRecords,
    LoggedModelRecords,
    TraceRecords,
    TraceEndRecords,
    ManifestStore,
    VolumeRecords,
    TaskRecords,
    Protocol,
):
    """Everything small."""

    async def check(self) -> None:
        """Answer when the store can read and write; StoreUnavailable otherwise (``/health``)."""
        ...

    async def runs_living(self) -> dict[WorkloadState, int]:
        """Count the runs that have not ended and are not deleted, by state; each has a number.

        Cost: grows with how many these are, not with those that ended.
        """
        ...

    async def close(self) -> None:
        """Give back what the store holds. Safe to repeat."""
        ...
