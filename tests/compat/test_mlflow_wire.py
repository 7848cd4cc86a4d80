"""MLflow's API by bare requests: what old and other clients send, and what is refused how."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from http_world import Answer, ask
from live_server import LiveServer

Call = Callable[..., Answer]
API = "/api/2.0/mlflow"


@pytest.fixture
def call(shared_server: LiveServer) -> Call:
    """Make requests of MLflow's API."""

    def make(method: str, path: str, body: Any = None) -> Answer:
        return ask(shared_server.url, method, API + path, body=body)

    return make


@pytest.fixture
def run_id(call: Call) -> str:
    return call("POST", "/runs/create", {"experiment_id": "0"}).json["run"]["info"]["run_id"]


def refused(answer: Answer, code: str, words: str = "") -> None:
    status = {"RESOURCE_DOES_NOT_EXIST": 404, "ENDPOINT_NOT_FOUND": 404}.get(code, 400)
    assert answer.status == status, answer
    assert answer.json["error_code"] == code, answer.json
    assert words in answer.json["message"], answer.json


def run_of(call: Call, run_id: str) -> dict[str, Any]:
    return call("GET", f"/runs/get?run_id={run_id}").json["run"]


def test_numbers__as_texts_and_enums_as_numbers__are_read(call: Call, run_id: str) -> None:
    body = {"run_id": run_id, "key": "m", "value": 1, "timestamp": "1700000000000", "step": "3"}
    assert call("POST", "/runs/log-metric", body).json == {}
    assert run_of(call, run_id)["data"]["metrics"] == [
        {"key": "m", "value": 1, "timestamp": 1700000000000, "step": 3}
    ]
    ended = call(
        "POST", "/runs/update", {"run_id": run_id, "status": 3, "end_time": "1800000000000"}
    )
    assert ended.json["run_info"]["status"] == "FINISHED"
    assert ended.json["run_info"]["end_time"] == 1800000000000


@pytest.mark.parametrize("way", ["log-metric", "log-batch"])
def test_metric__of_numbers_written_otherwise__is_the_same(
    call: Call, run_id: str, way: str
) -> None:
    metric = {"key": "m", "value": "1.5", "timestamp": 1.7e12, "step": "3.0"}
    body = metric if way == "log-metric" else {"metrics": [metric]}
    assert call("POST", f"/runs/{way}", {"run_id": run_id, **body}).json == {}
    assert run_of(call, run_id)["data"]["metrics"] == [
        {"key": "m", "value": 1.5, "timestamp": 1700000000000, "step": 3}
    ]


@pytest.mark.parametrize("status", [0, 9, -1, "0", "DONE"])
def test_update__of_a_status_that_is_none__is_refused(
    call: Call, run_id: str, status: int | str
) -> None:
    answer = call("POST", "/runs/update", {"run_id": run_id, "status": status})
    refused(answer, "INVALID_PARAMETER_VALUE", "for parameter 'status' supplied")
    assert run_of(call, run_id)["info"]["status"] == "RUNNING"


def test_update__of_the_same_end_from_16_clients_at_once__is_200_for_all(
    call: Call, run_id: str
) -> None:
    def end(number: int) -> Answer:
        body = {"run_id": run_id, "status": "FINISHED", "end_time": 5, "run_name": f"n{number}"}
        return call("POST", "/runs/update", body)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(end, range(16)))
    assert [answer.status for answer in answers] == [200] * 16, answers
    info = run_of(call, run_id)["info"]
    assert (info["status"], info["end_time"]) == ("FINISHED", 5)
    assert info["run_name"] in {f"n{number}" for number in range(16)}


def test_update__of_a_run_that_ended_otherwise__is_200_and_leaves_its_end(
    call: Call, run_id: str
) -> None:
    call("POST", "/runs/update", {"run_id": run_id, "status": "KILLED", "end_time": 5})
    body = {"run_id": run_id, "status": "FINISHED", "end_time": 9, "run_name": "later"}
    info = call("POST", "/runs/update", body).json["run_info"]
    assert (info["status"], info["end_time"], info["run_name"]) == ("KILLED", 5, "later")


def test_run_uuid__is_an_old_name_of_run_id(call: Call, run_id: str) -> None:
    body = {"run_uuid": run_id, "key": "p", "value": "1"}
    assert call("POST", "/runs/log-parameter", body).status == 200
    by_uuid = call("GET", f"/runs/get?run_uuid={run_id}").json["run"]
    assert by_uuid["info"]["run_id"] == by_uuid["info"]["run_uuid"] == run_id


