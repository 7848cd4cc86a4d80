"""All that a server answers on MLflow's routes about its runs, to compare two servers by."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

from http_world import ask

_API = "/api/2.0/mlflow"
_RUNS_PER_HISTORY = 25
_OWN = ("experiment_id", "artifact_uri")
"""What each server gives itself."""


def all_answers(url: str, names: set[str], *, files: bool = True) -> dict[str, Any]:
    """Everything about the experiments of some names: they, their runs, points, models, files."""
    return {
        found["name"]: {
            "lifecycle": found["lifecycle_stage"],
            "created": found["creation_time"],
            "tags": _pairs(found.get("tags", [])),
            "runs": dict(_runs(url, found["experiment_id"], files=files)),
            "models": dict(_models(url, found["experiment_id"], files=files)),
            "traces": dict(_traces(url, found["experiment_id"], files=files)),
            "links": _links(url, found["experiment_id"]),
        }
        for found in _post(url, "/experiments/search", max_results=1000, view_type="ALL")[
            "experiments"
        ]
        if found["name"] in names
    }


def _runs(url: str, experiment_id: str, *, files: bool) -> Iterator[tuple[str, Any]]:
    runs: list[dict[str, Any]] = []
    token = ""
    while True:
        page = _post(
            url,
            "/runs/search",
            experiment_ids=[experiment_id],
            run_view_type="ALL",
            max_results=1000,
            page_token=token,
        )
        runs += page.get("runs", [])
        token = page.get("next_page_token", "")
        if not token:
            break
    for at in range(0, len(runs), _RUNS_PER_HISTORY):
        some = runs[at : at + _RUNS_PER_HISTORY]
        points = _points(url, some)
        for run in some:
            yield run["info"]["run_id"], _run(url, run, points, files=files)


def _run(
    url: str, run: dict[str, Any], points: dict[str, list[Any]], *, files: bool
) -> dict[str, Any]:
    run_id = run["info"]["run_id"]
    data = run["data"]
    found = ask(url, "GET", f"{_API}/runs/get?run_id={run_id}")  # a search tells of no models used
    assert found.status == 200, found
    run = found.json["run"]
    inputs, outputs = run.get("inputs", {}), run.get("outputs", {})
    return {
        "info": {key: value for key, value in run["info"].items() if key not in _OWN},
        "params": _pairs(data.get("params", [])),
        "tags": _pairs(data.get("tags", [])),
        "latest": sorted(_point(metric) for metric in data.get("metrics", [])),
        "points": points.get(run_id, []),
        "datasets": sorted(json.dumps(_bare(d)) for d in inputs.get("dataset_inputs", [])),
        "models used": [use["model_id"] for use in inputs.get("model_inputs", [])],
        "models made": [
            (use["model_id"], use.get("step", 0)) for use in outputs.get("model_outputs", [])
        ],
        "files": dict(_files(url, run["info"]["artifact_uri"])) if files else {},
    }


def _points(url: str, runs: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Every point of every key, in one order for both: they differ there and say so."""
    keys = {metric["key"] for run in runs for metric in run["data"].get("metrics", [])}
    found: dict[str, list[Any]] = {}
    for key in keys:
        query = [("run_id", run["info"]["run_id"]) for run in runs]
        query += [("metric_key", key), ("max_results", "25000")]
        path = f"/ajax-api/2.0/mlflow/metrics/get-history-bulk?{urllib.parse.urlencode(query)}"
        answer = ask(url, "GET", path)
        assert answer.status == 200, answer
        metrics = answer.json.get("metrics", [])
        assert len(metrics) < 25_000
        for metric in metrics:
            found.setdefault(metric["run_id"], []).append(_point(metric))
    return {run_id: sorted(points) for run_id, points in found.items()}


