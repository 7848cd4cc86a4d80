"""Runs: the use cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from seafloor.app.admission import Admission
from seafloor.app.artifacts import RunArtifacts
from seafloor.app.clock import Clock, new_workload_id
from seafloor.app.code_sources import CodeSources, check_code, submitted
from seafloor.app.experiments import Experiments
from seafloor.app.names import made_up_name
from seafloor.app.run_pages import RunContents, RunPages, Wanted
from seafloor.app.snapshots import Snapshots
from seafloor.app.tokens import CREATED_BY_TAG, Administrator, Principal
from seafloor.app.volumes import Volumes
from seafloor.app.wakeup import Wakeup
from seafloor.domain.code import CodeSource, SnapshotCode
from seafloor.domain.environments import Environment
from seafloor.domain.errors import Conflict, InvalidValue, LimitExceeded, NotFound
from seafloor.domain.experiments import Experiment
from seafloor.domain.ids import WorkloadId, parse_workload_id
from seafloor.domain.members import task_names_of
from seafloor.domain.metrics import MetricSummary, Point
from seafloor.domain.names import check_key, check_name, is_key
from seafloor.domain.search import WorkloadQuery
from seafloor.domain.specs import ExperimentSpec, parse_experiment
from seafloor.domain.workloads import (
    Attempt,
    Ending,
    Event,
    Task,
    Workload,
    WorkloadKind,
    WorkloadState,
)
from seafloor.launch.protocol import Launcher
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.stores.entries.protocol import Entries, EntryStore
from seafloor.stores.events.protocol import EventFileStore
from seafloor.stores.logs.protocol import LogKey, LogStore
from seafloor.stores.media.protocol import MediaStore
from seafloor.stores.metadata.protocol import (
    Labels,
    MetadataStore,
    NewEvent,
    Transition,
    WorkloadInputs,
)
from seafloor.stores.metrics.protocol import MetricStore

PARAM_CHARS_MAX = 6000
TAG_CHARS_MAX = 8000
LABELS_MAX = 2000
REASON_CHARS_MAX = 2000
IDEMPOTENCY_KEY_CHARS_MAX = 250
COMPARED_MAX = 20
_EXPERIMENTS_KEPT_MAX = 1000

_ALL = Wanted()


class RunDetails(msgspec.Struct, frozen=True):
    """A run with what is shown beside it.

    Args:
        points, inputs: In place of ``metrics`` and beside it, where that was wanted.
    """

    workload: Workload
    experiment: Experiment
    labels: Labels
    metrics: tuple[MetricSummary, ...]
    ending: Ending | None = None
    points: tuple[Point, ...] = ()
    inputs: WorkloadInputs | None = None


class RunDetailsPage(msgspec.Struct, frozen=True):
    """One page of them."""

    items: tuple[RunDetails, ...]
    next: str | None = None


class NewTrackedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that an outside client executes.

    Args:
        experiment_id: Where it belongs, when ``experiment`` is None.
        found_in: The project in which that experiment is; None: in any.
        experiment, project: Where it belongs, by name; it is created when there is none.
        id: Chosen by the client, or None.
        started_ns, created_ns: None: now.
    """

    experiment_id: int = 0
    found_in: str | None = None
    experiment: str | None = None
    project: str = "default"
    id: WorkloadId | None = None
    name: str | None = None
    user: str = ""
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    started_ns: int | None = None
    created_ns: int | None = None


class NewLaunchedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that Seafloor launches.

    Args:
        spec: What stands under ``experiment:``, plain data.
        code: Its code, resolved; None when the spec has none.
    """

    spec: dict[str, Any]
    code: CodeSource | None = None
    name: str | None = None
    user: str = ""
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    idempotency_key: str | None = None


class RunChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a run; what is absent stays as it is. See ``wire.runs.RunUpdate``."""

    name: str | None = None
    state: WorkloadState | None = None
    reason: str = ""
    ended_ns: int | None = None
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    delete_tags: Sequence[str] = ()


class RunStores(msgspec.Struct, frozen=True):
    """Where what a run leaves is kept."""

    metadata: MetadataStore
    metrics: MetricStore
    logs: LogStore
    artifacts: ArtifactStore
    event_files: EventFileStore
    media: MediaStore
    entries: EntryStore


