"""Tracing by the unmodified mlflow client, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live_server import LiveServer
from mlflow_world import MlflowClientProcess

SCENARIOS = Path(__file__).parents[1] / "mlflow_trace_scenarios.py"


@pytest.fixture(scope="module")
def client(
    shared_server: LiveServer, mlflow_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowClientProcess]:
    """A process with mlflow in it that makes traces."""
    work = tmp_path_factory.mktemp("mlflow-traces")
    process = MlflowClientProcess(mlflow_python, shared_server.url, work, scenarios=SCENARIOS)
    yield process
    process.close()


def test_trace__of_nested_calls__comes_back_whole(client: MlflowClientProcess) -> None:
    trace = client.run("nested", experiment="nested")
    root, ask, inner = trace["spans"]
    assert [span["name"] for span in trace["spans"]] == ["outer", "ask", "inner one"]
    assert [span["type"] for span in trace["spans"]] == ["CHAIN", "LLM", "UNKNOWN"]
    assert (root["parent"], ask["parent"], inner["parent"]) == (None, root["id"], ask["id"])
    assert root["inputs"] == {"number": 4}
    assert root["outputs"] == {"answer": 8}
    assert ask["inputs"]["messages"][0]["content"] == "größe 日本 🏝️"
    assert ask["inputs"]["n"] == [1, 2.5, None, True]
    assert str(ask["outputs"]) == "[5, inf, -0.0]"
    assert root["attributes"] == {"depth": 1}
    assert ask["attributes"] == {"plain": {"a": [1, "b"]}}
    assert ask["events"] == [["seen", {"k": "v"}]]
    assert all(span["status"] == "OK" for span in trace["spans"])
    assert root["start"] <= ask["start"] <= ask["end"] <= root["end"]
    assert (trace["state"], trace["request"]) == ("OK", '{"number": 4}')
    assert trace["time"] == root["start"] // 1_000_000
    assert trace["tags"]["mlflow.traceName"] == "outer"
    assert json.loads(trace["metadata"]["mlflow.trace.tokenUsage"])["total_tokens"] == 7


def test_trace__that_raises__is_an_error_with_its_stack(client: MlflowClientProcess) -> None:
    trace = client.run("exception", experiment="exception")
    (span,) = trace["spans"]
    assert (trace["state"], span["status"], span["outputs"]) == ("ERROR", "ERROR", None)
    ((name, attributes),) = span["events"]
    assert name == "exception"
    assert attributes["exception.message"] == "kaputt"
    assert "ValueError: kaputt" in attributes["exception.stacktrace"]


def test_trace__tags_and_metadata__change_and_stay(client: MlflowClientProcess) -> None:
    trace = client.run("updated", experiment="updated")
    assert trace["tags"]["during"] == "1"
    assert trace["tags"]["after"] == "ü" * 300
    assert "gone" not in trace["tags"]
    assert trace["metadata"]["mlflow.trace.session"] == "s"
    assert trace["metadata"]["mlflow.trace.user"] == "ada"
    assert trace["client"] == "mine"
    code, said = trace["no tag"]
    assert code == "RESOURCE_DOES_NOT_EXIST"
    assert f"No trace tag with key 'gone' for trace with ID '{trace['id']}'" in said
    assert trace["no trace"][0] == "RESOURCE_DOES_NOT_EXIST"
    assert trace["bad key"][0] == "INVALID_PARAMETER_VALUE"


def test_trace__in_a_run_or_linked_to_it__is_found_by_the_run(client: MlflowClientProcess) -> None:
    answer = client.run("in_a_run", experiment="in a run")
    assert answer["found"] == [answer["inside"]]
    assert sorted(answer["both"]) == sorted([answer["inside"], answer["other"]])


FILTERS: dict[str, list[int]] = {
    "": [4, 3, 2, 1, 0],
    "status = 'ERROR'": [4],
    "trace.status != 'ERROR' AND tag.odd = 'yes'": [3, 1],
    "name = 'span 1'": [3, 1],
    "name LIKE 'span%'": [4, 3, 2, 1, 0],
    "attributes.name ILIKE 'SPAN 0'": [4, 2, 0],
    "tags.number = '2'": [2],
    "tag.odd IS NULL": [4, 2, 0],
    "tag.`number` != '2' and metadata.half = '1'": [3],
    "metadata.half IS NOT NULL AND metadata.nothing IS NULL": [4, 3, 2, 1, 0],
    "request_metadata.half LIKE '%'": [4, 3, 2, 1, 0],
    "timestamp_ms > 0 AND trace.execution_time_ms >= 0": [4, 3, 2, 1, 0],
    "timestamp_ms < 5": [],
    "span.type = 'LLM'": [3],
    "span.name = 'span 1' AND span.type = 'TOOL'": [1],
    "span.status IN ('OK')": [4, 3, 2, 1, 0],
    "feedback.good = 'true'": [0],
    "feedback.score > 0.5": [0],
    "feedback.good IS NULL AND status = 'OK'": [3, 2, 1],
    "expectation.answer = '42'": [0],
}
ORDERS: dict[str, list[int]] = {
    "timestamp_ms ASC": [0, 1, 2, 3, 4],
    "timestamp DESC": [4, 3, 2, 1, 0],
    "tag.number": [0, 1, 2, 3, 4],
    "tag.odd DESC": [3, 1, 4, 2, 0],
    "name ASC": [4, 2, 0, 3, 1],
    "metadata.half": [1, 0, 3, 2, 4],
}


def test_traces__searched__filters_orders_and_pages(client: MlflowClientProcess) -> None:
    answer = client.run(
        "searched",
        experiment="searched",
        filters=list(FILTERS),
        orders=[[order] for order in ORDERS],
    )
    found = dict(zip(FILTERS, answer["filters"], strict=True))
    assert found == FILTERS
    assert dict(zip(ORDERS, answer["orders"], strict=True)) == ORDERS
    assert answer["pages"] == [0, 1, 2, 3, 4]
    assert answer["table"] == [4, 3, 2]


def test_assessments__are_kept_changed_and_taken_back(client: MlflowClientProcess) -> None:
    answer = client.run("assessed", experiment="assessed")
    good, broken, plan, override = answer["before"]
    assert (good["assessment_name"], good["feedback"]["value"]) == ("better", {"a": 0.5})
    assert (good["rationale"], good["metadata"], good["valid"]) == ("now", {"k": "v"}, False)
    assert broken["feedback"]["error"]["error_message"] == "no"
    assert broken["source"] == {"source_type": "LLM_JUDGE", "source_id": "gpt"}
    assert json.loads(plan["expectation"]["serialized_value"]["value"]) == {"steps": [1, None]}
    assert (override["overrides"], override["feedback"]["value"]) == (answer["good"], False)
    assert answer["read"]["assessment_id"] == override["assessment_id"]
    assert [one["valid"] for one in answer["after"] if "feedback" in one] == [True, True]
    assert answer["gone"][0] == "RESOURCE_DOES_NOT_EXIST"
    assert answer["no trace"][0] == "RESOURCE_DOES_NOT_EXIST"
    assert answer["other kind"][0] == "INVALID_PARAMETER_VALUE"


def test_traces__deleted_by_id_and_by_time__are_gone(client: MlflowClientProcess) -> None:
    answer = client.run("deleted", experiment="deleted")
    first, second, third, fourth = answer["made"]
    assert answer["counts"] == [1, 1, 1]
    assert answer["left"] == [third]
    assert answer["gone"] == [True, True, False, True]
    assert answer["refused"][0] == "INVALID_PARAMETER_VALUE"
    assert len({first, second, third, fourth}) == 4


def test_spans__of_an_older_client__are_a_file_of_the_trace(
    client: MlflowClientProcess, shared_server: LiveServer
) -> None:
    trace = client.run("as_artifacts", experiment="as artifacts")
    assert "mlflow.trace.spansLocation" not in trace["tags"]
    assert [span["name"] for span in trace["spans"]] == ["outer", "ask", "inner one"]
    assert trace["listed"] == [trace["spans"]]
    # The trace was deleted, and its file with it.
    place = trace["tags"]["mlflow.artifactLocation"].removeprefix("mlflow-artifacts:/")
    path = f"/api/2.0/mlflow-artifacts/artifacts/{place}/traces.json"
    status, _ = shared_server.request("GET", path)
    assert status == 404
    status, _ = shared_server.request("PUT", path, b"{}")
    assert status == 404


def test_attachment__is_a_file_of_the_trace(
    client: MlflowClientProcess, shared_server: LiveServer
) -> None:
    trace: dict[str, Any] = client.run("attached", experiment="attached")
    place = trace["tags"]["mlflow.artifactLocation"].removeprefix("mlflow-artifacts:/")
    listed = shared_server.get(f"/api/2.0/mlflow-artifacts/artifacts?path={place}/attachments")
    (file,) = listed["files"]
    path = f"/api/2.0/mlflow-artifacts/artifacts/{place}/attachments/{file['path']}"
    _, content = shared_server.request("GET", path)
    assert content == b"\x89PNG"
