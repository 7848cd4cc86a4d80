"""An export as a source of runs.

The rows of a run stand in every table in the order of the runs, so a run is read where the counts
of those before it say that it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.domain.errors import CallerError, SourceError
from seafloor.domain.media import Blob, Content, MediaRecord
from seafloor.domain.metrics import POINTS_PER_APPEND_MAX, Point
from seafloor.domain.models import DatasetInput, LoggedModelState
from seafloor.domain.traces import Assessment, AssessmentKind, Trace, TraceState, check_id
from seafloor.sdk.client import Client
from seafloor.sdk.exports.arrow import arrow
from seafloor.sdk.exports.exporter import LAUNCHED
from seafloor.sdk.exports.manifest import (
    ADDED,
    IN_PARTS,
    OF_A_MODEL,
    OF_A_RUN,
    OF_A_TRACE,
    TABLES,
    blob_path,
    read_manifest,
)
from seafloor.sdk.imports.records import (
    BAD_DATA,
    ExperimentRecord,
    FileRecord,
    ModelRecord,
    RunRecord,
    RunState,
    Source,
    TraceRecord,
    run_id_of,
)
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.seafloor.rows import Row, TableRows, digest_of_file
from seafloor.sdk.imports.transfer import pieces
from seafloor.wire.metric_batches import BatchIn
from seafloor.wire.models import ModelMetricValue, ModelUse, RunInputs
from seafloor.wire.numbers import number_out

KEPT_IN: Final = "seafloor-import"
"""Folder among a run's files for what was printed, and for tf.events files of further attempts."""

_STATES: Final[dict[str, RunState]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "stopped": "stopped",
    "lost": "failed",
}
_MEDIA_PER_CALL: Final = 100
_PART: Final = re.compile(r"metrics/[0-9]+\.parquet")
_SHA256: Final = re.compile("[0-9a-f]{64}")
_WITH_COUNTS: Final = frozenset({"projects", "experiments", "runs", "models", "traces"})
"""Tables without which nobody knows whose the rows of the others are."""
_UNREADABLE: Final = (*BAD_DATA, CallerError)
_SAID_CHARS_MAX: Final = 300

Places = dict[str, tuple[int, int]]
"""Of each table the first row and how many."""


@dataclass
class _Begin:
    """Where an experiment begins in every table, and how many runs, models and traces it has."""

    row: Row
    at: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    traces: int = 0