def test_body__encoded_twice__is_decoded_twice(call: Call, run_id: str) -> None:
    body = json.dumps(json.dumps({"run_id": run_id, "key": "t", "value": "1"})).encode()
    assert call("POST", "/runs/set-tag", body).status == 200
    tags = {tag["key"]: tag["value"] for tag in run_of(call, run_id)["data"]["tags"]}
    assert tags["t"] == "1"


def test_unknown_fields__are_ignored(call: Call, run_id: str) -> None:
    body = {"run_id": run_id, "key": "t", "value": "1", "workspace": "x", "later": [1]}
    assert call("POST", "/runs/set-tag", body).status == 200


def test_create__by_the_other_names_of_fields__is_in_its_experiment(call: Call) -> None:
    experiment = call("POST", "/experiments/create", {"name": uuid.uuid4().hex}).json
    body = {"experimentId": experiment["experiment_id"], "runName": "hello", "startTime": 77}
    info = call("POST", "/runs/create", body).json["run"]["info"]
    assert (info["experiment_id"], info["run_name"]) == (experiment["experiment_id"], "hello")
    assert info["start_time"] == 77


def test_create__with_nulls__has_what_there_is_without_them(call: Call) -> None:
    optional = ("user_id", "run_name", "start_time", "tags")
    body = {"experiment_id": "0", **dict.fromkeys(optional)}
    info = call("POST", "/runs/create", body).json["run"]["info"]
    assert (info["experiment_id"], info["user_id"]) == ("0", "")
    assert info["run_name"]
    tags = [{"key": "t", "value": None}]
    data = call("POST", "/runs/create", {"experiment_id": "0", "tags": tags}).json["run"]["data"]
    assert {"key": "t", "value": ""} in data["tags"]


@pytest.mark.parametrize(
    "body", [{}, b"", b"null", {"run_name": "x"}, {"experiment_id": ""}, {"experiment_id": None}]
)
def test_create__in_no_experiment__is_refused(call: Call, body: Any) -> None:
    refused(call("POST", "/runs/create", body), "INVALID_PARAMETER_VALUE", "'experiment_id'")


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("log-metric", {"key": "m", "value": 1, "timestamp": 1, "modelId": "m-1"}),
        ("log-batch", {"metrics": [{"key": "m", "value": 1, "timestamp": 1, "modelId": "m-1"}]}),
    ],
)
def test_model__named_by_its_other_name__is_looked_for(
    call: Call, run_id: str, path: str, change: dict[str, Any]
) -> None:
    answer = call("POST", f"/runs/{path}", {"run_id": run_id, **change})
    refused(answer, "RESOURCE_DOES_NOT_EXIST", "m-1")
    assert run_of(call, run_id)["data"]["metrics"] == []


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("create", {"experiment_id": "0", "experimentId": "0"}),
        ("log-metric", {"key": "m", "value": 1, "timestamp": 1, "runId": "x"}),
        ("log-parameter", {"key": "m", "value": "1", "runId": "x"}),
        ("set-tag", {"key": "m", "value": "1", "runId": "x"}),
        ("log-batch", {"metrics": [{"key": "m", "value": 1, "timestamp": 1}], "runId": "x"}),
    ],
)
def test_request__with_both_names_of_a_field__is_refused(
    call: Call, run_id: str, path: str, change: dict[str, Any]
) -> None:
    answer = call("POST", f"/runs/{path}", {"run_id": run_id, **change})
    refused(answer, "INVALID_PARAMETER_VALUE", "Request specifies both")


@pytest.mark.parametrize("name", ["dataset_name", "dataset_digest"])
@pytest.mark.parametrize("path", ["log-metric", "log-batch"])
def test_metric__of_a_dataset_whose_name_is_no_text__is_refused(
    call: Call, run_id: str, path: str, name: str
) -> None:
    metric = {"key": "m", "value": 1, "timestamp": 1, name: 5}
    body = {"metrics": [metric]} if path == "log-batch" else metric
    answer = call("POST", f"/runs/{path}", {"run_id": run_id, **body})
    refused(answer, "INVALID_PARAMETER_VALUE", name)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_odd_numbers__come_back_as_texts(call: Call, run_id: str, value: str) -> None:
    metric = {"key": "m", "value": value, "timestamp": 1, "step": 1}
    body = {"run_id": run_id, "metrics": [metric]}
    assert call("POST", "/runs/log-batch", body).status == 200
    history = call("GET", f"/metrics/get-history?run_id={run_id}&metric_key=m").json
    assert history["metrics"][0]["value"] == value


