"""Metadata on a PostgreSQL of another machine, half a millisecond away: what several clients get.

Each statement is a trip, and our server writes in one transaction at a time. Beside it is
``mlflow server`` at its best, with as many clients as its connections bear.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.bench.bench_start import peer_best, running, seafloor
from tests.bench.bench_tracking import on, run_rate, single_rate, singles
from tests.bench.far_database import far
from tests.bench.measuring import alternate, table
from tests.bench.raw_http import seconds
from tests.databases import fresh_database
from tests.services import postgresql

ROUND_TRIP_S = 0.0005
CLIENTS = (1, 8, 64)
PEER_CLIENTS = 8
ROUNDS = 2
CALLS = 60
_PEER_SHARE = 30


def _rate(url: str, clients: int, count: int) -> float:
    """Calls of log-metric a second, of clients with a run each."""
    taken = seconds(url, lambda client, at: singles(client, at, count=count), clients=clients)
    return clients * count / taken


def run() -> None:
    """Print the tables."""
    with ExitStack() as stack:
        server = stack.enter_context(postgresql.service())
        urls: dict[str, str] = {}
        for name, command, option in (
            ("seafloor", seafloor, "--metadata"),
            ("mlflow, one worker", peer_best, "--backend-store-uri"),
        ):
            database = stack.enter_context(fresh_database(server, migrated=False))
            there = stack.enter_context(far(database, round_trip_s=ROUND_TRIP_S))
            urls[name] = stack.enter_context(running(on(command, option, there)))[0]
        ours, peers = urls.values()
        calls = {
            f"seafloor, {clients} clients": lambda clients=clients: _rate(ours, clients, CALLS)
            for clients in CLIENTS
        }
        calls["mlflow, 1 client"] = lambda: single_rate(peers, _PEER_SHARE)
        calls[f"mlflow, {PEER_CLIENTS} clients"] = lambda: _rate(peers, PEER_CLIENTS, 10)
        table("log-metric", "calls/s", alternate(calls, rounds=ROUNDS), base="mlflow, 1 client")
        runs = {
            f"seafloor, {clients} clients": lambda clients=clients: run_rate(
                ours, _PEER_SHARE, clients=clients
            )
            for clients in CLIENTS
        }
        runs["mlflow, 1 client"] = lambda: run_rate(peers, _PEER_SHARE, clients=1)
        table(
            "runs created with 10 params, 10 tags, 10 metrics",
            "runs/s",
            alternate(runs, rounds=ROUNDS),
            base="mlflow, 1 client",
        )
