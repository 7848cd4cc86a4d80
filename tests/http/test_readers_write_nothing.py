"""Whoever reads changes nothing: no row and no byte of the data folder."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from event_file import event_file
from http_world import ask
from live_server import LiveServer, wait_for
from seafloor.domain.media import Blob, Image, MediaRecord, Text
from seafloor.domain.metrics import Point
from seafloor.sdk.client import Client
from seafloor.stores.metrics.sealing import MetricSealLimits
from seafloor.wire.experiments import ExperimentCreate
from seafloor.wire.models import LoggedModelPut
from seafloor.wire.runs import RunCreate, RunUpdate
from untouched import everything_below

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
BLOB = f"{hashlib.sha256(PNG).hexdigest()}.png"
FILES = {"artifact_path": "folder/file.bin", "file_path": "events.out.tfevents.1", "attempt": "0"}
_PASSING = {"server.log", "server.json"}
"""Beside the database, which is compared row by row."""
ROWS_SEALED = MetricSealLimits().rows
"""The points of so many requests are sealed at once: those of fewer are half a minute later, when
something may be read."""


def rows_of(server: LiveServer, table: str) -> list[Any]:
    """What a table holds."""
    uri = f"file:{server.data}/seafloor.db?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        return database.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608  # of its own


def build(server: LiveServer, folder: Path) -> dict[str, str]:
    """A run with something of every kind, and the values of parameters of paths and queries."""
    client = Client(server.url, "")
    experiment = client.experiments.create(ExperimentCreate("read", "default", {"a": "b"}))
    run = client.runs.create(RunCreate(experiment="read", name="r", params={"lr": "1"}))
    points = [Point(key, step / 3, step, step) for key in ("loss", "acc") for step in range(200)]
    client.metrics.append(run.id, points)
    client.media.put_blob(run.id, Blob(BLOB.partition(".")[0], "png", len(PNG)).name, PNG)
    image = MediaRecord("picture", 1, 2, Image(), Blob(BLOB.partition(".")[0], "png", len(PNG)))
    client.media.append(run.id, [image, MediaRecord("words", 0, 0, Text("said"))])
    file = folder / "file.bin"
    file.write_bytes(b"content")
    client.artifacts.put(run.id, FILES["artifact_path"], file)
    events = event_file([(0, "scalar", 0.5)])
    client.artifacts.append_event_file(run.id, FILES["file_path"], offset=0, data=events)
    model_id = f"m-{'a' * 32}"
    client.models.put(
        model_id,
        LoggedModelPut(
            experiment_id=experiment.id, name="m", created_ns=1, source_run_id=run.id, params={}
        ),
    )
    wait_for(lambda: "scalar" in client.metrics.list(run.id).items, what="the scalar")
    for step in range(ROWS_SEALED):
        client.metrics.append(run.id, [Point("loss", step / 3, 200 + step, step)])
    wait_for(lambda: not rows_of(server, "metric_journal"), what="the points to be sealed")
    client.runs.update(run.id, RunUpdate(state="succeeded"))
    ids = {"run_id": run.id, "experiment_id": str(experiment.id), "model_id": model_id}
    return {**ids, **FILES, "run": run.id, "blob": BLOB, "key": "loss", "name": "none"}


def reads(known: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Every GET of the API, where its parameters name something, and what reads by POST."""
    document = json.loads((Path(__file__).parent / "openapi.json").read_bytes())
    found: list[tuple[str, str, Any]] = []
    for path, methods in document["paths"].items():
        if "get" not in methods or path.endswith("/follow"):  # which goes on
            continue
        asked = [one for one in methods["get"].get("parameters", ()) if one.get("required")]
        query = "&".join(
            f"{one['name']}={quote(known[one['name']])}"
            for one in asked
            if one["in"] == "query" and one["name"] in known
        )
        places = [one["name"] for one in asked if one["in"] == "path"]
        made = path.format(**{name: known.get(name, "0" * 64) for name in places})
        found.append(("GET", f"{made}?{query}", None))
    run_id, experiment_id = known["run_id"], known["experiment_id"]
    mlflow = "/api/2.0/mlflow"
    history = f"metric_key=loss&run_id={run_id}"
    everything = {"experiment_ids": [experiment_id], "max_results": 100}
    return [
        *found,
        ("GET", f"/api/v1/runs/{run_id}/metrics/chart?key=loss&x_key=acc&buckets=7", None),
        ("GET", "/api/v1/runs?deleted=all&filter=metrics.loss%20%3E%200", None),
        ("GET", "/metrics", None),
        ("GET", "/", None),
        ("GET", "/api/openapi.json", None),
        ("POST", "/api/v1/metrics/charts", {"runs": [run_id], "keys": ["loss", "acc"]}),
        ("POST", "/api/v1/metrics/table", {"runs": [run_id]}),
        ("GET", f"{mlflow}/runs/get?run_id={run_id}", None),
        ("GET", f"{mlflow}/metrics/get-history?{history}", None),
        ("GET", f"{mlflow}/metrics/get-history-bulk?{history}", None),
        (
            "GET",
            f"{mlflow}/metrics/get-history-bulk-interval?metric_key=loss&run_ids={run_id}",
            None,
        ),
        ("GET", f"{mlflow}/artifacts/list?run_id={run_id}", None),
        ("GET", f"{mlflow}/experiments/get-by-name?experiment_name=read", None),
        ("POST", f"{mlflow}/experiments/search", {"max_results": 10}),
        ("POST", f"{mlflow}/runs/search", everything),
        ("POST", f"{mlflow}/logged-models/search", everything),
    ]


def held(server: LiveServer) -> dict[str, Any]:
    """Every row but those of leases, which an idle server renews, and every file by its digest."""
    made: dict[str, Any] = {}
    with sqlite3.connect(f"file:{server.data}/seafloor.db?mode=ro", uri=True) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if "lease" not in table:
                rows = database.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # of its own
                made[table] = rows.fetchall()
    database.close()
    for path in everything_below(server.data):
        if path.is_file() and path.name not in _PASSING and "seafloor.db" not in path.name:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            made[str(path.relative_to(server.data))] = (path.stat().st_mtime_ns, digest)
    return made


def test_reads__of_everything__change_nothing(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    server = make_server()
    known = build(server, tmp_path)
    before = held(server)
    found: dict[str, int] = {}
    for method, path, body in reads(known):
        answer = ask(server.url, method, path, body=body)
        assert answer.status in (200, 400, 404), (method, path, answer)
        found[f"{method} {path}"] = answer.status
    after = held(server)
    assert {name for name in before | after if before.get(name) != after.get(name)} == set()
    read = [path for path, status in found.items() if status == 200]
    assert len(read) >= 40, found