def _models(url: str, experiment_id: str, *, files: bool) -> Iterator[tuple[str, Any]]:
    token = ""
    while True:
        more = {"page_token": token} if token else {}
        page = _post(
            url, "/logged-models/search", experiment_ids=[experiment_id], max_results=50, **more
        )
        for model in page.get("models", []):
            info = model["info"]
            yield (
                info["model_id"],
                {
                    "info": [
                        info.get(key) for key in ("name", "status", "model_type", "source_run_id")
                    ],
                    "created": info["creation_timestamp_ms"],
                    "tags": _pairs(info.get("tags", [])),
                    "params": _pairs(model["data"].get("params", [])),
                    "metrics": sorted(_point(m) for m in model["data"].get("metrics", [])),
                    "files": dict(_files(url, info["artifact_uri"])) if files else {},
                },
            )
        token = page.get("next_page_token", "")
        if not token:
            return


def _search_traces(url: str, experiment_id: str, wanted: str = "") -> Iterator[dict[str, Any]]:
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
    token = ""
    while True:
        body = {"locations": [place], "filter": wanted, "max_results": 100}
        more = {"page_token": token} if token else {}
        answer = ask(url, "POST", "/api/3.0/mlflow/traces/search", body={**body, **more})
        assert answer.status == 200, answer
        yield from answer.json.get("traces", [])
        token = answer.json.get("next_page_token", "")
        if not token:
            return


def _traces(url: str, experiment_id: str, *, files: bool) -> Iterator[tuple[str, Any]]:
    for info in _search_traces(url, experiment_id):
        trace_id = info["trace_id"]
        place = info["tags"].pop("mlflow.artifactLocation")
        info.pop("trace_location")
        assessments = {one["assessment_id"]: one for one in info.pop("assessments", [])}
        spans: dict[str, Any] = {}
        if info["tags"].get("mlflow.trace.spansLocation") == "TRACKING_STORE":
            answer = ask(url, "GET", f"/api/3.0/mlflow/traces/get?trace_id={trace_id}")
            assert answer.status == 200, answer
            spans = {one["span_id"]: one for one in answer.json["trace"]["spans"]}
        yield (
            trace_id,
            {
                "info": info,
                "assessments": assessments,
                "spans": spans,
                "files": dict(_files(url, place)) if files else {},
            },
        )


def _links(url: str, experiment_id: str) -> dict[str, list[str]]:
    """The traces of an experiment that are of a run of it, by run."""
    every = ask(
        url,
        "POST",
        f"{_API}/runs/search",
        body={"experiment_ids": [experiment_id], "run_view_type": "ALL", "max_results": 1000},
    )
    ids = [run["info"]["run_id"] for run in every.json.get("runs", [])]
    return {
        run_id: sorted(
            one["trace_id"] for one in _search_traces(url, experiment_id, f"run_id = '{run_id}'")
        )
        for run_id in ids
    }


def _files(url: str, root: str, folder: str = "") -> Iterator[tuple[str, str]]:
    base = root.removeprefix("mlflow-artifacts:/")
    path = urllib.parse.quote(f"{base}/{folder}".rstrip("/"), safe="")
    listed = ask(url, "GET", f"/api/2.0/mlflow-artifacts/artifacts?path={path}")
    assert listed.status == 200, listed
    for file in listed.json.get("files", []):
        name = f"{folder}/{file['path']}".lstrip("/")
        if file["is_dir"]:
            yield from _files(url, root, name)
            continue
        quoted = urllib.parse.quote(f"{base}/{name}")
        answer = ask(url, "GET", f"/api/2.0/mlflow-artifacts/artifacts/{quoted}")
        assert answer.status == 200, (name, answer.status)
        yield name, hashlib.sha256(answer.body).hexdigest()


def _point(metric: dict[str, Any]) -> tuple[Any, ...]:
    return (metric["key"], metric.get("step", 0), metric["timestamp"], str(float(metric["value"])))


def _pairs(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs}


def _bare(dataset_input: dict[str, Any]) -> dict[str, Any]:
    return {
        "tags": _pairs(dataset_input.get("tags", [])),
        **dict(sorted(dataset_input["dataset"].items())),
    }


def _post(url: str, path: str, **body: Any) -> Any:
    answer = ask(url, "POST", _API + path, body=body)
    assert answer.status == 200, answer
    return answer.json
