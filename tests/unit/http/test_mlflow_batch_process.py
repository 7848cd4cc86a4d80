"""What the process that reads batches makes of them: the same as the server itself."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.http.mlflow.batch_process import read_again, reading
from seafloor.http.mlflow.logged import Label, LoggedBatch
from seafloor.stores.metrics.batch import batch_of_columns
from seafloor.stores.metrics.columns import columns_of

RUN = "0" * 31 + "1"
INT64 = st.integers(-(2**63), 2**63 - 1)
METRICS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(["loss", "a/b", "ünï"]),
            "value": st.floats(allow_nan=False, allow_infinity=False),
            "timestamp": st.integers(0, 2**40),
            "step": INT64,
        }
    ),
    min_size=1,
    max_size=60,
)


def body(**fields: Any) -> bytes:
    return json.dumps({"run_id": RUN, **fields}).encode()


def point(**fields: Any) -> dict[str, Any]:
    return {"key": "loss", "value": 0.5, "timestamp": 1_790_000_000_000, "step": 3, **fields}


@given(metrics=METRICS)
def test_reading__of_any_points__gives_what_the_server_would_write(
    metrics: list[dict[str, Any]],
) -> None:
    sent = body(metrics=metrics)
    read = read_again(reading(sent))
    assert read is not None
    here = msgspec.json.decode(sent, type=LoggedBatch)
    assert read.points == batch_of_columns(columns_of(here.metrics))
    assert read.metrics == len(metrics)
    assert (read.run_id, read.params, read.tags) == (RUN, [], [])


def test_reading__of_labels_beside_points__keeps_their_order_and_repeats() -> None:
    params = [{"key": "b", "value": "1"}, {"key": "a", "value": ""}, {"key": "b", "value": "2"}]
    read = read_again(reading(body(metrics=[point()], params=params, tags=params[:1])))
    assert read is not None
    assert read.params == [Label("b", "1"), Label("a", ""), Label("b", "2")]
    assert read.tags == [Label("b", "1")]


def test_reading__of_points_said_twice__counts_what_was_sent() -> None:
    read = read_again(reading(body(metrics=[point()] * 7)))
    assert read is not None
    assert (read.metrics, len(read.points)) == (7, 1)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[]",
        b'{"run_id": "\xff"}',
        body(),
        body(metrics=[]),
        body(metrics=[point(step=2**63)]),
        body(metrics=[point(value=True)]),
        body(metrics=[point(value="NaN")]),
        body(metrics=[point(key="k" * 251)]),
        body(metrics=[point(timestamp=-1)]),
        body(metrics=[point(model_id="m-1")]),
        b'{"run_id": ' + b"[" * 100_000,
    ],
    ids=lambda sent: sent[:60],
)
def test_reading__of_what_is_odd__leaves_it_to_the_server(sent: bytes) -> None:
    assert reading(sent) == b""
    assert read_again(b"") is None