class ExportSource(Source):
    """An export; implements ``Source``. Nothing is written to it.

    Args:
        folder: Of the export.
        report: Told of rows that cannot be read.
        project: Where all experiments go; None: the projects that they were in.

    Damage of one row, one blob or one file of a table stands in the way of what it is of, and of
    nothing else.

    Raises:
        SourceError: it is not whole, of another version, or so damaged that nothing can be read.
        NotSupported: pyarrow is not installed.
    """

    kind = "seafloor"

    def __init__(self, folder: Path, report: Report, *, project: str | None = None) -> None:
        self._folder = folder
        self._report = report
        self.label = f"the export {folder.resolve().name}"
        self._project = project
        self._manifest = read_manifest(folder)
        self._tables = {name: self._table(name) for name in TABLES}
        self._begins = self._find_begins()
        self._find_traces()
        self._run: tuple[str, str, Places] = ("", "", {})
        self._model: tuple[str, Places] = ("", {})
        self._trace: Places = {}
        self._tracked_events = 0

    def _table(self, name: str) -> TableRows:
        paths = [f"{name}.parquet"]
        if name in ADDED and paths[0] not in self._manifest.files:
            return TableRows(name, [])
        if name in IN_PARTS:
            paths = sorted(path for path in self._manifest.files if _PART.fullmatch(path))
        missing = [path for path in paths if path not in self._manifest.files]
        if missing:
            raise SourceError(f'The manifest of {self.label} has no file "{missing[0]}".')
        files = [(self._folder / path, self._manifest.files[path]) for path in paths]
        table = TableRows(name, files)
        if table.problems and name in _WITH_COUNTS:
            raise SourceError(table.problems[0])
        if table.rows != self._manifest.counts.get(name):
            raise SourceError(f"Table {name} of {self.label} has not the rows of the manifest.")
        return table

    def _find_begins(self) -> dict[str, _Begin]:
        """Add up what stands before each experiment."""
        of_run = {name: self._tables["runs"].column(name) for name in OF_A_RUN}
        of_model = {name: self._tables["models"].column(name) for name in OF_A_MODEL}
        at = dict.fromkeys(TABLES, 0)
        found: dict[str, _Begin] = {}
        for row in self._tables["experiments"].read(0, self._tables["experiments"].rows):
            experiment_id = str(row["experiment_id"])
            if experiment_id in found or not all(
                0 <= row[name] <= self._tables[name].rows - at[name] for name in ("runs", "models")
            ):
                raise self._unfit("experiments")
            found[experiment_id] = _Begin(row, dict(at))
            for _ in range(row["runs"]):
                for name, counts in of_run.items():
                    at[name] += self._next(counts, "runs")
            for _ in range(row["models"]):
                for name, counts in of_model.items():
                    at[OF_A_MODEL[name]] += self._next(counts, "models")
            at["runs"] += row["runs"]
            at["models"] += row["models"]
        self._check_sums(at, "runs", OF_A_RUN)
        self._check_sums(at, "models", OF_A_MODEL.values())
        self._check_sums(at, "experiments", ("runs", "models"))
        return found

    def _next(self, counts: Iterator[int], table: str) -> int:
        count = next(counts, -1)
        if count < 0:
            raise self._unfit(table)
        return count

    def _check_sums(self, at: dict[str, int], table: str, counted: Iterable[str]) -> None:
        """Refuse counts that are not those of the rows: what is read would be another's."""
        if any(at[name] != self._tables[name].rows for name in counted):
            raise self._unfit(table)

    def _unfit(self, table: str) -> SourceError:
        return SourceError(
            f'"{self._folder / table}.parquet" has counts that are not those of the rows of other '
            "tables: nobody can tell whose they are. Repeat the export."
        )

    def _find_traces(self) -> None:
        """Add up what of traces stands before each experiment; its traces stand together."""
        at = dict.fromkeys(ADDED, 0)
        traces = self._tables["traces"]
        counts = {name: traces.column(name) for name in OF_A_TRACE}
        last = ""
        for experiment_id in map(str, traces.column("experiment_id")):
            begin = self._begins.get(experiment_id)
            if begin is None or (begin.traces and experiment_id != last):
                raise self._unfit("traces")
            if experiment_id != last:
                begin.at |= at
                last = experiment_id
            begin.traces += 1
            at["traces"] += 1
            for name, table in OF_A_TRACE.items():
                at[table] += self._next(counts[name], "traces")
        self._check_sums(at, "traces", OF_A_TRACE.values())

    def experiments(self) -> Iterator[ExperimentRecord]:
        """See ``Source``."""
        for source_id, begin in self._begins.items():
            try:
                record = self._experiment(source_id, begin.row)
            except _UNREADABLE as error:
                self._fail(f"experiment {begin.row['name']}", error)
                continue
            yield record

    def _experiment(self, source_id: str, row: Row) -> ExperimentRecord:
        spec = None if row["spec"] is None else self._json("experiments", row, "spec")
        return ExperimentRecord(
            source_id=source_id,
            project=self._project or row["project"],
            name=row["name"],
            created_ns=row["created"],
            tags=dict(row["tags"]),
            deleted=row["deleted"] is not None,
            artifact_location=row["artifact_location"] or "",
            spec=None if spec is None else msgspec.convert(spec, dict[str, Any]),
        )

    def _json(self, table: str, row: Row, column: str, kind: Any = Any) -> Any:
        """What a text of a row says.

        Raises:
            SourceError: it is no JSON, or not of this kind.
        """
        try:
            return msgspec.json.decode(row[column], type=kind)
        except _UNREADABLE as error:
            path = self._folder / f"{table}.parquet"
            raise SourceError(f'Column {column} of a row in "{path}": {error}') from error

    def _fail(self, name: str, error: Exception) -> None:
        """Note that one thing does not come, and why."""
        said = error.message if isinstance(error, SourceError | CallerError) else str(error)
        self._report.fail(name, f"it cannot be read: {said[:_SAID_CHARS_MAX]}")

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:
        """See ``Source``. What else is asked of a run is asked before the next one."""
        begin = self._begins[experiment.source_id]
        at = dict(begin.at)
        for row in self._tables["runs"].read(at["runs"], begin.row["runs"]):
            places: Places = {name: (at[name], row[name]) for name in OF_A_RUN}
            for name in OF_A_RUN:
                at[name] += row[name]
            self._run = row["run_id"], row["origin"], places
            try:
                record = self._run_record(row)
            except _UNREADABLE as error:
                self._fail(f"run {row['run_id']}", error)
                continue
            yield record

    def _run_record(self, row: Row) -> RunRecord:
        return RunRecord(
            source_id=row["run_id"],
            name=row["name"],
            user=row["user"],
            state=_STATES.get(row["state"], "running"),
            created_ns=row["created"],
            started_ns=row["started"],
            ended_ns=row["ended"],
            deleted=row["deleted"] is not None,
            params={one["key"]: one["value"] for one in self._rows("params")},
            tags={one["key"]: one["value"] for one in self._rows("tags")},
            inputs=self._inputs(),
            other=self._other(row),
        )

    def _rows(self, table: str) -> Iterator[Row]:
        return self._tables[table].read(*self._run[2][table])

    def _inputs(self) -> RunInputs:
        datasets: list[DatasetInput] = []
        models: list[str] = []
        outputs: list[ModelUse] = []
        for row in self._rows("inputs"):
            if row["kind"] == "model":
                models.append(row["model_id"])
            elif row["kind"] == "output":
                outputs.append(ModelUse(row["model_id"], row["step"]))
            else:
                datasets.append(
                    DatasetInput(
                        row["name"],
                        row["digest"],
                        row["source_type"],
                        row["source"],
                        row["schema"],
                        row["profile"],
                        dict(row["tags"]),
                    )
                )
        return RunInputs(tuple(datasets), tuple(models), tuple(outputs))

    def _other(self, row: Row) -> dict[str, object]:
        """What a run that Seafloor launched has beside what a tracked one has."""
        if row["origin"] != LAUNCHED:
            self._tracked_events += row["events"]
            return {}
        documents = ("code", "ending", "spec")
        found: dict[str, object] = {name: row[name] for name in ("origin", "state", "environment")}
        found |= {name: self._json("runs", row, name) for name in documents if row[name]}
        found["attempts"] = [
            self._json("attempts", one, "record") for one in self._rows("attempts")
        ]
        found["events"] = [
            {name: value for name, value in one.items() if name != "run_id"}
            for one in self._rows("events")
        ]
        return found

    def points(self, run: RunRecord) -> Iterable[Point]:  # noqa: ARG002 - see bring_more
        """See ``Source``; none, for a ``Point`` says of no attempt."""
        return ()

    def bring_more(self, client: Client, run: RunRecord, report: Report) -> None:
        """See ``Source``: points of all attempts as columns; media, one blob at a time."""
        run_id = run_id_of(self.kind, run.source_id)
        for table in self._tables["metrics"].batches(*self._run[2]["metrics"]):
            for begin in range(0, table.num_rows, POINTS_PER_APPEND_MAX):
                part = table.slice(begin, POINTS_PER_APPEND_MAX).combine_chunks()
                for attempt in part.column("attempt").unique().to_pylist():
                    columns = _columns(part, attempt)
                    client.metrics.append_columns(run_id, columns)
                report.points += part.num_rows
        for some in pieces(self._rows("media"), _MEDIA_PER_CALL):
            records = [self._record(row) for row in some]
            for record in records:
                if record.blob is not None:
                    data = self._blob(record.blob.sha256).read_bytes()
                    client.media.put_blob(run_id, record.blob.name, data)
            client.media.append(run_id, records)
            report.media += len(records)

    def files(self, run: RunRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``."""
        _, origin, _ = self._run
        for row in self._rows("files"):
            path, attempt = row["path"], row["attempt"]
            if row["kind"] == "log":
                path = f"{KEPT_IN}/attempt-{attempt}/{path}"
            elif row["kind"] == "code":
                path = f"{KEPT_IN}/{path}"
            elif row["kind"] == "event_file":
                if origin != LAUNCHED:
                    continue
                path = f"{KEPT_IN}/attempt-{attempt}/events/{path}"
            if self._manifest.only.get("artifacts") is False and row["kind"] == "artifact":
                report.leave_out("file that was left out of the export", f"{run.source_id}: {path}")
                continue
            yield self._file(path, row)

    def event_files(self, run: RunRecord) -> Iterator[FileRecord]:  # noqa: ARG002 - it is the last
        """See ``Source``."""
        if self._run[1] != LAUNCHED:
            for row in self._rows("files"):
                if row["kind"] == "event_file":
                    yield self._file(row["path"], row)

    def models(self, experiment: ExperimentRecord, report: Report) -> Iterator[ModelRecord]:  # noqa: ARG002
        """See ``Source``."""
        begin = self._begins[experiment.source_id]
        at = dict(begin.at)
        for row in self._tables["models"].read(at["models"], begin.row["models"]):
            places = {table: (at[table], row[name]) for name, table in OF_A_MODEL.items()}
            for table, (_, count) in places.items():
                at[table] += count
            self._model = row["model_id"], places
            try:
                record = self._model_record(row)
            except _UNREADABLE as error:
                self._fail(f"model {row['model_id']}", error)
                continue
            yield record

    def _model_record(self, row: Row) -> ModelRecord:
        metrics = self._tables["model_metrics"].read(*self._model[1]["model_metrics"])
        return ModelRecord(
            source_id=row["model_id"],
            name=row["name"],
            created_ns=row["created"],
            state=LoggedModelState(row["state"]).value,
            source_run_id=row["source_run_id"],
            model_type=row["model_type"],
            deleted=row.get("deleted") is not None,
            params=dict(row["params"]),
            tags=dict(row["tags"]),
            metrics=tuple(map(_model_metric, metrics)),
        )

    def model_files(self, model: ModelRecord, report: Report) -> Iterator[FileRecord]:  # noqa: ARG002
        """See ``Source``."""
        for row in self._tables["model_files"].read(*self._model[1]["model_files"]):
            yield self._file(row["path"], row)

    def traces(self, experiment: ExperimentRecord, report: Report) -> Iterator[TraceRecord]:  # noqa: ARG002
        """See ``Source``. What else is asked of a trace is asked before the next one."""
        begin = self._begins[experiment.source_id]
        at = dict(begin.at)
        for row in self._tables["traces"].read(at["traces"], begin.traces):
            places = {table: (at[table], row[name]) for name, table in OF_A_TRACE.items()}
            for table, (_, count) in places.items():
                at[table] += count
            self._trace = places
            try:
                record = self._trace_record(row)
            except _UNREADABLE as error:
                self._fail(f"trace {row['trace_id']}", error)
                continue
            yield record

    def _trace_record(self, row: Row) -> TraceRecord:
        runs = self._tables["trace_runs"].read(*self._trace["trace_runs"])
        return TraceRecord(
            trace=self._trace_of(row),
            runs=tuple(one["run_id"] for one in runs),
            spans=row["spans"],
        )

    def _trace_of(self, row: Row) -> Trace:
        assessments = self._tables["assessments"].read(*self._trace["assessments"])
        return Trace(
            id=check_id(row["trace_id"]),
            experiment_id=0,
            time_ms=row["time"],
            duration_ms=row["duration_ms"],
            state=TraceState(row["state"]),
            client_request_id=row["client_request_id"],
            request_preview=row["request_preview"],
            response_preview=row["response_preview"],
            tags=dict(row["tags"]),
            metadata=dict(row["metadata"]),
            assessments=tuple(map(self._assessment, assessments)),
        )

    def spans(self, trace: TraceRecord) -> Iterator[bytes]:  # noqa: ARG002
        """See ``Source``."""
        for row in self._tables["spans"].read(*self._trace["spans"]):
            yield row["document"].encode()

    def trace_files(self, trace: TraceRecord, report: Report) -> Iterator[FileRecord]:  # noqa: ARG002
        """See ``Source``."""
        for row in self._tables["trace_files"].read(*self._trace["trace_files"]):
            yield self._file(row["path"], row)

    def tell_the_rest(self, report: Report) -> None:
        """See ``Source``."""
        for name in self._manifest.missing:
            report.leave_out("what was lost before it was exported: not in the export", name)
        changed = self._tables["runs"].rows
        if changed:
            report.leave_out(
                "run whose last change and deletion are at the time of the import",
                "",
                count=changed,
            )
        if self._tracked_events:
            report.leave_out(
                "event of a tracked run: the server tells its own", "", count=self._tracked_events
            )
        used = {begin.row["project"] for begin in self._begins.values()}
        for name in self._tables["projects"].column("name"):
            if name not in used:
                report.leave_out("project without experiments: not created", name)

    def _file(self, path: str, row: Row) -> FileRecord:
        return FileRecord(path, row["size_bytes"], lambda _: self._blob(row["sha256"]))

    def _blob(self, sha256: str) -> Path:
        """The file of a digest, which is looked at whole.

        Raises:
            SourceError: it is not there, or has other bytes.
        """
        if not _SHA256.fullmatch(sha256):  # it would be the way to another file
            raise SourceError(f"A row of the export names its bytes by {sha256[:80]!r}: no sha256.")
        path = self._folder / blob_path(sha256)
        if digest_of_file(path) != sha256:
            raise SourceError(f'"{path}" is damaged: its sha256 differs from its name.')
        return path

    def _record(self, row: Row) -> MediaRecord:
        blob = None
        if row["sha256"] is not None:
            blob = Blob(row["sha256"], row["format"], row["size_bytes"])
        content: Any = self._json("media", row, "content", Content)
        return MediaRecord(row["key"], row["step"], row["time"], content, blob, row["place"])

    def _assessment(self, row: Row) -> Assessment:
        error = None if row["error"] is None else self._json("assessments", row, "error")
        return Assessment(
            id=row["assessment_id"],
            trace_id=row["trace_id"],
            name=row["name"],
            kind=AssessmentKind(row["kind"]),
            value=self._json("assessments", row, "value"),
            error=error,
            source_type=row["source_type"],
            source_id=row["source_id"],
            span_id=row["span_id"],
            rationale=row["rationale"],
            metadata=dict(row["metadata"]),
            overrides=row["overrides"],
            valid=row["valid"],
            created_ms=row["created"],
            updated_ms=row["updated"],
        )


def _columns(table: Any, attempt: int) -> BatchIn:
    """The points of one attempt, as they are sent."""
    pa, compute = arrow(), arrow(".compute")
    mine = table.filter(compute.equal(table.column("attempt"), attempt)).combine_chunks()
    keys = mine.column("key").combine_chunks().dictionary_encode()
    return BatchIn(
        keys=keys.dictionary.to_pylist(),
        key=_bytes(keys.indices.cast(pa.int32()), 4),
        step=_bytes(mine.column("step").combine_chunks(), 8),
        time_ms=_bytes(mine.column("time").combine_chunks(), 8),
        value=_bytes(mine.column("value").combine_chunks(), 8),
        attempt=attempt,
    )


def _bytes(array: Any, item_bytes: int) -> bytes:
    begin = array.offset * item_bytes
    return memoryview(array.buffers()[1])[begin : begin + len(array) * item_bytes].tobytes()


def _model_metric(row: Row) -> ModelMetricValue:
    return ModelMetricValue(
        key=row["key"],
        value=number_out(row["value"]),
        step=row["step"],
        time_ms=row["time"],
        run_id=row["run_id"],
        dataset_name=row["dataset_name"],
        dataset_digest=row["dataset_digest"],
    )
