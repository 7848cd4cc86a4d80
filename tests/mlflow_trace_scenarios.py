"""What a user's script does with mlflow's tracing. Runs in the client's environment, not in ours.

Nothing here knows Seafloor: it is the client as it is; see ``mlflow_script``.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import mlflow
from mlflow.entities import AssessmentSource, Expectation, Feedback, SpanType, Trace
from mlflow.entities.span import Span

from mlflow_script import main, refusal, scenario

NESTED = {"messages": [{"role": "user", "content": "größe 日本 🏝️"}], "n": [1, 2.5, None, True]}
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def shown_span(span: Span) -> dict[str, Any]:
    return {
        "name": span.name,
        "type": span.span_type,
        "status": span.status.status_code.value,
        "inputs": span.inputs,
        "outputs": span.outputs,
        "parent": span.parent_id,
        "id": span.span_id,
        "start": span.start_time_ns,
        "end": span.end_time_ns,
        "attributes": {k: v for k, v in span.attributes.items() if not k.startswith("mlflow.")},
        "events": [[event.name, dict(event.attributes)] for event in span.events],
        "links": [[link.trace_id, link.span_id] for link in span.links],
    }


def shown(trace: Trace) -> dict[str, Any]:
    info = trace.info
    return {
        "id": info.trace_id,
        "state": info.state.value,
        "experiment": info.experiment_id,
        "request": info.request_preview,
        "response": info.response_preview,
        "time": info.request_time,
        "duration": info.execution_duration,
        "tags": dict(info.tags),
        "metadata": dict(info.trace_metadata),
        "assessments": [one.to_dictionary() for one in info.assessments],
        "spans": [shown_span(span) for span in trace.data.spans],
    }


def traced(experiment: str) -> None:
    mlflow.set_experiment(experiment)


def last() -> str:
    mlflow.flush_trace_async_logging()
    found = mlflow.get_last_active_trace_id()
    assert found is not None
    return found


@mlflow.trace(span_type=SpanType.CHAIN, attributes={"depth": 1})
def outer(number: int) -> dict[str, Any]:
    with mlflow.start_span("ask", span_type=SpanType.LLM) as span:
        span.set_inputs(NESTED)
        span.set_attribute("mlflow.chat.tokenUsage", USAGE)
        span.set_attribute("plain", {"a": [1, "b"]})
        span.add_event(mlflow.entities.SpanEvent("seen", attributes={"k": "v"}))
        span.set_outputs([inner(number), math.inf, -0.0])
    return {"answer": number * 2}


@mlflow.trace(name="inner one")
def inner(number: int) -> int:
    return number + 1


@mlflow.trace
def failing(text: str) -> None:
    raise ValueError(text)


@scenario
def nested(experiment: str) -> Any:
    traced(experiment)
    outer(4)
    return shown(mlflow.get_trace(last()))


@scenario
def exception(experiment: str) -> Any:
    traced(experiment)
    with suppress(ValueError):
        failing("kaputt")
    return shown(mlflow.get_trace(last()))


@scenario
def updated(experiment: str) -> Any:
    """Tags, a session and the client's own id, set while it goes on and after."""
    traced(experiment)
    with mlflow.start_span("named"):
        mlflow.update_current_trace(
            tags={"during": "1", "gone": "1"},
            metadata={"mlflow.trace.session": "s", "mlflow.trace.user": "ada"},
            client_request_id="mine",
        )
    trace_id = last()
    client = mlflow.MlflowClient()
    client.set_trace_tag(trace_id, "after", "ü" * 300)
    client.delete_trace_tag(trace_id, "gone")
    trace = mlflow.get_trace(trace_id)
    return {
        **shown(trace),
        "client": trace.info.client_request_id,
        "no tag": refusal(lambda: client.delete_trace_tag(trace_id, "gone")),
        "no trace": refusal(lambda: client.set_trace_tag("tr-" + "0" * 32, "a", "b")),
        "bad key": refusal(lambda: client.set_trace_tag(trace_id, "../a", "b")),
    }


@scenario
def in_a_run(experiment: str) -> Any:
    """One made in the course of a run, one linked to it after."""
    traced(experiment)
    inner(0)
    other = last()
    with mlflow.start_run() as run:
        inner(1)
        inside = last()
    run_id = run.info.run_id
    found = mlflow.search_traces(run_id=run_id, return_type="list")
    mlflow.MlflowClient().link_traces_to_run([other], run_id)
    both = mlflow.search_traces(run_id=run_id, return_type="list")
    return {
        "inside": inside,
        "other": other,
        "found": [trace.info.trace_id for trace in found],
        "both": [trace.info.trace_id for trace in both],
    }


