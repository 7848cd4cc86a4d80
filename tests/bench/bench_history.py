"""Reading series: through MLflow's route beside ``mlflow server``, as Arrow, and as charts.

Both sides have the same 10⁶ points of one metric; the peer's are put into its database directly,
which only saves the two minutes that it would take to log them. Charts are of 10⁷ points.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.ipc
import urllib3
from tests.bench.bench_growth import wait_until_sealed
from tests.bench.bench_start import peer_best, running, seafloor
from tests.bench.bench_tracking import API, new_run
from tests.bench.measuring import Measured, alternate, table
from tests.bench.raw_http import RawClient, seconds
from tests.services._supervisor import Supervisor, ask

from seafloor.wire.metric_batches import BatchIn

POINTS = 1_000_000
CHART_POINTS = int(os.environ.get("SEAFLOOR_BENCH_CHART_POINTS", 10_000_000))
PAGE = 25_000
BATCH = 50_000
NOW_MS = 1_790_000_000_000
_PEER_SHARE = 10
"""The peer reads so many times fewer points: it is that much slower, and rates are compared."""


def _fill(url: str, run: str, points: int) -> None:
    def batches(client: RawClient, _: int) -> Sequence[bytes]:
        made: list[bytes] = []
        for start in range(0, points, BATCH):
            step = np.arange(start, min(points, start + BATCH))
            body = BatchIn(
                ["loss"],
                np.zeros(len(step), np.int32).tobytes(),
                step.tobytes(),
                (NOW_MS + step * 50).tobytes(),
                np.float64(np.float32(2.0 / np.sqrt(1 + step / 100))).tobytes(),
            )
            path = f"/api/v1/runs/{run}/metrics/batches"
            raw = msgspec.msgpack.encode(body)
            made.append(client.made("POST", path, raw, "application/msgpack"))
        return made

    seconds(url, batches, clients=1)


def _fill_peer(folder: Path, run: str, points: int) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db", timeout=60)) as database, database:
        database.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "VALUES ('loss', ?, ?, ?, ?, 0)",
            ((1 / (1 + step), NOW_MS + step * 50, run, step) for step in range(points)),
        )


def _history(url: str, run: str, points: int) -> float:
    """Points a second, page by page."""
    with RawClient(url) as client:
        begun, found, token = time.perf_counter(), 0, ""
        while True:
            page = f"{API}/metrics/get-history?run_id={run}&metric_key=loss&max_results={PAGE}"
            answer = client.send(client.made("GET", f"{page}&page_token={token}"))
            found += answer.count(b'"step"')
            token = msgspec.json.decode(answer).get("next_page_token", "")
            if not token:
                break
        if found != points:
            raise RuntimeError(f"{found:,} of {points:,} points came")
        return points / (time.perf_counter() - begun)


def _milliseconds(url: str, path: str) -> float:
    with RawClient(url) as client:
        request = client.made("GET", path)
        begun = time.perf_counter()
        client.send(request)
        return (time.perf_counter() - begun) * 1e3


def _chart(run: str) -> str:
    return f"/api/v1/runs/{run}/metrics/chart?key=loss&buckets=1000"


def _beside_the_peer() -> None:
    folders: dict[str, Path] = {}

    def kept(name: str, command):
        def made(port: int, folder: Path) -> list[str]:
            folders[name] = folder
            return command(port, folder)

        return made

    with ExitStack() as stack:
        ours, _, _ = stack.enter_context(running(kept("ours", seafloor)))
        peers, _, _ = stack.enter_context(running(kept("peer", peer_best)))
        with RawClient(ours) as client:
            run, long_run = new_run(client), new_run(client)
        with RawClient(peers) as client:
            peer_run = new_run(client)
        _fill(ours, run, POINTS)
        _fill(ours, long_run, CHART_POINTS)
        _fill_peer(folders["peer"], peer_run, POINTS // _PEER_SHARE)
        wait_until_sealed(folders["ours"])
        found = alternate(
            {
                "mlflow, one worker": lambda: _history(peers, peer_run, POINTS // _PEER_SHARE),
                "seafloor": lambda: _history(ours, run, POINTS),
            },
            rounds=3,
        )
        table("History through MLflow's route", "points/s", found, base="mlflow, one worker")
        arrow = f"/api/v1/runs/{run}/metrics/arrow?key=loss"
        found = alternate(
            {
                "10⁶ points as Arrow": lambda: _arrow_milliseconds(ours, arrow, POINTS),
                f"chart of {CHART_POINTS:,} points": lambda: _milliseconds(ours, _chart(long_run)),
            },
            rounds=5,
        )
        table("Reading, warm", "ms", found, base="10⁶ points as Arrow")


def _arrow_milliseconds(url: str, path: str, points: int) -> float:
    pool = urllib3.PoolManager()
    begun = time.perf_counter()
    data = pool.request("GET", url + path).data
    taken = (time.perf_counter() - begun) * 1e3
    if pyarrow.ipc.open_stream(data).read_all().num_rows != points:
        raise RuntimeError("points are missing")
    return taken


def _cold_from_s3() -> None:
    """A chart by a server that was just started on a full bucket."""
    supervisor = Supervisor()
    folder = Path(tempfile.mkdtemp(prefix="seafloor-bench-"))
    try:
        supervisor.wait_ready()
        service = ask(supervisor.socket, "s3")
        env = [f"{name}={value}" for name, value in service.env.items()]
        objects = f"{service.url}/bench"

        def command(port: int, _: Path) -> list[str]:
            return ["env", *env, *seafloor(port, folder), "--objects", objects]

        with running(command) as (url, _, _):
            with RawClient(url) as client:
                run = new_run(client)
            _fill(url, run, CHART_POINTS)
            wait_until_sealed(folder)
        values: list[float] = []
        for _ in range(3):
            with running(command) as (url, _, _):
                values.append(_milliseconds(url, _chart(run)))
        table("Charts from S3", "ms", {"cold": Measured(tuple(values))}, base="cold")
    finally:
        supervisor.close()
        shutil.rmtree(folder, ignore_errors=True)


def run() -> None:
    """Both."""
    _beside_the_peer()
    _cold_from_s3()
