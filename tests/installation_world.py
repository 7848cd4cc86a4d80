"""A whole installation made by real requests, and all that can be seen of one."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from live_server import LiveServer

MLFLOW = "/api/2.0/mlflow"
T0_MS = 1_700_000_000_000
_AT_ONCE = 4

SNAPSHOTS = (b"a snapshot" * 500_000, b"")
ODD_PATHS = (
    "model.bin",
    "a/b/c.txt",
    "ab/x",
    "a-b/x",
    "with space/and#hash?.bin",
    "100%/+plus",
    "größe/模型/ω.bin",
    "empty",
)

# What a launched run does: it prints on both streams, also what is no text, logs by the SDK and
# by a SummaryWriter, and leaves files in its output folder.
SCRIPT = """
import os, sys
import seafloor
from tensorboardX import SummaryWriter

seafloor.start_run()
writer = SummaryWriter(os.environ["SEAFLOOR_EVENTS_DIR"])
with_words = SummaryWriter(os.path.join(os.environ["SEAFLOOR_EVENTS_DIR"], "validation"))
for number in range(400):
    print(f"line {number} größe")
    if number % 40 == 0:
        print("to stderr", number, file=sys.stderr, flush=True)
        sys.stdout.flush()
        sys.stdout.buffer.write(b"\\xff\\xfe no text\\r\\n")
        seafloor.log_metrics({"sdk": number / 7}, step=number)
        writer.add_scalar("tb", number / 3, number)
        with_words.add_scalar("accuracy", float("nan") if number == 80 else number, number)
writer.close()
with_words.add_text("words", "hello")
with_words.close()
with open(os.path.join(os.environ["SEAFLOOR_OUTPUT_DIR"], "result.txt"), "w") as stream:
    stream.write("done")
seafloor.end_run()
sys.exit(int(sys.argv[1]))
"""


def build(server: LiveServer, folder: Path) -> None:
    """Fill an installation with something of every kind, also deleted things."""
    server.post("/api/v1/projects", {"name": "vision"})
    script = folder / "train.py"
    script.write_text(SCRIPT)
    launched = [
        server.launch(["python3", str(script), code], run_name=f"exits {code}")
        for code in ("0", "3")
    ]
    tracked = [_tracked(server, number) for number in range(4)]
    _models(server, tracked[0])
    environment = server.post("/api/v1/environments", {"spec": {"name": "plain"}})
    assert environment["reference"] == "plain@1"
    _snapshot(server)
    deleted = server.post("/api/v1/experiments", {"name": "given up"})
    server.request("DELETE", f"/api/v1/experiments/{deleted['id']}")
    gone = server.post("/api/v1/runs", {"experiment": "tracked", "name": "gone"})
    server.request("DELETE", f"/api/v1/runs/{gone['id']}?purge=true")
    server.request("DELETE", f"/api/v1/runs/{tracked[3]}")
    for run in launched:
        server.wait_state(run["id"], "succeeded", "failed")
    server.post(f"/api/v1/runs/{launched[1]['id']}/attempts")
    server.wait_state(launched[1]["id"], "failed")
    assert len(server.get(f"/api/v1/runs/{launched[1]['id']}/attempts")["items"]) == 2


def _tracked(server: LiveServer, number: int) -> str:
    """A run of an outside client; the first one goes on."""
    run = server.post(
        "/api/v1/runs",
        {
            "experiment": "tracked",
            "name": f"tracked {number} ü",
            "params": {"lr": f"0.{number}", "empty": ""},
            "tags": {"kind": "odd", "note": 'quotes " and \n lines ' + "x" * 3000},
        },
    )
    path = f"/api/v1/runs/{run['id']}"
    values = [0.1, "NaN", "Infinity", "-Infinity", -0.0, 5e-324, 1.7976931348623157e308]
    for begin in range(0, 30, 10):
        points = [
            [key, values[(begin + step) % len(values)], begin + step, T0_MS + step]
            for step in range(10)
            for key in ("loss", "val/loss größe")
        ]
        server.post(f"{path}/metrics", {"points": points})
    for place in ODD_PATHS:
        content = b"" if place == "empty" else f"{number} {place}".encode() * (1 + number * 2000)
        put(server, run["id"], place, content)
    put(server, run["id"], "model.bin", b"replaced")
    put(server, run["id"], "removed.bin", b"removed")
    status, _ = server.request("DELETE", f"{path}/artifacts/removed.bin")
    assert status == 200
    if number:
        state = {"state": "succeeded"} if number < 3 else {"state": "failed"}
        status, answer = server.request("PATCH", path, state)
        assert status == 200, answer
    return run["id"]


def put(server: LiveServer, run_id: str, place: str, content: bytes) -> None:
    """Keep a file of a run."""
    status, answer = server.request(
        "PUT",
        f"/api/v1/runs/{run_id}/artifacts/{quote(place)}",
        content,
        headers={"X-Content-SHA256": hashlib.sha256(content).hexdigest()},
    )
    assert status in (200, 201), (place, status, answer)


def _models(server: LiveServer, run_id: str) -> None:
    """A logged model with a metric, a dataset that a run used, and an experiment with a tag."""
    experiment = server.get(f"/api/v1/runs/{run_id}")["experiment"]["id"]
    model = server.post(
        f"{MLFLOW}/logged-models",
        {"experiment_id": str(experiment), "name": "cnn", "source_run_id": run_id},
    )["model"]["info"]
    server.post(
        f"{MLFLOW}/runs/log-metric",
        {
            "run_id": run_id,
            "model_id": model["model_id"],
            "key": "accuracy",
            "value": 0.75,
            "timestamp": T0_MS,
            "step": 3,
        },
    )
    dataset = {"name": "digits", "digest": "abc", "source_type": "local", "source": "{}"}
    server.post(
        f"{MLFLOW}/runs/log-inputs",
        {"run_id": run_id, "datasets": [{"dataset": dataset, "tags": []}]},
    )
    tag = {"experiment_id": str(experiment), "key": "team", "value": "vision"}
    server.post(f"{MLFLOW}/experiments/set-experiment-tag", tag)


def _snapshot(server: LiveServer) -> None:
    for content in SNAPSHOTS:
        sha256 = hashlib.sha256(content).hexdigest()
        status, answer = server.request("PUT", f"/api/v1/snapshots/{sha256}", content)
        assert status in (200, 201), answer


def seen(server: LiveServer, *, snapshots: bool = True) -> dict[str, Any]:
    """All that a user can see of an installation, the times of files aside.

    Args:
        snapshots: Whether those of ``build`` are to be there.
    """
    runs = _all(server, "/api/v1/runs?deleted=all")
    experiments = _all(server, "/api/v1/experiments?deleted=all")
    ids = [str(experiment["id"]) for experiment in experiments]
    models = server.post(f"{MLFLOW}/logged-models/search", {"experiment_ids": ids})
    return {
        "projects": server.get("/api/v1/projects"),
        "experiments": experiments,
        "environments": server.get("/api/v1/environments"),
        "runs": _seen_runs(server, runs),
        "models": _without_places(models),
        "snapshots": [
            _bytes(server, f"/api/v1/snapshots/{hashlib.sha256(content).hexdigest()}")
            for content in (SNAPSHOTS if snapshots else ())
        ],
    }


def _seen_runs(server: LiveServer, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """All that can be seen of runs; some at once, for most of the time somebody waits."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        found = threads.map(lambda run: seen_run(server, run), runs)
        return {run["id"]: one for run, one in zip(runs, found, strict=True)}


