"""Native batches of points by raw HTTP loops, beside MLflow's JSON and a server that reads only."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec
from tests.bench import null_servers
from tests.bench.bench_start import running, seafloor
from tests.bench.bench_tracking import BATCHES, CLIENTS, KEYS, NOW_MS, POINTS, batches, new_run
from tests.bench.measuring import alternate, table
from tests.bench.raw_http import RawClient, seconds

from seafloor.wire.metric_batches import BatchIn

SIZES = (1_000, 5_000, 10_000)


def columns(client: RawClient, number: int, *, count: int, points: int) -> Sequence[bytes]:
    """Requests of many points each: ten series whose steps rise."""
    path = f"/api/v1/runs/{new_run(client)}/metrics/batches"
    made: list[bytes] = []
    for batch in range(count):
        places = range(batch * points, (batch + 1) * points)
        body = BatchIn(
            keys=[f"train/metric_{at}" for at in range(KEYS)],
            key=struct.pack(f"<{points}i", *(at % KEYS for at in places)),
            step=struct.pack(f"<{points}q", *(at // KEYS for at in places)),
            time_ms=struct.pack(f"<{points}q", *(NOW_MS + at for at in places)),
            value=struct.pack(f"<{points}d", *(1 / (1 + at + number) for at in places)),
            writer=f"client-{number}",
            sequence=batch + 1,
        )
        made.append(client.made("POST", path, msgspec.msgpack.encode(body), "application/msgpack"))
    return made


def run() -> None:
    """Print one table for each size of a batch."""
    with ExitStack() as stack:
        store = stack.enter_context(running(seafloor))[0]
        null = stack.enter_context(running(null_servers.bare))[0]

        def native(url: str, points: int) -> float:
            count = max(4, BATCHES * POINTS // points)
            taken = seconds(
                url,
                lambda client, number: columns(client, number, count=count, points=points),
                clients=CLIENTS,
            )
            return CLIENTS * count * points / taken

        def in_json() -> float:
            taken = seconds(
                store,
                lambda client, number: batches(client, number, count=BATCHES),
                clients=CLIENTS,
            )
            return CLIENTS * BATCHES * POINTS / taken

        for points in SIZES:
            found = alternate(
                {
                    f"log-batch, {POINTS:,} in JSON": in_json,
                    "native": lambda points=points: native(store, points),
                    "null server": lambda points=points: native(null, points),
                },
                rounds=2,
            )
            title = f"batches of {points:,} points by {CLIENTS} clients"
            table(title, "points/s", found, base=f"log-batch, {POINTS:,} in JSON")
