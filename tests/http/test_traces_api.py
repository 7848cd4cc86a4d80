"""Spans by OpenTelemetry's protocol, and the traces that they make, over the wire."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode

from http_world import Answer, ask
from live_server import LiveServer

T_NS = 1_700_000_000_000_000_000
API = "/api/3.0/mlflow/traces"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
Send = Callable[..., Answer]


@pytest.fixture
def send(shared_server: LiveServer) -> Send:
    """Export spans to experiment 0."""

    def call(body: Any, *, kind: str = PROTOBUF, **headers: str | None) -> Answer:
        if isinstance(body, ExportTraceServiceRequest):
            body = body.SerializeToString()
        sent = {"Content-Type": kind, "x-mlflow-experiment-id": "0"}
        for name, value in headers.items():
            sent[name.replace("_", "-")] = value or ""
        return ask(
            shared_server.url,
            "POST",
            "/v1/traces",
            body=body,
            headers={k: v for k, v in sent.items() if v},
        )

    return call


@pytest.fixture
def get(shared_server: LiveServer) -> Callable[[str], Any]:
    """A whole trace by its id in hex digits."""

    def call(trace_id: str) -> Any:
        path = f"{API}/get?trace_id=tr-{trace_id}&allow_partial=true"
        answer = ask(shared_server.url, "GET", path)
        assert answer.status == 200, answer
        return answer.json["trace"]

    return call


def spans(trace_id: str, *several: dict[str, Any], **resource: str) -> ExportTraceServiceRequest:
    """A request to export spans of a trace; each is given what makes it one."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for key, value in resource.items():
        pair = group.resource.attributes.add(key=key)
        pair.value.string_value = value
    scope = group.scope_spans.add()
    for number, given_ in enumerate(several, start=1):
        fields: dict[str, Any] = {
            "trace_id": bytes.fromhex(trace_id),
            "span_id": struct.pack(">Q", number),
            "name": f"span {number}",
            "start_time_unix_nano": T_NS + number,
            "end_time_unix_nano": T_NS + 5_000_000,
        }
        scope.spans.add(**(fields | given_))
    return request


def new_id() -> str:
    return secrets.token_hex(16)


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


def refused(answer: Answer, said: str) -> None:
    assert answer.status == 400, answer
    assert answer.json["error_code"] == "INVALID_PARAMETER_VALUE"
    assert said in answer.json["message"]


