"""Traces of MLflow's as they are read: one that cannot be read stops no other."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_sqlite_traces import START_MS, span_content, trace_id_of, write_traces
from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import InvalidValue
from seafloor.domain.span_documents import read_span
from seafloor.sdk.imports.mlflow.api import Credentials, MlflowApi
from seafloor.sdk.imports.mlflow.rest import RestSource
from seafloor.sdk.imports.mlflow.sqlite import SqliteSource
from seafloor.sdk.imports.mlflow.traces import document_of
from seafloor.sdk.imports.records import ExperimentRecord
from seafloor.sdk.imports.report import Report

EXPERIMENT = ExperimentRecord(source_id="1", name="traced")


def report() -> Report:
    """An empty one."""
    return Report(source="mlflow", server="there")


def told(number: int, request_time: str) -> dict[str, object]:
    """A trace as MLflow's server tells of it."""
    return {
        "trace_id": trace_id_of(number),
        "request_time": request_time,
        "state": "OK",
        "tags": {"mlflow.trace.spansLocation": "TRACKING_STORE"},
    }


def test_server__that_breaks_lines__gives_spans_of_one_line(scripted: ScriptedServer) -> None:
    span = json.loads(document_of(span_content(0, 0)))

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/api/3.0/mlflow/traces/get?"):
            return Answer(body=json.dumps({"trace": {"spans": [span]}}, indent=2).encode())
        if asked.path == "/api/3.0/mlflow/traces/search":
            return Answer(body={"traces": [told(0, "2026-01-01T00:00:00Z")]})
        return Answer(body={})

    scripted.answer = answer
    source = RestSource(MlflowApi(scripted.url, Credentials()), report())
    (trace,) = source.traces(EXPERIMENT, report())
    (document,) = source.spans(trace)
    assert b"\n" not in document
    assert json.loads(document) == span
    assert read_span(document).name == "span 0"


def test_server__with_a_trace_that_cannot_be_read__gives_the_others(
    scripted: ScriptedServer,
) -> None:
    times = ["2026-01-01T00:00:00Z", "yesterday", "2026-01-01T00:00:02Z"]
    traces = [told(number, time) for number, time in enumerate(times)]
    scripted.answer = lambda asked: Answer(
        body={"traces": traces} if asked.path == "/api/3.0/mlflow/traces/search" else {}
    )
    source = RestSource(MlflowApi(scripted.url, Credentials()), report())
    seen = report()
    found = [record.trace.id for record in source.traces(EXPERIMENT, seen)]
    assert found == [trace_id_of(0), trace_id_of(2)]
    (failure,) = seen.failures
    assert trace_id_of(1) in failure.name


@pytest.mark.parametrize(
    "damage",
    ["UPDATE assessments SET assessment_type = 'guess'", "UPDATE assessments SET value = '{'"],
)
def test_database__with_an_assessment_that_cannot_be_read__gives_its_trace_without_it(
    tmp_path: Path, damage: str
) -> None:
    write_traces(tmp_path, traces=3, spans=1)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as database:
        database.execute(f"{damage} WHERE trace_id = ?", (trace_id_of(1),))
    seen = report()
    source = SqliteSource(tmp_path / "mlflow.db", tmp_path / "artifacts", seen)
    found = [record.trace for record in source.traces(EXPERIMENT, seen)]
    assert [trace.time_ms for trace in found] == [START_MS, START_MS + 1, START_MS + 2]
    assert [len(trace.assessments) for trace in found] == [1, 0, 1]
    (failure,) = seen.failures
    assert trace_id_of(1) in failure.name
    source.close()


def test_database__with_a_span_that_cannot_be_read__says_so_of_its_trace_alone(
    tmp_path: Path,
) -> None:
    write_traces(tmp_path, traces=1, spans=1)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as database:
        database.execute("UPDATE spans SET content = '{'")
    source = SqliteSource(tmp_path / "mlflow.db", tmp_path / "artifacts", report())
    (trace,) = source.traces(EXPERIMENT, report())
    with pytest.raises(InvalidValue, match="span"):
        list(source.spans(trace))
    source.close()
