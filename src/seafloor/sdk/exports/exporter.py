"""The exporter: writes what a server shows of experiments and runs to a folder.

It reads run by run, so what is written meanwhile may be in the export or not; a run that has ended
and is not changed is in it exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from seafloor.domain.code import SnapshotCode
from seafloor.domain.errors import InvalidValue, NotFound, StoreCorrupt
from seafloor.domain.experiments import Experiment
from seafloor.domain.media import MediaRecord
from seafloor.domain.members import task_names_of
from seafloor.domain.span_documents import read_span
from seafloor.domain.traces import Trace
from seafloor.sdk.client import Client
from seafloor.sdk.exports.arrow import arrow
from seafloor.sdk.exports.damage import Losses
from seafloor.sdk.exports.folder import ExportFolder, opened
from seafloor.sdk.exports.manifest import OF_A_RUN, OF_A_TRACE, Manifest, TableFile
from seafloor.sdk.exports.printed import LogWriter
from seafloor.sdk.exports.series import SeriesWriter
from seafloor.sdk.logs import LogQuery
from seafloor.sdk.runs import RunQuery
from seafloor.sdk.traces import has_files
from seafloor.wire.models import LoggedModelView
from seafloor.wire.numbers import number_in
from seafloor.wire.runs import RunView
from seafloor.wire.traces import TraceView

LAUNCHED = "launched"


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Args:
        project: Only of this project; None: of all.
        experiments: Only those of these names; empty: all.
        runs: Only these, by id or a beginning or end of it; empty: all.
        artifacts: Whether the bytes of files and models are fetched. Those of media always are.
    """

    project: str | None = None
    experiments: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    artifacts: bool = True

    def shown(self) -> dict[str, Any]:
        """What was asked for, if not all."""
        made = {"project": self.project, "experiments": self.experiments, "runs": self.runs}
        given: dict[str, Any] = {name: value for name, value in made.items() if value}
        return given if self.artifacts else {**given, "artifacts": False}


@dataclass
class Exported:
    """How far an export is.

    Args:
        file_bytes: Of the files that runs and models keep.
        coming_bytes: Of what is being fetched just now.
        vanished: Runs and files that were removed meanwhile.
        missing: What the server cannot give any more, and why: it is damaged there, or gone.
    """

    experiments: int = 0
    runs: int = 0
    points: int = 0
    files: int = 0
    file_bytes: int = 0
    coming_bytes: int = 0
    media: int = 0
    models: int = 0
    traces: int = 0
    vanished: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])


def export(
    client: Client, root: Path, options: ExportOptions, told: Callable[[Exported], None]
) -> tuple[Manifest, Exported]:
    """Write an export. Interrupted, it is not whole, and a repeat keeps the blobs that are there.

    Args:
        client: The server. It is only read.
        root: A folder that is not there, is empty, or has an export that was interrupted.
        options: What to export.
        told: Called with each piece of what comes: some points, lines or bytes.

    Raises:
        NotFound: there is no such project, experiment or run.
        InvalidValue, Conflict, StoreFull: the folder; see ``opened``.
        NotSupported: pyarrow is not installed.
        StoreUnavailable: the server went away.

    Cost: about 7 requests a run and one a metric of it; some dozens more for each damaged part of a
    series or log. Memory: two row groups.
    """
    arrow()
    server = {"url": client.url, "version": client.server().version}
    with opened(root, {"server": client.url, **options.shown()}) as folder:
        exporter = _Exporter(client, folder, options, told)
        exporter.export_all()

        def made(files: dict[str, TableFile]) -> Manifest:
            return Manifest(
                created_ns=time.time_ns(),
                server=server,
                only=options.shown(),
                counts={**folder.rows(), "file_bytes": exporter.done.file_bytes},
                files=files,
                missing=tuple(exporter.done.missing),
            )

        return folder.finish(made), exporter.done