@pytest.mark.parametrize(
    "compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate]
)
def test_exporter_of_opentelemetry__its_spans_are_a_trace(
    shared_server: LiveServer, get: Callable[[str], Any], compression: Compression
) -> None:
    exporter = OTLPSpanExporter(
        endpoint=f"{shared_server.url}/v1/traces",
        headers={"x-mlflow-experiment-id": "0"},
        compression=compression,
        timeout=30,
    )
    provider = TracerProvider(resource=Resource({"service.name": "shop", "n": 3}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    with tracer.start_as_current_span("order", kind=SpanKind.SERVER) as root:
        root.set_attributes({"user.id": "ada", "session.id": "s1", "list": [1, 2], "f": 0.5})
        with tracer.start_as_current_span("pay", links=[Link(root.get_span_context())]) as child:
            child.add_event("charged", {"cents": 5})
            child.set_status(StatusCode.ERROR, "declined")
    provider.shutdown()
    trace = get(f"{root.get_span_context().trace_id:032x}")
    info = trace["trace_info"]
    assert (info["state"], info["trace_location"]["mlflow_experiment"]) == (
        "OK",
        {"experiment_id": "0"},
    )
    assert info["tags"]["service.name"] == "shop"
    assert info["tags"]["n"] == "3"
    assert info["trace_metadata"]["mlflow.trace.user"] == "ada"
    assert info["trace_metadata"]["mlflow.trace.session"] == "s1"
    order, pay = trace["spans"]
    assert (order["name"], order["kind"]) == ("order", "SPAN_KIND_SERVER")
    values = {one["key"]: one["value"] for one in order["attributes"]}
    assert values["list"] == {"array_value": {"values": [{"int_value": 1}, {"int_value": 2}]}}
    assert values["f"] == {"double_value": 0.5}
    assert values["mlflow.traceRequestId"] == {"string_value": info["trace_id"]}
    assert pay["status"] == {"code": "STATUS_CODE_ERROR", "message": "declined"}
    assert pay["parent_span_id"] == order["span_id"]
    assert pay["links"][0]["span_id"] == order["span_id"]
    assert pay["events"][0]["name"] == "charged"
    assert pay["events"][0]["attributes"] == [attribute("cents", int_value=5)]


def test_spans__as_json__are_those_of_protocol_buffers(
    send: Send, get: Callable[[str], Any]
) -> None:
    odd = [
        attribute("text", string_value="ü\0"),
        attribute("big", int_value=-(1 << 63)),
        attribute("nan", double_value=float("nan")),
        attribute("bytes", bytes_value=b"\xff"),
        attribute("deep", kvlist_value={"values": [attribute("a", bool_value=False)]}),
        attribute("none"),
    ]
    first, second = new_id(), new_id()
    answer = send(spans(first, {"attributes": odd}))
    assert (answer.status, answer.body) == (200, b"")
    request = MessageToDict(spans(second, {"attributes": odd}))
    for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId"):
            span[name] = base64.b64decode(span[name]).hex()
    answer = send(json.dumps(request).encode(), kind=f"{JSON}; charset=utf-8")
    assert (answer.status, answer.json) == (200, {})
    one, other = get(first)["spans"][0], get(second)["spans"][0]
    left_out = ("trace_id", "attributes")
    assert {k: v for k, v in one.items() if k not in left_out} == {
        k: v for k, v in other.items() if k not in left_out
    }
    assert one["attributes"][:-1] == other["attributes"][:-1]
    assert one["attributes"][:2] == [
        attribute("text", string_value="ü\0"),
        attribute("big", int_value=-(1 << 63)),
    ]
    assert one["attributes"][2]["value"] == {"double_value": "NaN"}
    assert one["attributes"][5] == attribute("none")


def test_spans__in_pieces_and_again__are_kept_once(send: Send, get: Callable[[str], Any]) -> None:
    trace_id = new_id()
    parent = struct.pack(">Q", 1)
    late = spans(trace_id, {"span_id": struct.pack(">Q", 2), "parent_span_id": parent})
    for _ in range(2):
        assert send(late).status == 200
        assert get(trace_id)["trace_info"]["state"] in ("IN_PROGRESS", "ERROR")
        assert send(spans(trace_id, {"status": {"code": 2}})).status == 200
    trace = get(trace_id)
    assert trace["trace_info"]["state"] == "ERROR"
    assert [span["name"] for span in trace["spans"]] == ["span 1", "span 1"]
    assert len({span["span_id"] for span in trace["spans"]}) == 2


def test_root_span__its_inputs_tags_and_tokens__are_the_traces(
    send: Send, get: Callable[[str], Any]
) -> None:
    trace_id = new_id()
    chat = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x"}]}
    attributes = [
        attribute("mlflow.spanInputs", string_value=json.dumps(chat)),
        attribute("mlflow.spanOutputs", string_value="o" * 2_000),
        attribute("mlflow.traceTag.team", string_value="blue"),
        attribute("mlflow.traceTag.mlflow.traceName", string_value="named"),
        attribute("mlflow.traceTag.../bad", string_value="x"),
        attribute("mlflow.chat.tokenUsage", string_value='{"total_tokens": 7, "x": "y"}'),
    ]
    assert send(spans(trace_id, {"attributes": attributes}, team="red")).status == 200
    info = get(trace_id)["trace_info"]
    assert info["request_preview"] == "hi"
    assert (len(info["response_preview"]), info["response_preview"][-3:]) == (1_000, "...")
    assert info["tags"]["team"] == "blue"
    assert info["tags"]["mlflow.traceName"] == "named"
    assert not [key for key in info["tags"] if "bad" in key]
    assert json.loads(info["trace_metadata"]["mlflow.trace.tokenUsage"])["total_tokens"] == 7


def test_spans__with_a_run__are_linked_to_it(shared_server: LiveServer, send: Send) -> None:
    run = shared_server.post("/api/v1/runs", {})["id"]
    trace_id = new_id()
    assert send(spans(trace_id, {}), x_mlflow_run_id=run).status == 200
    asked = {
        "locations": [{"mlflow_experiment": {"experiment_id": "0"}}],
        "filter": f"run_id = '{run}'",
    }
    found = shared_server.post(f"{API}/search", asked)["traces"]
    assert [one["trace_id"] for one in found] == [f"tr-{trace_id}"]


def test_spans__with_a_run_that_is_none__are_refused_and_nothing_is_kept(
    shared_server: LiveServer, send: Send
) -> None:
    trace_id = new_id()
    answer = send(spans(trace_id, {}), x_mlflow_run_id="0" * 32)
    assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert ask(shared_server.url, "GET", f"{API}/tr-{trace_id}").status == 404


def test_spans__many_and_large__come_back_in_order(send: Send, get: Callable[[str], Any]) -> None:
    trace_id = new_id()
    parent = struct.pack(">Q", 1)
    big = [attribute("text", string_value="ö" * 200_000)]
    below = [{"parent_span_id": parent, "attributes": big if n == 7 else []} for n in range(300)]
    assert send(spans(trace_id, {}, *below)).status == 200
    found = get(trace_id)["spans"]
    assert [span["name"] for span in found] == [f"span {n}" for n in range(1, 302)]
    assert found[8]["attributes"][0]["value"]["string_value"] == "ö" * 200_000


def test_request__without_its_header_or_of_another_kind__is_told_what_to_do(send: Send) -> None:
    good = spans(new_id(), {})
    refused(send(good, x_mlflow_experiment_id=None), "OTEL_EXPORTER_OTLP_HEADERS")
    refused(send(good, x_mlflow_experiment_id="x"), "must be a valid integer")
    refused(send(good, kind="text/plain"), "Expected: application/x-protobuf or application/json")
    refused(send(good, Content_Encoding="br"), "Unsupported Content-Encoding: br")
    answer = send(good, x_mlflow_experiment_id="99999")
    assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    answer = send(good, x_mlflow_workspace="other")
    assert answer.status == 404


def test_request__that_cannot_be_read__is_refused(send: Send) -> None:
    good = spans(new_id(), {}).SerializeToString()
    for odd in (good[:-3], b"\xff" * 9, b"{"):
        refused(send(odd), "Invalid OpenTelemetry format")
    refused(send(b""), "no spans found")
    refused(send(b"{}", kind=JSON), "no spans found")
    for text in (
        *("[]", "5", "{", '"x"', '{"resourceSpans": 5}', '{"resourceSpans": [5]}', "[" * 100_000),
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xy"}]}]}]}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 5}]}]}]}',
    ):
        refused(send(text.encode(), kind=JSON), "Invalid OpenTelemetry format")
    refused(send(good, Content_Encoding="gzip"), "Failed to decompress gzip")
    refused(send(gzip.compress(good)[:-9], Content_Encoding="gzip"), "Failed to decompress gzip")
    refused(send(zlib.compress(good)[:-5], Content_Encoding="deflate"), "Failed to decompress")
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bare = raw.compress(good) + raw.flush()
    assert send(bare, Content_Encoding="deflate").status == 200


def test_request__of_several_members_of_gzip__each_is_read(
    shared_server: LiveServer, send: Send
) -> None:
    one, two = new_id(), new_id()
    # Messages of protocol buffers that stand one after the other are one.
    members = [gzip.compress(spans(of, {}).SerializeToString()) for of in (one, two)]
    assert send(b"".join(members), Content_Encoding="gzip").status == 200
    for of in (one, two):
        path = f"/api/3.0/mlflow/traces/tr-{of}"
        assert ask(shared_server.url, "GET", path).status == 200
    refused(send(members[0] + members[1][:-9], Content_Encoding="gzip"), "Failed to decompress")
    refused(send(members[0] + b"odd", Content_Encoding="gzip"), "Failed to decompress")


def test_request__that_unpacks_to_too_much__is_refused_without_unpacking_it(send: Send) -> None:
    bomb = gzip.compress(b"\0" * (80 << 20), compresslevel=9)
    assert len(bomb) < 100_000
    refused(send(bomb, Content_Encoding="gzip"), "The body is over")


def test_spans__that_are_none_of_opentelemetrys__are_refused_and_none_is_kept(
    shared_server: LiveServer, send: Send
) -> None:
    trace_id = new_id()
    large = [attribute("text", string_value="x" * (9 << 20))]
    for odd in (
        {"span_id": b""},
        {"span_id": b"\0" * 8},
        {"span_id": b"1" * 9},
        {"trace_id": b"1" * 15},
        {"parent_span_id": b"1"},
        {"start_time_unix_nano": 1 << 63},
        {"end_time_unix_nano": (1 << 64) - 1},
        {"events": [{"time_unix_nano": 1 << 63}]},
        {"attributes": large},
    ):
        answer = send(spans(trace_id, {}, odd))
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), odd
    refused(send(spans(trace_id, *[{}] * 10_001)), "at most 10000 spans")
    assert ask(shared_server.url, "GET", f"{API}/tr-{trace_id}").status == 404
    # Numbers of kinds and codes that are not known yet are no reason to lose a span.
    assert send(spans(trace_id, {"kind": 99, "status": {"code": 77}})).status == 200


def nested(depth: int) -> Any:
    """An attribute's value that is a list in a list in a list …"""
    value: Any = {"bool_value": True}
    for _ in range(depth):
        value = {"array_value": {"values": [value]}}
    return value


def test_spans__nested_too_deeply__are_refused(send: Send) -> None:
    raw = b"\x08\x01"  # a truth
    for _ in range(2_000):
        inner = b"\x0a" + _varint(len(raw)) + raw  # a list of one
        raw = b"\x2a" + _varint(len(inner)) + inner
    pair = b"\x0a\x01a\x12" + _varint(len(raw)) + raw
    span = spans(new_id(), {}).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    span += b"\x4a" + _varint(len(pair)) + pair
    scope = b"\x12" + _varint(len(span)) + span
    group = b"\x12" + _varint(len(scope)) + scope
    refused(send(b"\x0a" + _varint(len(group)) + group), "Invalid OpenTelemetry format")
    request = MessageToDict(spans(new_id(), {"attributes": [{"key": "a", "value": nested(20)}]}))
    span_json = request["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span_json |= {"traceId": new_id(), "spanId": "1" * 16}
    assert send(json.dumps(request).encode(), kind=JSON).status == 200
    text = json.dumps(request).replace(
        '{"boolValue": true}',
        '{"arrayValue": {"values": [' * 500 + '{"boolValue": true}' + "]}}" * 500,
    )
    refused(send(text.encode(), kind=JSON), "Invalid OpenTelemetry format")


def _varint(value: int) -> bytes:
    made = b""
    while value > 127:
        made += bytes([value & 127 | 128])
        value >>= 7
    return made + bytes([value])


@settings(max_examples=60)
@given(data=st.binary(max_size=60), at=st.integers(0, 200), is_json=st.booleans())
def test_spans__any_bytes__are_taken_or_refused(
    shared_server: LiveServer, data: bytes, at: int, *, is_json: bool
) -> None:
    good = spans("ab" * 16, {"name": "x"}, host="y").SerializeToString()
    if is_json:
        good = json.dumps(MessageToDict(spans("ab" * 16, {"name": "x"}))).encode()
    body = good[:at] + data + good[at + len(data) :]
    headers = {"Content-Type": JSON if is_json else PROTOBUF, "x-mlflow-experiment-id": "0"}
    answer = ask(shared_server.url, "POST", "/v1/traces", body=body, headers=headers)
    assert answer.status in (200, 400), (body, answer)


def info(trace_id: str, /, **changes: Any) -> dict[str, Any]:
    """What a client tells of a trace."""
    made = {
        "trace_id": trace_id,
        "trace_location": {"mlflow_experiment": {"experiment_id": "0"}},
        "request_time": "2026-01-01T00:00:00.5Z",
        "execution_duration": "1.25s",
        "state": "OK",
    }
    kept = {key: value for key, value in (made | changes).items() if value is not ...}
    return {"trace": {"trace_info": kept}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trace_id": ""}, "trace id"),
        ({"trace_id": "a/b"}, "trace id"),
        ({"trace_id": "x" * 51}, "trace id"),
        ({"trace_id": 5}, "trace_id"),
        ({"trace_location": ...}, "trace_location"),
        ({"trace_location": {"mlflow_experiment": {"experiment_id": "x"}}}, "valid integer"),
        ({"request_time": "yesterday"}, "request_time"),
        ({"request_time": "1969-12-31T23:59:59Z"}, "request_time"),
        ({"request_time": "9999-99-31T23:59:59Z"}, "request_time"),
        ({"execution_duration": "-1s"}, "execution_duration"),
        ({"execution_duration": "999999999999s"}, "execution_duration"),
        ({"execution_duration": 5}, "execution_duration"),
        ({"state": "FINE"}, "state"),
        ({"state": 9}, "state"),
        ({"tags": {"k" * 251: "v"}}, "exceeds the maximum length"),
        ({"tags": {"k": 5}}, "tags"),
        ({"tags": {"k": "v" * 8_001}}, "exceeds the maximum length"),
        ({"tags": {"k": "a\0b"}}, "NUL"),
        ({"trace_metadata": {"": "v"}}, "trace_metadata"),
        ({"request_preview": "x" * 10_001}, "request_preview"),
        ({"client_request_id": "x" * 51}, "client_request_id"),
        ({"assessments": [{"assessment_name": "x"}]}, "Exactly one of"),
        ({"assessments": [{"feedback": {"value": 1}}]}, "source_type"),
    ],
)
def test_trace__told_badly__is_refused_and_nothing_is_kept(
    shared_server: LiveServer, changes: dict[str, Any], said: str
) -> None:
    trace_id = f"tr-{new_id()}"
    answer = ask(shared_server.url, "POST", API, body=info(trace_id, **changes))
    refused(answer, said)
    assert ask(shared_server.url, "GET", f"{API}/{trace_id}").status == 404


def test_trace__told__comes_back_with_its_times(shared_server: LiveServer) -> None:
    trace_id = f"tr-{new_id()}"
    made = shared_server.post(API, info(trace_id, state=2))["trace"]["trace_info"]
    assert (made["request_time"], made["execution_duration"]) == (
        "2026-01-01T00:00:00.500Z",
        "1.250s",
    )
    assert made["state"] == "ERROR"
    late = info(trace_id, request_time="2026-01-01T02:00:00+02:00", execution_duration="2s")
    made = shared_server.post(API, late)["trace"]["trace_info"]
    assert (made["request_time"], made["execution_duration"]) == ("2026-01-01T00:00:00Z", "2s")


def test_trace__not_whole_yet__is_not_found_until_its_spans_came(
    shared_server: LiveServer, send: Send
) -> None:
    trace_id = new_id()
    sizes = {"mlflow.trace.sizeStats": json.dumps({"num_spans": 2})}
    shared_server.post(API, info(f"tr-{trace_id}", trace_metadata=sizes))
    path = f"{API}/get?trace_id=tr-{trace_id}"
    answer = ask(shared_server.url, "GET", path)
    assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert "Trace data not stored in tracking store" in answer.json["message"]
    assert send(spans(trace_id, {})).status == 200
    answer = ask(shared_server.url, "GET", path)
    assert answer.status == 404
    assert "is not fully exported yet" in answer.json["message"]
    batch = f"{API}/batchGet?trace_ids=tr-{trace_id}"
    assert shared_server.get(batch) == {"traces": []}
    assert send(spans(trace_id, {}, {"parent_span_id": struct.pack(">Q", 1)})).status == 200
    assert len(shared_server.get(path)["trace"]["spans"]) == 2
    assert len(shared_server.get(batch)["traces"][0]["spans"]) == 2


def test_batch_get__of_traces_with_much_said_of_them__has_them_all_in_order(
    shared_server: LiveServer, send: Send
) -> None:
    """They are read in parts of 16 MiB of assessments."""
    ids = [new_id() for _ in range(6)]
    source = {"source_type": "HUMAN", "source_id": "me"}
    for number, one in enumerate(ids[:5]):
        said = [
            {"assessment_name": f"{at}", "source": source, "feedback": {"value": "x" * 65_000}}
            for at in range((0, 90, 90, 0, 180)[number])
        ]
        shared_server.post(API, info(f"tr-{one}", assessments=said))
        send(spans(one, {}))
    asked = [f"tr-{ids[at]}" for at in (5, 2, 4, 2, 0, 1, 3, 5)]
    found = shared_server.post(f"{API}/batchGetInfos", {"trace_ids": asked})["trace_infos"]
    there = [f"tr-{ids[at]}" for at in (2, 4, 0, 1, 3)]
    assert [one["trace_id"] for one in found] == there
    assert [len(one.get("assessments", ())) for one in found] == [90, 180, 0, 90, 0]
    assert shared_server.get(f"{API}/{there[0]}")["trace"]["trace_info"] == found[0]
    query = "&".join(f"trace_ids={one}" for one in asked)
    whole = shared_server.get(f"{API}/batchGet?{query}")["traces"]
    assert [one["trace_info"] for one in whole] == found
    assert [len(one["spans"]) for one in whole] == [1] * 5
    for body in ({"trace_ids": []}, {"trace_ids": [asked[0]]}):
        assert shared_server.post(f"{API}/batchGetInfos", body) == {}
    for body in ({}, {"trace_ids": ["x"] * 1_001}, {"trace_ids": ["x"], "experiment_ids": ["x"]}):
        assert ask(shared_server.url, "POST", f"{API}/batchGetInfos", body=body).status == 400


def test_assessment__changed_by_many_at_once__keeps_what_each_said(
    shared_server: LiveServer,
) -> None:
    trace_id = f"tr-{new_id()}"
    shared_server.post(API, info(trace_id))
    source = {"source_type": "HUMAN", "source_id": "me"}
    body = {"assessment_name": "good", "source": source, "feedback": {"value": True}}
    path = f"{API}/{trace_id}/assessments"
    made = shared_server.post(path, {"assessment": body})["assessment"]["assessment_id"]

    def say(number: int) -> int:
        news = {"assessment": {"metadata": {f"k{number}": "v"}}, "update_mask": "metadata"}
        return ask(shared_server.url, "PATCH", f"{path}/{made}", body=news).status

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(say, range(40))) == [200] * 40
    found = shared_server.get(f"{path}/{made}")["assessment"]
    assert found["metadata"] == {f"k{number}": "v" for number in range(40)}


