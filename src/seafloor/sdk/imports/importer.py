"""The importer: brings what a source holds to a server, run by run.

A run's final state is written when all of it is here. So an import that was interrupted, however
it was, goes on where it stopped when the same is asked again, and a run that is here whole is not
touched. Ids are the source's own or made of them, so a repeat finds what is there.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.bounds import INT64_MAX
from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidValue,
    NoSuchTag,
    NotFound,
    NotSupported,
    SourceError,
)
from seafloor.domain.experiments import DEFAULT_EXPERIMENT_ID, Experiment
from seafloor.domain.workloads import FINAL_STATES
from seafloor.sdk.client import Client
from seafloor.sdk.imports.fitting import IN_REPORT, REST_FILE, Fit, plain_text
from seafloor.sdk.imports.models import TAG_CHARS_MAX as EXPERIMENT_TAG_CHARS_MAX
from seafloor.sdk.imports.models import ModelImporter
from seafloor.sdk.imports.records import (
    ExperimentRecord,
    FileRecord,
    MediaItem,
    ModelRecord,
    RunRecord,
    Source,
    model_id_of,
    run_id_of,
)
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.runs_here import RunsHere
from seafloor.sdk.imports.traces import TraceImporter
from seafloor.sdk.imports.transfer import (
    MISSING_TAG,
    bring_files,
    left_out,
    noted,
    pieces,
)
from seafloor.sdk.media import SentBlobs
from seafloor.sdk.runs import RunQuery
from seafloor.sdk.values import PARAM_CHARS_MAX, TAG_CHARS_MAX
from seafloor.wire.experiments import ExperimentCreate, ExperimentUpdate
from seafloor.wire.models import ModelUse, RunInputs
from seafloor.wire.runs import RunCreate, RunUpdate, RunView

LOCATION_TAG: Final = "seafloor.source.artifactLocation"
DELETED_TAG: Final = "seafloor.import.deleted"
"""Of an experiment that is deleted at the source, as long as what it has is brought here: one
without it that lives here is somebody's, however it is named."""
_GOES_ON: Final = "what has not come: it is being imported, or goes on at its source"
_OURS: Final = "run that is here, goes on and came by no import: not touched"
_POINTS_PER_CALL: Final = 25_000
_LABELS_PER_CALL: Final = 400
_MEDIA_PER_CALL: Final = 50
_EVENT_BYTES_PER_CALL: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class ImportOptions:
    """What to bring, and where to.

    Args:
        project: Where experiments go whose source names none.
        experiments: Only those of these names; empty: all.
        files: Whether files are brought.
    """

    project: str = "default"
    experiments: tuple[str, ...] = ()
    files: bool = True


@dataclass
class _Target:
    """An experiment here.

    Args:
        runs: Id of every run it has to whether it has ended here.
        removed: Ids of those that are deleted.
        lacking: Ids of those that an import brought, and not all of.
    """

    experiment: Experiment
    runs: dict[str, bool]
    removed: frozenset[str] = frozenset()
    lacking: frozenset[str] = frozenset()


