"""Values of MLflow's request bodies."""

from __future__ import annotations

import math

import pytest

from seafloor.domain.errors import InvalidValue, NotFound
from seafloor.http.mlflow.bodies import (
    KeyValue,
    experiment_id_of,
    float64,
    int64,
    pairs,
    run_id_of,
    time_ns,
)

RUN = "0123456789abcdef0123456789abcdef"


def test_int64__as_number_or_text__is_read() -> None:
    assert [int64(value, field="x") for value in (5, "5", -(2**63), str(2**63 - 1))] == [
        *(5, 5, -(2**63), 2**63 - 1),
    ]
    assert [int64(value, field="x") for value in (5.0, -1e3, "5.0", "1e3", " 5")] == [
        *(5, -1000, 5, 1000, 5),
    ]
    wrongs = ("", "x", "1.5", 2**63, "9" * 5000, 1.5, 1e300, 2.0**63, "1e400", "inf", "nan")
    for wrong in wrongs:
        with pytest.raises(InvalidValue) as refused:
            int64(wrong, field="step")
        assert refused.value.field == "step"
        # A sentence of MLflow and a part of the value.
        assert len(refused.value.message) < 250


def test_float64__as_number_or_text__is_read() -> None:
    values = (1.5, "1.5", " 2e3", "inf", "-Infinity", "1e999")
    assert [float64(value, field="x") for value in values] == [
        *(1.5, 1.5, 2000.0, math.inf, -math.inf, math.inf),
    ]
    assert math.isnan(float64("NaN", field="x"))
    for wrong in ("", "x", "nan", "-NaN", "1,5"):
        with pytest.raises(InvalidValue) as refused:
            float64(wrong, field="value")
        assert refused.value.field == "value"


def test_time_ns__of_milliseconds__fits_64_bits() -> None:
    assert time_ns("1700000000000", field="x") == 1_700_000_000_000_000_000
    for wrong in (-1, 2**63 - 1, "soon"):
        with pytest.raises(InvalidValue):
            time_ns(wrong, field="start_time")


def test_run_id_of__either_name__is_one() -> None:
    assert run_id_of(RUN) == run_id_of("", RUN) == RUN
    with pytest.raises(InvalidValue, match="Missing value for required parameter 'run_id'"):
        run_id_of("")
    with pytest.raises(NotFound, match="Run with id=nobody not found"):
        run_id_of("nobody")
    for wrong in ("../x", "a b", "-x", "x" * 300, "é" * 3):
        with pytest.raises(InvalidValue, match="run_id"):
            run_id_of(wrong)


def test_experiment_id_of__a_whole_number__is_one() -> None:
    assert (experiment_id_of("12"), experiment_id_of("-1")) == (12, -1)
    with pytest.raises(InvalidValue, match="Missing value for required parameter 'experiment_id'"):
        experiment_id_of("")
    for wrong in ("x", "--1", "1.0", "²", "9" * 19):
        with pytest.raises(InvalidValue, match="Experiment ID must be a valid integer"):
            experiment_id_of(wrong)


def test_pairs__with_a_key_twice__are_refused() -> None:
    assert pairs([KeyValue("a", "1"), KeyValue("b")], field="tags") == {"a": "1", "b": ""}
    with pytest.raises(InvalidValue, match="Duplicate keys are not allowed in 'params'"):
        pairs([KeyValue("a", "1"), KeyValue("a", "1")], field="params")