def test_latest_value__is_the_one_of_the_greatest_step(call: Call, run_id: str) -> None:
    for step, value in ((5, 1.0), (3, 9.0), (5, 0.5)):
        body = {"run_id": run_id, "key": "m", "value": value, "timestamp": 1, "step": step}
        call("POST", "/runs/log-metric", body)
    assert run_of(call, run_id)["data"]["metrics"][0]["value"] == 1.0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"key": "m", "value": True, "timestamp": 1}, "value"),
        ({"key": "m", "value": "many", "timestamp": 1}, "Value was of type"),
        ({"key": "m", "value": None, "timestamp": 1}, "value"),
        ({"key": "m", "value": 1}, "timestamp"),
        ({"key": "m", "value": 1, "timestamp": -1}, ""),
        ({"key": "m", "value": 1, "timestamp": "soon"}, "'timestamp'"),
        ({"key": "m", "value": 1, "timestamp": 1, "step": "9" * 30}, "64 bits"),
        ({"key": "m", "value": 1, "timestamp": "9" * 5000}, "'timestamp'"),
        ({"key": "m", "value": 1, "timestamp": 2**62}, ""),
        ({"key": "../m", "value": 1, "timestamp": 1}, "../m"),
        ({"key": "", "value": 1, "timestamp": 1}, ""),
        ({"key": "m" * 251, "value": 1, "timestamp": 1}, "250"),
    ],
)
def test_log_metric__that_is_none__is_refused(
    call: Call, run_id: str, body: dict[str, Any], words: str
) -> None:
    answer = call("POST", "/runs/log-metric", {"run_id": run_id, **body})
    refused(answer, "INVALID_PARAMETER_VALUE", words)
    assert run_of(call, run_id)["data"]["metrics"] == []


def test_log_batch__refused_for_one_part__writes_none(call: Call, run_id: str) -> None:
    good = {
        "run_id": run_id,
        "params": [{"key": "p", "value": "1"}],
        "metrics": [{"key": "m", "value": 1, "timestamp": 1}],
        "tags": [{"key": "t", "value": "1"}],
    }
    for part, bad in (
        ("metrics", {"key": "m", "value": "x", "timestamp": 1}),
        ("metrics", {"key": "a//b", "value": 1, "timestamp": 1}),
        ("params", {"key": "p", "value": "1"}),
        ("params", {"key": "/p", "value": "1"}),
        ("tags", {"key": "..", "value": "1"}),
    ):
        answer = call("POST", "/runs/log-batch", {**good, part: [*good[part], bad]})
        refused(answer, "INVALID_PARAMETER_VALUE")
    data = run_of(call, run_id)["data"]
    assert (data["metrics"], data["params"]) == ([], [])
    assert [tag["key"] for tag in data["tags"]] == ["mlflow.runName"]


@pytest.mark.parametrize(
    ("part", "count", "words"),
    [
        ("metrics", 1001, "at most 1000 metrics. Got 1001 metrics. Please split up metrics"),
        ("params", 101, "at most 100 params. Got 101 params. Please split up params"),
        ("tags", 101, "at most 100 tags. Got 101 tags. Please split up tags"),
    ],
)
def test_log_batch__of_too_many__is_refused_in_mlflows_words(
    call: Call, run_id: str, part: str, count: int, words: str
) -> None:
    items = [{"key": f"k{i}", "value": 1 if part == "metrics" else "1"} for i in range(count)]
    for item in items:
        item["timestamp"] = 1
    answer = call("POST", "/runs/log-batch", {"run_id": run_id, part: items})
    refused(answer, "INVALID_PARAMETER_VALUE", words)


def test_log_batch__of_a_tag_with_a_long_key__says_which(call: Call, run_id: str) -> None:
    tags = [{"key": "t", "value": "1"}, {"key": "k" * 251, "value": "1"}]
    answer = call("POST", "/runs/log-batch", {"run_id": run_id, "tags": tags})
    refused(answer, "INVALID_PARAMETER_VALUE", "'tags[1].key' exceeds the maximum length of 250")


