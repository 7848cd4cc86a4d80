"""A request that is refused leaves nothing: the run before and after it is the same."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from http_world import Answer, ask
from live_server import LiveServer

API = "/api/2.0/mlflow"
T = 1_700_000_000_000
NOBODYS_MODEL = f"m-{'0' * 32}"
METRIC = {"key": "m", "value": 1.5, "timestamp": T, "step": 1}
PARAM = {"key": "p", "value": "1"}
NAME = "mlflow.runName"
DATASET = {"name": "d", "digest": "x", "source_type": "local", "source": "s"}


@pytest.fixture
def run(shared_server: LiveServer) -> Run:
    return Run(shared_server.url)


class Run:
    """A run, everything of it that a client can read, and requests about it."""

    def __init__(self, url: str) -> None:
        self.url = url
        made = self.post("/experiments/create", {"name": uuid.uuid4().hex}, named=False)
        new = {"experiment_id": made.json["experiment_id"], "run_name": "before", "start_time": T}
        self.id: str = self.post("/runs/create", new, named=False).json["run"]["info"]["run_id"]
        assert self.post("/runs/log-parameter", {"key": "kept", "value": "1"}).status == 200

    def post(self, path: str, body: dict[str, Any], *, named: bool = True) -> Answer:
        sent = {"run_id": self.id, **body} if named else body
        return ask(self.url, "POST", API + path, body=sent)

    def seen(self) -> Any:
        history = ask(self.url, "GET", f"{API}/metrics/get-history?run_id={self.id}&metric_key=m")
        return ask(self.url, "GET", f"{API}/runs/get?run_id={self.id}").json, history.json


def _tag(key: str, value: str) -> dict[str, str]:
    return {"key": key, "value": value}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs/update", {"run_name": "after", "status": "NOPE"}),
        ("/runs/update", {"run_name": "after", "status": "FINISHED", "end_time": -1}),
        ("/runs/update", {"run_name": "after", "status": "FINISHED", "end_time": "soon"}),
        ("/runs/update", {"run_name": "x" * 300, "status": "FINISHED"}),
        ("/runs/log-metric", METRIC | {"model_id": NOBODYS_MODEL}),
        ("/runs/log-metric", METRIC | {"model_id": "odd"}),
        ("/runs/log-batch", {"params": [PARAM], "metrics": [METRIC | {"model_id": NOBODYS_MODEL}]}),
        ("/runs/log-batch", {"metrics": [METRIC], "tags": [_tag(NAME, "x" * 300)]}),
        ("/runs/log-batch", {"metrics": [METRIC], "tags": [_tag(NAME, " a")]}),
        ("/runs/log-batch", {"params": [PARAM], "tags": [_tag(NAME, "a\tb"), _tag("t", "1")]}),
        (
            "/runs/log-batch",
            {"params": [PARAM], "metrics": [METRIC], "tags": [_tag("seafloor.createdBy", "me")]},
        ),
        ("/runs/log-batch", {"params": [_tag("kept", "2")], "metrics": [METRIC]}),
        ("/runs/log-batch", {"params": [PARAM], "metrics": [METRIC | {"timestamp": 2**62}]}),
        ("/runs/log-batch", {"params": [PARAM], "metrics": [METRIC | {"step": 2**63}]}),
        ("/runs/set-tag", _tag(NAME, "x" * 300)),
        ("/runs/log-inputs", {"datasets": [{"dataset": DATASET, "tags": [_tag("a", "1")] * 2}]}),
        (
            "/runs/log-inputs",
            {"datasets": [{"dataset": DATASET}, {"dataset": {"name": "x" * 501}}]},
        ),
        ("/runs/outputs", {"models": [{"model_id": NOBODYS_MODEL, "step": "x"}]}),
    ],
)
def test_request__refused__leaves_the_run_as_it_was(
    run: Run, path: str, body: dict[str, Any]
) -> None:
    before = run.seen()
    answer = run.post(path, body)
    assert 400 <= answer.status < 500, answer
    assert run.seen() == before
