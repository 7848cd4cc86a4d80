"""``/api/v1/runs/{run}/metrics/batches``: points as columns, with a writer and a number."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from http_world import Answer, ask, check_envelope
from live_server import LiveServer
from seafloor.domain.metrics import TIME_MS_MAX, BatchId, Point
from seafloor.wire.metric_batches import encode_batch

Call = Callable[..., Answer]
POINTS = [Point("loss", 0.5, 1, 1000), Point("acc", math.nan, 2, 1001), Point("loss", 0.25, 2, 7)]


@pytest.fixture
def path(run_id: str) -> str:
    return f"/api/v1/runs/{run_id}/metrics/batches"


def made(**change: Any) -> bytes:
    """A good batch with other fields; those that are ``...`` are left out."""
    fields = msgspec.msgpack.decode(encode_batch(POINTS, BatchId("w", 1))) | change
    return msgspec.msgpack.encode({key: one for key, one in fields.items() if one is not ...})


def int64s(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


def int32s(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}i", *numbers)


def written(answer: Answer) -> tuple[int, int]:
    assert answer.status == 200, answer
    return answer.json["points_written"], answer.json["points_repeated"]


def test_batch__of_columns__is_read_back(call: Call, run_id: str, path: str) -> None:
    assert written(call("POST", path, encode_batch(POINTS, BatchId("w", 1)))) == (3, 0)
    series = call("GET", f"/api/v1/runs/{run_id}/metrics/series?key=loss").json["points"]
    assert series == [[1, 1000, 0.5], [2, 7, 0.25]]
    series = call("GET", f"/api/v1/runs/{run_id}/metrics/series?key=acc").json["points"]
    assert series == [[2, 1001, "NaN"]]


def test_batch__sent_again__does_nothing(call: Call, run_id: str, path: str) -> None:
    for answer in [(3, 0), (0, 3), (0, 3)]:
        assert written(call("POST", path, encode_batch(POINTS, BatchId("w", 4)))) == answer
    more = [*POINTS, Point("loss", 9.0, 9, 9)]
    assert written(call("POST", path, encode_batch(more, BatchId("w", 9)))) == (1, 3)
    assert written(call("POST", path, encode_batch(more, BatchId("other", 9)))) == (0, 4)
    assert call("GET", f"/api/v1/runs/{run_id}/metrics").json["items"]["loss"]["points"] == 3


def test_batch__one_number_of_two_writers__is_a_conflict(call: Call, path: str) -> None:
    call("POST", path, encode_batch(POINTS, BatchId("w", 1)))
    other = call("POST", path, encode_batch(POINTS[:2], BatchId("w", 1)))
    assert check_envelope(other, code="conflict", status=409)["field"] == "sequence"


def test_batch__without_a_number__is_known_by_its_points(call: Call, path: str) -> None:
    assert written(call("POST", path, encode_batch(POINTS, None))) == (3, 0)
    assert written(call("POST", path, encode_batch(POINTS, None))) == (0, 3)


def test_batch__by_a_short_id__goes_the_frameworks_way(call: Call, run_id: str, path: str) -> None:
    short = path.replace(run_id, run_id[-12:])
    assert written(call("POST", short, encode_batch(POINTS, BatchId("w", 1)))) == (3, 0)
    assert written(call("POST", path, encode_batch(POINTS, BatchId("w", 1)))) == (0, 3)
    refused = [call("POST", at, made(sequence=0)) for at in (short, path)]
    told = [{**answer.json, "request_id": ""} for answer in refused]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"step": int64s(1, 2)}, "points"),
        ({"time_ms": int64s(1, 2, 3, 4)}, "points"),
        ({"value": b""}, "points"),
        ({"key": int32s(0)}, "points"),
        ({"step": b"1234567"}, "step"),
        ({"key": b"12345"}, "key"),
        ({"key": int32s(0, 1, 2)}, "points[2].key"),
        ({"key": int32s(0, -1, 0)}, "points[1].key"),
        ({"keys": ["loss", math.nan]}, None),
        ({"keys": ["loss", None]}, None),
        ({"keys": ["loss", b"acc"]}, None),
        ({"keys": ["loss", True]}, None),
        ({"keys": ["loss", "loss"]}, "keys"),
        ({"keys": ["loss", "k" * 251]}, "keys[1]"),
        ({"keys": ["loss", ""]}, "keys[1]"),
        ({"keys": ["loss", "a\x00b"]}, "keys[1]"),
        ({"keys": ["a", "b", "c", "d"]}, "keys"),
        ({"time_ms": int64s(0, -1, 0)}, "points[1].time_ms"),
        ({"time_ms": int64s(0, 0, TIME_MS_MAX + 1)}, "points[2].time_ms"),
        ({"time_ms": [0, 0, 0]}, None),
        ({"keys": [], "key": b"", "step": b"", "time_ms": b"", "value": b""}, "points"),
        ({"writer": ...}, "writer"),
        ({"sequence": None}, "sequence"),
        ({"writer": ""}, "writer"),
        ({"writer": "w" * 65}, "writer"),
        ({"writer": "a/b"}, "writer"),
        ({"writer": 1}, None),
        ({"sequence": 0}, "sequence"),
        ({"sequence": -1}, "sequence"),
        ({"sequence": 1 << 63}, None),
        ({"sequence": 1.5}, None),
        ({"sequence": True}, None),
        ({"attempt": -1}, None),
        ({"attempt": 1 << 40}, "attempt"),
        ({"value": ...}, None),
        ({"color": "red"}, None),
    ],
)
def test_batch__that_says_nothing__is_refused_whole(
    call: Call, run_id: str, path: str, change: dict[str, Any], field: str | None
) -> None:
    answer = call("POST", path, made(**change))
    assert check_envelope(answer, code="invalid_value", status=400).get("field") == field
    assert call("GET", f"/api/v1/runs/{run_id}/metrics").json["items"] == {}
    assert written(call("POST", path, made())) == (3, 0)


def test_batch__cut_off_anywhere__is_refused_whole(call: Call, run_id: str, path: str) -> None:
    body = made()
    for size in range(0, len(body), 3):
        check_envelope(call("POST", path, body[:size]), code="invalid_value", status=400)
    for other in (body + b"\x00", b"{}", b"\xc1", b"\x91" * 5000, b'{"points": []}'):
        check_envelope(call("POST", path, other), code="invalid_value", status=400)
    assert call("GET", f"/api/v1/runs/{run_id}/metrics").json["items"] == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_batch__damaged_anywhere__is_never_a_bug(shared_server: LiveServer, data: Any) -> None:
    body = bytearray(made())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    path = f"/api/v1/runs/{'0' * 32}/metrics/batches"
    assert ask(shared_server.url, "POST", path, body=bytes(body)).status in (400, 404)


def test_batch__of_an_attempt__is_kept_with_it_by_a_tracked_run(call: Call, path: str) -> None:
    assert written(call("POST", path, made(attempt=7))) == (3, 0)
    key = POINTS[0].key
    series = path.replace("batches", f"series?key={key}&attempt=")
    assert call("GET", f"{series}7").json["points"] != []
    assert call("GET", f"{series}0").json["points"] == []


def test_batch__too_large__is_refused(call: Call, path: str) -> None:
    many = [Point("x", 1.0, step, 0) for step in range(50_001)]
    check_envelope(call("POST", path, encode_batch(many, None)), code="limit_exceeded", status=413)
    assert written(call("POST", path, encode_batch(many[1:], None))) == (50_000, 0)
    huge = made(keys=["k" * (9 << 20), "acc"])
    check_envelope(call("POST", path, huge), code="limit_exceeded", status=413)


def test_batch__for_no_run_or_a_deleted_one__is_refused(call: Call, run_id: str, path: str) -> None:
    nobody = path.replace(run_id, "f" * 32)
    check_envelope(call("POST", nobody, made()), code="not_found", status=404)
    check_envelope(call("POST", nobody, made(attempt=0)), code="not_found", status=404)
    assert call("DELETE", f"/api/v1/runs/{run_id}").status in (200, 204)
    check_envelope(call("POST", path, made()), code="conflict", status=409)
    check_envelope(call("POST", path, made(attempt=0)), code="conflict", status=409)
    assert call("POST", f"/api/v1/runs/{run_id}/restore").status in (200, 201)
    assert written(call("POST", path, made(attempt=0))) == (3, 0)