class Importer:
    """Brings what one source holds to one server.

    Args:
        client: The server.
        source: Where runs come from.
        report: Told of everything; is good at any time.
        options: What to bring.
        told: Called after each run and model.
    """

    def __init__(
        self,
        client: Client,
        source: Source,
        report: Report,
        options: ImportOptions,
        told: Callable[[ExperimentRecord], None],
    ) -> None:
        self._client = client
        self._source = source
        self._report = report
        self._options = options
        self._told = told
        self._here: dict[str, dict[str, int]] = {}
        """Of each project the experiments that it has: name to number."""
        runs = RunsHere(client)
        self._models = ModelImporter(client, source, report, runs, files=options.files)
        self._traces = TraceImporter(client, source, report, runs, files=options.files)

    def bring_all(self) -> None:
        """Bring all that is not here yet. May be repeated; a repeat changes nothing that is whole.

        A run that the server or the source refuses is noted as a failure and stops no other.

        Raises:
            SourceError: the source cannot be read.
            StoreUnavailable: the server went away. What was brought stays; a repeat goes on.
        """
        wanted = frozenset(self._options.experiments)
        missing = set(wanted)
        brought: list[tuple[ExperimentRecord, _Target]] = []
        for experiment in self._source.experiments():
            if not wanted or experiment.name in wanted:
                missing.discard(experiment.name)
                target = self._bring_experiment(experiment)
                if target is not None:
                    brought.append((experiment, target))
        # A model may have values of a run of any experiment, and a trace be linked to one.
        for experiment, target in brought:
            self._bring_models(experiment, target)
            self._bring_traces(experiment, target)
        if missing:
            raise SourceError(
                f"{self._source.label} has no experiment named {', '.join(sorted(missing))}."
            )
        self._source.tell_the_rest(self._report)
        self._report.whole = True

    def _bring_experiment(self, experiment: ExperimentRecord) -> _Target | None:
        target = None
        with noted(self._report, f"experiment {experiment.name}"):
            target = self._target(experiment)
        if target is None:
            return None
        self._report.experiments += 1
        for run in self._source.runs(experiment):
            with noted(self._report, f"run {run.source_id}"):
                self._bring_run(run, experiment, target)
            self._told(experiment)
        return _Target(target.experiment, {})

    def _bring_models(self, experiment: ExperimentRecord, target: _Target) -> None:
        for model in self._source.models(experiment, self._report):
            with noted(self._report, f"model {model.source_id}"):
                self._bring_model(model, target)
            self._told(experiment)

    def _bring_traces(self, experiment: ExperimentRecord, target: _Target) -> None:
        """Bring what is left of an experiment, and delete it if it is deleted."""
        for record in self._source.traces(experiment, self._report):
            with noted(self._report, f"trace {record.trace.id}"):
                self._open(target)
                self._traces.bring(record, target.experiment)
            self._told(experiment)
        if experiment.deleted and target.experiment.deleted_ns is None:
            if target.experiment.id == DEFAULT_EXPERIMENT_ID:
                said = "deleted experiment that cannot be deleted here: it lives"
                self._report.leave_out(said, experiment.name)
            else:
                unmark = ExperimentUpdate(delete_tags=[DELETED_TAG])
                self._client.experiments.update(target.experiment.id, unmark)
                self._client.experiments.delete(target.experiment.id)

    def _target(self, record: ExperimentRecord) -> _Target | None:
        """The experiment here, made when there is none; None: it cannot take runs."""
        fit = Fit(self._report, f"experiment {record.name}", kept_in=IN_REPORT)
        name = fit.name(
            record.name, what="experiment name", default=f"experiment {record.source_id}"
        )
        tags = fit.labels(record.tags, what="experiment tag", chars_max=EXPERIMENT_TAG_CHARS_MAX)
        if record.artifact_location:
            tags[LOCATION_TAG] = plain_text(record.artifact_location)[:EXPERIMENT_TAG_CHARS_MAX]
        created_ns = fit.time_ns(record.created_ns, what="experiment creation")
        project = self._project(record)
        found = self._find(name, project)
        if found is None:
            mark = {DELETED_TAG: "it is being imported"} if record.deleted else {}
            create = ExperimentCreate(name, project, tags | mark, record.spec, created_ns)
            try:
                made = self._create(create, fit)
            except AlreadyExists:  # another was faster
                self._here.pop(project)
                found = self._find(name, project)
                if found is None:
                    raise
            else:
                self._here[project][name] = made.id
                self._keep_in_report("experiments", record.source_id, fit)
                return _Target(made, {})
        self._keep_in_report("experiments", record.source_id, fit)
        if why := _in_the_way(found, record):
            self._report.fail(f"experiment {record.name}", why)
            return None
        if created_ns not in (None, found.created_ns):
            fit.note("time of creation of an experiment that was here already: that of this one")
        missing = {key: value for key, value in tags.items() if key not in found.tags}
        if missing and found.deleted_ns is None:
            found = self._client.experiments.update(found.id, ExperimentUpdate(tags=missing))
        return self._with_runs(found)

    def _create(self, create: ExperimentCreate, fit: Fit) -> Experiment:
        try:
            return self._client.experiments.create(create)
        except (InvalidValue, NotFound, NotSupported):
            if create.spec is None:
                raise
        fit.other({"spec": create.spec}, of="an experiment")
        return self._client.experiments.create(msgspec.structs.replace(create, spec=None))

    def _project(self, record: ExperimentRecord) -> str:
        if record.project is None:
            return self._options.project
        if all(one.name != record.project for one in self._client.projects.list().items):
            with contextlib.suppress(AlreadyExists):  # another was faster
                self._client.projects.create(record.project)
        return record.project

    def _find(self, name: str, project: str) -> Experiment | None:
        """Find an experiment here; those of a project are listed once, for all that come."""
        if project not in self._here:
            every = self._client.experiments.list(project=project, deleted="all").items
            self._here[project] = {one.name: one.id for one in every}
        found = self._here[project].get(name)
        return None if found is None else self._client.experiments.get(found)

    def _with_runs(self, experiment: Experiment) -> _Target:
        query = RunQuery(experiment_id=experiment.id, deleted=None, fields=f"tags.{MISSING_TAG}")
        ended: dict[str, bool] = {}
        removed: set[str] = set()
        lacking: set[str] = set()
        for run in self._client.runs.iterate(query):
            ended[run.id] = run.state in FINAL_STATES
            if run.deleted_ns is not None:
                removed.add(run.id)
            if MISSING_TAG in run.tags:
                lacking.add(run.id)
        return _Target(experiment, ended, frozenset(removed), frozenset(lacking))

    def _bring_run(self, run: RunRecord, experiment: ExperimentRecord, target: _Target) -> None:
        run_id = run_id_of(self._source.kind, run.source_id)
        goes = run.deleted and not experiment.deleted  # else it goes with its experiment
        if target.runs.get(run_id) or run_id in target.removed:
            has_ended = target.runs.get(run_id, False)
            if has_ended and run_id in target.lacking and self._options.files:
                self._open(target)
                self._bring_missing(run_id, run, removed=run_id in target.removed)
            else:
                self._report.runs_known += 1
            if goes and run_id not in target.removed:
                self._client.runs.delete(run_id)
            return
        self._open(target)
        fit = Fit(self._report, f"run {run_id}")
        params = fit.labels(run.params, what="param", chars_max=PARAM_CHARS_MAX)
        tags = fit.labels(run.tags, what="tag", chars_max=TAG_CHARS_MAX)
        tags.pop(MISSING_TAG, None)  # of an import to where it comes from
        made = self._made_run(run_id, run, fit, target)
        created = self._client.runs.create(
            msgspec.structs.replace(
                made,
                params=dict(itertools.islice(params.items(), _LABELS_PER_CALL)),
                tags={**made.tags, **dict(itertools.islice(tags.items(), _LABELS_PER_CALL))},
            )
        )
        if _is_whole(created):
            self._report.runs_known += 1  # in another experiment: it was moved here, or renamed
            return
        if MISSING_TAG not in created.tags:
            self._report.runs_known += 1
            self._report.leave_out(_OURS, f"run {run_id}")
            return
        try:
            self._update_labels(created, params, tags)
            self._bring_rest(run_id, run, fit, is_new=run_id not in target.runs, goes=goes)
        except (Conflict, NoSuchTag):
            if not self._is_brought(run_id):
                raise
            self._report.runs_known += 1  # by another import of the same, meanwhile
        else:
            self._report.runs += 1

    def _is_brought(self, run_id: str) -> bool:
        """Whether an import has brought all of a run."""
        found = self._client.runs.get(run_id)
        return _is_whole(found) and MISSING_TAG not in found.tags

    def _bring_rest(
        self, run_id: str, run: RunRecord, fit: Fit, *, is_new: bool, goes: bool
    ) -> None:
        """Bring what a run has beside its labels, and end it."""
        last_ms = self._bring_points(run_id, run, fit, is_new=is_new)
        self._bring_inputs(run_id, run.inputs, fit)
        fit.other(run.other)
        self._bring_media(run_id, fit.media(self._source.media(run, self._report)))
        missing = self._bring_files(run_id, run, is_new=is_new)
        self._bring_event_files(run_id, self._source.event_files(run))
        self._source.bring_more(self._client, run, self._report)
        self._keep_in_run(run_id, fit)
        self._end_run(run_id, run, fit, last_ms, missing)
        if goes:
            if run.state == "running" and not missing:
                self._tell_missing(run_id, "")  # one that is deleted is not compared again
            self._client.runs.delete(run_id)

    def _bring_model(self, model: ModelRecord, target: _Target) -> None:
        if self._models.is_here(model):
            return
        self._open(target)
        self._models.bring(model, target.experiment)

    def _open(self, target: _Target) -> None:
        """Make an experiment that was deleted take runs; it is deleted again at the end."""
        if target.experiment.deleted_ns is not None:
            restored = self._client.experiments.restore(target.experiment.id)
            mark = ExperimentUpdate(tags={DELETED_TAG: "it is being imported"})
            target.experiment = self._client.experiments.update(restored.id, mark)

    def _made_run(self, run_id: str, run: RunRecord, fit: Fit, target: _Target) -> RunCreate:
        """What a run is created with, but for its labels."""
        started_ns = fit.time_ns(run.started_ns, what="start of a run")
        created_ns = fit.time_ns(run.created_ns, what="creation of a run")
        if started_ns is None and created_ns is None:
            fit.note("run that began at an unknown time: it begins when it was imported")
        return RunCreate(
            id=run_id,
            project=target.experiment.project,
            experiment=target.experiment.name,
            name=fit.name(run.name, what="run name", default=run.source_id[:8] or run_id[:8]),
            user=fit.name(run.user, what="user", default="") if run.user else "",
            tags={MISSING_TAG: _GOES_ON},
            created_ns=started_ns if created_ns is None else created_ns,
            started_ns=created_ns if started_ns is None else started_ns,
        )

    def _update_labels(self, run: RunView, params: dict[str, str], tags: dict[str, str]) -> None:
        """Bring labels that the run has not: too many for one call, or logged since."""
        new_params = _changed(params, run.params)
        new_tags = _changed(tags, run.tags)
        for some in pieces(new_params.items(), _LABELS_PER_CALL):
            self._client.runs.update(run.id, RunUpdate(params=dict(some)))
        for some in pieces(new_tags.items(), _LABELS_PER_CALL):
            self._client.runs.update(run.id, RunUpdate(tags=dict(some)))
        self._report.params += len(params)
        self._report.tags += len(tags)

    def _bring_points(self, run_id: str, run: RunRecord, fit: Fit, *, is_new: bool) -> int:
        """Bring points; the latest of their times, in milliseconds."""
        last_ms = 0
        for some in pieces(fit.points(self._source.points(run)), _POINTS_PER_CALL):
            repeated = self._client.metrics.append_batch(run_id, some).points_repeated
            if repeated and is_new:
                said = "metric point that the source holds again, bit for bit: it is here once"
                self._report.leave_out(said, run_id, count=repeated)
            self._report.points += len(some)
            last_ms = max(last_ms, *(point.time_ms for point in some))
        return last_ms

    def _bring_inputs(self, run_id: str, inputs: RunInputs, fit: Fit) -> None:
        kind = self._source.kind
        models = tuple(model_id_of(kind, model_id) for model_id in inputs.models)
        outputs = tuple(ModelUse(model_id_of(kind, o.model_id), o.step) for o in inputs.outputs)
        if models or outputs:
            self._client.models.add_inputs(run_id, RunInputs((), models, outputs))
        for dataset in inputs.datasets:
            self._client.models.add_inputs(run_id, RunInputs((fit.dataset(dataset),)))
            self._report.datasets += 1

    def _bring_missing(self, run_id: str, run: RunRecord, *, removed: bool) -> None:
        """Bring the files that an earlier import of a run that has ended did not."""
        if removed:
            self._client.runs.restore(run_id)
        self._tell_missing(run_id, self._bring_files(run_id, run, is_new=False))
        if removed:
            self._client.runs.delete(run_id)
        self._report.runs += 1

    def _bring_files(self, run_id: str, run: RunRecord, *, is_new: bool) -> str:
        """Bring files; what is missing of them, in words."""
        files = self._source.files(run, self._report)
        if not self._options.files:
            return left_out(files)
        there: dict[str, str] = {}
        if not is_new:
            there = {file.path: file.sha256 for file in self._client.artifacts.iterate(run_id)}
        return bring_files(
            files,
            lambda path, local: self._client.artifacts.put(run_id, path, local).size_bytes,
            owner=f"run {run_id}",
            report=self._report,
            there=there,
        )

    def _tell_missing(self, run_id: str, missing: str) -> None:
        change = RunUpdate(tags={MISSING_TAG: missing})
        self._client.runs.update(
            run_id, change if missing else RunUpdate(delete_tags=[MISSING_TAG])
        )

    def _bring_media(self, run_id: str, items: Iterable[MediaItem]) -> None:
        blobs = SentBlobs(self._client.media, run_id)
        for some in pieces(items, _MEDIA_PER_CALL):
            for item in some:
                if item.record.blob is not None and item.data is not None:
                    blobs.put(item.record.blob.name, item.data)
            self._client.media.append(run_id, [item.record for item in some])
            self._report.media += len(some)

    def _bring_event_files(self, run_id: str, files: Iterable[FileRecord]) -> None:
        """Send event files, from where an earlier import stopped; the server reads them."""
        there: dict[str, int] | None = None
        for file in files:
            if there is None:
                known = self._client.artifacts.event_files(run_id).items
                there = {one.path: one.size_bytes for one in known}
            self._bring_event_file(run_id, file, there.get(file.path, 0))
        if there is None:
            return
        for one in self._client.artifacts.event_files(run_id).items:
            self._report.points += one.scalars
            if one.problem is not None:
                self._report.fail(f"event file {one.path} of run {run_id}", one.problem)
        self._report.media += sum(series.records for series in self._client.media.keys(run_id))

    def _bring_event_file(self, run_id: str, file: FileRecord, offset: int) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="seafloor-import-") as folder,
            file.fetch(Path(folder, "file")).open("rb") as opened,
        ):
            opened.seek(offset)
            while piece := opened.read(_EVENT_BYTES_PER_CALL):
                offset = self._client.artifacts.append_event_file(
                    run_id, file.path, offset=offset, data=piece
                )
        self._report.files += 1
        self._report.file_bytes += offset

    def _keep_in_run(self, run_id: str, fit: Fit) -> None:
        if not fit.rest:
            return
        with tempfile.TemporaryDirectory(prefix="seafloor-import-") as folder:
            file = Path(folder, REST_FILE)
            content = {"source": self._source.label, **fit.rest}
            file.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
            self._client.artifacts.put(run_id, REST_FILE, file)

    def _keep_in_report(self, kind: str, source_id: str, fit: Fit) -> None:
        if fit.rest:
            self._report.kept.setdefault(kind, []).append({"id": source_id, **fit.rest})

    def _end_run(self, run_id: str, run: RunRecord, fit: Fit, last_ms: int, missing: str) -> None:
        if run.state == "running":
            if missing:
                self._tell_missing(run_id, missing)
            return
        ended_ns = fit.time_ns(run.ended_ns, what="end of a run")
        if ended_ns is None:
            fit.note("run that ended at an unknown time: its last point's or its start is told")
            told = (last_ms * 1_000_000, run.started_ns or 0, run.created_ns or 0)
            ended_ns = max(one for one in told if one <= INT64_MAX) or None
        reason = f"Imported from {self._source.label}."[:500]
        self._client.runs.update(
            run_id,
            RunUpdate(
                state=run.state,
                ended_ns=ended_ns,
                reason=reason,
                tags={MISSING_TAG: missing} if missing else {},
                delete_tags=[] if missing else [MISSING_TAG],
            ),
        )


def _in_the_way(found: Experiment, record: ExperimentRecord) -> str:
    """Why an experiment here cannot be the one that is to be brought; empty: it can."""
    if found.deleted_ns is not None and not record.deleted:
        return (
            f"It was deleted here: restore it (POST /api/v1/experiments/{found.id}/restore), "
            "or import into another project."
        )
    is_ours = found.id == DEFAULT_EXPERIMENT_ID or DELETED_TAG in found.tags
    if record.deleted and found.deleted_ns is None and not is_ours:
        return (
            "It is deleted at the source, and one of that name lives here, which is not deleted "
            "for it: import this one into another project (--project, --experiment), or delete "
            f"the one here (DELETE /api/v1/experiments/{found.id}) and repeat."
        )
    return ""


def _is_whole(run: RunView) -> bool:
    return run.state in FINAL_STATES or run.deleted_ns is not None


def _changed(labels: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if there.get(key) != value}