def test_long_values__are_cut_as_mlflow_does(call: Call, run_id: str) -> None:
    call("POST", "/runs/log-parameter", {"run_id": run_id, "key": "p", "value": "x" * 7000})
    call("POST", "/runs/set-tag", {"run_id": run_id, "key": "t", "value": "y" * 9000})
    data = run_of(call, run_id)["data"]
    assert data["params"] == [{"key": "p", "value": "x" * 6000}]
    assert {"key": "t", "value": "y" * 8000} in data["tags"]


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/runs/create", {"experiment_id": "99999"}, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/runs/create", {"experiment_id": "x"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"experiment_id": "9" * 50}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"start_time": "9" * 50}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"start_time": -5}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"tags": [{"key": "//"}]}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"run_name": "x" * 300}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"tags": "x"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", [], "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", b"{", "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", b"\xff", "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", b'"\\"', "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", b"[" * 100_000, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/update", {}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/update", {"run_id": "0" * 32}, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/runs/update", {"run_id": "../x"}, "INVALID_PARAMETER_VALUE"),
        ("GET", "/runs/get", None, "INVALID_PARAMETER_VALUE"),
        ("GET", "/experiments/get", None, "INVALID_PARAMETER_VALUE"),
        ("GET", "/experiments/get-by-name?experiment_name=none", None, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/experiments/create", {"name": ""}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/create", {"name": "x" * 600}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/search", {"max_results": 0}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/search", {"max_results": "9" * 40}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/search", {"page_token": "-1"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/search", {"page_token": "é"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/search", {"view_type": "SOME"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/search", {"order_by": ["x"]}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/search", {"filter": "name ="}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"page_token": "odd"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"order_by": ["metrics."]}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"experiment_ids": ["x"]}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"max_results": -1}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"filter": "status > 'x'"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/logged-models/search", {"page_token": "-3"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/logged-models/search", {"max_results": 0}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/logged-models", {"name": "a/b"}, "INVALID_PARAMETER_VALUE"),
        ("POST", "/logged-models", {"experiment_id": "777777"}, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", f"/logged-models/m-{'0' * 32}", None, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/registered-models/get?name=x", None, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/registered-models/alias?name=x&alias=a", None, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/registered-models/get-latest-versions", None, "RESOURCE_DOES_NOT_EXIST"),
        (
            "POST",
            "/registered-models/get-latest-versions",
            {"name": "x", "stages": ["None"]},
            "RESOURCE_DOES_NOT_EXIST",
        ),
        ("GET", "/model-versions/get?name=x&version=1", None, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/model-versions/get-download-uri?name=x", None, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/traces/x/y", None, "ENDPOINT_NOT_FOUND"),
        ("POST", "/gateway/secrets/create", {}, "ENDPOINT_NOT_FOUND"),
    ],
)
def test_request__that_is_none__is_refused_with_mlflows_code(
    call: Call, method: str, path: str, body: Any, code: str
) -> None:
    if isinstance(body, dict) and path == "/runs/create":
        body = {"experiment_id": "0", **body}
    if isinstance(body, dict) and path == "/logged-models":
        body = {"experiment_id": "0", "name": "m", **body}
    refused(call(method, path, body), code)


_WRONG_THEN_BROKEN = [
    (path, b'{"run_id":5,' + rest)
    for path in ("log-metric", "log-batch", "update")
    for rest in (
        b"",
        b'"x":"\\ud800"}',
        b'"x":"\xff"}',
        b'"x":1e400}',
        b'"x":' + b"9" * 5000 + b"}",
    )
] + [
    ("log-batch", b'{"run_id":"%s","metrics":[{"key":"m","value":true,"timestamp":1},{"key":"b"'),
    ("log-metric", b'"{\\"run_id\\": 5,"'),
    ("log-metric", b'"2024-01-01"'),
    *(
        ("log-metric", b'{"run_id":"%s","key":"m","value":1,"timestamp":1}'.replace(b"1", odd, at))
        for odd in (b"1e999", b"9" * 5000)
        for at in (1, 2)
    ),
]
"""What comes after a field of a wrong type was not read when that is told."""


@pytest.mark.parametrize("at", range(len(_WRONG_THEN_BROKEN)))
def test_body__of_a_wrong_type_and_then_no_json__is_refused(
    call: Call, run_id: str, at: int
) -> None:
    path, body = _WRONG_THEN_BROKEN[at]
    answer = call("POST", f"/runs/{path}", body.replace(b"%s", run_id.encode()))
    refused(answer, "INVALID_PARAMETER_VALUE")
    assert run_of(call, run_id)["data"]["metrics"] == []


@pytest.mark.parametrize(
    "text",
    [
        f"metrics.loss < {'9' * 400}",
        f"attributes.start_time > {2**63}",
        f"attributes.start_time = -{'9' * 30}",
        "attributes.end_time != 1e300",
        "metrics.loss != 1e999",
        "tags.x LIKE '" + "%_" * 300 + "'",
    ],
)
def test_search__with_odd_numbers_and_patterns__answers(call: Call, text: str) -> None:
    answer = call("POST", "/runs/search", {"experiment_ids": ["0"], "filter": text})
    assert answer.status == 200, answer


def test_history__with_odd_limits__answers_or_refuses(call: Call, run_id: str) -> None:
    points = [{"key": "m", "value": s, "timestamp": s, "step": s} for s in range(10)]
    call("POST", "/runs/log-batch", {"run_id": run_id, "metrics": points})
    path = f"/metrics/get-history?run_id={run_id}&metric_key=m"
    page = call("GET", f"{path}&max_results=4").json
    assert len(page["metrics"]) == 4
    rest = call("GET", f"{path}&max_results=400000000000&page_token={page['next_page_token']}").json
    assert [m["step"] for m in rest["metrics"]] == list(range(4, 10))
    assert "next_page_token" not in rest
    assert call("GET", f"/metrics/get-history?run_id={run_id}&metric_key=none").json == {}
    for odd in ("max_results=0", "max_results=x", "page_token=odd", f"max_results=-{'9' * 30}"):
        refused(call("GET", f"{path}&{odd}"), "INVALID_PARAMETER_VALUE")


def test_experiments__searched_and_paged__come_once_each(call: Call) -> None:
    mark = uuid.uuid4().hex
    made = [
        call("POST", "/experiments/create", {"name": f"{mark} {i}"}).json["experiment_id"]
        for i in range(5)
    ]
    asked = {"filter": f"name LIKE '{mark}%'", "max_results": 2, "order_by": ["name DESC"]}
    seen: list[str] = []
    token = ""
    while True:
        page = call("POST", "/experiments/search", {**asked, "page_token": token}).json
        seen += [found["experiment_id"] for found in page["experiments"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert seen == made[::-1]
    by_query = call("GET", f"/experiments/search?filter=name%20LIKE%20'{mark}%25'&max_results=1000")
    assert len(by_query.json["experiments"]) == 5


@pytest.mark.parametrize("base", ["/api", "/ajax-api"])
def test_server_info__tells_what_is_not_there(shared_server: LiveServer, base: str) -> None:
    found = ask(shared_server.url, "GET", f"{base}/3.0/mlflow/server-info").json
    assert found["multipart_uploads_enabled"] is False
    assert found["artifact_serving_enabled"] is True


def test_pages_api__is_the_same(shared_server: LiveServer, run_id: str) -> None:
    for base in ("/api", "/ajax-api"):
        answer = ask(shared_server.url, "GET", f"{base}/2.0/mlflow/runs/get?run_id={run_id}")
        assert answer.json["run"]["info"]["run_id"] == run_id


def batch_of(run_id: str, count: int, **odd: Any) -> dict[str, Any]:
    """A batch of three series, whose last metric is odd."""
    metrics = [
        {"key": f"m{at % 3}", "value": at / 7, "timestamp": 1700000000000 + at, "step": at // 3}
        for at in range(count)
    ]
    metrics[-1] |= odd
    return {"run_id": run_id, "metrics": metrics}


@pytest.mark.parametrize("count", [1, 39, 40, 1000])
def test_log_batch__of_any_size__is_kept_once(call: Call, run_id: str, count: int) -> None:
    body = batch_of(run_id, count)
    for _ in range(2):
        assert call("POST", "/runs/log-batch", body).json == {}
    found: list[dict[str, Any]] = []
    for key in ("m0", "m1", "m2"):
        history = call("GET", f"/metrics/get-history?run_id={run_id}&metric_key={key}").json
        found += history.get("metrics", [])
    assert sorted(found, key=lambda one: one["timestamp"]) == body["metrics"]


@pytest.mark.parametrize("count", [1, 1000])
@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"value": True}, "value"),
        ({"value": "much"}, "Value was of type"),
        ({"value": None}, "value"),
        ({"key": "../m"}, ""),
        ({"key": "m" * 251}, "250"),
        ({"key": 3}, "key"),
        ({"step": 1 << 63}, "step"),
        ({"step": 0.5}, "step"),
        ({"timestamp": -1}, ""),
        ({"timestamp": 1 << 62}, ""),
        ({"timestamp": 1 << 64}, "timestamp"),
    ],
)
def test_log_batch__one_metric_is_odd__nothing_is_written(
    call: Call, run_id: str, count: int, odd: dict[str, Any], words: str
) -> None:
    answer = call("POST", "/runs/log-batch", batch_of(run_id, count, **odd))
    refused(answer, "INVALID_PARAMETER_VALUE", words)
    assert run_of(call, run_id)["data"].get("metrics", []) == []


