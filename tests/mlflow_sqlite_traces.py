"""A database as MLflow's with traces in it, written without mlflow."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

_SCHEMA = """
CREATE TABLE experiments (experiment_id INTEGER, name TEXT, artifact_location TEXT,
    lifecycle_stage TEXT, creation_time INTEGER, last_update_time INTEGER);
CREATE TABLE runs (run_uuid TEXT, name TEXT, user_id TEXT, status TEXT, start_time INTEGER,
    end_time INTEGER, lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER);
CREATE TABLE metrics (key TEXT, value REAL, timestamp INTEGER, run_uuid TEXT, step INTEGER,
    is_nan INTEGER);
CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
CREATE TABLE trace_info (request_id TEXT, experiment_id INTEGER, timestamp_ms INTEGER,
    execution_time_ms INTEGER, status TEXT, client_request_id TEXT);
CREATE TABLE trace_tags (key TEXT, value TEXT, request_id TEXT);
CREATE TABLE trace_request_metadata (key TEXT, value TEXT, request_id TEXT);
CREATE TABLE spans (trace_id TEXT, span_id TEXT, content TEXT);
CREATE TABLE assessments (assessment_id TEXT, trace_id TEXT, name TEXT, assessment_type TEXT,
    value TEXT, error TEXT, created_timestamp INTEGER, last_updated_timestamp INTEGER,
    source_type TEXT, source_id TEXT, run_id TEXT, span_id TEXT, rationale TEXT, overrides TEXT,
    valid INTEGER, assessment_metadata TEXT);
CREATE TABLE entity_associations (source_type TEXT, source_id TEXT, destination_type TEXT,
    destination_id TEXT);
"""
RUN_ID = "7" * 32
START_MS = 1_700_000_000_000


def trace_id_of(number: int) -> str:
    """The id of a trace."""
    return f"tr-{number + 1:032x}"


def span_content(number: int, span: int) -> str:
    """A span as MLflow's tables hold it; ids in hex digits, as some versions wrote them."""
    attributes = {"mlflow.traceRequestId": trace_id_of(number), "n": span, "words": "größer"}
    return json.dumps(
        {
            "trace_id": f"{number + 1:032x}",
            "span_id": f"{number * 100 + span + 1:016x}",
            "parent_span_id": f"{number * 100 + 1:016x}" if span else None,
            "name": f"span {span}",
            "start_time_unix_nano": START_MS * 1_000_000 + span,
            "end_time_unix_nano": START_MS * 1_000_000 + span + 1_000,
            "events": [],
            "status": {"code": "STATUS_CODE_OK", "message": ""},
            "attributes": {key: json.dumps(value) for key, value in attributes.items()},
            "links": [],
        }
    )


def write_traces(folder: Path, *, traces: int, spans: int) -> None:
    """Write ``folder/mlflow.db`` and ``folder/artifacts``: every third trace has a file."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.executescript(_SCHEMA)
        database.execute(
            "INSERT INTO experiments VALUES (1, 'traced', 'mlflow-artifacts:/1', 'active', 1, 1)"
        )
        database.execute(
            "INSERT INTO runs VALUES (?, 'r', 'u', 'FINISHED', ?, ?, 'active', "
            "'mlflow-artifacts:/1/r/artifacts', 1)",
            (RUN_ID, START_MS, START_MS),
        )
    database.close()
    add_traces(folder, range(traces), spans=spans)


def add_traces(folder: Path, numbers: range, *, spans: int) -> None:
    """Write more of them."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        for number in numbers:
            _write_trace(database, folder, number, spans)
    database.close()


def _write_trace(database: sqlite3.Connection, folder: Path, number: int, spans: int) -> None:
    trace_id = trace_id_of(number)
    place = f"1/traces/{trace_id}/artifacts"
    told = (trace_id, START_MS + number, number, f"mine {number}")
    database.execute("INSERT INTO trace_info VALUES (?, 1, ?, ?, 'OK', ?)", told)
    tags = {
        "mlflow.artifactLocation": f"mlflow-artifacts:/{place}",
        "mlflow.trace.spansLocation": "TRACKING_STORE",
        "number": str(number),
    }
    for key, value in tags.items():
        database.execute("INSERT INTO trace_tags VALUES (?, ?, ?)", (key, value, trace_id))
    database.execute("INSERT INTO trace_request_metadata VALUES ('m', 'ü', ?)", (trace_id,))
    for span in range(spans):
        values = (trace_id, f"{span}", span_content(number, span))
        database.execute("INSERT INTO spans VALUES (?, ?, ?)", values)
    database.execute(
        "INSERT INTO assessments VALUES (?, ?, 'good', 'feedback', '{\"a\": [1, null]}', NULL, 5, "
        "6, 'HUMAN', 'ada', NULL, NULL, 'weil', NULL, 1, '{\"k\": \"v\"}')",
        (f"a-{number}", trace_id),
    )
    link = ("trace", trace_id, "run", RUN_ID)
    database.execute("INSERT INTO entity_associations VALUES (?, ?, ?, ?)", link)
    if number % 3 == 0:
        file = folder / "artifacts" / place / "attachments" / "a.bin"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"\0" * number)
