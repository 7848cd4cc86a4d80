from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.bounds import INT64_MAX
from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import Operator
from seafloor.domain.traces import NAME_TAG, TraceComparison, TraceOrder, TraceQuery, TraceSubject
from seafloor.http.mlflow.trace_words import parse_trace_filter, parse_trace_order
from seafloor.stores.metadata.traces import check_trace_query

ATTRIBUTE, TAG, METADATA = TraceSubject.ATTRIBUTE, TraceSubject.TAG, TraceSubject.METADATA


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status = 'OK'", (ATTRIBUTE, "state", Operator.EQ, "OK")),
        ('trace.status != "OK"', (ATTRIBUTE, "state", Operator.NE, "OK")),
        ("name LIKE 'a%'", (TAG, NAME_TAG, Operator.LIKE, "a%")),
        ("attributes.name='x'", (TAG, NAME_TAG, Operator.EQ, "x")),
        ("timestamp < 5", (ATTRIBUTE, "time_ms", Operator.LT, 5)),
        ("trace.end_time_ms >= 1.5", (ATTRIBUTE, "end_ms", Operator.GE, 1.5)),
        ("timestamp > 1" + "0" * 30, (ATTRIBUTE, "time_ms", Operator.GT, INT64_MAX)),
        ("run_id IN ('a','b')", (ATTRIBUTE, "run_id", Operator.IN, ("a", "b"))),
        ("request_id not in ('a')", (ATTRIBUTE, "id", Operator.NOT_IN, ("a",))),
        ("tags.`a b.c` = 'it''s'", (TAG, "a b.c", Operator.EQ, "it's")),
        ('tag."x/y" is not null', (TAG, "x/y", Operator.IS_NOT_NULL, None)),
        (
            "metadata.mlflow.trace.session = 's'",
            (METADATA, "mlflow.trace.session", Operator.EQ, "s"),
        ),
        ("span.name ilike 'x'", (TraceSubject.SPAN, "name", Operator.ILIKE, "x")),
        ("trace.text LIKE '%x%'", (TraceSubject.SPAN, "content", Operator.LIKE, "%x%")),
        ("span.content ILIKE 'x'", (TraceSubject.SPAN, "content", Operator.ILIKE, "x")),
        ("span.attributes.`a b` = 'x'", (TraceSubject.SPAN, "content", Operator.EQ, '%"a b"x%')),
        ("status rlike '^O'", (ATTRIBUTE, "state", Operator.RLIKE, "^O")),
        ("run_id RLIKE 'x'", (METADATA, "mlflow.sourceRun", Operator.RLIKE, "x")),
        ("run_id is null", (METADATA, "mlflow.sourceRun", Operator.IS_NULL, None)),
        ("prompt = 'a b/1'", (ATTRIBUTE, "prompt", Operator.EQ, "a b/1")),
        (
            "span.attributes.`a.b` RLIKE '^x|y$'",
            (
                *(TraceSubject.SPAN, "content", Operator.RLIKE),
                r'''"a\.b": "\\"(?:x|y)\\"''',
            ),
        ),
        ("feedback.`a b` > 0.5", (TraceSubject.FEEDBACK, "a b", Operator.GT, 0.5)),
        ("expectation.x = '1'", (TraceSubject.EXPECTATION, "x", Operator.EQ, "1")),
    ],
)
def test_filter__one_clause__is_read(text: str, expected: tuple[object, ...]) -> None:
    (found,) = parse_trace_filter(text)
    assert (found.subject, found.key, found.operator, found.value) == expected
    check_trace_query(TraceQuery(experiment_ids=(0,), comparisons=(found,)))


def test_filter__blank_or_several__all_of_them() -> None:
    assert parse_trace_filter("  ") == ()
    found = parse_trace_filter("status = 'OK' and tag.a IS NULL AND timestamp_ms > 1")
    assert [one.key for one in found] == ["state", "a", "time_ms"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("status nonsense", "Invalid clause(s) in filter string: 'nonsense'"),
        ("status =", "Invalid clause(s)"),
        ("status = 'OK' OR name = 'x'", "Invalid clause(s) in filter string: 'OR'"),
        ("status = 'OK' AND", "Invalid clause(s)"),
        ("status <> 'OK'", "Invalid clause(s)"),
        ("status = 'OK", "Invalid clause(s)"),
        ("status IS 'x'", "Invalid clause(s)"),
        ("status IN 'x'", "Invalid clause(s)"),
        ("status IN ('x'", "Invalid clause(s)"),
        ("status IN ()", "Invalid clause(s)"),
        ("foo.bar = '1'", "Invalid entity type 'foo'"),
        ("foo = '1'", "Invalid attribute key 'foo'"),
        ("status = 5", "Got value 5"),
        ("tag.a = 5", "Expected a quoted string value for tag"),
        ("tag.a > 'x'", "Invalid comparator '>'"),
        ("timestamp = 'x'", "Expected numeric value type for numeric attribute"),
        ("feedback.a < 'x'", "Expected a numeric value for feedback"),
        ("span.parent = 'x'", "Invalid span attribute 'parent'"),
        ("span.attributes.a > 'x'", "span.attributes.a comparator '>' not one of"),
        ("span.attributes. LIKE 'x'", "Span attribute name cannot be empty"),
        ("span.content IN ('x')", "span.content comparator 'IN' not one of '{'ILIKE', 'LIKE'}'"),
        ("trace.text = 'x'", "span.content comparator '=' not one of '{'ILIKE', 'LIKE'}'"),
        ("text RLIKE 'x'", "span.content comparator 'RLIKE' not one of"),
        ("timestamp_ms RLIKE 'x'", "Invalid comparator 'RLIKE'"),
        ("prompt != 'a/1'", "Invalid comparator '!=' for prompts filter"),
        ("prompt = 'a'", "Invalid prompts filter value 'a'"),
        ("prompt = 5", "Got value 5"),
        ("x" * 20_001, "at most"),
    ],
)
def test_filter__that_is_none__is_refused_in_mlflows_words(text: str, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_trace_filter(text)
    assert said in caught.value.message


@given(st.text("stau.'`\"= ()<>,AND IN1%\\é", max_size=30))
def test_filter__any_text__is_read_or_refused(text: str) -> None:
    try:
        found = parse_trace_filter(text)
    except InvalidValue:
        return
    check_trace_query(TraceQuery(experiment_ids=(0,), comparisons=found))


def test_order__is_read() -> None:
    assert parse_trace_order("timestamp_ms desc") == TraceOrder(ATTRIBUTE, "time_ms", True)
    assert parse_trace_order("name") == TraceOrder(TAG, NAME_TAG)
    assert parse_trace_order("metadata.`a b` ASC") == TraceOrder(METADATA, "a b")
    for text, said in (
        ("foo", "Invalid attribute key 'foo'"),
        ("run_id", "Invalid attribute key 'run_id'"),
        ("span.name", "Invalid identifier type 'span'"),
        ("status up", "Invalid order_by clause 'status up'"),
        ("", "Invalid order_by clause"),
        ("x" * 2_001, "at most"),
    ):
        with pytest.raises(InvalidValue) as caught:
            parse_trace_order(text)
        assert said in caught.value.message


def test_comparison__of_the_same_thing__is_the_same() -> None:
    (one,), (other,) = parse_trace_filter("tags.a='x'"), parse_trace_filter('tag.`a` = "x"')
    assert one == other == TraceComparison(TAG, "a", Operator.EQ, "x")