@scenario
def searched(experiment: str, filters: list[str], orders: list[list[str]]) -> Any:
    """Five traces, and what searches give: their numbers."""
    traced(experiment)
    numbers: dict[str, int] = {}
    for number in range(5):
        with mlflow.start_span(f"span {number % 2}", span_type="LLM" if number == 3 else "TOOL"):
            mlflow.update_current_trace(
                tags={"number": str(number), **({"odd": "yes"} if number % 2 else {})},
                metadata={"half": str(number // 2)},
                state="ERROR" if number == 4 else None,
            )
        numbers[last()] = number
    first = min(numbers, key=lambda one: numbers[one])
    mlflow.log_feedback(trace_id=first, name="good", value=True)
    mlflow.log_feedback(trace_id=first, name="score", value=0.75)
    mlflow.log_expectation(trace_id=first, name="answer", value="42")

    def search(**more: Any) -> list[int]:
        found = mlflow.search_traces(return_type="list", **more)
        assert all(len(trace.data.spans) == 1 for trace in found)
        return [numbers[trace.info.trace_id] for trace in found]

    pages: list[int] = []
    token = None
    client = mlflow.MlflowClient()
    experiment_id = mlflow.get_experiment_by_name(experiment).experiment_id
    while True:
        page = client.search_traces(
            [experiment_id], max_results=2, page_token=token, order_by=["tag.number ASC"]
        )
        pages += [numbers[trace.info.trace_id] for trace in page]
        token = page.token
        if not token:
            break
    return {
        "filters": [search(filter_string=text) for text in filters],
        "orders": [search(order_by=order) for order in orders],
        "pages": pages,
        "table": list(mlflow.search_traces(max_results=3)["trace_id"].map(numbers.get)),
    }


@scenario
def assessed(experiment: str) -> Any:
    """Everything that is said of a trace, changed and taken back."""
    traced(experiment)
    outer(1)
    trace_id = last()
    judge = AssessmentSource(source_type="LLM_JUDGE", source_id="gpt")
    good = mlflow.log_feedback(
        trace_id=trace_id, name="good", value=True, rationale="since", metadata={"k": "v"}
    )
    mlflow.log_feedback(trace_id=trace_id, name="broken", error=ValueError("no"), source=judge)
    mlflow.log_expectation(trace_id=trace_id, name="plan", value={"steps": [1, None]})
    mlflow.update_assessment(
        trace_id, good.assessment_id, Feedback(name="better", value={"a": 0.5}, rationale="now")
    )
    override = mlflow.override_feedback(
        trace_id=trace_id, assessment_id=good.assessment_id, value=False, rationale="no"
    )
    before = mlflow.get_trace(trace_id).info.assessments
    read = mlflow.get_assessment(trace_id, override.assessment_id)
    mlflow.delete_assessment(trace_id, override.assessment_id)
    after = mlflow.get_trace(trace_id).info.assessments
    client = mlflow.MlflowClient()
    return {
        "good": good.assessment_id,
        "before": [one.to_dictionary() for one in before],
        "after": [one.to_dictionary() for one in after],
        "read": read.to_dictionary(),
        "gone": refusal(lambda: mlflow.get_assessment(trace_id, override.assessment_id)),
        "no trace": refusal(
            lambda: (
                client.log_assessment("tr-" + "0" * 32, Feedback(name="x", value=1))
                if hasattr(client, "log_assessment")
                else mlflow.log_feedback(trace_id="tr-" + "0" * 32, name="x", value=1)
            )
        ),
        "other kind": refusal(
            lambda: mlflow.update_assessment(
                trace_id, good.assessment_id, Expectation(name="better", value=1)
            )
        ),
    }


@scenario
def deleted(experiment: str) -> Any:
    """By id, by time, and what may not be asked."""
    traced(experiment)
    made = []
    for number in range(4):
        inner(number)
        made.append(last())
    client = mlflow.MlflowClient()
    experiment_id = mlflow.get_experiment_by_name(experiment).experiment_id
    second = mlflow.get_trace(made[1]).info.request_time
    counts = [
        client.delete_traces(experiment_id, trace_ids=[made[3], "tr-" + "0" * 32]),
        client.delete_traces(experiment_id, max_timestamp_millis=second, max_traces=1),
        client.delete_traces(experiment_id, max_timestamp_millis=second),
    ]
    left = mlflow.search_traces(return_type="list")
    return {
        "made": made,
        "counts": counts,
        "left": [trace.info.trace_id for trace in left],
        "gone": [mlflow.get_trace(one, silent=True) is None for one in made],
        "refused": refusal(lambda: client.delete_traces(experiment_id)),
    }


@scenario
def as_artifacts(experiment: str) -> Any:
    """As clients before 3.4 do it: spans are a file of the trace's."""
    from mlflow.store.tracking.rest_store import RestStore

    def unsupported(*_: Any, **__: Any) -> Any:
        raise NotImplementedError

    traced(experiment)
    kept, RestStore.log_spans = RestStore.log_spans, unsupported
    try:
        outer(2)
        trace = mlflow.get_trace(last())
    finally:
        RestStore.log_spans = kept
    listed = mlflow.search_traces(return_type="list")
    client = mlflow.MlflowClient()
    client.delete_traces(trace.info.experiment_id, trace_ids=[trace.info.trace_id])
    return {**shown(trace), "listed": [shown(one)["spans"] for one in listed]}


@scenario
def attached(experiment: str) -> Any:
    """A large value that the client keeps as a file of the trace's."""
    from mlflow.tracing.attachments import Attachment

    traced(experiment)
    with mlflow.start_span("look") as span:
        span.set_inputs({"image": Attachment(content_type="image/png", content_bytes=b"\x89PNG")})
    trace = mlflow.get_trace(last())
    return shown(trace)


if __name__ == "__main__":
    main()