class _Exporter:
    def __init__(
        self,
        client: Client,
        folder: ExportFolder,
        options: ExportOptions,
        told: Callable[[Exported], None],
    ) -> None:
        self._client = client
        self._folder = folder
        self._options = options
        self._told = told
        self.done = Exported()
        self._losses = Losses(client, self.done.missing)
        self._series = SeriesWriter(client, folder["metrics"], self._losses, self._tell_points)
        self._logs = LogWriter(client, folder, self._losses, self._tell)

    def _tell(self) -> None:
        self._told(self.done)

    def _tell_points(self, count: int) -> None:
        self.done.points += count
        self._tell()

    def _tell_bytes(self, count: int) -> None:
        self.done.coming_bytes += count
        self._tell()

    def export_all(self) -> None:
        runs = self._named_runs() if self._options.runs else None
        experiments = self._experiments(runs)
        seen = {one.project for one in experiments}
        is_all = not (self._options.shown().keys() - {"artifacts"})
        for project in self._client.projects.list().items:
            if is_all or project.name in seen:
                self._folder["projects"].add(project.name, project.created_ns)
        for experiment in experiments:
            wanted = self._runs_of(experiment) if runs is None else iter(runs[experiment.id])
            self._export_experiment(experiment, wanted)

    def _experiments(self, runs: Mapping[int, list[RunView]] | None) -> list[Experiment]:
        if runs is not None:
            return [self._client.experiments.get(one) for one in sorted(runs)]
        project, names = self._options.project, self._options.experiments
        if project and all(one.name != project for one in self._client.projects.list().items):
            raise NotFound(f'There is no project "{project}".', field="--project")
        found = self._client.experiments.list(project=project, deleted="all").items
        missing = set(names) - {one.name for one in found}
        if missing:
            raise NotFound(
                f"There is no experiment named {', '.join(sorted(missing))}.", field="--experiment"
            )
        return sorted(
            (one for one in found if not names or one.name in names), key=lambda one: one.id
        )

    def _named_runs(self) -> dict[int, list[RunView]]:
        found = {run.id: run for run in map(self._client.runs.get, self._options.runs)}
        by_experiment: dict[int, list[RunView]] = {}
        for run in found.values():
            wanted = (self._options.project or run.project) == run.project
            if self._options.experiments:
                wanted = wanted and run.experiment.name in self._options.experiments
            if not wanted:
                raise InvalidValue(f'Run {run.id} is in experiment "{run.experiment.name}".')
            by_experiment.setdefault(run.experiment.id, []).append(run)
        return by_experiment

    def _runs_of(self, experiment: Experiment) -> Iterator[RunView]:
        # Both in one pass: one that is deleted or restored meanwhile would be there twice or never.
        query = RunQuery(experiment_id=experiment.id, deleted=None)
        yield from self._client.runs.iterate(query)

    def _export_experiment(self, experiment: Experiment, runs: Iterable[RunView]) -> None:
        before = self._folder.rows()
        ids: list[str] = []
        try:
            for run in runs:
                self._export_run(run)
                if self._options.runs:
                    ids.append(run.id)
            for model in self._models(experiment, ids):
                self._export_model(model, experiment.project)
            for trace in self._traces(experiment, ids):
                self._export_trace(trace, experiment.project)
        except NotFound:
            if self._has_experiment(experiment.id):
                raise
            # Removed meanwhile, with its project; what was read stays.
            self.done.vanished.append(f"experiment {experiment.name}")
        after = self._folder.rows()
        self._folder["experiments"].add(
            experiment.id,
            experiment.project,
            experiment.name,
            experiment.created_ns,
            experiment.updated_ns,
            experiment.deleted_ns,
            experiment.artifact_location,
            list(experiment.tags.items()),
            None if experiment.spec is None else _json(experiment.spec),
            after["runs"] - before["runs"],
            after["models"] - before["models"],
        )
        self.done.experiments += 1

    def _models(self, experiment: Experiment, run_ids: list[str]) -> Iterator[LoggedModelView]:
        """All of an experiment, or those that some runs logged; deleted ones too, as with runs."""
        if not self._options.runs:
            yield from self._client.models.in_experiment(experiment.id, deleted="all")
        for run_id in run_ids:
            yield from self._client.models.of_run(run_id, deleted="all").items

    def _traces(self, experiment: Experiment, run_ids: list[str]) -> Iterator[TraceView]:
        """All of an experiment, or those that were made in some runs or are linked to them."""
        if not self._options.runs:
            yield from self._client.traces.iterate(experiment.id)
            return
        seen: set[str] = set()
        for run_id in run_ids:
            for view in self._client.traces.iterate(experiment.id, run_id=run_id):
                if view.trace.id not in seen:
                    seen.add(view.trace.id)
                    yield view

    def _export_trace(self, view: TraceView, project: str) -> None:
        trace = view.trace
        before = self._folder.rows()
        try:
            for document in self._client.traces.spans(trace.id):
                span = read_span(document)
                self._folder["spans"].add(
                    trace.id,
                    span.id,
                    span.parent_id,
                    span.name,
                    span.type,
                    span.status,
                    span.start_ns,
                    span.end_ns,
                    document.decode(),
                )
            for path, _ in self._trace_files(trace, project):
                kept = self._kept(
                    f"file {path} of trace {trace.id}",
                    None,
                    lambda target, it=path: self._client.traces.get_file(
                        trace.id, it, target, workspace=project, progress=self._tell_bytes
                    ),
                )
                if kept is not None:
                    sha256, size_bytes = kept
                    self._folder["trace_files"].add(trace.id, path, size_bytes, sha256)
        except NotFound:  # deleted meanwhile; what was read stays
            self.done.vanished.append(f"trace {trace.id}")
        for one in trace.assessments:
            self._folder["assessments"].add(
                trace.id,
                one.id,
                one.name,
                str(one.kind),
                _json(one.value),
                None if one.error is None else _json(one.error),
                one.source_type,
                one.source_id,
                one.span_id,
                one.rationale,
                list(one.metadata.items()),
                one.overrides,
                one.valid,
                one.created_ms,
                one.updated_ms,
            )
        for run_id in view.runs:
            self._folder["trace_runs"].add(trace.id, run_id)
        after = self._folder.rows()
        self._folder["traces"].add(
            trace.id,
            trace.experiment_id,
            trace.time_ms,
            trace.duration_ms,
            str(trace.state),
            trace.client_request_id,
            trace.request_preview,
            trace.response_preview,
            list(trace.tags.items()),
            list(trace.metadata.items()),
            *(after[table] - before[table] for table in OF_A_TRACE.values()),
        )
        self.done.traces += 1
        self._tell()

    def _trace_files(self, trace: Trace, project: str) -> Iterable[tuple[str, int]]:
        if not self._options.artifacts or not has_files(trace.id):
            return ()
        return self._client.traces.files(trace.id, workspace=project)

    def _model_files(self, model: LoggedModelView, project: str) -> Iterable[tuple[str, int]]:
        if not self._options.artifacts:
            return ()
        return self._client.models.files(model.id, workspace=project)

    def _export_run(self, run: RunView) -> None:
        before = self._folder.rows()
        spec: str | None = None
        try:
            if run.origin == LAUNCHED:
                whole = self._client.runs.get(run.id)  # in a list a run has no spec
                spec = _json(whole.spec)
                self._export_attempts(whole)
                self._export_code(run)
            self._export_parts(run)
        except NotFound:
            if self._is_there(run.id):
                raise
            # Purged meanwhile; what was read stays.
            self.done.vanished.append(f"run {run.id}")
        after = self._folder.rows()
        counts = [after[name] - before[name] for name in OF_A_RUN]
        self._folder["runs"].add(
            run.id,
            run.experiment.id,
            run.project,
            run.experiment.name,
            run.name,
            run.user,
            run.kind,
            run.origin,
            str(run.state),
            run.created_ns,
            run.updated_ns,
            run.started_ns,
            run.ended_ns,
            run.deleted_ns,
            run.attempt,
            run.environment,
            None if run.code is None else _json(run.code),
            None if run.ending is None else _json(run.ending),
            spec,
            *counts,
        )
        self._folder["metrics"].end_of_run()
        self.done.runs += 1
        self._tell()

    def _has_experiment(self, experiment_id: int) -> bool:
        try:
            self._client.experiments.get(experiment_id)
        except NotFound:
            return False
        return True

    def _is_there(self, run_id: str) -> bool:
        try:
            self._client.runs.get(run_id)
        except NotFound:
            return False
        return True

    def _export_parts(self, run: RunView) -> None:
        for table, labels in (("params", run.params), ("tags", run.tags)):
            for key, value in sorted(labels.items()):
                self._folder[table].add(run.id, key, value)
        self._export_inputs(run.id)
        self._export_events(run.id)
        self._export_media(run.id)
        self._export_files(run.id)
        for key, metric in sorted(run.metrics.items()):
            self._series.write(run.id, key, metric.last_step)

    def _export_attempts(self, run: RunView) -> None:
        page = self._client.runs.attempts(run.id)
        for attempt in page.items:
            record = msgspec.to_builtins(attempt)
            tasks = [task for task in page.tasks if task.attempt == attempt.number]
            self._folder["attempts"].add(
                run.id,
                attempt.number,
                str(attempt.state),
                attempt.created_ns,
                attempt.started_ns,
                attempt.ended_ns,
                attempt.environment,
                _json({**record, "tasks": tasks} if tasks else record),
            )
            for task in task_names_of(run.spec):
                log = LogQuery(attempt=attempt.number, task=task)
                self._logs.write(run.id, task, log)
                for one in self._client.logs.setups(
                    run.id, attempt=attempt.number, task=task
                ).items:
                    self._logs.write(run.id, f"{task}@{one.setup}", replace(log, setup=one.setup))

    def _export_code(self, run: RunView) -> None:
        code = run.code
        if not isinstance(code, SnapshotCode) or not self._options.artifacts:
            return
        told = code.sha256, code.size_bytes
        kept = self._named_blob(
            f"code of run {run.id}",
            run.id,
            told,
            lambda target: self._client.snapshots.get(told[0], target, progress=self._tell_bytes),
        )
        if kept is not None:
            sha256, size_bytes = kept
            self._folder["files"].add(run.id, "code", 0, "code.tar.zst", size_bytes, sha256)

    def _export_inputs(self, run_id: str) -> None:
        found = self._client.models.inputs(run_id)
        table = self._folder["inputs"]
        for one in found.datasets:
            told = (one.name, one.digest, one.source_type, one.source, one.schema, one.profile)
            table.add(run_id, "dataset", *told, list(one.tags.items()), None, None)
        nothing = (None,) * 7
        for model_id in found.models:
            table.add(run_id, "model", *nothing, model_id, None)
        for use in found.outputs:
            table.add(run_id, "output", *nothing, use.model_id, use.step)

    def _export_events(self, run_id: str) -> None:
        for event in self._client.runs.iterate_events(run_id):
            self._folder["events"].add(
                run_id,
                event.sequence,
                event.time_ns,
                event.kind,
                event.actor,
                event.message,
                event.attempt,
                None if event.state is None else str(event.state),
            )

    def _export_media(self, run_id: str) -> None:
        for key in dict.fromkeys(one.key for one in self._client.media.keys(run_id)):
            for record in self._client.media.iterate(run_id, key):
                self._export_record(run_id, record)

    def _export_record(self, run_id: str, record: MediaRecord) -> None:
        blob = record.blob
        told = (None, None, None)
        if blob is not None:
            name = blob.name
            kept = self._named_blob(
                f"{record.kind} {record.key} at step {record.step} of run {run_id}",
                run_id,
                (blob.sha256, blob.size_bytes),
                lambda target: self._client.media.get_blob(run_id, name, target),
            )
            if kept is None:
                return
            told = (blob.sha256, blob.format, blob.size_bytes)
        self._folder["media"].add(
            run_id,
            record.key,
            record.kind,
            record.step,
            record.time_ms,
            record.place,
            _json(record.content),
            *told,
        )
        self.done.media += 1
        self._tell()

    def _export_files(self, run_id: str) -> None:
        table, artifacts = self._folder["files"], self._client.artifacts
        for file in artifacts.iterate(run_id):
            sha256, size_bytes = file.sha256, file.size_bytes
            if self._options.artifacts:
                kept = self._kept(
                    f"file {file.path} of run {run_id}",
                    (sha256, size_bytes),
                    lambda target, path=file.path: artifacts.get(
                        run_id, path, target, progress=self._tell_bytes
                    ),
                )
                if kept is None:
                    continue
                sha256, size_bytes = kept
            table.add(run_id, "artifact", 0, file.path, size_bytes, sha256)
        if not self._options.artifacts:
            return  # nothing says their digests
        for one in artifacts.event_files(run_id).items:
            kept = self._named_blob(
                f"event file {one.path} of attempt {one.attempt} of run {run_id}",
                run_id,
                None,
                lambda target, it=one: artifacts.get_event_file(
                    run_id, it.attempt, it.path, target, progress=self._tell_bytes
                ),
            )
            if kept is not None:
                sha256, size_bytes = kept
                table.add(run_id, "event_file", one.attempt, one.path, size_bytes, sha256)
                self.done.files += 1
                self.done.file_bytes += size_bytes
                self._tell()

    def _named_blob(
        self,
        name: str,
        run_id: str,
        told: tuple[str, int] | None,
        fetch: Callable[[Path], object],
    ) -> tuple[str, int] | None:
        """Keep the bytes that a row of a run names: their sha256 and size; None: they are lost.

        Args:
            told: What the row says of them; None: nothing.

        Raises:
            NotFound: the run is gone with them.
        """
        if told is not None and self._folder.has_blob(*told):
            return told

        def bring() -> tuple[str, int]:
            try:
                made = self._fetched(fetch)
            except NotFound as error:
                if not self._is_there(run_id):
                    raise
                raise StoreCorrupt(error.message) from error
            if told is not None and made != told:
                raise StoreCorrupt(
                    "The bytes are not those that were stored: their sha256 differs."
                )
            return made

        return self._losses.had(name, bring)

    def _kept(
        self, name: str, told: tuple[str, int] | None, fetch: Callable[[Path], object]
    ) -> tuple[str, int] | None:
        """Keep a file, which may be another by now: its sha256 and size; None: it is gone."""
        made = told
        if told is None or not self._folder.has_blob(*told):
            try:
                made = self._losses.had(name, lambda: self._fetched(fetch))
            except NotFound:
                made = None
                self.done.vanished.append(name)
        if made is not None:
            self.done.files += 1
            self.done.file_bytes += made[1]
            self._tell()
        return made

    def _fetched(self, fetch: Callable[[Path], object]) -> tuple[str, int]:
        try:
            return self._folder.fetch_blob(fetch)
        finally:
            self.done.coming_bytes = 0

    def _export_model(self, model: LoggedModelView, project: str) -> None:
        for metric in model.metrics:
            self._folder["model_metrics"].add(
                model.id,
                metric.run_id,
                metric.key,
                number_in(metric.value),
                metric.step,
                metric.time_ms,
                metric.dataset_name,
                metric.dataset_digest,
            )
        files_before = self._folder["model_files"].rows
        try:
            self._export_model_files(model, project)
        except NotFound:
            if self._has_model(model.id):
                raise
            # Removed meanwhile; what was read stays, and needs a row that counts it.
            self.done.vanished.append(f"model {model.id}")
        self._folder["models"].add(
            model.id,
            model.experiment_id,
            model.source_run_id,
            model.name,
            model.model_type,
            str(model.state),
            model.created_ns,
            model.updated_ns,
            model.deleted_ns,
            list(model.params.items()),
            list(model.tags.items()),
            len(model.metrics),
            self._folder["model_files"].rows - files_before,
        )
        self.done.models += 1
        self._tell()

    def _export_model_files(self, model: LoggedModelView, project: str) -> None:
        for path, _ in self._model_files(model, project):
            kept = self._kept(
                f"file {path} of model {model.id}",
                None,
                lambda target, it=path: self._client.models.get_file(
                    model.id, it, target, workspace=project, progress=self._tell_bytes
                ),
            )
            if kept is not None:
                sha256, size_bytes = kept
                self._folder["model_files"].add(model.id, path, size_bytes, sha256)

    def _has_model(self, model_id: str) -> bool:
        try:
            self._client.models.get(model_id)
        except NotFound:
            return False
        return True


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
