"""The MLflow tracking API, beside ``mlflow server`` on SQLite and on PostgreSQL.

The peer runs as its users start it by default and at its best (one worker, job runner off). Raw
HTTP loops measure the servers: their clients send bytes made beforehand. mlflow's own client then
makes the same calls, and a server that stores nothing says how much of that is the client itself.

``SEAFLOOR_BENCH_BATCHES`` makes the runs of ours longer or shorter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import null_servers
from tests.bench.bench_start import peer_best, peer_default, peer_environment, running, seafloor
from tests.bench.measuring import Measured, alternate, table
from tests.bench.raw_http import RawClient, seconds, spans
from tests.databases import fresh_database
from tests.services import postgresql

POINTS = 1_000
KEYS = 10
CLIENTS = 4
ROUNDS = 2
BATCHES = int(os.environ.get("SEAFLOOR_BENCH_BATCHES", 300))
NOW_MS = 1_790_000_000_000
API = "/api/2.0/mlflow"
_PEER_SHARE = 40
"""A peer gets so many times fewer requests: it is that much slower, and rates are compared."""

Command = Callable[[int, Path], list[str]]
Rate = Callable[[str, int], float]
"""Given an address and by how much to shorten the work."""

BEST = "mlflow, one worker"
STORING: dict[str, Command] = {
    "seafloor": seafloor,
    "mlflow, default": peer_default,
    BEST: peer_best,
}
NULL: dict[str, Command] = {
    "ours, storing nothing": null_servers.ours,
    "null server": null_servers.bare,
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


def _batch_rate(url: str, share: int) -> float:
    count = max(4, BATCHES // share)
    taken = seconds(
        url, lambda client, number: batches(client, number, count=count), clients=CLIENTS
    )
    return CLIENTS * count * POINTS / taken


def single_rate(url: str, share: int) -> float:
    """Calls of log-metric a second, one after the other."""
    count = max(40, 4 * BATCHES // share)
    taken = seconds(url, lambda client, number: singles(client, number, count=count), clients=1)
    return count / taken


def run_rate(url: str, share: int, *, clients: int) -> float:
    """Runs created with 10 params, 10 tags and 10 metrics."""
    count = max(10, BATCHES // share)
    labels = [{"key": f"name_{at}", "value": f"value {at}"} for at in range(10)]
    metrics = [
        {"key": f"metric_{at}", "value": at / 7, "timestamp": NOW_MS, "step": 0} for at in range(10)
    ]

    def work(client: RawClient, _number: int) -> None:
        for _ in range(count):
            body = {"run_id": new_run(client), "params": labels, "tags": labels, "metrics": metrics}
            client.ask("POST", f"{API}/runs/log-batch", body)

    return clients * count / spans(url, lambda _client, _number: (), work, clients=clients)


RAW: tuple[tuple[str, str, Rate], ...] = (
    (f"log-batch of {POINTS:,} points by {CLIENTS} clients", "points/s", _batch_rate),
    ("log-metric, one after the other", "calls/s", single_rate),
    (
        "runs created with 10 params, 10 tags, 10 metrics, one after the other",
        "runs/s",
        lambda url, share: run_rate(url, share, clients=1),
    ),
    (
        f"the same by {CLIENTS} clients",
        "runs/s",
        lambda url, share: run_rate(url, share, clients=CLIENTS),
    ),
)

_CLIENT = """
import os, sys, time
os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"
from mlflow import MlflowClient
from mlflow.entities import Metric
url, run, what, count = *sys.argv[1:4], int(sys.argv[4])
client, now = MlflowClient(url), 1_790_000_000_000
def call(at):
    if what == "log_metric":
        client.log_metric(run, "loss", 1 / (at + 1), timestamp=now + at, step=at)
    else:
        steps = range(at * 100, at * 100 + 100)
        batch = [Metric(f"m{n}", n / 7, now, step) for step in steps for n in range(10)]
        client.log_batch(run, batch)
call(0)
begun = time.perf_counter()
for at in range(1, count + 1):
    call(at)
print(count / (time.perf_counter() - begun))
"""


def _client_rate(url: str, what: str, count: int) -> float:
    """Calls per second of mlflow's own client."""
    with RawClient(url) as client:
        run = new_run(client)
    python = str(peer_environment() / "bin/python")
    said = subprocess.run(
        [python, "-c", _CLIENT, url, run, what, str(count)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(said.stdout)


CLIENT: tuple[tuple[str, str, Rate], ...] = (
    (
        "mlflow's client: log_metric",
        "calls/s",
        lambda url, share: _client_rate(url, "log_metric", max(20, BATCHES // share)),
    ),
    (
        f"mlflow's client: log_batch of {POINTS:,}",
        "calls/s",
        lambda url, share: _client_rate(url, "log_batch", max(5, BATCHES // 10 // share)),
    ),
)


def _share(name: str) -> int:
    return _PEER_SHARE if name.startswith("mlflow") else 1


def _measure(sides: dict[str, Command], measures: Sequence[tuple[str, str, Rate]]) -> None:
    with ExitStack() as stack:
        urls = {name: stack.enter_context(running(command))[0] for name, command in sides.items()}
        for title, unit, rate in measures:
            taking = {
                name: lambda url=url, rate=rate, name=name: rate(url, _share(name))
                for name, url in urls.items()
                # One that stores nothing has no runs to create.
                if name not in NULL or unit != "runs/s"
            }
            found: dict[str, Measured] = alternate(taking, rounds=ROUNDS)
            table(title, unit, found, base=BEST)


def on(command: Command, option: str, url: str) -> Command:
    """The command of a server whose metadata are elsewhere."""
    return lambda port, folder: [*command(port, folder), option, url]


@contextmanager
def _on_postgresql() -> Iterator[dict[str, Command]]:
    """The storing servers, each on a database of its own of one PostgreSQL server."""
    with ExitStack() as stack:
        server = stack.enter_context(postgresql.service())
        made: dict[str, Command] = {}
        for name, command in STORING.items():
            url = stack.enter_context(fresh_database(server, migrated=False))
            peer = name.startswith("mlflow")
            made[name] = on(command, "--backend-store-uri" if peer else "--metadata", url)
        yield made


def run() -> None:
    """Print every table."""
    begun = time.perf_counter()
    print("-- SQLite")
    _measure({**STORING, **NULL}, (*RAW, *CLIENT))
    print("-- PostgreSQL")
    with _on_postgresql() as sides:
        _measure(sides, RAW)
    print(f"took {time.perf_counter() - begun:.0f} s", file=sys.stderr)
