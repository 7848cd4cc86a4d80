"""Does the rate of appends depend on how much is stored, and what does a point cost at rest?

Four clients send a realistic mix of losses, learning rates and counters, as native batches or, with
``SEAFLOOR_BENCH_ROUTE=mlflow``, as MLflow's client does. The rate is measured at the beginning and
again when ``SEAFLOOR_BENCH_POINTS`` (2 · 10⁷ unless told) are stored, and then how many bytes they
take once all are sealed.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
from tests.bench.bench_start import running, seafloor
from tests.bench.bench_tracking import API, new_run
from tests.bench.measuring import Measured, table
from tests.bench.raw_http import RawClient, seconds

from seafloor.wire.metric_batches import BatchIn

POINTS = int(os.environ.get("SEAFLOOR_BENCH_POINTS", 20_000_000))
CLIENTS = 4
ROUTE = os.environ.get("SEAFLOOR_BENCH_ROUTE", "native")
BATCH = {"native": 20_000, "mlflow": 1_000}[ROUTE]
KEYS = ("train/loss", "val/loss", "lr", "epoch", "samples", "train/acc", "grad_norm", "lr/head")
_LOOK_POINTS = 4_000_000
_WINDOWS = 3
_SEALED_WITHIN_S = 600.0


def mix(start: int, steps: int, seed: int) -> tuple[np.ndarray, ...]:
    """Columns key, step, time_ms and value of all keys at some steps.

    Losses, accuracies and norms are float32 with noise, as training gives them; rates are
    stepwise; counters rise.
    """
    random = np.random.default_rng(seed + start)
    step = np.arange(start, start + steps)
    decay = 2.0 / np.sqrt(1 + step / 100)
    values = [
        np.float32(decay * (1 + random.normal(0, 0.05, steps))),
        np.float32(decay * (1.1 + random.normal(0, 0.02, steps))),
        1e-3 * 0.5 ** (step // 10_000),
        step // 1_000,
        step * 256,
        np.float32(1 - decay / 3 + random.normal(0, 0.01, steps)),
        np.float32(np.abs(random.normal(1, 0.3, steps))),
        1e-4 * 0.5 ** (step // 10_000),
    ]
    time_ms = 1_790_000_000_000 + step * 50 + random.integers(0, 3, steps)
    return (
        np.tile(np.arange(len(KEYS), dtype=np.int32), steps),
        np.repeat(step, len(KEYS)),
        np.repeat(time_ms, len(KEYS)),
        np.stack([np.asarray(one, np.float64) for one in values], axis=1).ravel(),
    )


def batches(client: RawClient, number: int, *, run: str, start: int, count: int) -> Sequence[bytes]:
    """Requests of ``BATCH`` points each, from a step on."""
    steps = BATCH // len(KEYS)
    request = _native if ROUTE == "native" else _mlflow
    columns = [mix(start + batch * steps, steps, number) for batch in range(count)]
    return [request(client, run, each) for each in columns]


def _native(client: RawClient, run: str, columns: tuple[np.ndarray, ...]) -> bytes:
    body = BatchIn(list(KEYS), *(column.tobytes() for column in columns))
    path = f"/api/v1/runs/{run}/metrics/batches"
    return client.made("POST", path, msgspec.msgpack.encode(body), "application/msgpack")


def _mlflow(client: RawClient, run: str, columns: tuple[np.ndarray, ...]) -> bytes:
    rows = zip(*(column.tolist() for column in columns), strict=True)
    metrics = [
        {"key": KEYS[key], "value": value, "timestamp": time_ms, "step": step}
        for key, step, time_ms, value in rows
    ]
    body = msgspec.json.encode({"run_id": run, "metrics": metrics})
    return client.made("POST", f"{API}/runs/log-batch", body)


class _Filling:
    """Appends more and more to four runs."""

    def __init__(self, url: str) -> None:
        self._url = url
        with RawClient(url) as client:
            self._runs = [new_run(client) for _ in range(CLIENTS)]
        self.points = 0

    def add(self, points: int) -> float:
        """Append so many; return points a second."""
        count = max(1, points // CLIENTS // BATCH)
        start = self.points // CLIENTS // len(KEYS)
        taken = seconds(
            self._url,
            lambda client, number: batches(
                client, number, run=self._runs[number], start=start, count=count
            ),
            clients=CLIENTS,
        )
        self.points += count * CLIENTS * BATCH
        return count * CLIENTS * BATCH / taken


def at_rest(folder: Path, points: int) -> float:
    """Bytes a point, when everything is sealed."""
    wait_until_sealed(folder)
    with closing(sqlite3.connect(f"file:{folder}/seafloor.db?mode=ro", uri=True)) as database:
        total, size_bytes = database.execute(
            "SELECT sum(points), sum(bytes) FROM ("
            "SELECT points, data_bytes + index_bytes + coalesce(length(payload), 0) AS bytes "
            "FROM metric_segment UNION ALL SELECT points, length(payload) FROM metric_journal)"
        ).fetchone()
    if total != points:
        raise RuntimeError(f"{total:,} points are stored of {points:,} that were acknowledged")
    return size_bytes / points


def wait_until_sealed(folder: Path) -> None:
    """Wait until no run has more than one row that is not sealed: a single one may stay."""
    until = time.monotonic() + _SEALED_WITHIN_S
    waiting = (
        "SELECT count(*) FROM (SELECT 1 FROM metric_journal GROUP BY workload_id "
        "HAVING count(*) > 1)"
    )
    with closing(sqlite3.connect(f"file:{folder}/seafloor.db?mode=ro", uri=True)) as database:
        while database.execute(waiting).fetchone()[0]:
            if time.monotonic() > until:
                raise RuntimeError(f"not everything is sealed after {_SEALED_WITHIN_S:.0f} s")
            time.sleep(0.5)


def run() -> None:
    """Measure, fill, measure again."""
    folders: list[Path] = []

    def command(port: int, folder: Path) -> list[str]:
        folders.append(folder)
        return seafloor(port, folder)

    with running(command) as (url, _, _):
        filling = _Filling(url)
        filling.add(1_000_000)
        begun = filling.points
        early = Measured(tuple(filling.add(_LOOK_POINTS) for _ in range(_WINDOWS)))
        while filling.points < POINTS:
            filling.add(min(_LOOK_POINTS, POINTS - filling.points))
            sys.stderr.write(f"\r{filling.points:,} points")
        sys.stderr.write("\n")
        stored = filling.points
        late = Measured(tuple(filling.add(_LOOK_POINTS) for _ in range(_WINDOWS)))
        few, many = f"at {begun:,} points", f"at {stored:,} points"
        table("Appends", "points/s", {few: early, many: late}, base=few)
        print(f"  at rest: {at_rest(folders[0], filling.points):.2f} bytes a point")
