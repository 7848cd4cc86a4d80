"""The SQLite database of an MLflow server, read by the standard library alone."""

from __future__ import annotations

import json
import math
import sqlite3
import urllib.parse
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from seafloor.domain.errors import SourceError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import Point
from seafloor.domain.models import DatasetInput
from seafloor.domain.quantities import shown_count
from seafloor.domain.traces import (
    ARTIFACTS_TAG,
    COST_KEY,
    NAME_TAG,
    SESSION_KEY,
    TOKENS_KEY,
    Assessment,
    AssessmentKind,
    Trace,
)
from seafloor.sdk.imports.mlflow import words
from seafloor.sdk.imports.mlflow.traces import (
    ASSESSMENT_RUN,
    document_of,
    error_of,
    note_archived,
    state_of,
    without_place,
)
from seafloor.sdk.imports.records import (
    BAD_DATA,
    ExperimentRecord,
    FileRecord,
    ModelRecord,
    RunRecord,
    Source,
    TraceRecord,
)
from seafloor.sdk.imports.report import Report
from seafloor.wire.models import ModelMetricValue, ModelUse, RunInputs
from seafloor.wire.numbers import number_out

_NEEDED: Final = {
    "experiments": {"experiment_id", "name", "artifact_location", "lifecycle_stage"},
    "runs": {
        *("run_uuid", "name", "user_id", "status", "start_time", "end_time"),
        *("lifecycle_stage", "artifact_uri", "experiment_id"),
    },
    "metrics": {"key", "value", "timestamp", "run_uuid", "step", "is_nan"},
    "params": {"key", "value", "run_uuid"},
    "tags": {"key", "value", "run_uuid"},
}
"""Without these it is no database of MLflow, or an old one."""

_READ: Final = frozenset(
    {
        *_NEEDED,
        *("experiment_tags", "datasets", "inputs", "input_tags"),
        *("trace_info", "trace_tags", "trace_request_metadata", "spans", "assessments"),
        *("logged_models", "logged_model_params", "logged_model_tags", "logged_model_metrics"),
    }
)
_NOTHING_OF_ITS_OWN: Final = frozenset(
    {
        *("alembic_version", "latest_metrics", "workspaces"),
        # What MLflow adds up over traces and spans.
        *("trace_metrics", "span_metrics", "sql_trace_metric_daily_rollups"),
        *("sql_span_cost_daily_rollups", "sql_assessment_daily_rollups"),
        "sql_trace_rollup_rebuild_queue",
    }
)
_PROMOTED: Final = {
    TOKENS_KEY: (
        *("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens"),
        *("cache_creation_input_tokens", "cache_creation_input_tokens_above_1hr"),
    ),
    COST_KEY: ("input_cost", "output_cost", "total_cost"),
}
"""Metadata of traces that later versions keep as columns."""
_REST: Final = {
    "entity_associations": "WHERE NOT (source_type = 'trace' AND destination_type = 'run')"
}
"""What of a table is not read."""
_KEPT: Final = {
    "registered_models": "registered model: there is no registry here yet",
    "registered_model_tags": "tag of a registered model: there is no registry here yet",
    "registered_model_aliases": "alias of a registered model: there is no registry here yet",
    "model_versions": "version of a registered model: there is no registry here yet",
    "model_version_tags": "tag of a model version: there is no registry here yet",
}

_OF_EXPERIMENTS: Final = (
    ("runs", "run_uuid", "run"),
    ("logged_models", "model_id", "logged model"),
    ("trace_info", "request_id", "trace"),
)
"""Tables of what is found by its experiment alone."""

_Row = dict[str, Any]


