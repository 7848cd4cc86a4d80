"""``/api/v1/runs/{run}/metrics``."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import pyarrow
import pyarrow.ipc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_world import Answer, check_envelope
from live_server import LiveServer
from seafloor.wire.metric_batches import BatchIn

Call = Callable[..., Answer]


def wire(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def test_append__repeated__counts_what_is_new(call: Call, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/metrics"
    points = [["loss", 0.5, step, 1000 + step] for step in range(5)]
    assert call("POST", path, {"points": points}).json == {
        "points_written": 5,
        "points_repeated": 0,
    }
    points.append(["acc", 1, 0, 1000])
    assert call("POST", path, {"points": points}).json == {
        "points_written": 1,
        "points_repeated": 5,
    }
    assert call("POST", path, {"points": []}).json["points_written"] == 0


def test_append__of_nan_and_infinities__gives_them_back(call: Call, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/metrics"
    values = ["NaN", "Infinity", "-Infinity", -0.0, 5e-324, 1.7976931348623157e308]
    points = [["x", value, step, 1] for step, value in enumerate(values)]
    assert call("POST", path, {"points": points}).status == 200
    series = call("GET", f"{path}/series?key=x").json["points"]
    assert [value for _, _, value in series] == values
    assert str(series[3][2]) == "-0.0"
    summary = call("GET", path).json["items"]["x"]
    assert (summary["points"], summary["nans"]) == (6, 1)
    assert (summary["min"], summary["max"]) == ("-Infinity", "Infinity")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
def test_append__of_any_floats__gives_their_bits_back(
    shared_server: LiveServer, values: list[float]
) -> None:
    run = shared_server.post("/api/v1/runs", {"experiment": "floats"})["id"]
    points = [["f", wire(value), step, 1] for step, value in enumerate(values)]
    shared_server.post(f"/api/v1/runs/{run}/metrics", {"points": points})
    found = shared_server.get(f"/api/v1/runs/{run}/metrics/series?key=f")["points"]
    back = [float(value) for _, _, value in found]
    assert [_bits(value) for value in back] == [_bits(value) for value in values]


def _bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


def test_append__of_steps_that_go_back__keeps_them_in_order(call: Call, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/metrics"
    points = [["x", 1.0, 10, 5], ["x", 2.0, 3, 6], ["x", 3.0, -7, 7], ["x", 4.0, 10, 5]]
    call("POST", path, {"points": points})
    series = call("GET", f"{path}/series?key=x").json["points"]
    assert [step for step, _, _ in series] == [-7, 3, 10, 10]
    assert call("GET", path).json["items"]["x"]["last"] == 4.0


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (["a//b", 1, 1, 1], "cannot be a key"),
        (["x" * 251, 1, 1, 1], "at most 250"),
        (["", 1, 1, 1], "cannot be a key"),
        (["x", True, 1, 1], "must be a number, not true or false"),
        (["x", "nan", 1, 1], 'send a number, "NaN"'),
        (["x", None, 1, 1], "must be a number, not null"),
        (["x", 1, 1.5, 1], "must be a whole number"),
        (["x", 1, 2**63, 1], "at most"),
        (["x", 1, -(2**63) - 1, 1], "at least"),
        (["x", 1, 1, -1], "at least 0"),
        (["x", 1, 1, 2**62], "at most"),
        (["x", 1, 1], "at least length 4"),
        ("x", "must be a list"),
    ],
)
def test_append__of_a_point_that_is_none__writes_nothing(
    call: Call, run_id: str, point: Any, words: str
) -> None:
    path = f"/api/v1/runs/{run_id}/metrics"
    answer = call("POST", path, {"points": [["good", 1, 1, 1], point]})
    assert answer.status in (400, 413), answer
    assert words in answer.json["message"], answer.json
    assert call("GET", path).json == {"items": {}}


def test_append__at_the_bounds__is_kept(call: Call, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/metrics"
    points = [["x", 1, 2**63 - 1, 0], ["x", 2, -(2**63), 9_223_372_036_853]]
    assert call("POST", path, {"points": points}).status == 200
    assert [p[0] for p in call("GET", f"{path}/series?key=x").json["points"]] == [
        -(2**63),
        2**63 - 1,
    ]


def test_append__of_too_many_points__is_refused(call: Call, run_id: str) -> None:
    points = [["x", 1, step, 1] for step in range(50_001)]
    answer = call("POST", f"/api/v1/runs/{run_id}/metrics", {"points": points})
    check_envelope(answer, code="limit_exceeded", status=413)


def test_append__to_a_run_that_is_none__is_refused(call: Call) -> None:
    answer = call("POST", f"/api/v1/runs/{'0' * 32}/metrics", {"points": [["x", 1, 1, 1]]})
    check_envelope(answer, code="not_found", status=404)


def test_series__paged__gives_each_point_once(call: Call, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/metrics"
    call("POST", path, {"points": [["größe/x y", s * 0.5, s, s] for s in range(25)]})
    query = f"{path}/series?key={quote('größe/x y')}&limit=10"
    seen: list[Any] = []
    cursor = ""
    while True:
        page = call("GET", query + cursor).json
        seen += page["points"]
        if page["next"] is None:
            break
        cursor = f"&cursor={quote(page['next'])}"
    assert [step for step, _, _ in seen] == list(range(25))
    bad = call("GET", f"{path}/series?key=other&cursor=nonsense")
    check_envelope(bad, code="invalid_value", status=400)
    missing = check_envelope(call("GET", f"{path}/series"), code="invalid_value", status=400)
    assert missing["field"] == "key"


def test_chart__of_a_series__has_exact_extremes(call: Call, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/metrics"
    points: list[list[Any]] = [["x", math.sin(s / 50), s, s] for s in range(2000)]
    points[777][1] = 99.0
    points[888][1] = "NaN"
    call("POST", path, {"points": points})
    buckets = call("GET", f"{path}/chart?key=x&buckets=10").json["buckets"]
    assert len(buckets) == 10
    assert max(bucket[7] for bucket in buckets) == 99.0
    assert sum(bucket[8] for bucket in buckets) == 2000
    assert sum(bucket[9] for bucket in buckets) == 1
    part = call("GET", f"{path}/chart?key=x&buckets=10&step_min=100&step_max=199").json["buckets"]
    assert (part[0][0], part[-1][1]) == (100, 199)
    answer = call("GET", f"{path}/chart?key=x&step_min=2&step_max=1")
    check_envelope(answer, code="invalid_value", status=400)
    for query in ("buckets=0", "buckets=5001", f"step_min={2**63}", "step_max=null"):
        answer = call("GET", f"{path}/chart?key=x&{query}")
        check_envelope(answer, code="invalid_value", status=400)


@pytest.fixture
def two_runs(call: Call) -> list[str]:
    """Two runs with a loss, a rate that is NaN at times, and an epoch every tenth step."""
    made: list[str] = []
    for number in range(2):
        run = call("POST", "/api/v1/runs", {"experiment": "http tests"}).json["id"]
        points: list[list[object]] = [
            ["loss", step / (number + 1), step, 10_000 + step * 7] for step in range(500)
        ]
        points += [["rate", "NaN" if step % 5 else 0.1, step, 9_000 - step] for step in range(100)]
        points += [["epoch", step // 10, step, 10_000 + step * 7] for step in range(5, 500, 10)]
        assert call("POST", f"/api/v1/runs/{run}/metrics", {"points": points}).status == 200
        made.append(run)
    return made


def test_charts__many_runs_and_keys__come_in_one_answer(call: Call, two_runs: list[str]) -> None:
    wanted = {"runs": two_runs, "keys": ["rate", "loss", "absent"], "buckets": 5}
    charts = call("POST", "/api/v1/metrics/charts", wanted).json["charts"]
    assert [(one["run"], one["key"]) for one in charts] == [
        (run, key) for run in two_runs for key in ("rate", "loss")
    ]
    for one in charts:
        alone = call("GET", f"/api/v1/runs/{one['run']}/metrics/chart?key={one['key']}&buckets=5")
        assert one["buckets"] == alone.json["buckets"]
        assert sum(bucket[9] for bucket in one["buckets"]) == (80 if one["key"] == "rate" else 0)


def test_chart__over_another_metric__has_its_values_at_the_ends_of_buckets(
    call: Call, two_runs: list[str]
) -> None:
    path = f"/api/v1/runs/{two_runs[0]}/metrics/chart?key=loss&buckets=5"
    found = call("GET", f"{path}&x_key=epoch").json
    assert found["x"] == [[None, 9], [9, 19], [19, 29], [29, 39], [39, 49]]
    assert found["buckets"] == call("GET", path).json["buckets"]
    assert call("GET", f"{path}&x_key=absent").json["x"] == [[None, None]] * 5


def test_chart__of_an_attempt_over_another_metric__has_what_that_attempt_measured(
    call: Call, run_id: str
) -> None:
    """It began anew at step 5, where the epochs of the first attempt went on to 9."""
    path = f"/api/v1/runs/{run_id}/metrics"
    for attempt, steps in ((1, range(10)), (2, range(5, 8))):
        body = batch_of(
            attempt,
            [("loss", attempt * 1.0, step) for step in steps]
            + [("epoch", attempt * 100.0 + step, step) for step in steps],
        )
        assert call("POST", f"{path}/batches", body=body).status == 200
    chart = f"{path}/chart?key=loss&x_key=epoch&buckets=10"
    assert call("GET", f"{chart}&attempt=1").json["x"] == [[100.0 + at] * 2 for at in range(10)]
    assert call("GET", f"{chart}&attempt=2").json["x"] == [[200.0 + at] * 2 for at in (5, 6, 7)]


def batch_of(attempt: int, points: list[tuple[str, float, int]]) -> bytes:
    keys = list(dict.fromkeys(key for key, _, _ in points))
    count = len(points)
    return msgspec.msgpack.encode(
        BatchIn(
            keys=keys,
            key=struct.pack(f"<{count}i", *[keys.index(key) for key, _, _ in points]),
            step=struct.pack(f"<{count}q", *[step for _, _, step in points]),
            time_ms=struct.pack(f"<{count}q", *[1_000 + step for _, _, step in points]),
            value=struct.pack(f"<{count}d", *[value for _, value, _ in points]),
            attempt=attempt,
        )
    )


def test_chart__over_time__is_in_its_order_and_may_be_zoomed(
    call: Call, two_runs: list[str]
) -> None:
    path = f"/api/v1/runs/{two_runs[0]}/metrics/chart?key=rate&buckets=4"
    found = call("GET", f"{path}&x=time").json
    assert found["x"] == [[8_901, 8_925], [8_926, 8_950], [8_951, 8_975], [8_976, 9_000]]
    assert found["buckets"][0][0] == 99  # the greatest step is the earliest
    zoomed = call("GET", f"{path}&x=time&time_ms_min=8990&time_ms_max=8999").json["buckets"]
    assert sum(bucket[8] for bucket in zoomed) == 10
    began_ms = call("GET", f"/api/v1/runs/{two_runs[0]}").json["started_ns"] // 1_000_000
    relative = call("GET", f"{path}&x=relative_time").json["x"]
    assert [[begin + began_ms, end + began_ms] for begin, end in relative] == found["x"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"buckets": 0}, 400),
        ({"buckets": 5_001}, 400),
        ({"x": "epoch"}, 400),
        ({"x": "time", "x_key": "epoch"}, 400),
        ({"x_key": ""}, 400),
        ({"step_min": 2, "step_max": 1}, 400),
        ({"time_ms_min": 2, "time_ms_max": 1}, 400),
        ({"step_min": 2**63}, 400),
        ({"keys": ["a" * 251]}, 413),
        ({"keys": [f"k{number}" for number in range(101)], "buckets": 5_000}, 413),
        ({"keys": [f"k{number}" for number in range(20_001)], "buckets": 1}, 413),
        ({"runs": ["0" * 32]}, 404),
        ({"more": 1}, 400),
    ],
)
def test_charts__bad_input__is_refused(
    call: Call, run_id: str, change: dict[str, object], status: int
) -> None:
    answer = call("POST", "/api/v1/metrics/charts", {"runs": [run_id], "keys": ["loss"]} | change)
    codes = {400: "invalid_value", 404: "not_found", 413: "limit_exceeded"}
    check_envelope(answer, code=codes[status], status=status)


def test_table__of_runs__has_their_last_and_best_values(call: Call, two_runs: list[str]) -> None:
    found = call("POST", "/api/v1/metrics/table", {"runs": two_runs, "keys": ["loss", "absent"]})
    assert {run: list(row) for run, row in found.json["runs"].items()} == {
        run: ["loss"] for run in two_runs
    }
    assert [found.json["runs"][run]["loss"]["max"] for run in two_runs] == [499.0, 249.5]
    whole = call("POST", "/api/v1/metrics/table", {"runs": two_runs}).json["runs"]
    assert [list(whole[run]) for run in two_runs] == [["epoch", "loss", "rate"]] * 2
    assert call("POST", "/api/v1/metrics/table", {"runs": ["0" * 32]}).status == 404
    assert call("POST", "/api/v1/metrics/table", {"runs": ["x"] * 1_001}).status == 400


def test_arrow__of_a_series__has_every_point(call: Call, two_runs: list[str]) -> None:
    path = f"/api/v1/runs/{two_runs[0]}/metrics/arrow"
    answer = call("GET", f"{path}?key=rate")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pyarrow.ipc.open_stream(answer.body).read_all()
    assert table.schema.names == ["attempt", "step", "time_ms", "value"]
    assert table["step"].to_pylist() == list(range(100))
    assert table["time_ms"].to_pylist() == [9_000 - step for step in range(100)]
    assert [math.isnan(value) for value in table["value"].to_pylist()] == [
        step % 5 != 0 for step in range(100)
    ]
    part = pyarrow.ipc.open_stream(call("GET", f"{path}?key=rate&step_min=5&step_max=7").body)
    assert part.read_all()["step"].to_pylist() == [5, 6, 7]
    empty = pyarrow.ipc.open_stream(call("GET", f"{path}?key=absent").body).read_all()
    assert (empty.num_rows, empty.schema.names) == (0, table.schema.names)
    assert call("GET", f"/api/v1/runs/{'0' * 32}/metrics/arrow?key=a").status == 404
