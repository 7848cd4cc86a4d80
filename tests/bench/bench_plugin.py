"""Single metrics logged by an unmodified script: through the plugin, and through mlflow's client.

Each side is a process with mlflow's client that calls ``mlflow.log_metric`` in a loop and ends its
run. The peer's server runs at its best (one worker, job runner off), on SQLite. *The client alone*
is the same loop with mlflow's store made to do nothing: what the client itself costs, whatever is
behind it. Two rates are told: while logging, and until the server has every point.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from tests.bench.bench_start import peer_best, running, seafloor
from tests.bench.measuring import alternate, table

from mlflow_world import plugin_python

POINTS = int(os.environ.get("SEAFLOOR_BENCH_POINTS", 10_000))
ROUNDS = 3
_PEER_SHARE = 20
"""The sides without the plugin log so many times fewer points: rates are compared."""
_LOOP = """
import json, sys, time
import mlflow
count, nothing = int(sys.argv[1]), sys.argv[2] == "nothing"
client = mlflow.MlflowClient()
with mlflow.start_run() as run:
    for step in range(20):
        mlflow.log_metric("warm", step, step=step)
    if nothing:
        from mlflow.store.tracking.rest_store import RestStore
        RestStore.log_metric = lambda self, run_id, metric: None
    begun = time.perf_counter()
    for step in range(count):
        mlflow.log_metric("loss", step * 0.5, step=step)
    logged = time.perf_counter() - begun
ended = time.perf_counter() - begun
if not nothing:
    assert len(client.get_metric_history(run.info.run_id, "loss")) == count
print("@" + json.dumps([count / logged, count / ended]))
"""


def _rates(uri: str, count: int, what: str = "") -> list[float]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SEAFLOOR_"))}
    with tempfile.TemporaryDirectory(prefix="seafloor-bench-") as home:
        done = subprocess.run(
            [str(plugin_python()), "-W", "ignore", "-c", _LOOP, str(count), what],
            capture_output=True,
            text=True,
            check=True,
            cwd=home,
            env={
                **kept,
                "MLFLOW_TRACKING_URI": uri,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "SEAFLOOR_HOME": str(Path(home) / "home"),
            },
        )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("@"))
    return json.loads(line[1:])


def run() -> None:
    """Print both tables."""
    with running(seafloor) as (ours, *_), running(peer_best) as (peer, *_):
        sides = {
            "plugin, seafloor": (f"seafloor+{ours}", POINTS, ""),
            "mlflow's client, seafloor": (ours, POINTS // _PEER_SHARE, ""),
            "mlflow's client, mlflow": (peer, POINTS // _PEER_SHARE, ""),
            "the client alone": (ours, POINTS, "nothing"),
        }
        until_all: dict[str, list[float]] = {name: [] for name in sides}

        def rate(name: str) -> float:
            logging, all_there = _rates(*sides[name])
            until_all[name].append(all_there)
            return logging

        found = alternate({name: lambda name=name: rate(name) for name in sides}, rounds=ROUNDS)
        table("mlflow.log_metric, while logging", "calls/s", found, base="mlflow's client, mlflow")
        arrived = {name: type(found[name])(tuple(until_all[name][1:])) for name in sides}
        table(
            "mlflow.log_metric, until the server has all and the run has ended",
            "calls/s",
            arrived,
            base="mlflow's client, mlflow",
        )
