"""What runs used and produced, models brought from elsewhere, event files of tracked runs."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from event_file import event_file
from http_world import Answer
from live_server import LiveServer

Call = Callable[..., Answer]
DATASET = {"name": "digits", "digest": "d1", "source_type": "local", "source": "{}"}


def _model(run_id: str | None, **more: Any) -> dict[str, Any]:
    return {
        "experiment_id": 0,
        "name": "net",
        "created_ns": 5,
        "source_run_id": run_id,
        "params": {"depth": "3"},
        "tags": {"a": "b"},
        **more,
    }


def test_inputs__added_twice__are_there_once(call: Call, run_id: str) -> None:
    used = {"datasets": [DATASET], "models": ["m-1"], "outputs": [{"model_id": "m-2", "step": 7}]}
    for _ in range(2):
        answer = call("POST", f"/api/v1/runs/{run_id}/inputs", used)
        assert answer.status == 200, answer
    found = call("GET", f"/api/v1/runs/{run_id}/inputs").json
    assert found["models"] == ["m-1"]
    assert found["outputs"] == [{"model_id": "m-2", "step": 7}]
    assert [one["digest"] for one in found["datasets"]] == ["d1"]


def test_inputs__of_a_deleted_run__are_refused(call: Call, run_id: str) -> None:
    assert call("DELETE", f"/api/v1/runs/{run_id}").status == 200
    assert call("POST", f"/api/v1/runs/{run_id}/inputs", {"models": ["m-1"]}).status == 409
    assert call("GET", f"/api/v1/runs/{run_id}/inputs").json["models"] == []


def test_model__put_twice__is_one_with_its_id_and_time(call: Call, run_id: str) -> None:
    model_id = f"m-{secrets.token_hex(16)}"
    metric = {"key": "acc", "value": "NaN", "step": 1, "time_ms": 2, "run_id": run_id}
    for state in ("pending", "ready"):
        body = _model(run_id, state=state, metrics=[metric])
        answer = call("PUT", f"/api/v1/logged-models/{model_id}", body)
        assert answer.status == 200, answer
        assert answer.json["state"] == state
    (found,) = call("GET", f"/api/v1/runs/{run_id}/logged-models").json["items"]
    assert found["id"] == model_id
    assert found["created_ns"] == 5
    assert found["params"] == {"depth": "3"}
    assert [one["value"] for one in found["metrics"]] == ["NaN"]
    mlflow = call("GET", f"/api/2.0/mlflow/logged-models/{model_id}").json["model"]["info"]
    assert mlflow["status"] == "LOGGED_MODEL_READY"


def test_model__read_by_its_id__is_there_when_deleted_too(call: Call, run_id: str) -> None:
    model_id = f"m-{secrets.token_hex(16)}"
    assert call("GET", f"/api/v1/logged-models/{model_id}").status == 404
    assert call("PUT", f"/api/v1/logged-models/{model_id}", _model(run_id)).status == 200
    assert call("GET", f"/api/v1/logged-models/{model_id}").json["deleted_ns"] is None
    assert call("DELETE", f"/api/2.0/mlflow/logged-models/{model_id}").status == 200
    assert call("GET", f"/api/v1/logged-models/{model_id}").json["deleted_ns"] > 0


def test_model__of_another_run__is_refused(call: Call, run_id: str) -> None:
    model_id = f"m-{secrets.token_hex(16)}"
    assert call("PUT", f"/api/v1/logged-models/{model_id}", _model(run_id)).status == 200
    answer = call("PUT", f"/api/v1/logged-models/{model_id}", _model(None))
    assert answer.status == 409
    assert model_id in answer.json["message"]


def test_model__with_a_bad_id_or_key_or_run__is_refused(call: Call, run_id: str) -> None:
    path = f"/api/v1/logged-models/m-{secrets.token_hex(16)}"
    assert call("PUT", "/api/v1/logged-models/net", _model(None)).status == 400
    assert call("PUT", path, _model(None, params={"a//b": "c"})).status == 400
    assert call("PUT", path, _model("0" * 32)).status == 404
    assert call("PUT", path, _model("zz")).status == 400


def test_run__brought_from_elsewhere__keeps_its_times(call: Call) -> None:
    wanted = secrets.token_hex(16)
    body = {"experiment": "old", "id": wanted, "created_ns": 7, "started_ns": 8}
    assert call("POST", "/api/v1/runs", body).status == 201
    change = {"state": "failed", "ended_ns": 9}
    ended = call("PATCH", f"/api/v1/runs/{wanted}", change).json
    times = (ended["created_ns"], ended["started_ns"], ended["ended_ns"])
    assert times == (7, 8, 9)


def test_experiment__brought_from_elsewhere__keeps_its_time(call: Call) -> None:
    body = {"name": f"old-{secrets.token_hex(4)}", "created_ns": 7}
    made = call("POST", "/api/v1/experiments", body)
    assert made.status == 201, made
    assert made.json["created_ns"] == 7


def test_event_file__of_a_tracked_run__is_kept_and_read(call: Call, run_id: str) -> None:
    data = event_file([(3, "loss", 0.5)])
    path = f"/api/v1/runs/{run_id}/attempts/0/event-files?path=events.out.tfevents.1"
    assert call("POST", f"{path}&offset=0", data).json == {"next_offset": len(data)}
    assert call("POST", f"{path}&offset=0", data).json == {"next_offset": len(data)}
    assert call("PATCH", f"/api/v1/runs/{run_id}", {"state": "succeeded"}).status == 200
    (file,) = call("GET", f"/api/v1/runs/{run_id}/event-files").json["items"]
    assert (file["attempt"], file["scalars"], file["problem"]) == (0, 1, None)
    found = call("GET", f"/api/v1/runs/{run_id}/event-files/0/events.out.tfevents.1")
    assert found.body == data
    assert "loss" in call("GET", f"/api/v1/runs/{run_id}/metrics").json["items"]


def test_event_file__of_attempt_0_of_a_launched_run__is_refused(
    call: Call, shared_server: LiveServer
) -> None:
    launched = shared_server.launch("true")["id"]
    path = f"/api/v1/runs/{launched}/attempts/0/event-files?path=e&offset=0"
    assert call("POST", path, b"x").status == 404


def test_models_of_an_experiment__listed__in_pages_and_by_lifecycle(
    call: Call, run_id: str
) -> None:
    made = sorted(f"m-{secrets.token_hex(16)}" for _ in range(3))
    number = call("POST", "/api/v1/experiments", {"name": secrets.token_hex(8)}).json["id"]
    for model_id in made:
        body = {"experiment_id": number, "name": "net", "created_ns": 5}
        assert call("PUT", f"/api/v1/logged-models/{model_id}", body).status == 200
    assert call("DELETE", f"/api/2.0/mlflow/logged-models/{made[1]}").status == 200
    path = f"/api/v1/experiments/{number}/logged-models"
    page = call("GET", f"{path}?deleted=all&limit=2").json
    assert [one["id"] for one in page["items"]] == made[:2]
    page = call("GET", f"{path}?deleted=all&limit=2&cursor={page['next']}").json
    assert ([one["id"] for one in page["items"]], page["next"]) == (made[2:], None)
    for deleted, wanted in (("active", [made[0], made[2]]), ("deleted", [made[1]])):
        found = call("GET", f"{path}?deleted={deleted}").json["items"]
        assert [one["id"] for one in found] == wanted
    assert call("GET", "/api/v1/experiments/999999999/logged-models").status == 404
    for query in ("deleted=no", "limit=0", "limit=101"):
        assert call("GET", f"{path}?{query}").status == 400


def test_models_of_a_run__by_lifecycle__deleted_ones_too(call: Call, run_id: str) -> None:
    living, gone = (f"m-{secrets.token_hex(16)}" for _ in range(2))
    for model_id in (living, gone):
        assert call("PUT", f"/api/v1/logged-models/{model_id}", _model(run_id)).status == 200
    assert call("DELETE", f"/api/2.0/mlflow/logged-models/{gone}").status == 200
    for deleted, wanted in (("active", {living}), ("deleted", {gone}), ("all", {living, gone})):
        found = call("GET", f"/api/v1/runs/{run_id}/logged-models?deleted={deleted}").json["items"]
        assert {one["id"] for one in found} == wanted
