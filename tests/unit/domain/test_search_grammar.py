"""The grammar of searches: ours and MLflow's."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import CallerError, InvalidValue, LimitExceeded
from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Columns,
    Comparison,
    Filter,
    Identifier,
    Not,
    Operator,
    Order,
    Part,
    Subject,
    json_at,
    number_in,
)
from seafloor.domain.search_grammar import (
    DEPTH_MAX,
    Dialect,
    parse_columns,
    parse_filter,
    parse_order,
)

MLFLOW = Dialect(
    {"run_id": "text", "start_time": "number"}, nesting=False, lists=frozenset({"run_id"})
)
METRIC, PARAM, TAG, ATTRIBUTE = Subject.METRIC, Subject.PARAM, Subject.TAG, Subject.ATTRIBUTE


def one(subject: Subject, key: str, operator: str, value: object = None) -> Comparison:
    return Comparison(Identifier(subject, key), Operator(operator), value)  # type: ignore[arg-type]


def part(key: str, part: str, operator: str, value: object) -> Comparison:
    return Comparison(Identifier(METRIC, key, Part(part)), Operator(operator), value)  # type: ignore[arg-type]


def within(
    key: str, path: tuple[str | int, ...], operator: str, value: object, *, subject: Subject = PARAM
) -> Comparison:
    return Comparison(Identifier(subject, key, path=path), Operator(operator), value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("metrics.loss < 0.1", one(METRIC, "loss", "<", 0.1)),
        ("metric.loss<=-3", one(METRIC, "loss", "<=", -3)),
        ("metrics.loss >= 1e-3", one(METRIC, "loss", ">=", 0.001)),
        ("metrics.loss <> .5", one(METRIC, "loss", "!=", 0.5)),
        ("metrics.`train/loss x` = 1", one(METRIC, "train/loss x", "=", 1)),
        ('metrics."train.loss" > 1', one(METRIC, "train.loss", ">", 1)),
        ("metrics.train/loss > 1", one(METRIC, "train/loss", ">", 1)),
        ("metrics.größe > 1", one(METRIC, "größe", ">", 1)),
        ("params.a = 'it''s'", one(PARAM, "a", "=", "it's")),
        ('params.a = "x"', one(PARAM, "a", "=", "x")),
        ("parameters.a LIKE '%x_'", one(PARAM, "a", "LIKE", "%x_")),
        ("params.a ilike 'x'", one(PARAM, "a", "ILIKE", "x")),
        ("tags.`a.b` != ''", one(TAG, "a.b", "!=", "")),
        ("tag.a IS NULL", one(TAG, "a", "IS NULL")),
        ("tags.a is not null", one(TAG, "a", "IS NOT NULL")),
        ("name IN ('a', 'b')", one(ATTRIBUTE, "name", "IN", ("a", "b"))),
        ("state NOT IN ('failed')", one(ATTRIBUTE, "state", "NOT IN", ("failed",))),
        ("attributes.user = 'ann'", one(ATTRIBUTE, "user", "=", "ann")),
        ("run.name = 'x'", one(ATTRIBUTE, "name", "=", "x")),
        ("created_ns > 100", one(ATTRIBUTE, "created_ns", ">", 100)),
        ("dataset.name = 'd'", one(Subject.DATASET, "name", "=", "d")),
        ("  name\n=\t'x'  ", one(ATTRIBUTE, "name", "=", "x")),
        ("params.a = 1", one(PARAM, "a", "=", 1)),
        ("params.a < '1'", one(PARAM, "a", "<", "1")),
        ("params.a in (1, 2.5)", one(PARAM, "a", "IN", (1, 2.5))),
        ("metrics.a IN (1)", one(METRIC, "a", "IN", (1,))),
        ("metrics.a IS NULL", one(METRIC, "a", "IS NULL")),
        ("params.a NOT LIKE 'x'", one(PARAM, "a", "NOT LIKE", "x")),
        ("metrics.a.b.min < 1", part("a.b", "min", "<", 1)),
        ("metrics.`a b`.step = 1", part("a b", "step", "=", 1)),
        ("metrics.`a.min` = 1", one(METRIC, "a.min", "=", 1)),
        ("metrics.min = 1", one(METRIC, "min", "=", 1)),
        ("params.a->'$.b[0].\"c d\"' = 1", within("a", ("b", 0, "c d"), "=", 1)),
        ("tags.a-b->>'$.b'='x'", within("a-b", ("b",), "=", "x", subject=TAG)),
        ("NOT name = 'x'", Not(one(ATTRIBUTE, "name", "=", "x"))),
        ("not not name = 'x'", Not(Not(one(ATTRIBUTE, "name", "=", "x")))),
        ("created > '1970-01-01T01:00:01+01:00'", one(ATTRIBUTE, "created_ns", ">", 1_000_000_000)),
        ("ended < '1970-01-02'", one(ATTRIBUTE, "ended_ns", "<", 86_400_000_000_000)),
        (
            "metrics.a BETWEEN 1 AND 2",
            AllOf((one(METRIC, "a", ">=", 1), one(METRIC, "a", "<=", 2))),
        ),
        (
            "name not between 'a' and 'b'",
            AnyOf((one(ATTRIBUTE, "name", "<", "a"), one(ATTRIBUTE, "name", ">", "b"))),
        ),
    ],
)
def test_parse_filter__of_one_comparison__reads_it(text: str, found: Filter) -> None:
    assert parse_filter(text) == found


def test_parse_filter__of_nothing__is_none() -> None:
    assert parse_filter("") is None
    assert parse_filter(" \n") is None


def test_parse_filter__joined__binds_and_before_or() -> None:
    a, b, c = (one(ATTRIBUTE, "name", "=", text) for text in "abc")
    texts = [f"name = '{text}'" for text in "abc"]
    assert parse_filter(" AND ".join(texts)) == AllOf((a, b, c))
    assert parse_filter(f"{texts[0]} OR {texts[1]} and {texts[2]}") == AnyOf((a, AllOf((b, c))))
    assert parse_filter(f"({texts[0]} or {texts[1]}) AND {texts[2]}") == AllOf((AnyOf((a, b)), c))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metrics.loss", "at its end: expected an operator"),
        ("metrics.loss <", "at its end: expected a number"),
        ("metrics.loss < 'x'", "at `'x'` (character 16): expected a number"),
        ("metrics.loss LIKE 'x'", "`LIKE` cannot compare numbers"),
        ("metrics.loss NOT LIKE 'x'", "`NOT LIKE` cannot compare numbers"),
        ("dataset.name < '1'", "`<` cannot compare datasets"),
        ("dataset.name BETWEEN '1' AND '2'", "BETWEEN cannot compare datasets"),
        ("name = 1", "expected a text in quotes"),
        ("params.a LIKE 1", "expected a text in quotes"),
        ("params.a IN (1, 'x')", "texts or numbers, not both"),
        ("params.a BETWEEN 1 AND 'x'", "two numbers or two texts"),
        ("params.a BETWEEN 1", "at its end: expected AND and the upper bound"),
        ("params.a->x = 1", "expected a path in quotes"),
        ("params.a->'x' = 1", "is not a path"),
        ("params.a->'$' = 1", "is not a path"),
        ("params.a->'$.a[-1]' = 1", "is not a path"),
        ("metrics.a->'$.a' = 1", "expected an operator"),
        ("name->'$.a' = 1", "expected an operator"),
        ("created > 'yesterday'", "is not a time"),
        ("created > 5", "expected a text in quotes"),
        ("created > '9999-12-31T23:59:59-14:00'", ""),
        ("mertics.loss = 1", 'Did you mean "metrics"?'),
        ("name = 'x' ADN name = 'y'", 'Did you mean "AND"?'),
        ("name LIK 'x'", 'Did you mean "LIKE"?'),
        ("NOT", "at its end: expected a name"),
        ("params.a = x", "expected a text in quotes"),
        ("params. = 'x'", ""),
        ("nme = 'x'", 'Did you mean "name"?'),
        ("metric = 'x'", "are written metrics.<key>"),
        ("dataset.nam = 'x'", 'Did you mean "name"?'),
        ("name = 'x' name = 'y'", "expected AND, OR or the end"),
        ("name = 'x' AND", "at its end: expected a name"),
        ("(name = 'x'", "a closing parenthesis"),
        ("name IN 'x'", "expected a list"),
        ("name IN ()", "expected a text in quotes"),
        ("name IN ('x'", "a closing parenthesis"),
        ("name NOT = 'x'", "expected IN or LIKE"),
        ("name IS 'x'", "expected NULL or NOT NULL"),
        ("name = 'x", "cannot be read at"),
        ("name == 'x'", ""),
        ("name = 'x'; DROP TABLE run", "cannot be read at `;"),
    ],
)
def test_parse_filter__that_is_none__says_where_and_what_would_do(text: str, words: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_filter(text)
    assert refused.value.field == "filter"
    assert words in refused.value.message


def test_parse_filter__in_mlflows_dialect__knows_no_or_and_no_parentheses() -> None:
    assert parse_filter("run_id = 'x' and start_time > 1", MLFLOW) is not None
    for text in (
        "run_id = 'x' OR run_id = 'y'",
        "(run_id = 'x')",
        "name = 'x'",
        "NOT run_id = 'x'",
        "run_id NOT LIKE 'x'",
        "run_id < 'x'",
        "params.a = 1",
        "params.a->'$.b' = '1'",
        "start_time BETWEEN 1 AND 2",
        "start_time IN (1)",
        "metrics.a IS NULL",
        "params.a IN ('x')",
    ):
        with pytest.raises(InvalidValue):
            parse_filter(text, MLFLOW)


def test_parse_order__too_long__is_refused() -> None:
    with pytest.raises(LimitExceeded):
        parse_order("x" * 5_000)


def test_parse_filter__too_deep_or_too_long__is_refused() -> None:
    deepest = "(" * DEPTH_MAX + "name = 'x'" + ")" * DEPTH_MAX
    assert parse_filter(deepest) == one(ATTRIBUTE, "name", "=", "x")
    for text in (f"({deepest})", "NOT " * (DEPTH_MAX + 1) + "name = 'x'", "(" * 9_000):
        with pytest.raises(InvalidValue, match="too deeply"):
            parse_filter(text)
    with pytest.raises(LimitExceeded):
        parse_filter("name = '" + "x" * 20_000 + "'")


@pytest.mark.parametrize("digits", [19, 30, 400, 5000])
def test_parse_filter__of_a_huge_number__compares_as_a_float(digits: int) -> None:
    found = parse_filter(f"metrics.x < {'9' * digits}")
    assert isinstance(found, Comparison)
    assert isinstance(found.value, float)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 1_795_471_155_852_694_987])
def test_parse_filter__of_a_number_of_64_bits__is_exact(number: int) -> None:
    assert parse_filter(f"created_ns = {number}") == one(ATTRIBUTE, "created_ns", "=", number)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("metrics.loss", Order(Identifier(METRIC, "loss"))),
        ("metrics.loss desc", Order(Identifier(METRIC, "loss"), descending=True)),
        ("params.`a b` ASC", Order(Identifier(PARAM, "a b"))),
        ("created_ns DESC", Order(Identifier(ATTRIBUTE, "created_ns"), descending=True)),
        ("created", Order(Identifier(ATTRIBUTE, "created_ns"))),
        ("metrics.loss.max", Order(Identifier(METRIC, "loss", Part.MAX))),
        ("params.a as number desc", Order(Identifier(PARAM, "a"), descending=True, numeric=True)),
        ("params.a->'$.b'", Order(Identifier(PARAM, "a", path=("b",)))),
    ],
)
def test_parse_order__of_an_identifier__reads_it(text: str, order: Order) -> None:
    assert parse_order(text) == order


@pytest.mark.parametrize(
    "text",
    [
        "",
        "desc",
        "params.a as text",
        "name as number",
        "metrics.loss up",
        "metrics.loss desc asc",
        "'x'",
        "1",
    ],
)
def test_parse_order__that_is_none__is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_order(text)
    assert refused.value.field == "order"


KEYS = st.text(st.characters(exclude_characters='`"', exclude_categories=["Cs"]), min_size=1)


@given(KEYS, st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_parse_filter__of_any_quoted_key_and_text__gives_them_back(key: str, text: str) -> None:
    quoted = text.replace("'", "''")
    assert parse_filter(f"params.`{key}` = '{quoted}'") == one(PARAM, key, "=", text)


@given(
    st.text(st.sampled_from("metrics.losname='`\"()<>!=,0123 \nANDORINLIKEISUL%_-ü"), max_size=60)
)
def test_parse__of_any_text__reads_or_refuses(text: str) -> None:
    for parse in (parse_filter, parse_order):
        with contextlib.suppress(CallerError):
            parse(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        ("-1.5e-3", -0.0015),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("9" * 30, 1e30),
        ("9" * 31, None),
        ("1e100", None),
        ("", None),
        (".", None),
        (" 1", None),
        ("1\n", None),
        ("nan", None),
        ("0x1", None),
        ("\u0661", None),
    ],
)
def test_number_in__of_a_text__is_its_number_or_none(text: str, number: float | None) -> None:
    assert number_in(text) == number


@pytest.mark.parametrize(
    ("document", "path", "text"),
    [
        ('{"a": {"b": 1.50}}', ("a", "b"), "1.50"),
        ('{"a": [true, "x"]}', ("a", 0), "true"),
        ('{"a": [true, "x"]}', ("a", 1), "x"),
        ('{"a": [true, "x"]}', ("a", 2), None),
        ('{"a": {"0": "x"}}', ("a", 0), None),
        ('{"a": null}', ("a",), None),
        ('{"a": {}}', ("a",), None),
        ("a", ("a",), None),
        ("[" * 100_000, (0,), None),
        ('{"a": NaN}', ("a",), None),
    ],
)
def test_json_at__of_a_document__is_the_text_there(
    document: str, path: tuple[str | int, ...], text: str | None
) -> None:
    assert json_at(document, path) == text


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", Columns(params=(), tags=(), metrics=())),
        ("metrics", Columns(params=(), tags=())),
        ("metrics.loss", Columns(params=(), tags=(), metrics=("loss",))),
        (
            "metrics.loss, param.`a, b`,metrics.a.b",
            Columns(params=("a, b",), tags=(), metrics=("loss", "a.b")),
        ),
        ("tags.a,tags,tags.b", Columns(params=(), metrics=())),
    ],
)
def test_parse_columns__of_names__says_what_is_wanted(text: str, columns: Columns) -> None:
    assert parse_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loss", "expected metrics, params or tags"),
        ("metrics.", "expected metrics, params or tags"),
        ("name", "expected metrics, params or tags"),
        (",", "expected metrics, params or tags"),
        ("metrics params", "expected a comma"),
        ("'metrics'.a", "(character 10)"),
    ],
)
def test_parse_columns__of_something_else__is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_columns(text)
    assert refused.value.field == "fields"
    assert words in refused.value.message


def test_parse_columns__too_long__is_refused() -> None:
    with pytest.raises(LimitExceeded):
        parse_columns("metrics," * 5_000)
