"""Searches over runs, from MLflow's names to ours."""

from __future__ import annotations

import pytest

from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Identifier,
    Not,
    Operator,
    Order,
    Subject,
)
from seafloor.domain.workloads import WorkloadState
from seafloor.http.mlflow.run_search import STATUS_OF, run_filter, run_order

STARTED = Identifier(Subject.ATTRIBUTE, "started_ns")
MS = 1_000_000


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("run_id = 'x'", "id"),
        ("attributes.run_name = 'x'", "name"),
        ("attr.`run name` = 'x'", "name"),
        ("tags.mlflow.runName = 'x'", "name"),
        ("user_id = 'x'", "user"),
    ],
)
def test_run_filter__of_mlflows_names__asks_for_ours(text: str, key: str) -> None:
    found = run_filter(text)
    assert found == Comparison(Identifier(Subject.ATTRIBUTE, key), Operator.EQ, "x")


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("status = 'FAILED'", {"failed", "lost"}),
        ("attributes.status != 'RUNNING'", set(WorkloadState) - {"running", "stopping"}),
        ("status = 'running'", {""}),
        ("status LIKE 'F%'", {"succeeded", "failed", "lost"}),
        ("status ILIKE 'kill__'", {"stopped"}),
        ("status = 'NONE OF THEM'", {""}),
    ],
)
def test_run_filter__of_a_status__asks_for_all_of_its_states(text: str, states: set[str]) -> None:
    found = run_filter(text)
    assert isinstance(found, Comparison)
    assert found.operator is Operator.IN
    assert set(found.value or ()) == states  # type: ignore[call-overload]
    assert set(STATUS_OF) == set(WorkloadState)


def test_run_filter__of_an_artifact_uri__asks_for_the_run() -> None:
    run_id = "0123456789abcdef" * 2
    found = run_filter(f"artifact_uri = 'mlflow-artifacts:/0/{run_id}/artifacts'")
    assert found == Comparison(Identifier(Subject.ATTRIBUTE, "id"), Operator.EQ, run_id)
    assert run_filter("artifact_uri = 'x'") == Comparison(
        Identifier(Subject.ATTRIBUTE, "id"), Operator.EQ, ""
    )
    with pytest.raises(InvalidValue):
        run_filter("artifact_uri LIKE '%x%'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params.a = 'x' OR params.b = 'y'", "Invalid clause(s) in filter string: 'OR'"),
        ("params.a = 'x' or params.b = 'y'", "Invalid clause(s) in filter string: 'or'"),
        (
            "(params.a = 'x') AND tags.b = '('",
            "Invalid clause(s) in filter string: '(params.a = 'x')'",
        ),
        ("NOT params.a = 'x'", "Invalid clause(s) in filter string: 'NOT'"),
        ("metrics.a", "Invalid clause(s) in filter string: 'metrics.a'"),
        ("metrics.a = 'x'", "Expected numeric value type for metric. Found 'x'"),
        (
            "params.a = 5",
            "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 5",
        ),
        ("tags.a = 5", "Expected a quoted string value for tag (e.g. 'my-value'). Got value 5"),
        ("status = 5", "Expected a quoted string value for attributes. Got value 5"),
        (
            "start_time = 'x'",
            "Expected numeric value type for numeric attribute: start_time. Found 'x'",
        ),
        (
            "dataset.name = 5",
            "Expected a quoted string value for dataset attributes. Got value 5",
        ),
        (
            "metrics.a LIKE 'x'",
            "Invalid comparator 'LIKE' not one of '{'!=', '<', '<=', '=', '>', '>='}'",
        ),
        (
            "params.a > 'x'",
            "Invalid comparator '>' not one of "
            "'{'!=', '=', 'ILIKE', 'IS NOT NULL', 'IS NULL', 'LIKE'}'",
        ),
        (
            "status IN ('RUNNING')",
            "Only ['run_id'] attributes support comparison with a list of quoted string values.",
        ),
        (
            "metrics.a IS NULL",
            "IS NULL / IS NOT NULL is only supported for tags and params, not for 'metric' 'a'",
        ),
        (
            "foo.a = 'x'",
            "Invalid entity type 'foo'. Valid values are "
            "['metric', 'parameter', 'tag', 'attribute', 'dataset']",
        ),
        ("foo = 'x'", "Invalid attribute key 'foo' specified. Valid keys are '{"),
        (
            "dataset.size = 'x'",
            "Invalid dataset key 'size' specified. Valid keys are '{'context', 'digest', 'name'}'",
        ),
    ],
)
def test_run_filter__that_is_none__is_refused_in_mlflows_words(text: str, said: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        run_filter(text)
    assert refused.value.message.startswith(said)
    if "foo = " not in text:
        assert refused.value.message == said


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("start_time > 5", Comparison(STARTED, Operator.GE, 6 * MS)),
        ("start_time >= 5", Comparison(STARTED, Operator.GE, 5 * MS)),
        ("start_time < 5", Comparison(STARTED, Operator.LT, 5 * MS)),
        ("start_time <= 5", Comparison(STARTED, Operator.LT, 6 * MS)),
        (
            "created = 5",
            AllOf(
                (
                    Comparison(STARTED, Operator.GE, 5 * MS),
                    Comparison(STARTED, Operator.LT, 6 * MS),
                )
            ),
        ),
        (
            "start_time != 5",
            AnyOf(
                (
                    Comparison(STARTED, Operator.LT, 5 * MS),
                    Comparison(STARTED, Operator.GE, 6 * MS),
                )
            ),
        ),
    ],
)
def test_run_filter__of_milliseconds__asks_for_nanoseconds(text: str, found: object) -> None:
    assert run_filter(text) == found