def _all(server: LiveServer, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = server.get(f"{path}&limit=100{cursor}")
        items += page["items"]
        if not page.get("next"):
            return items
        cursor = f"&cursor={quote(page['next'])}"


def seen_run(server: LiveServer, run: dict[str, Any]) -> dict[str, Any]:
    """All that a user can see of a run."""
    path = f"/api/v1/runs/{run['id']}"
    metrics = server.get(f"{path}/metrics")
    attempts = server.get(f"{path}/attempts")
    numbers = [attempt["number"] for attempt in attempts["items"]] or [0]
    return {
        "run": _without_places(server.get(path)),
        "mlflow": _without_places(server.get(f"{MLFLOW}/runs/get?run_id={run['id']}")),
        "attempts": attempts,
        "events": server.get(f"{path}/events"),
        "metrics": metrics,
        "series": {
            key: server.get(f"{path}/metrics/series?key={quote(key, safe='')}&limit=50000")
            for key in metrics["items"]
        },
        "files": [_file(server, path, file) for file in _files(server, path)],
        "event_files": [
            {**file, "bytes": _bytes(server, _event_file(path, file))}
            for file in server.get(f"{path}/event-files")["items"]
        ],
        "lines": [server.log_lines(run["id"], attempt=number) for number in numbers],
        "printed": [_bytes(server, f"{path}/logs/raw?attempt={number}") for number in numbers],
    }


def _files(server: LiveServer, path: str) -> list[dict[str, Any]]:
    return _all(server, f"{path}/artifacts?recursive=true")


def _file(server: LiveServer, path: str, file: dict[str, Any]) -> dict[str, Any]:
    content = _bytes(server, f"{path}/artifacts/{quote(file['path'])}")
    assert content == file["sha256"], file
    return {key: value for key, value in file.items() if not key.startswith("created")}


def _event_file(path: str, file: dict[str, Any]) -> str:
    return f"{path}/event-files/{file['attempt']}/{quote(file['path'])}"


def _bytes(server: LiveServer, path: str) -> str:
    """The sha256 of what a path answers."""
    status, content = server.request("GET", path)
    assert status == 200, (path, status, content)
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    return hashlib.sha256(content).hexdigest()


def _without_places(value: Any) -> Any:
    """Leave out addresses, which each place has its own of, and how long ago a run began."""
    if isinstance(value, dict):
        odd = ("artifact_uri", "artifact_location", "url", "duration_s")
        return {key: _without_places(one) for key, one in value.items() if key not in odd}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    return value


def differences(
    found: Any, wanted: Any, where: str = "", *, may_have_more: bool = False
) -> list[str]:
    """Say where two things that were seen differ.

    Args:
        may_have_more: What was found may have fields that nobody wanted.
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [*wanted, *(key for key in found if key not in wanted and not may_have_more)]
        pairs = [(key, found.get(key, "(none)"), wanted.get(key, "(none)")) for key in keys]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = [(at, *both) for at, both in enumerate(zip(found, wanted, strict=True))]
    else:
        return [] if found == wanted else [f"{where}: {found!r:.300} is not {wanted!r:.300}"]
    return [
        said
        for at, one, other in pairs
        for said in differences(one, other, f"{where}/{at}", may_have_more=may_have_more)
    ]
