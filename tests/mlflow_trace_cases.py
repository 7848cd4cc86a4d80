"""Requests about traces that are made to a real ``mlflow server`` and to Seafloor.

``{exp}``, ``{other}``, ``{run}`` … stand for the ids that each side gave; see ``mlflow_cases``.
"""

from __future__ import annotations

import json
from typing import Any

from mlflow_cases import DRIVER, FILTER_WORDS, NOBODY, STRICT, Body, Case

ONE, TWO, THREE, SPANNED, EARLY = (f"tr-{digit * 32}" for digit in "12345")
NONE, ODD, TYPELESS, APART = (f"tr-{digit * 32}" for digit in "9876")
V2, V3 = "/api/2.0/mlflow/traces", "/api/3.0/mlflow/traces"
OTLP = "/v1/traces"

AS_FILE = "Spans that are a file of the trace are not found in the store; MLflow answers 500."
PATTERNS = "What is no regular expression, or none of RE2, is refused; MLflow finds nothing by it."
GROUPED = "`a|b` is one of two within the attribute; for MLflow `b` may stand anywhere."
PRUNED = "MLflow passes over spans that began 10 s before the least time of a trace."
LATER = "It is refused in a sentence; MLflow answers 500."
OLD_TAGS = "MLflow answers with the tags as they were before."
BUG = "MLflow answers 500 where the caller is at fault."
HEADER = "A header that is missing is told of in the form of all errors, as 400."
NO_TRACE = "It is the trace that is not found; MLflow says so of its tag."
LINK = "A run that does not exist is refused; MLflow writes a line into its log."


def _in(experiment: str) -> Body:
    return {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}


def _posts(path: str, *bodies: Any, differs: str = "") -> list[Case]:
    return [Case("POST", path, body, differs) for body in bodies]


def _gets(path: str, *queries: str, differs: str = "") -> list[Case]:
    return [Case("GET", path + query, None, differs) for query in queries]


def info(trace_id: str, **changes: Any) -> Body:
    """What a client tells of a trace."""
    made: Body = {
        "trace_id": trace_id,
        "trace_location": _in("{exp}"),
        "request_time": "2026-01-02T03:04:05.678Z",
        "execution_duration": "1.500s",
        "state": "OK",
        "tags": {"mlflow.traceName": trace_id[-1], "t": "x"},
        "trace_metadata": {"m": "y"},
    }
    kept = {key: value for key, value in (made | changes).items() if value is not ...}
    return {"trace": {"trace_info": kept}}


def span(name: str, number: int, **changes: Any) -> Body:
    """A span in OpenTelemetry's JSON."""
    made: Body = {
        "traceId": "4" * 32,
        "spanId": f"{number:016x}",
        "name": name,
        "startTimeUnixNano": str(1_700_000_000_000_000_000 + number * 1_000_000),
        "endTimeUnixNano": str(1_700_000_000_900_000_000),
        "attributes": [{"key": "a", "value": {"intValue": "5"}}],
    }
    return made | changes


