"""The MLflow tracking API by raw HTTP loops, beside ``mlflow server`` and a null server.

The peer runs as its users start it by default and at its best (one worker, job runner off). The
null server only reads the body: its distance is what remains to be gained. Printed are rates;
``SEAFLOOR_BENCH_BATCHES`` makes the runs of ours longer or shorter.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.bench_start import peer_best, peer_default, running, seafloor
from tests.bench.measuring import alternate, table
from tests.bench.raw_http import RawClient, seconds

POINTS = 1_000
KEYS = 10
CLIENTS = 4
BATCHES = int(os.environ.get("SEAFLOOR_BENCH_BATCHES", 300))
NOW_MS = 1_790_000_000_000
API = "/api/2.0/mlflow"
_PEER_SHARE = 40
"""A peer gets so many times fewer requests: it is that much slower, and rates are compared."""
_NULL = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2"), (b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
"""


def null_server(port: int, folder: Path) -> list[str]:
    """The command of a server that reads a body and answers ``{}``."""
    return [sys.executable, "-c", _NULL, str(port)]


SIDES = {
    "seafloor": (seafloor, 1),
    "mlflow, default": (peer_default, _PEER_SHARE),
    "mlflow, one worker": (peer_best, _PEER_SHARE),
    "null server": (null_server, 1),
}


def new_run(client: RawClient) -> str:
    """Create a run; a null server has none, and any id will do."""
    found = client.ask("POST", f"{API}/runs/create", {"experiment_id": "0", "start_time": NOW_MS})
    run = found.get("run")
    return run["info"]["run_id"] if isinstance(run, dict) else "0" * 32


def batches(client: RawClient, number: int, *, count: int) -> Sequence[bytes]:
    """Requests of 1,000 points each: ten series whose steps rise."""
    run = new_run(client)
    made: list[bytes] = []
    for batch in range(count):
        metrics = [
            {
                "key": f"train/metric_{at % KEYS}",
                "value": 1.0 / (1 + batch * POINTS + at + number),
                "timestamp": NOW_MS + batch * POINTS + at,
                "step": batch * (POINTS // KEYS) + at // KEYS,
            }
            for at in range(POINTS)
        ]
        body = json.dumps({"run_id": run, "metrics": metrics}).encode()
        made.append(client.made("POST", f"{API}/runs/log-batch", body))
    return made


def singles(client: RawClient, number: int, *, count: int) -> Sequence[bytes]:
    """Requests of one point each."""
    run = new_run(client)
    return [
        client.made(
            "POST",
            f"{API}/runs/log-metric",
            json.dumps(
                {
                    "run_id": run,
                    "key": "loss",
                    "value": number + 1 / (at + 1),
                    "timestamp": NOW_MS + at,
                    "step": at,
                }
            ).encode(),
        )
        for at in range(count)
    ]


def _runs_per_s(url: str, count: int) -> float:
    """Runs created with 10 params, 10 tags and 10 metrics, one after the other."""
    labels = [{"key": f"name_{at}", "value": f"value {at}"} for at in range(10)]
    metrics = [
        {"key": f"metric_{at}", "value": at / 7, "timestamp": NOW_MS, "step": 0} for at in range(10)
    ]
    with RawClient(url) as client:
        begun = time.perf_counter()
        for _ in range(count):
            body = {"run_id": new_run(client), "params": labels, "tags": labels, "metrics": metrics}
            client.ask("POST", f"{API}/runs/log-batch", body)
        return count / (time.perf_counter() - begun)


def run() -> None:
    """Print every table."""

    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(running(command))[0] for name, (command, _) in SIDES.items()
        }

        def batch_rate(name: str) -> float:
            count = max(4, BATCHES // SIDES[name][1])
            taken = seconds(
                urls[name],
                lambda client, number: batches(client, number, count=count),
                clients=CLIENTS,
            )
            return CLIENTS * count * POINTS / taken

        def single_rate(name: str) -> float:
            count = max(40, 4 * BATCHES // SIDES[name][1])
            taken = seconds(
                urls[name], lambda client, number: singles(client, number, count=count), clients=1
            )
            return count / taken

        def run_rate(name: str) -> float:
            return _runs_per_s(urls[name], max(10, BATCHES // SIDES[name][1]))

        measures = (
            (f"log-batch of {POINTS:,} points by {CLIENTS} clients", "points/s", batch_rate),
            ("log-metric, one after the other", "calls/s", single_rate),
            ("runs created with 10 params, 10 tags, 10 metrics", "runs/s", run_rate),
        )
        for title, unit, rate in measures:
            sides = {name: lambda name=name, rate=rate: rate(name) for name in SIDES}
            if rate is run_rate:
                del sides["null server"]
            found = alternate(sides, rounds=2)
            table(title, unit, found, base="mlflow, one worker")
