"""Searches over runs, from MLflow's names to ours."""

from __future__ import annotations

import pytest

from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import AllOf, AnyOf, Comparison, Identifier, Operator, Order, Subject
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
        ("tags.`mlflow.user` = 'x'", "user"),
        ("user_id = 'x'", "user"),
    ],
)
def test_run_filter__of_mlflows_names__asks_for_ours(text: str, key: str) -> None:
    found = run_filter(text)
    assert found == Comparison(Identifier(Subject.ATTRIBUTE, key), Operator.EQ, "x")


def test_run_filter__of_a_status__asks_for_all_of_its_states() -> None:
    found = run_filter("status = 'FAILED'")
    assert isinstance(found, Comparison)
    assert found.operator is Operator.IN
    assert set(found.value or ()) == {"failed", "lost"}  # type: ignore[call-overload]
    other = run_filter("attributes.status != 'running'")
    assert isinstance(other, Comparison)
    assert (other.operator, set(other.value or ())) == (  # type: ignore[call-overload]
        Operator.NOT_IN,
        {"running", "stopping"},
    )
    assert run_filter("status = 'NONE OF THEM'") is not None
    with pytest.raises(InvalidValue):
        run_filter("status LIKE 'F%'")
    assert set(STATUS_OF) == set(WorkloadState)


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


def test_run_order__of_mlflows_names__orders_by_ours() -> None:
    assert run_order(["start_time DESC", "metrics.loss", "tags.`mlflow.runName`"]) == (
        Order(STARTED, descending=True),
        Order(Identifier(Subject.METRIC, "loss")),
        Order(Identifier(Subject.ATTRIBUTE, "name")),
    )
    with pytest.raises(InvalidValue):
        run_order(["nothing"])