@pytest.mark.parametrize("count", [1, 1000])
def test_log_batch__run_is_deleted_or_unknown__is_refused_in_mlflows_words(
    call: Call, run_id: str, count: int
) -> None:
    call("POST", "/runs/delete", {"run_id": run_id})
    answer = call("POST", "/runs/log-batch", batch_of(run_id, count))
    refused(answer, "INVALID_PARAMETER_VALUE", "must be in the 'active' state")
    call("POST", "/runs/restore", {"run_id": run_id})
    assert run_of(call, run_id)["data"].get("metrics", []) == []
    answer = call("POST", "/runs/log-batch", batch_of("0" * 32, count))
    refused(answer, "RESOURCE_DOES_NOT_EXIST", "not found")


def test_log_batch__special_values__are_kept(call: Call, run_id: str) -> None:
    body = batch_of(run_id, 60, value="NaN")
    assert call("POST", "/runs/log-batch", body).json == {}
    history = call("GET", f"/metrics/get-history?run_id={run_id}&metric_key=m2").json["metrics"]
    assert history[-1]["value"] == "NaN"
    assert len(history) == 20


def test_history_bulk__of_two_runs__is_that_of_each(call: Call) -> None:
    runs = sorted(
        call("POST", "/runs/create", {"experiment_id": "0"}).json["run"]["info"]["run_id"]
        for _ in range(2)
    )
    for run in runs:
        call("POST", "/runs/log-batch", batch_of(run, 90))
    asked = "&".join(f"run_id={run}" for run in [*runs, runs[0]])
    history = {
        run: call("GET", f"/metrics/get-history?run_id={run}&metric_key=m1").json["metrics"]
        for run in runs
    }
    everything = [point | {"run_id": run} for run in runs for point in history[run]]
    found = call("GET", f"/metrics/get-history-bulk?{asked}&metric_key=m1")
    assert found.json["metrics"] == everything
    some = call("GET", f"/metrics/get-history-bulk?{asked}&metric_key=m1&max_results=40")
    assert some.json["metrics"] == everything[:40]
    assert call("GET", f"/metrics/get-history-bulk?{asked}&metric_key=x").json["metrics"] == []