class RunRooms(msgspec.Struct, frozen=True):
    """The other use cases that creating a run needs."""

    experiments: Experiments
    admission: Admission
    snapshots: Snapshots
    code_sources: CodeSources
    artifacts: RunArtifacts
    volumes: Volumes
    launcher: Launcher


class Runs:
    """Executions of experiments, launched or tracked."""

    def __init__(self, stores: RunStores, rooms: RunRooms, clock: Clock, wakeup: Wakeup) -> None:
        self._stores = stores
        self._metadata = stores.metadata
        self._pages = RunPages(stores.metadata, stores.metrics)
        self._rooms = rooms
        self._clock = clock
        self._wakeup = wakeup
        self._experiments: dict[int, Experiment] = {}

    async def create_tracked(self, new: NewTrackedRun, *, by: Principal) -> RunDetails:
        """Create a run in ``running``; the same id again returns the run that is there.

        A new one is told of as it was written, without reading it; of its experiment the id, the
        project and the place for artifacts are right, the rest may be of before.

        Raises:
            InvalidValue, LimitExceeded: a name, key or value is not acceptable.
            NotFound: no such experiment.
            Conflict: the experiment is deleted.
        """
        labels = _labels(new.params, new.tags, by)
        name = check_name(new.name) if new.name else made_up_name()
        user = _checked_user(new.user)
        if new.experiment is None:
            experiment = await self._experiment_of(new.experiment_id, new.found_in)
        else:
            experiment = await self._rooms.experiments.ensure(new.experiment, project=new.project)
        now_ns = self._clock.now_ns()
        if new.id is not None:
            try:
                return await self.details(new.id)
            except NotFound:
                pass  # it is new, the ordinary case
        workload = Workload(
            id=new.id or new_workload_id(self._clock),
            kind=WorkloadKind.RUN,
            project=experiment.project,
            experiment_id=experiment.id,
            name=name,
            user=user,
            state=WorkloadState.RUNNING,
            origin="tracked",
            created_ns=now_ns if new.created_ns is None else new.created_ns,
            updated_ns=now_ns,
            started_ns=now_ns if new.started_ns is None else new.started_ns,
        )
        event = NewEvent(now_ns, "user", "A client began to track this run.", kind="state")
        made = await self._metadata.workload_create(
            workload, labels=labels, event=event, idempotency_key=new.id
        )
        return RunDetails(made, experiment, labels, ())

    async def _experiment_of(self, experiment_id: int, found_in: str | None) -> Experiment:
        """An experiment as it once was: its place for artifacts never changes.

        Its project does when that is deleted, and then the caller knows. Whether it still lives is
        looked at when the run is written.
        """
        found = self._experiments.get(experiment_id)
        if found is None or found_in not in (None, found.project):
            found = await self._metadata.experiment_get(experiment_id)
            if len(self._experiments) >= _EXPERIMENTS_KEPT_MAX:
                self._experiments.clear()
            self._experiments[experiment_id] = found
        return found

    async def create_launched(self, new: NewLaunchedRun, *, by: Principal) -> Workload:
        """Create a run with attempt 1 in ``queued`` and wake the reconciler.

        Everything that can be checked is checked before anything is written.

        Raises:
            InvalidValue, LimitExceeded, NotSupported: the spec or the code is not acceptable.
            NotFound: the environment, the snapshot or a volume does not exist.
            Forbidden: the cluster's administrator does not allow it.
            SourceError: the archive cannot be had.
            Conflict: the experiment was deleted, or a volume is another's.
        """
        spec = parse_experiment(new.spec)
        code = await self._rooms.code_sources.resolve(spec, new.code)
        check_code(spec, code)
        if isinstance(code, SnapshotCode):
            await self._rooms.snapshots.check(code.sha256)
        params = {**spec.params, **new.params}
        labels = _labels(params, {**spec.tags, **new.tags}, by)
        _check_key_of_request(new.idempotency_key)
        environments = await self._rooms.admission.environments(spec)
        attached = await self._rooms.volumes.attachments(spec.volumes, project=spec.project)
        allowed = self._rooms.admission.check(spec, code, environments, attached.volumes)
        found = environments.get(spec.environment or "")
        environment = None if found is None else found.reference
        name = new.name or spec.run_name
        name = check_name(name) if name else made_up_name()
        user = _checked_user(new.user)
        experiment = await self._rooms.experiments.ensure(spec.name, project=spec.project)
        warnings = (*await self._warnings(spec, code), *allowed)
        now_ns = self._clock.now_ns()
        asked = _pinned(new.spec, environments)
        workload = Workload(
            id=new_workload_id(self._clock),
            kind=WorkloadKind.RUN,
            project=spec.project,
            experiment_id=experiment.id,
            name=name,
            user=user,
            state=WorkloadState.QUEUED,
            origin="launched",
            created_ns=now_ns,
            updated_ns=now_ns,
            # All that was asked for, so that the run can be had again.
            spec={**asked, "params": params} if params else asked,
            code=code,
            environment=environment,
            attempt=1,
        )
        event = NewEvent(now_ns, "user", submitted(code, environment, warnings), kind="state")
        created = await self._metadata.workload_create(
            workload,
            labels=labels,
            event=event,
            idempotency_key=new.idempotency_key,
            volumes=attached.uses,
        )
        self._wakeup.ring()
        return created

    async def warnings(self, launched: Workload) -> tuple[str, ...]:
        """What whoever submitted a run should know, one sentence or two each."""
        return await self._warnings(parse_experiment(launched.spec), launched.code)

    async def _warnings(self, spec: ExperimentSpec, code: CodeSource | None) -> tuple[str, ...]:
        of_code = await self._rooms.code_sources.warnings(spec, code)
        return of_code + await self._rooms.volumes.warnings(spec.volumes)

    async def find(self, text: str) -> WorkloadId:
        """Read an id, or a unique beginning or end of one (4 digits at least).

        Raises:
            InvalidValue: it is not hex digits, too short, or not unique.
            NotFound: no run has it.
        """
        if len(text) == 32:
            return parse_workload_id(text)
        if len(text) < 4 or any(char not in "0123456789abcdef" for char in text):
            raise InvalidValue(
                f'"{text[:64]}" is not an id: give 32 hex digits, or at least 4 that are unique.',
                field="id",
            )
        found = await self._metadata.workload_find(text)
        if not found:
            raise NotFound(f'No run has an id with "{text}".', field="id")
        if len(found) != 1:
            raise InvalidValue(f'"{text}" fits several runs: give more digits.', field="id")
        (only,) = found
        return only

    async def get(self, workload_id: WorkloadId) -> Workload:
        """Get a run, deleted ones too, or NotFound."""
        found = await self._metadata.workload_get(workload_id)
        if found.kind is not WorkloadKind.RUN:
            raise NotFound(f"{workload_id} is a {found.kind}, not a run.")
        return found

    async def details(self, workload_id: WorkloadId) -> RunDetails:
        """Get a run with its labels, metrics and ending, or NotFound."""
        for details in await self._details_of([await self.get(workload_id)]):
            return details
        raise NotFound(f"Run with id={workload_id} not found.", field="id")  # by now

    async def search(self, query: WorkloadQuery, wanted: Wanted = _ALL) -> RunDetailsPage:
        """Search runs; a constant number of statements, however many are found.

        A page may be shorter than the query says, and have a next one: see ``run_pages``.
        """
        page = await self._pages.search(query, wanted)
        return RunDetailsPage(await self._with_details(page.items), page.next)

    async def _details_of(self, workloads: Sequence[Workload]) -> tuple[RunDetails, ...]:
        held = await self._pages.contents([workload.id for workload in workloads], _ALL)
        return await self._with_details([(one, held[one.id]) for one in workloads])

    async def _with_details(
        self, runs: Sequence[tuple[Workload, RunContents]]
    ) -> tuple[RunDetails, ...]:
        if not runs:
            return ()
        workloads = [workload for workload, _ in runs]
        experiments = await self._metadata.experiment_get_many(
            {workload.experiment_id or 0 for workload in workloads}
        )
        endings: dict[WorkloadId, Ending | None] = {}
        if len(workloads) == 1 and workloads[0].attempt:
            attempts = await self._metadata.attempt_list(workloads[0].id)
            endings[workloads[0].id] = attempts[-1].ending if attempts else None
        return tuple(
            RunDetails(
                workload,
                experiments[workload.experiment_id or 0],
                contents.labels,
                contents.metrics,
                endings.get(workload.id),
                contents.points,
                contents.inputs,
            )
            for workload, contents in runs
            # One whose experiment is gone went with it, and their project, since it was found.
            if (workload.experiment_id or 0) in experiments
        )

    async def compare(self, ids: Sequence[WorkloadId]) -> tuple[RunDetails, ...]:
        """Get several runs to lay side by side, in the order asked.

        Raises:
            InvalidValue: fewer than 2 or more than 20, or one twice.
            NotFound: one of them does not exist.
        """
        if not 2 <= len(ids) <= COMPARED_MAX or len(set(ids)) != len(ids):
            raise InvalidValue(f"Compare 2 to {COMPARED_MAX} different runs.", field="run")
        return await self._details_of([await self.get(workload_id) for workload_id in ids])

    async def attempts(self, workload_id: WorkloadId) -> tuple[Attempt, ...]:
        """All attempts by number."""
        await self.get(workload_id)
        return await self._metadata.attempt_list(workload_id)

    async def tasks(self, workload_id: WorkloadId) -> tuple[Task, ...]:
        """The tasks of all attempts of a distributed run; none of another's."""
        if not (await self.get(workload_id)).spec.get("tasks"):
            return ()
        found = await self._metadata.task_list([workload_id], newest=False)
        return found.get(workload_id, ())

    async def events(
        self, workload_id: WorkloadId, *, after: int = 0, limit: int
    ) -> tuple[Event, ...]:
        """What happened after an event, in order."""
        await self.get(workload_id)
        return await self._metadata.event_list(workload_id, after=after, limit=limit)

    async def check_active(self, workload_id: WorkloadId) -> Workload:
        """Get a run that may be written to.

        Raises:
            NotFound: no such run.
            Conflict: it is deleted.
        """
        found = await self.get(workload_id)
        if found.deleted_ns is not None:
            raise Conflict("The run was deleted: restore it before writing to it.")
        return found

    async def log(self, workload_id: WorkloadId, entries: Entries) -> None:
        """Write what a client logs at once, all or none of it; see ``EntryStore``.

        Raises:
            InvalidValue, LimitExceeded: a key, name, value or point is not acceptable.
            NotFound: no such run, model, or tag to delete.
            Conflict: it is deleted, or a param has another value already.
        """
        _check_labels(entries.params, chars_max=PARAM_CHARS_MAX, field="params")
        check_tags(entries.tags, entries.delete_tags)
        if entries.name is not None:
            check_name(entries.name)
        await self._stores.entries.write(workload_id, entries, updated_ns=self._clock.now_ns())

    async def update(self, workload_id: WorkloadId, change: RunChange) -> Workload:
        """Change what is given, all of it or none, in one transaction.

        The same state again changes no state. Of a launched run the state is left out: its own
        process decides.

        Raises:
            InvalidValue, LimitExceeded: a name, key or value is not acceptable.
            NotFound: no such run, or no tag to delete.
            Conflict: it is deleted, a param would change, or the state has no such arrow.
        """
        if len(change.reason) > REASON_CHARS_MAX:
            raise LimitExceeded(
                f"A reason has at most {REASON_CHARS_MAX} characters, not {len(change.reason)}.",
                field="reason",
            )
        entries = Entries(
            params=change.params,
            tags=change.tags,
            delete_tags=change.delete_tags,
            name=change.name,
        )
        found = await self.check_active(workload_id)
        while change.state is not None:
            transition = await self._asked(found, change.state, change.reason, change.ended_ns)
            if transition is None:
                break
            try:
                await self.log(workload_id, replace(entries, transition=transition))
                return await self.check_active(workload_id)
            except Conflict as refused:
                found = await self._gone_on(found, refused)
        if entries != Entries():
            await self.log(workload_id, entries)
        return await self.check_active(workload_id)

    async def set_state(
        self,
        workload_id: WorkloadId,
        state: WorkloadState,
        *,
        ended_ns: int | None = None,
    ) -> Workload:
        """Change the state of a tracked run; the first end counts.

        The same state again, and another end of a run that has ended, change nothing: a client
        that says how it ended does not fail because somebody else said so before. For a launched
        run the client's word does not count: its own process decides. Each returns it unchanged.

        Raises:
            NotFound: no such run.
            Conflict: it is deleted, or no such arrow.
        """
        found = await self.check_active(workload_id)
        while not (found.state.is_final and state.is_final):
            transition = await self._asked(found, state, "", ended_ns)
            if transition is None:
                break
            try:
                return await self._metadata.workload_transition(workload_id, transition)
            except Conflict as refused:
                found = await self._gone_on(found, refused)
        return found

    async def _gone_on(self, found: Workload, refused: Conflict) -> Workload:
        """Get a run whose change was refused, if it is in another state by now.

        Raises:
            Conflict: the refusal, when it is not; or it was deleted meanwhile.
        """
        seen = await self.check_active(found.id)
        if (seen.attempt, seen.state) == (found.attempt, found.state):
            raise refused
        return seen

    async def _asked(
        self, found: Workload, state: WorkloadState, reason: str, ended_ns: int | None
    ) -> Transition | None:
        """What a client's word changes of a run's state; None: nothing."""
        if found.origin != "tracked" or found.state is state:
            return None
        if state.is_final:  # whoever sees that it ended sees all there is
            await self._stores.event_files.finish(found.id, 0)
        now_ns = self._clock.now_ns()
        message = reason or f"The client says that the run is {state}."
        return Transition(
            expected=(found.state,),
            state=state,
            event=NewEvent(now_ns, "user", message, kind="state"),
            ending=Ending(reason=message) if state.is_final else None,
            ended_ns=(ended_ns or now_ns) if state.is_final else None,
        )

    async def stop(self, workload_id: WorkloadId) -> Workload:
        """Ask for a run to end; one that has ended stays as it is.

        A queued run is stopped at once; of a running one the command gets SIGTERM, and after
        the grace SIGKILL.
        """
        found = await self.get(workload_id)
        while not (found.state.is_final or found.state is WorkloadState.STOPPING):
            if found.origin == "tracked":
                return await self.set_state(workload_id, WorkloadState.STOPPED)
            try:
                return await self._stop(found)
            except Conflict:
                seen = await self.get(workload_id)
                if (seen.attempt, seen.state) == (found.attempt, found.state):
                    raise
                found = seen  # it went on meanwhile: started, or ended
        return found

    async def _stop(self, found: Workload) -> Workload:
        now_ns = self._clock.now_ns()
        queued = found.state is WorkloadState.QUEUED
        stopped = await self._metadata.workload_transition(
            found.id,
            Transition(
                expected=(found.state,),
                state=WorkloadState.STOPPED if queued else WorkloadState.STOPPING,
                event=NewEvent(now_ns, "user", "A user asked to stop the run.", kind="state"),
                ending=Ending(reason="Stopped before it was started.") if queued else None,
                ended_ns=now_ns if queued else None,
            ),
        )
        if queued:
            for task in task_names_of(found.spec):
                await self._stores.logs.finish(LogKey(found.id, found.attempt, task))
        self._wakeup.ring()
        return stopped

    async def retry(self, workload_id: WorkloadId) -> Workload:
        """Run it again, as a further attempt with the same code, environment and command.

        Raises:
            Conflict: it has not ended, was deleted, or is tracked by a client.
        """
        found = await self.check_active(workload_id)
        if found.origin == "tracked":
            raise Conflict("A tracked run is executed by its client: start it again there.")
        if not found.state.is_final:
            raise Conflict(f"The run is {found.state}: stop it before running it again.")
        now_ns = self._clock.now_ns()
        event = NewEvent(now_ns, "user", "A user asked for a further attempt.", kind="state")
        await self._metadata.attempt_create(workload_id, created_ns=now_ns, event=event)
        self._wakeup.ring()
        return await self.get(workload_id)

    async def delete(self, workload_id: WorkloadId) -> None:
        """Delete a run; restorable; repeating is harmless.

        Raises:
            Conflict: a launched run that has not ended.
        """
        found = await self.get(workload_id)
        if found.origin == "launched" and not found.state.is_final:
            raise Conflict(f"The run is {found.state}: stop it before deleting it.")
        if found.deleted_ns is None:
            await self._metadata.workload_set_deleted(workload_id, deleted_ns=self._clock.now_ns())

    async def restore(self, workload_id: WorkloadId) -> Workload:
        """Undo a deletion; repeating is harmless."""
        await self.get(workload_id)
        await self._metadata.workload_set_deleted(workload_id, deleted_ns=None)
        return await self.get(workload_id)

    async def purge(self, workload_id: WorkloadId) -> int:
        """Remove everything of a deleted run, files first and its row last; return bytes freed.

        Safe to repeat after a failure: it goes on where it stopped.
        """
        await self.delete(workload_id)
        artifacts = self._rooms.artifacts
        owners = await artifacts.owners(workload_id)
        freed_bytes = await artifacts.delete_all(workload_id, now_ns=self._clock.now_ns())
        for file in await self._stores.event_files.list(workload_id):
            freed_bytes += file.size_bytes
        await self._stores.event_files.delete(workload_id)
        freed_bytes += await self._stores.media.delete(workload_id)
        freed_bytes += await self._stores.logs.delete(workload_id)
        await self._rooms.launcher.forget(workload_id)
        await self._metadata.workload_purge(workload_id)
        # An upload that ended meanwhile found its run there; from now on each finds it gone.
        return freed_bytes + await artifacts.delete_late(owners)


