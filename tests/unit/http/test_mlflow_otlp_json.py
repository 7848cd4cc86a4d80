"""Spans as OpenTelemetry's JSON has them are read as its protocol buffers are."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from seafloor.domain.errors import InvalidValue
from seafloor.http.mlflow.otlp_spans import read_spans

PLAIN = [{"key": f"k{at}", "value": {"stringValue": f"text {at} \u20ac"}} for at in range(3)]
MIXED = [
    *PLAIN,
    {"key": "n", "value": {"intValue": "7"}},
    {"key": "l", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
    {"key": "none", "value": {}},
]


def told(*attributes: list[Any], outer: str = "resourceSpans", **more: Any) -> dict[str, Any]:
    spans = [
        {
            "traceId": "ab" * 16,
            "spanId": f"{at + 1:016x}",
            "parentSpanId": f"{at:016x}" if at else "",
            "name": f"span {at}",
            "attributes": some,
            "links": [{"traceId": "cd" * 16, "spanId": "ef" * 8, "attributes": PLAIN}],
            "events": [{"name": "e", "attributes": MIXED}],
            **more,
        }
        for at, some in enumerate(attributes)
    ]
    return {outer: [{"resource": {"attributes": PLAIN}, "scopeSpans": [{"spans": spans}]}]}


def with_base64_ids(found: Any) -> Any:
    if isinstance(found, list):
        return [with_base64_ids(one) for one in found]
    if not isinstance(found, dict):
        return found
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode()
        if key in ("traceId", "spanId", "parentSpanId")
        else with_base64_ids(value)
        for key, value in found.items()
    }


@pytest.mark.parametrize("attributes", [[PLAIN], [MIXED], [PLAIN, MIXED, [], PLAIN]])
def test_read_spans__as_json__are_those_of_protocol_buffers(attributes: list[list[Any]]) -> None:
    found = told(*attributes)
    request = ParseDict(with_base64_ids(found), ExportTraceServiceRequest())
    wanted = read_spans(request.SerializeToString(), is_json=False, experiment_id=3)
    assert read_spans(json.dumps(found).encode(), is_json=True, experiment_id=3) == wanted
    assert [len(batch.spans) for batch in wanted] == [len(attributes)]


def test_read_spans__under_the_names_of_the_fields__are_read_too() -> None:
    found = with_base64_ids(told(PLAIN, MIXED, outer="resource_spans"))
    wanted = read_spans(json.dumps(told(PLAIN, MIXED)).encode(), is_json=True, experiment_id=3)
    assert read_spans(json.dumps(found).encode(), is_json=True, experiment_id=3) == wanted


@pytest.mark.parametrize("name", ["resource_spans", "scope_spans"])
def test_read_spans__that_tell_of_the_names_of_fields__are_read(name: str) -> None:
    attributes = [{"key": name, "value": {"stringValue": name}}]
    (batch,) = read_spans(json.dumps(told(attributes)).encode(), is_json=True, experiment_id=3)
    assert name in batch.spans[0].document.decode()


@pytest.mark.parametrize("name", ["resource_spans", "scope_spans"])
def test_read_spans__under_escaped_names__are_read_too(name: str) -> None:
    both = told(PLAIN)
    (group,) = with_base64_ids(told(MIXED))["resourceSpans"]
    if name == "resource_spans":
        both = with_base64_ids(told(PLAIN, MIXED, outer=name))
    else:
        group[name] = group.pop("scopeSpans")
        both["resourceSpans"].append(group)
    plain = json.dumps(both)
    escaped = plain.replace(f'"{name}"', json.dumps(name).replace("_", "\\u005f"))
    assert name not in escaped
    wanted = read_spans(plain.encode(), is_json=True, experiment_id=3)
    assert read_spans(escaped.encode(), is_json=True, experiment_id=3) == wanted


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"3",
        b'{"resourceSpans": [3]}',
        json.dumps(told([{"key": 1, "value": {"stringValue": "x"}}])).encode(),
        json.dumps(told([{"key": "k", "value": {"stringValue": "\ud800"}}])).encode(),
        json.dumps(told([{"key": "\ud800", "value": {"stringValue": "x"}}])).encode(),
        json.dumps(told([None])).encode(),
        json.dumps(told(PLAIN, **{"\ud800": 1})).encode(),
        json.dumps(told(PLAIN, **{"\ud800": 1}), ensure_ascii=False).encode(errors="surrogatepass"),
        json.dumps(told(PLAIN, kind=1)).replace('"kind": 1', '"kind": 1e400').encode(),
    ],
)
def test_read_spans__json_that_is_none_of_spans__is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidValue):
        read_spans(raw, is_json=True, experiment_id=0)