@pytest.mark.parametrize(
    ("query", "steps"),
    [
        ("", list(range(30))),
        ("&max_results=3", [0, 10, 29]),
        ("&max_results=1", [29]),
        ("&start_step=5&end_step=8", [5, 6, 7, 8]),
        ("&start_step=5&end_step=24&max_results=2", [5, 24]),
        ("&start_step=100&end_step=200", []),
    ],
)
def test_history_interval__of_a_run__is_evenly_spread_and_has_the_last(
    call: Call, run_id: str, query: str, steps: list[int]
) -> None:
    call("POST", "/runs/log-batch", batch_of(run_id, 90))
    found = call(
        "GET", f"/metrics/get-history-bulk-interval?run_ids={run_id}&metric_key=m2{query}"
    ).json["metrics"]
    assert [point["step"] for point in found] == steps
    assert all(point["value"] == (3 * point["step"] + 2) / 7 for point in found)
    assert all((point["run_id"], point["key"]) == (run_id, "m2") for point in found)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("&max_results=0", "max_results"),
        ("&max_results=2501", "max_results"),
        ("&start_step=1", "both must be specified"),
        ("&start_step=2&end_step=1", "start_step"),
        ("&run_ids=..", "run_id"),
    ],
)
def test_history_interval__that_is_none__is_refused(
    call: Call, run_id: str, query: str, words: str
) -> None:
    path = f"/metrics/get-history-bulk-interval?run_ids={run_id}&metric_key=m{query}"
    refused(call("GET", path), "INVALID_PARAMETER_VALUE", words)


def test_history_bulk__of_too_many_or_unknown_runs__is_refused(call: Call, run_id: str) -> None:
    many = "&".join(f"run_id={number:032x}" for number in range(101))
    answer = call("GET", f"/metrics/get-history-bulk?{many}&metric_key=m")
    refused(answer, "INVALID_PARAMETER_VALUE", "Got 101")
    answer = call("GET", f"/metrics/get-history-bulk?run_id={run_id}&run_id={0:032x}&metric_key=m")
    refused(answer, "RESOURCE_DOES_NOT_EXIST", "not found")