@pytest.mark.parametrize("number", ["9" * 18, "9" * 400, "1e300", f"-{'9' * 30}"])
def test_run_filter__of_a_time_beyond_all__stays_within_64_bits(number: str) -> None:
    found = run_filter(f"start_time > {number}")
    assert isinstance(found, Comparison)
    assert isinstance(found.value, int)
    assert -(2**63) <= found.value < 2**63


def test_run_filter__of_the_users_tag__is_missing_without_a_user() -> None:
    user = Identifier(Subject.ATTRIBUTE, "user")
    nobody = Comparison(user, Operator.EQ, "")
    assert run_filter("tags.mlflow.user IS NULL") == nobody
    assert run_filter("tags.mlflow.user IS NOT NULL") == Not(nobody)
    assert run_filter("tags.`mlflow.user` != 'x'") == AllOf(
        (Comparison(user, Operator.NE, "x"), Not(nobody))
    )


ID = Order(Identifier(Subject.ATTRIBUTE, "id"))


def test_run_order__of_mlflows_names__orders_by_ours_then_by_start_and_id() -> None:
    started = Order(STARTED, descending=True)
    assert run_order([]) == (started, ID)
    assert run_order(["start_time DESC", "metrics.loss", "tags.`mlflow.runName`"]) == (
        started,
        Order(Identifier(Subject.METRIC, "loss")),
        Order(Identifier(Subject.ATTRIBUTE, "name")),
        ID,
    )
    assert run_order(["run_id DESC"]) == (
        Order(Identifier(Subject.ATTRIBUTE, "id"), descending=True),
        started,
    )


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["nothing"], "Invalid attribute key 'nothing' specified. Valid keys are '{"),
        (["metrics.loss up"], "Invalid ordering key in order_by clause 'metrics.loss up'."),
        (["metrics.loss, params.a"], "Invalid order_by clause 'metrics.loss, params.a'. Could"),
        (["1"], "Invalid order_by clause '1'. Could not be parsed."),
        (["metrics.a", "metrics.a DESC"], "`order_by` contains duplicate fields."),
    ],
)
def test_run_order__that_is_none__is_refused_in_mlflows_words(texts: list[str], said: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        run_order(texts)
    assert refused.value.message.startswith(said)
