"""Puts traces of every kind into a store of MLflow's; imported where mlflow is."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from mlflow.entities import (
    AssessmentError,
    AssessmentSource,
    Expectation,
    Feedback,
    Span,
    TraceInfo,
    TraceLocation,
    TraceState,
)

START_MS = 1_700_000_000_123
STATES = (TraceState.OK, TraceState.ERROR, TraceState.IN_PROGRESS)
ODD: list[Any] = ["größe", 1, 1.5, True, None, [1, "a", None], {"a": {"b": [2.5]}}, "", 1 << 60]


def fill_traces(store: Any, folder: Path, experiments: list[str], runs: list[str]) -> None:
    """Twelve traces in each experiment, some linked to runs of theirs."""
    is_folder = not hasattr(store, "log_spans") or type(store).__name__ == "FileStore"
    for at, experiment in enumerate(experiments):
        for number in range(12):
            _trace(store, folder, experiment, at * 100 + number, is_folder=is_folder)
        if not is_folder:
            ids = [f"tr-{at * 100 + number:032x}" for number in (1, 2)]
            store.link_traces_to_run(ids, runs[at])
            store.link_traces_to_run(ids[:1], runs[at + len(experiments)])


def _trace(store: Any, folder: Path, experiment: str, at: int, *, is_folder: bool) -> None:
    trace_id = f"tr-{at:032x}"
    spans = [_span(at, number) for number in range(at % 4 + 1)]
    if not is_folder and at % 5 != 4:
        store.log_spans(experiment, spans)
    info = TraceInfo(
        trace_id=trace_id,
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=START_MS + at,
        state=STATES[at % 3],
        execution_duration=None if at % 3 == 2 else at * 7,
        client_request_id=f"mine {at}" if at % 2 else None,
        request_preview='{"q": "ü"}' if at % 2 else None,
        response_preview="",
        tags={"team": "ü", "mlflow.traceName": f"call {at % 3}", "empty": ""},
        trace_metadata={
            "mlflow.trace.session": f"s{at % 2}",
            "long": "x" * 249,
            "mlflow.trace.tokenUsage": '{"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}',
        },
    )
    made = store.start_trace(info)
    if at % 4 == 0:
        _assess(store, trace_id, at)
    root = made.tags.get("mlflow.artifactLocation", "").removeprefix("mlflow-artifacts:/")
    place = folder / "artifacts" / root
    if is_folder:
        place = Path(made.tags["mlflow.artifactLocation"].removeprefix("file://"))
    if is_folder or at % 5 == 4:
        place.mkdir(parents=True, exist_ok=True)
        data = {"spans": [span.to_dict() for span in spans]}
        (place / "traces.json").write_text(json.dumps(data))
    elif at % 6 == 0:
        (place / "attachments").mkdir(parents=True, exist_ok=True)
        (place / "attachments" / "a.bin").write_bytes(b"\0\1" * at)


def _span(at: int, number: int) -> Span:
    attributes: dict[str, Any] = {
        "mlflow.traceRequestId": f"tr-{at:032x}",
        "mlflow.spanType": ("CHAIN", "LLM", "TOOL")[number % 3],
        "mlflow.spanInputs": {"question": "was ist größer?" * (number + 1)},
        "odd": ODD[at % len(ODD)],
        "model": "gpt",
    }
    return Span.from_dict(
        {
            "trace_id": _id(at or 1 << 100, 16),
            "span_id": _id(at * 10 + number + 1, 8),
            "parent_span_id": _id(at * 10 + 1, 8) if number else None,
            "name": f"span {number}",
            "start_time_unix_nano": START_MS * 1_000_000 + number,
            "end_time_unix_nano": START_MS * 1_000_000 + 5_000_000 + number,
            "events": [
                {
                    "name": "exception",
                    "time_unix_nano": START_MS * 1_000_000,
                    "attributes": {"exception.message": "no", "n": 1, "x": 0.5},
                }
            ]
            if number == 1
            else [],
            "status": {
                "code": ("STATUS_CODE_OK", "STATUS_CODE_ERROR", "STATUS_CODE_UNSET")[number % 3],
                "message": "went wrong" if number % 3 == 1 else "",
            },
            "attributes": {key: json.dumps(value) for key, value in attributes.items()},
            "links": [],
        }
    )


def _assess(store: Any, trace_id: str, at: int) -> None:
    human = AssessmentSource(source_type="HUMAN", source_id="ada")
    judge = AssessmentSource(source_type="LLM_JUDGE", source_id="gpt")
    made = [
        Feedback(
            name="good",
            value=ODD[at % len(ODD)] or "yes",
            source=human,
            trace_id=trace_id,
            rationale="weil",
            metadata={"a": "ü"},
            span_id=f"{at * 10 + 1:016x}",
        ),
        Expectation(name="answer", value={"a": [1, None, "ü"]}, source=human, trace_id=trace_id),
    ]
    if at % 8 == 0:
        error = AssessmentError(error_code="FAILED", error_message="no model")
        made.append(Feedback(name="bad", error=error, source=judge, trace_id=trace_id))
    first, *_ = [store.create_assessment(one) for one in made]
    if at % 8 == 0:
        again = Feedback(
            name="good",
            value=False,
            source=human,
            trace_id=trace_id,
            overrides=first.assessment_id,
        )
        store.create_assessment(again)


def _id(number: int, size_bytes: int) -> str:
    return base64.b64encode(number.to_bytes(size_bytes, "big")).decode()