def _pinned(spec: dict[str, Any], found: Mapping[str, Environment]) -> dict[str, Any]:
    """A spec whose roles name the versions that were found, which later attempts get too."""
    tasks: dict[str, dict[str, Any]] = dict(spec.get("tasks") or {})
    for role, task in tasks.items():
        one = found.get(task.get("environment") or "")
        if one is not None:
            tasks[role] = {**task, "environment": one.reference}
    return {**spec, "tasks": tasks} if tasks else spec


def _check_key_of_request(key: str | None) -> None:
    if key is not None and not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX:
        raise InvalidValue(
            f"An idempotency key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters.",
            field="idempotency_key",
        )


def _labels(params: Mapping[str, str], tags: Mapping[str, str], by: Principal) -> Labels:
    _check_labels(params, chars_max=PARAM_CHARS_MAX, field="params")
    _check_labels(tags, chars_max=TAG_CHARS_MAX, field="tags")
    made = {key: value for key, value in tags.items() if key != CREATED_BY_TAG}
    if not isinstance(by, Administrator):
        made[CREATED_BY_TAG] = by.workload_id
    return Labels(dict(params), made)


def check_tags(set_: Mapping[str, str], delete: Sequence[str] = ()) -> None:
    """Check tags to set and to delete.

    Raises:
        InvalidValue, LimitExceeded: a key or value is not acceptable, or is the server's own.
    """
    _check_labels(set_, chars_max=TAG_CHARS_MAX, field="tags")
    if CREATED_BY_TAG in set_ or CREATED_BY_TAG in delete:
        raise InvalidValue(f"The tag {CREATED_BY_TAG} is the server's.", field="tags")


def _check_labels(labels: Mapping[str, str], *, chars_max: int, field: str) -> None:
    if len(labels) > LABELS_MAX:
        raise LimitExceeded(f"At most {LABELS_MAX} {field} at once.", field=field)
    for key, value in labels.items():
        if not is_key(key):
            check_key(key, field=f"{field}.{key[:60]}")
        if len(value) > chars_max:
            raise LimitExceeded(
                f"A value has at most {chars_max} characters; this one has {len(value)}: "
                "keep long texts as artifacts.",
                field=f"{field}.{key}",
            )


def _checked_user(user: str) -> str:
    return check_name(user, field="user") if user else ""
