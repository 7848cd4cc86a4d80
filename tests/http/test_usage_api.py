"""``/api/v1/runs/{run}/usage``, and the same on the command line.

What hurts users of others: https://github.com/clearml/clearml/issues/1381 (nobody can tell what
uses 350 GB), https://github.com/Netflix/metaflow/issues/530.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from client_process import Client
from http_world import Answer, check_envelope
from live_server import LiveServer

Call = Callable[..., Answer]


def test_usage__of_files_logs_and_a_model__is_what_they_take(call: Call, run_id: str) -> None:
    run = f"/api/v1/runs/{run_id}"
    usage = call("GET", f"{run}/usage").json
    assert (usage["id"], usage["size_bytes"]) == (run_id, 0)
    for name, size_bytes in (("a/one.bin", 1000), ("two.bin", 24)):
        assert call("PUT", f"{run}/artifacts/{name}", b"x" * size_bytes).status == 200
    events = f"{run}/attempts/0/event-files?path=tb/events.out&offset=0"
    assert call("POST", events, b"e" * 50).status == 200
    model = call(
        "POST",
        "/api/2.0/mlflow/logged-models",
        {"experiment_id": "0", "name": "cnn", "source_run_id": run_id},
    ).json["model"]["info"]["model_id"]
    weights = f"/api/2.0/mlflow-artifacts/artifacts/0/models/{model}/artifacts/weights"
    assert call("PUT", weights, b"w" * 300).status == 200

    usage = call("GET", f"{run}/usage").json
    assert usage["artifacts"] == {"files": 2, "size_bytes": 1024}
    assert usage["models"] == {"files": 1, "size_bytes": 300}
    assert usage["event_files"] == {"files": 1, "size_bytes": 50}
    assert usage["size_bytes"] == 1024 + 300 + 50

    # It takes all that until it is purged.
    assert call("DELETE", run).status == 200
    assert call("GET", f"{run}/usage").json == usage
    assert call("DELETE", f"{run}?purge=true").json["freed_bytes"] == usage["size_bytes"]
    check_envelope(call("GET", f"{run}/usage"), code="not_found", status=404)


def test_runs_usage__of_an_experiment__shows_the_largest_first(
    shared_server: LiveServer, call: Call, tmp_path: Path
) -> None:
    sizes = {"small": 10, "large": 5000, "removed": 700}
    for name, size_bytes in sizes.items():
        run = shared_server.post("/api/v1/runs", {"experiment": "usage", "name": name})["id"]
        assert call("PUT", f"/api/v1/runs/{run}/artifacts/f", b"x" * size_bytes).status == 200
    assert call("DELETE", f"/api/v1/runs/{run}").status == 200
    user = Client(tmp_path / "home", shared_server.url)
    done = user.cli("runs", "usage", "--experiment", "usage")
    assert done.returncode == 0, done.stderr
    shown = [name for line in done.stdout.splitlines() for name in sizes if name in line]
    assert shown == ["large", "removed", "small"]
    assert "5.6 KiB" in done.stderr
    found = user.json("runs", "usage", "--experiment", "usage")
    assert found["size_bytes"] == sum(sizes.values())
    assert [item["size_bytes"] for item in found["items"]] == [5000, 700, 10]