def exported(*spans: Body, **resource: str) -> Body:
    """A request to export spans."""
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in resource.items()]
    group = {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": list(spans)}]}
    return {"resourceSpans": [group]}


def _told() -> list[Case]:
    return [
        *_posts(
            V3,
            info(ONE),
            info(TWO, state="ERROR", request_time="2026-01-02T03:04:06Z", tags={}),
            info(THREE, execution_duration=..., state=3, trace_metadata={}, tags={"t": "z"}),
            info(APART, trace_location=_in("{odd}")),
            info(NONE, trace_location=_in("99999")),
            info(NONE, trace_location=_in("{dexp}")),
            {},
        ),
        *_posts(
            V3,
            info(ODD, trace_location=_in("{odd}"), state="FINE"),
            info("x" * 51, trace_location=_in("{odd}")),
            info("a b", trace_location=_in("{odd}")),
            info(ODD, trace_location=_in("{odd}"), request_time="now"),
            differs=STRICT,
        ),
        *_posts(
            V3,
            info(TYPELESS, trace_location={"mlflow_experiment": {"experiment_id": "{odd}"}}),
            differs="The type of a place that names an experiment need not be told.",
        ),
        *_posts(
            V3,
            info(ONE, tags={"u": "1"}, trace_metadata={"n": "2"}, request_preview="in"),
            differs=OLD_TAGS,
        ),
        *_gets(V3, f"/{ONE}", f"/{TWO}", f"/{THREE}", f"/{NONE}"),
    ]


_DEEP = {"kvlistValue": {"values": [{"key": "deep", "value": {"doubleValue": 2.5}}]}}
_WORDED = [
    {"key": "words", "value": {"stringValue": 'two words, "größe" \\ and a\nline'}},
    {"key": "nested", "value": {"arrayValue": {"values": [{"boolValue": True}, _DEEP]}}},
]


def _spans() -> list[Case]:
    parent = "0000000000000001"
    return [
        *_posts(
            OTLP,
            exported(span("child", 2, parentSpanId=parent), host="h"),
            exported(span("root", 1, status={"code": 2, "message": "no"}), host="h"),
            exported(span("child", 2, parentSpanId=parent), host="h"),
            exported(span("worded", 3, parentSpanId=parent, attributes=_WORDED)),
        ),
        *_posts(OTLP, exported(span("early", 1, traceId="5" * 32))),
        *_posts(V3, info(EARLY, request_time="2026-01-02T03:04:05.500Z"), differs=OLD_TAGS),
        *_gets(V3, f"/{SPANNED}", f"/get?trace_id={SPANNED}", f"/batchGet?trace_ids={SPANNED}"),
        *_gets(V3, f"/get?trace_id={NONE}", f"/batchGet?trace_ids={NONE}", "/get", "/batchGet"),
        *_gets(V3, f"/get?trace_id={ONE}", differs=AS_FILE),
        *_posts(OTLP, {}, differs=HEADER),
        *_posts(f"{V3}/batchGetInfos", {"trace_ids": [ONE, NONE, SPANNED]}, {"trace_ids": []}),
        *_posts(
            f"{V3}/batchGetInfos",
            {"trace_ids": [ONE], "experiment_ids": ["{other}"]},
            {"trace_ids": [ONE], "experiment_ids": ["{exp}"]},
        ),
    ]


def _tags() -> list[Case]:
    made: list[Case] = []
    for base in (V2, V3):
        path = f"{base}/{ONE}/tags"
        made += [
            Case("PATCH", path, {"key": "k", "value": "v"}),
            Case("PATCH", path, {"key": "k", "value": "w" * 300}),
            Case("PATCH", path, {"key": "long", "value": "w" * 8_001}),
            Case("DELETE", path, {"key": "long"}),
            Case("PATCH", path, {"key": "mlflow.traceName", "value": "new"}),
            Case("PATCH", path, {"key": "mlflow.trace.spansLocation", "value": "x"}),
            Case("PATCH", path, {"value": "v"}),
            Case("PATCH", path, {"key": "", "value": "v"}),
            Case("PATCH", path, {"key": "a//b", "value": "v"}),
            Case("PATCH", path, {"key": "a*", "value": "v"}),
            Case("PATCH", path, {"key": "k" * 251, "value": "v"}),
            Case("PATCH", path, {"key": 5, "value": "v"}),
            Case("PATCH", f"{base}/{NONE}/tags", {"key": "k", "value": "v"}, DRIVER),
            Case("DELETE", path, {"key": "k"}),
            Case("DELETE", path, {"key": "k"}),
            Case("DELETE", path, {}),
            Case("DELETE", f"{base}/{NONE}/tags", {"key": "k"}, NO_TRACE),
        ]
    return [*made, *_gets(V3, f"/{ONE}")]


def _links() -> list[Case]:
    return _posts(
        f"{V2}/link-to-run",
        {"trace_ids": [THREE], "run_id": "{run}"},
        {"trace_ids": [THREE], "run_id": "{run}"},
        {"trace_ids": [NONE], "run_id": "{run}"},
        {"trace_ids": [], "run_id": "{run}"},
        {"trace_ids": [ONE] * 101, "run_id": "{run}"},
        {"trace_ids": [ONE]},
    ) + _posts(f"{V2}/link-to-run", {"trace_ids": [ONE], "run_id": NOBODY}, differs=LINK)


def _prompts() -> list[Case]:
    path = f"{V2}/link-prompts"
    used = [{"name": "greet", "version": "1"}, {"name": 'größe "x"', "version": "12"}]
    told = {"key": "mlflow.linkedPrompts", "value": json.dumps(used)}
    return [
        *_posts(
            path,
            {"trace_id": SPANNED, "prompt_versions": used[:1]},
            {"trace_id": SPANNED, "prompt_versions": used},
            {"trace_id": NONE, "prompt_versions": used},
            {"trace_id": SPANNED},
            {"prompt_versions": used},
        ),
        *_posts(
            path,
            {"trace_id": SPANNED, "prompt_versions": [{"name": "a", "version": "x"}]},
            differs=LATER,
        ),
        # As MLflow's client does.
        Case("PATCH", f"{V3}/{SPANNED}/tags", told),
    ]


_FILTERS = (
    "status = 'OK'",
    "trace.status != 'OK'",
    "attributes.status IN ('ERROR', 'OK')",
    "status NOT IN ('ERROR')",
    "name = 'new'",
    "name LIKE 'n%'",
    "tags.t = 'x'",
    "tag.t != 'x'",
    "tag.t ILIKE 'Z'",
    "tag.t IS NULL",
    "tag.t IS NOT NULL AND status = 'OK'",
    "metadata.m = 'y'",
    "request_metadata.m IS NULL",
    "timestamp_ms > 1767323045678",
    "timestamp >= 1767323045678 AND timestamp <= 1767323046000",
    "execution_time_ms = 1500",
    "execution_time < 1000",
    "end_time > 1767323047000",
    f"request_id = '{ONE}'",
    "run_id = '{run}'",
    f"run_id = '{'5' * 32}'",
    "span.name = 'child'",
    "span.name = 'child' AND span.status = 'ERROR'",
    "span.type = 'UNKNOWN' AND span.name LIKE 'r%'",
    "trace.text LIKE '%x%'",
    "trace.text LIKE '%child%'",
    "trace.text LIKE '%CHILD%'",
    "trace.text ILIKE '%CHILD%'",
    "trace.text LIKE 'child'",
    "trace.text LIKE '%nowhere to be seen%'",
    "trace.text LIKE '%STATUS_CODE_ERROR%'",
    'trace.text LIKE \'%"name": "root"%"message": "no"%\'',
    "attributes.text LIKE '%\"links\": []}'",
    "span.content LIKE '{\"trace_id\"%'",
    "span.content LIKE '%parent_span_id\": null%'",
    "span.content ILIKE '%größe%'",
    "trace.text LIKE '%größe%'",
    "trace.text LIKE '%gr__e%'",
    "trace.text LIKE '%two words%' AND span.name = 'worded'",
    "trace.text LIKE '%two words%' AND span.name = 'child'",
    "trace.text LIKE '%two words%' AND status = 'OK'",
    "span.attributes.a LIKE '%5%'",
    "span.attributes.a LIKE '%6%'",
    "span.attributes.a LIKE '5'",
    "span.attributes.words LIKE '%two%'",
    "span.attributes.words LIKE '%zwei%'",
    "span.attributes.words ILIKE '%TWO%'",
    "span.attributes.`words` LIKE '%two%'",
    "span.attributes.nested LIKE '%deep%2.5%'",
    "span.attributes.a = '5'",
    "span.attributes.a != '5'",
    "span.attributes.none LIKE '%'",
    "span.attributes.a LIKE '%5%' AND span.attributes.words LIKE '%two%'",
    "status RLIKE '^O'",
    "status RLIKE 'o'",
    "status RLIKE '(?i)^error$'",
    "name RLIKE 'n.w'",
    "trace.name RLIKE '^e'",
    "request_id RLIKE '1{32}$'",
    "client_request_id RLIKE '.'",
    "tag.t RLIKE '^[xy]$'",
    "tags.t RLIKE '' AND status RLIKE 'ERR|FAIL'",
    "tag.none RLIKE ''",
    "metadata.m RLIKE '[^a-x]'",
    "run_id RLIKE '^[0-9a-f]+$'",
    "run_id LIKE '%'",
    "run_id IS NULL",
    "span.name RLIKE '^(child|root)$'",
    "span.name RLIKE '^c' AND span.status RLIKE 'OK|UNSET'",
    "span.name RLIKE '^c' AND span.status RLIKE 'ERROR'",
    "span.name RLIKE '^w' AND trace.text LIKE '%two words%'",
    "span.name RLIKE '^c' AND trace.text LIKE '%two words%'",
    "span.type RLIKE '.'",
    "span.attributes.a RLIKE '5'",
    "span.attributes.words RLIKE '^two'",
    "span.attributes.words RLIKE '^words'",
    "span.attributes.words RLIKE 'gr..e'",
    "span.attributes.words RLIKE 'line$'",
    "span.attributes.words RLIKE 'and$'",
    "span.attributes.`words` RLIKE 'w[aeiou]rds' AND span.name RLIKE 'worded'",
    "span.attributes.none RLIKE ''",
    "feedback.score RLIKE '^0[.]7'",
    "feedback.score RLIKE '^1'",
    "feedback.good RLIKE 't.?rue'",
    "expectation.answer RLIKE '4[0-9]'",
    "prompt = 'greet/1'",
    "prompt = 'greet/2'",
    "trace.prompt = 'greet/1' AND span.name = 'root'",
    "prompt = 'gr%/1'",
    "prompt = 'größe \"x\"/12'",
    "prompt = 'größe/12'",
    "timestamp_ms >= 1700000000000 AND span.name = 'root'",
    "timestamp_ms > 1699999995000 AND timestamp_ms < 1700000005000 AND span.name = 'child'",
    "timestamp_ms < 1767323046000 AND span.name = 'early'",
    "end_time_ms > 1700000000500 AND span.name LIKE 'r%'",
    "end_time < 1700000000500 AND span.name LIKE 'r%'",
    "feedback.good = 'true'",
    "feedback.score > 0.5",
    "feedback.good IS NOT NULL",
    "expectation.answer = '42'",
    "expectation.answer != '42'",
)
_REFUSED = (
    "status = 'OK' OR status = 'ERROR'",
    "(status = 'OK')",
    "tag.t = 5",
    "feedback.score > 'x'",
    "span.foo = 'x'",
    "status > 'OK'",
    "tag.t > 'x'",
    "span.content RLIKE 'child'",
    "span.attributes. LIKE 'x'",
    "prompt LIKE 'greet/%'",
    "prompt = 'greet'",
    "prompt = 'a/b/1'",
)
_REFUSED_IN_OTHER_WORDS = (
    "timestamp_ms RLIKE '1'",
    "text RLIKE 'child'",
    "nonsense",
    "foo = '1'",
    "foo.bar = '1'",
    "status ==",
    "status = 5",
    "timestamp_ms > 'x'",
)


def _search(**change: Any) -> Body:
    return {"locations": [_in("{exp}")], "max_results": 10} | change


def _searches() -> list[Case]:
    path = f"{V3}/search"
    return [
        *_posts(path, *(_search(filter=text) for text in (*_FILTERS, *_REFUSED))),
        *_posts(
            path,
            *(_search(filter=text) for text in _REFUSED_IN_OTHER_WORDS),
            differs=FILTER_WORDS,
        ),
        *_posts(
            path,
            *(
                _search(order_by=[order])
                for order in (
                    *("timestamp_ms ASC", "timestamp_ms DESC", "execution_time_ms", "status DESC"),
                    *("tag.t", "tag.t DESC", "metadata.m ASC", "name", "request_id DESC"),
                )
            ),
            _search(order_by=["status", "timestamp_ms ASC"]),
            _search(max_results=2),
            _search(max_results=501),
            _search(max_results=0),
            _search(max_results="x"),
            _search(locations=[_in("{other}")]),
            _search(locations=[_in("99999")]),
            _search(page_token="garbage"),
            {},
        ),
        *_posts(
            path, _search(order_by=["foo"]), _search(order_by=["tag.t x"]), differs=FILTER_WORDS
        ),
        *_posts(path, _search(order_by=["status", "status"]), differs=BUG),
        *_posts(
            path,
            _search(filter="status RLIKE '('"),
            _search(filter="status RLIKE '(?=E)'"),
            _search(filter="status RLIKE '(O)\\1'"),
            differs=PATTERNS,
        ),
        *_posts(path, _search(filter="span.attributes.words RLIKE 'none|root'"), differs=GROUPED),
        *_posts(
            path,
            _search(filter="timestamp_ms > 1767323045000 AND span.name = 'early'"),
            differs=PRUNED,
        ),
    ]


def assessment(name: str, **changes: Any) -> Body:
    """What is said of a trace."""
    made: Body = {
        "assessment_name": name,
        "trace_id": ONE,
        "source": {"source_type": "HUMAN", "source_id": "ada"},
        "create_time": "2026-01-02T03:04:05.678Z",
        "last_update_time": "2026-01-02T03:04:05.678Z",
        "feedback": {"value": True},
    }
    kept = {key: value for key, value in (made | changes).items() if value is not ...}
    return {"assessment": kept}


def _assessments() -> list[Case]:
    path = f"{V3}/{ONE}/assessments"
    plan = {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": '{"a": [1]}'}}
    given = {"feedback": ..., "expectation": {"value": "42"}}
    failed = {"error": {"error_code": "E", "error_message": "m"}, "value": None}
    return [
        *_posts(
            path,
            assessment("good", assessment_id="a-1", rationale="since", metadata={"k": "v"}),
            assessment("score", assessment_id="a-2", feedback={"value": 0.75}),
            assessment("answer", assessment_id="a-3", **given),
            assessment("plan", assessment_id="a-4", feedback=..., expectation=plan),
            assessment("bad", assessment_id="a-5", feedback=failed, span_id="1" * 16),
            assessment("good", assessment_id="a-6", feedback={"value": False}, overrides="a-1"),
            assessment("good", overrides="a-9"),
            {},
        ),
        *_posts(f"{V3}/{APART}/assessments", assessment("x", feedback=...), differs=FILTER_WORDS),
        *_posts(
            f"{V3}/{APART}/assessments",
            assessment("x", source={"source_type": "GOD"}),
            differs=STRICT,
        ),
        *_posts(f"{V3}/{NONE}/assessments", assessment("good")),
        *_gets(path, "/a-1", "/a-2", "/a-3", "/a-4", "/a-5", "/a-6", "/a-9"),
        *_gets(f"{V3}/{NONE}/assessments", "/a-1"),
        *(
            Case("PATCH", f"{path}/{id_}", {**assessment("new", **news), "update_mask": mask})
            for id_, mask, news in (
                ("a-1", "assessmentName,rationale", {"rationale": "now"}),
                ("a-2", "feedback,metadata", {"feedback": {"value": 1}, "metadata": {"z": "1"}}),
                ("a-3", "expectation", {"feedback": ..., "expectation": {"value": "43"}}),
                ("a-1", "expectation", {"feedback": ..., "expectation": {"value": "43"}}),
                ("a-3", "feedback", {}),
                ("a-9", "feedback", {}),
            )
        ),
        Case("PATCH", f"{path}/a-1", assessment("x")),
        *_gets(V3, f"/{ONE}"),
        *(Case("DELETE", f"{path}/{id_}", {}) for id_ in ("a-6", "a-6", "a-9")),
        Case("DELETE", f"{V3}/{NONE}/assessments/a-1", {}),
        *_gets(V3, f"/{ONE}"),
        Case("PATCH", f"{path}/a-2", {**assessment("score"), "update_mask": "assessmentName"}),
        Case(
            *("PATCH", f"{path}/a-3"),
            {**assessment("answer", **given), "update_mask": "assessmentName,expectation"},
        ),
    ]


def _deletions() -> list[Case]:
    path = f"{V2}/delete-traces"
    return [
        *_posts(
            path,
            {"experiment_id": "{exp}"},
            {"experiment_id": "{exp}", "max_timestamp_millis": 1, "request_ids": [ONE]},
            {"experiment_id": "{exp}", "max_traces": 1, "request_ids": [ONE]},
            {"experiment_id": "{exp}", "max_timestamp_millis": 1, "max_traces": 0},
            {"request_ids": [ONE]},
            {"experiment_id": "{exp}", "request_ids": [NONE]},
            {"experiment_id": "{other}", "request_ids": [ONE]},
            {"experiment_id": "{exp}", "request_ids": [ONE, NONE]},
            {"experiment_id": "{exp}", "request_ids": [ONE]},
            {"experiment_id": "{exp}", "max_timestamp_millis": "1767323045678", "max_traces": 1},
        ),
        *_posts(f"{V3}/search", _search(order_by=["timestamp_ms"])),
        *_posts(f"{V3}/delete-traces", {"experiment_id": "{exp}", "max_timestamp_millis": 1 << 50}),
        *_posts(f"{V3}/search", _search()),
    ]


CASES = [
    *_told(),
    *_spans(),
    *_tags(),
    *_links(),
    *_prompts(),
    *_assessments(),
    *_searches(),
    *_deletions(),
]