class SqliteSource(Source):
    """An MLflow database file; implements ``Source``. Nothing is written to it.

    Args:
        path: The file.
        artifacts: The folder behind ``mlflow-artifacts:``; None: unknown.
        report: Told of what has no place.

    Raises:
        SourceError: there is no such file, or it is no database of MLflow that can be read.
    """

    kind = words.KIND

    def __init__(self, path: Path, artifacts: Path | None, report: Report) -> None:
        if not path.is_file():
            raise SourceError(f'There is no file "{path}": give sqlite:///PATH of the database.')
        self.label = f"the MLflow database {path}"
        self._path = path
        self._report = report
        self._locations = words.Locations(path.resolve().parent, artifacts)
        address = f"file:{urllib.parse.quote(str(path.resolve()))}?mode=ro"
        with self._reading():
            self._database = sqlite3.connect(address, uri=True)
            self._database.row_factory = sqlite3.Row
            self._database.text_factory = _text
        self._tables = self._read_tables()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _read_tables(self) -> dict[str, set[str]]:
        tables: dict[str, set[str]] = {}
        for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
            name = str(row["name"])
            columns = self._rows("SELECT name FROM pragma_table_info(?)", name)
            tables[name] = {str(column["name"]) for column in columns}
        for name, wanted in _NEEDED.items():
            missing = sorted(wanted - tables.get(name, set()))
            if missing:
                what = f"{name}.{missing[0]}" if name in tables else name
                raise SourceError(
                    f'"{self._path}" has no {what}, so it is no database of MLflow, or one of an '
                    f"old version: `mlflow db upgrade sqlite:///{self._path}` brings it up to date."
                )
        return tables

    @contextmanager
    def _reading(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise SourceError(
                f'"{self._path}" cannot be read as an SQLite database: {error}.'
            ) from error

    def _rows(self, statement: str, *values: object) -> Iterator[_Row]:
        with self._reading():
            for row in self._database.execute(statement, values):
                yield dict(row)

    def _rows_if(self, table: str, statement: str, *values: object) -> Iterator[_Row]:
        """Rows of a table that older databases do not have."""
        if table in self._tables:
            yield from self._rows(statement, *values)

    def experiments(self) -> Iterator[ExperimentRecord]:
        """See ``Source``."""
        tags: dict[object, dict[str, str]] = {}
        for row in self._rows_if("experiment_tags", "SELECT * FROM experiment_tags"):
            of = tags.setdefault(row["experiment_id"], {})
            of.update(self._label(row, f"experiment {row['experiment_id']}"))
        for row in self._rows("SELECT * FROM experiments ORDER BY experiment_id"):
            workspace = row.get("workspace") or "default"
            try:
                _check_texts(row)
                record = ExperimentRecord(
                    source_id=str(row["experiment_id"]),
                    name=row["name"] or "",
                    project=None if workspace == "default" else workspace,
                    created_ns=words.time_ns(row.get("creation_time")),
                    tags=tags.get(row["experiment_id"], {}),
                    deleted=row["lifecycle_stage"] == "deleted",
                    artifact_location=words.told_location(row["artifact_location"] or ""),
                )
            except BAD_DATA as error:
                said = f"it cannot be read: {error}"
                self._report.fail(f"experiment {row['experiment_id']}", said)
                continue
            if row.get("last_update_time"):
                self._report.leave_out(words.CHANGED_LATER, record.name)
            yield record

    def runs(self, experiment: ExperimentRecord) -> Iterator[RunRecord]:
        """See ``Source``; the oldest first."""
        statement = "SELECT * FROM runs WHERE experiment_id = ? ORDER BY start_time, run_uuid"
        with self._reading():
            rows = self._database.execute(statement, (int(experiment.source_id),)).fetchall()
        for row in rows:
            try:
                record = self._run(dict(row))
            except BAD_DATA as error:
                self._report.fail(f"run {row['run_uuid']}", f"it cannot be read: {error}")
                continue
            yield record

    def _run(self, row: _Row) -> RunRecord:
        _check_texts(row)
        run_id = str(row["run_uuid"])
        tags = self._labels("tags", run_id)
        name = row["name"] or tags.get(words.NAME_TAG, "")
        user = row["user_id"] or tags.get(words.USER_TAG, "")
        if row.get("deleted_time"):
            self._report.leave_out(words.DELETED_AT, run_id)
        return RunRecord(
            source_id=run_id,
            name=name,
            user=user,
            state=words.run_state(row["status"], report=self._report, run_id=run_id),
            started_ns=words.time_ns(row["start_time"]),
            ended_ns=words.time_ns(row["end_time"]),
            deleted=row["lifecycle_stage"] == "deleted",
            params=self._labels("params", run_id),
            tags=words.without_own(tags, name=name, user=user),
            inputs=self._inputs(run_id),
            other=words.old_fields(row, tags),
            location=row["artifact_uri"] or "",
        )

    def _labels(self, table: str, run_id: str) -> dict[str, str]:
        statement = f"SELECT key, value FROM {table} WHERE run_uuid = ?"  # noqa: S608 - our names
        made: dict[str, str] = {}
        for row in self._rows(statement, run_id):
            made.update(self._label(row, f"run {run_id}"))
        return made

    def _label(self, row: _Row, owner: str) -> dict[str, str]:
        """The param or tag that a row is; none, and told, where it is no text."""
        try:
            _check_texts(row, "key")
        except ValueError as error:
            self._report.fail(f"param or tag {row['key']} of {owner}", str(error))
            return {}
        return {str(row["key"]): str(row["value"] or "")}

    def _inputs(self, run_id: str) -> RunInputs:
        if "inputs" not in self._tables:
            return RunInputs()
        models = self._rows(
            "SELECT destination_id FROM inputs WHERE source_type = 'RUN_INPUT' AND source_id = ? "
            "AND destination_type = 'MODEL_INPUT'",
            run_id,
        )
        step = "step" if "step" in self._tables["inputs"] else "0 AS step"
        outputs = self._rows(
            f"SELECT destination_id, {step} FROM inputs WHERE source_type = 'RUN_OUTPUT' "  # noqa: S608
            "AND source_id = ? AND destination_type = 'MODEL_OUTPUT'",
            run_id,
        )
        return RunInputs(
            datasets=tuple(self._datasets(run_id)),
            models=tuple(row["destination_id"] for row in models),
            outputs=tuple(ModelUse(row["destination_id"], row["step"] or 0) for row in outputs),
        )

    def _datasets(self, run_id: str) -> Iterator[DatasetInput]:
        rows = self._rows_if(
            "datasets",
            "SELECT inputs.input_uuid, datasets.* FROM inputs JOIN datasets "
            "ON datasets.dataset_uuid = inputs.source_id WHERE inputs.source_type = 'DATASET' "
            "AND inputs.destination_type = 'RUN' AND inputs.destination_id = ?",
            run_id,
        )
        for row in rows:
            tags = self._rows_if(
                "input_tags",
                "SELECT name AS key, value FROM input_tags WHERE input_uuid = ?",
                row["input_uuid"],
            )
            labels: dict[str, str] = {}
            for tag in tags:
                labels.update(self._label(tag, f"dataset {row['name']} of run {run_id}"))
            try:
                _check_texts(row, "name", "digest")
            except ValueError as error:
                self._report.fail(f"dataset {row['name']} of run {run_id}", str(error))
                continue
            yield DatasetInput(
                name=row["name"],
                digest=row["digest"],
                source_type=row["dataset_source_type"] or "",
                source=row["dataset_source"] or "",
                schema=row["dataset_schema"],
                profile=row["dataset_profile"],
                tags=labels,
            )

    def points(self, run: RunRecord) -> Iterator[Point]:
        """See ``Source``."""
        statement = "SELECT key, value, step, timestamp, is_nan FROM metrics WHERE run_uuid = ?"
        with self._reading():
            bad: dict[object, tuple[int, str]] = {}
            for row in self._database.execute(statement, (run.source_id,)):
                try:
                    point = _point(row)
                except BAD_DATA as error:
                    count, first = bad.get(row["key"], (0, str(error)))
                    bad[row["key"]] = count + 1, first
                else:
                    yield point
        for key, (count, first) in bad.items():
            what = f"{shown_count(count, 'point')} of metric {key} of run {run.source_id}"
            self._report.fail(what, first)

    def files(self, run: RunRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``."""
        return self._locations.files(run.location, owner=f"run {run.source_id}", report=report)

    def models(self, experiment: ExperimentRecord, report: Report) -> Iterator[ModelRecord]:
        """See ``Source``."""
        rows = self._rows_if(
            "logged_models",
            "SELECT * FROM logged_models WHERE experiment_id = ? ORDER BY creation_timestamp_ms",
            int(experiment.source_id),
        )
        for row in list(rows):
            try:
                record = self._model(row)
            except BAD_DATA as error:
                report.fail(f"model {row['model_id']}", f"it cannot be read: {error}")
                continue
            report.leave_out(words.CHANGED_LATER, record.source_id)
            if row["status_message"]:
                report.leave_out(
                    "status message of a model", f"{record.source_id}: {row['status_message']}"
                )
            yield record

    def _model(self, row: _Row) -> ModelRecord:
        _check_texts(row)
        model_id = str(row["model_id"])
        status = row["status"] if 0 <= row["status"] < len(words.MODEL_STATUSES) else 0
        return ModelRecord(
            source_id=model_id,
            name=row["name"] or "",
            created_ns=int(row["creation_timestamp_ms"]) * 1_000_000,
            state=words.model_state(words.MODEL_STATUSES[status]),
            source_run_id=row["source_run_id"] or None,
            model_type=row["model_type"] or "",
            deleted=row["lifecycle_stage"] == "deleted",
            params=self._model_labels("param", model_id),
            tags=self._model_labels("tag", model_id),
            metrics=tuple(self._model_metrics(model_id)),
            location=row["artifact_location"] or "",
        )

    def _model_labels(self, what: str, model_id: str) -> dict[str, str]:
        rows = self._rows_if(
            f"logged_model_{what}s",
            f"SELECT {what}_key AS key, {what}_value AS value FROM logged_model_{what}s "  # noqa: S608
            "WHERE model_id = ?",
            model_id,
        )
        made: dict[str, str] = {}
        for row in rows:
            made.update(self._label(row, f"model {model_id}"))
        return made

    def _model_metrics(self, model_id: str) -> Iterator[ModelMetricValue]:
        rows = self._rows_if(
            "logged_model_metrics",
            "SELECT * FROM logged_model_metrics WHERE model_id = ?",
            model_id,
        )
        for row in rows:
            try:
                metric = _model_metric(row)
            except ValueError as error:
                name = f"value of metric {row['metric_name']} of model {model_id}"
                self._report.fail(name, str(error))
            else:
                yield metric

    def model_files(self, model: ModelRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``."""
        return self._locations.files(
            model.location, owner=f"model {model.source_id}", report=report
        )

    def traces(self, experiment: ExperimentRecord, report: Report) -> Iterator[TraceRecord]:
        """See ``Source``; the oldest first."""
        rows = self._rows_if(
            "trace_info",
            "SELECT * FROM trace_info WHERE experiment_id = ? ORDER BY timestamp_ms, request_id",
            int(experiment.source_id),
        )
        for row in rows:
            try:
                _check_texts(row)
                record = self._trace(row, report)
            except BAD_DATA as error:  # of a kind that is not known, or JSON that is none
                report.fail(f"trace {row['request_id']}", f"it cannot be read: {error}")
                continue
            yield record

    def _trace(self, row: _Row, report: Report) -> TraceRecord:
        trace_id = str(row["request_id"])
        tags = self._trace_labels("trace_tags", trace_id)
        if row.get("trace_name") is not None:
            tags[NAME_TAG] = row["trace_name"]
        note_archived(tags, trace_id, report)
        spans = self._rows_if(
            "spans", "SELECT count(*) AS count FROM spans WHERE trace_id = ?", trace_id
        )
        return TraceRecord(
            trace=Trace(
                id=trace_id,
                experiment_id=0,
                time_ms=row["timestamp_ms"],
                duration_ms=row["execution_time_ms"],
                state=state_of(row["status"]),
                client_request_id=row.get("client_request_id"),
                request_preview=row.get("request_preview"),
                response_preview=row.get("response_preview"),
                tags=without_place(tags),
                metadata=self._trace_metadata(row),
                assessments=tuple(self._assessments(trace_id, report)),
            ),
            runs=tuple(self._linked_runs(trace_id)),
            spans=sum(one["count"] for one in spans),
            location=tags.get(ARTIFACTS_TAG, ""),
        )

    def _trace_labels(self, table: str, trace_id: str) -> dict[str, str]:
        rows = self._rows_if(
            table,
            f"SELECT key, value FROM {table} WHERE request_id = ?",  # noqa: S608 - our names
            trace_id,
        )
        made: dict[str, str] = {}
        for row in rows:
            made.update(self._label(row, f"trace {trace_id}"))
        return made

    def _trace_metadata(self, row: _Row) -> dict[str, str]:
        found = self._trace_labels("trace_request_metadata", row["request_id"])
        if row.get("session_id") is not None:
            found[SESSION_KEY] = row["session_id"]
        for key, columns in _PROMOTED.items():
            told = {name: row[name] for name in columns if row.get(name) is not None}
            if told:
                found[key] = json.dumps(told)
        return found

    def _assessments(self, trace_id: str, report: Report) -> Iterator[Assessment]:
        rows = self._rows_if(
            "assessments",
            "SELECT * FROM assessments WHERE trace_id = ? "
            "ORDER BY created_timestamp, assessment_id",
            trace_id,
        )
        for row in rows:
            if row.get("run_id"):
                report.leave_out(ASSESSMENT_RUN, f"{trace_id}: {row['assessment_id']}")
            try:
                found = _assessment(row)
            except BAD_DATA as error:
                name = f"assessment {row['assessment_id']} of trace {trace_id}"
                report.fail(name, f"it cannot be read: {error}")
            else:
                yield found

    def _linked_runs(self, trace_id: str) -> list[str]:
        rows = self._rows_if(
            "entity_associations",
            "SELECT destination_id FROM entity_associations WHERE source_type = 'trace' "
            "AND source_id = ? AND destination_type = 'run'",
            trace_id,
        )
        return [row["destination_id"] for row in rows]

    def spans(self, trace: TraceRecord) -> Iterator[bytes]:
        """See ``Source``."""
        rows = self._rows_if(
            "spans", "SELECT content FROM spans WHERE trace_id = ?", trace.trace.id
        )
        return (document_of(row["content"]) for row in rows if row["content"])

    def trace_files(self, trace: TraceRecord, report: Report) -> Iterator[FileRecord]:
        """See ``Source``."""
        owner = f"trace {trace.trace.id}"
        return self._locations.files(trace.location, owner=owner, report=report)

    def tell_the_rest(self, report: Report) -> None:
        """See ``Source``: every table that has rows and is not read, and what is nowhere."""
        for table, column, what in _OF_EXPERIMENTS:
            rows = self._rows_if(
                table,
                f"SELECT {column} AS id FROM {table} WHERE experiment_id IS NULL "  # noqa: S608
                "OR experiment_id NOT IN (SELECT experiment_id FROM experiments)",
            )
            for row in rows:
                said = f"{what} of an experiment that the database does not have: left out"
                report.leave_out(said, str(row["id"]))
        for table in sorted(self._tables.keys() - _READ - _NOTHING_OF_ITS_OWN):
            if table in _KEPT:
                report.keep(_KEPT[table], table, list(self._rows(f'SELECT * FROM "{table}"')))  # noqa: S608
                continue
            rest = _REST.get(table, "")
            (found,) = self._rows(f'SELECT count(*) AS count FROM "{table}" {rest}')  # noqa: S608
            if found["count"]:
                report.leave_out(f"row of MLflow's table {table}", "", count=found["count"])


def _text(data: bytes) -> str | bytes:
    """A text of the database; its bytes where it is none, for whoever reads the row to tell."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _check_texts(row: _Row, *needed: str) -> None:
    """Refuse a row with bytes in it, or without what it needs: MLflow writes none.

    Raises:
        ValueError: so it is.
    """
    for column in needed:
        if row[column] is None:
            raise ValueError(f"it has no {column}")
    for column, value in row.items():
        if isinstance(value, bytes):
            raise ValueError(f"its {column} is no text in UTF-8: {value[:50]!r}")  # noqa: TRY004


def _assessment(row: _Row) -> Assessment:
    needed = ("assessment_id", "name", "created_timestamp", "last_updated_timestamp")
    _check_texts(row, *needed, "source_type")
    error, metadata = row["error"], row["assessment_metadata"]
    return Assessment(
        id=row["assessment_id"],
        trace_id=row["trace_id"],
        name=row["name"],
        kind=AssessmentKind(row["assessment_type"]),
        value=json.loads(row["value"]),
        error=error_of(json.loads(error)) if error else None,
        source_type=row["source_type"],
        source_id=row["source_id"] or "",
        span_id=row["span_id"],
        rationale=row["rationale"],
        metadata=json.loads(metadata) if metadata else {},
        overrides=row["overrides"],
        valid=bool(row["valid"]),
        created_ms=int(row["created_timestamp"]),
        updated_ms=int(row["last_updated_timestamp"]),
    )


def _model_metric(row: _Row) -> ModelMetricValue:
    _check_texts(row)
    key, step, time_ms = row["metric_name"], row["metric_step"], row["metric_timestamp_ms"]
    run_id, value = row["run_id"], row["metric_value"]
    if not (isinstance(step, int) and isinstance(time_ms, int)):
        raise ValueError(f"its step or time is none: {step!r}, {time_ms!r}")  # noqa: TRY004
    if not (isinstance(key, str) and isinstance(run_id, str)):
        raise ValueError(f"its name or run is none: {key!r}, {run_id!r}")  # noqa: TRY004
    if not isinstance(value, int | float | None):
        raise ValueError(f"its value is no number: {value!r}")  # noqa: TRY004
    return ModelMetricValue(
        key=key,
        value=number_out(math.nan if value is None else value),
        step=step,
        time_ms=time_ms,
        run_id=WorkloadId(run_id),
        dataset_name=row["dataset_name"],
        dataset_digest=row["dataset_digest"],
    )


def _point(row: sqlite3.Row) -> Point:
    key, value, step, time_ms, is_nan = row
    if not (isinstance(key, str) and isinstance(step, int) and isinstance(time_ms, int)):
        raise ValueError(f"key, step or time is none: {key!r}, {step!r}, {time_ms!r}")  # noqa: TRY004
    if not isinstance(value, int | float) and not is_nan:
        raise ValueError(f"its value is no number: {value!r}")
    return Point(key, math.nan if is_nan else float(value), step, time_ms)