def test_trace__brought_in_a_form_that_cannot_be_kept__is_refused_and_nothing_is_kept(
    shared_server: LiveServer,
) -> None:
    trace_id = f"tr-{secrets.token_hex(16)}"
    path = f"/api/v1/traces/{trace_id}"
    span = {"span_id": base64.b64encode(bytes(7) + b"\1").decode(), "name": "a"}
    lines = b"\n".join(json.dumps(one).encode() for one in (span, {**span, "events": None}))
    answer = ask(shared_server.url, "POST", f"{path}/spans?experiment_id=0", body=lines)
    assert (answer.status, answer.json["code"]) == (400, "invalid_value")
    said = {"id": "a-1", "trace_id": trace_id, "name": "good", "kind": "feedback"}
    said |= {"value": True, "source_type": "HUMAN", "created_ms": 1, "updated_ms": 1}
    whole = {"id": trace_id, "experiment_id": 0, "time_ms": 1, "state": "OK"}
    twice = {"trace": {**whole, "assessments": [said, {**said, "name": "other"}]}}
    answer = ask(shared_server.url, "PUT", path, body=twice)
    assert (answer.status, answer.json["code"]) == (400, "invalid_value")
    assert ask(shared_server.url, "GET", path).status == 404
    once = {"trace": {**whole, "assessments": [said]}}
    assert ask(shared_server.url, "PUT", path, body=once).status == 200
