"""A server that is killed at random moments while eight writers log and repeat what was not heard.

``SEAFLOOR_KILLS`` says how often, on each database.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.databases import KINDS, fresh_database
from tests.services._service import Service

from live_server import LiveServer
from seafloor.domain.metrics import BatchId, Point
from seafloor.wire.metric_batches import encode_batch
from seafloor.wire.numbers import number_in, number_out
from several_servers import Servers, Work, wait_for_steps

KILLS = int(os.environ.get("SEAFLOOR_KILLS", "5"))
CURED_WITHIN_S = 30.0 * (1 + KILLS)
"""There is one server, and it may be killed again before it came to a request: one is repeated for
as long as all its starts may take."""
WRITERS = 8
BATCH = 50
T0_MS = 1_700_000_000_000

Shown = list[Any]
"""A point of a series as the API shows it: step, time, value."""


class PointWriter(Work):
    """Logs one metric, batch by batch; two writers share a run.

    Args:
        run_id, key: Which.
    """

    def __init__(self, servers: Servers, stop: threading.Event, *, run_id: str, key: str) -> None:
        super().__init__(servers, stop)
        self.name = f"{type(self).__name__} {key}"
        self.run_id = run_id
        self.key = key
        self.acknowledged = 0

    def points(self, batch: int) -> list[Point]:
        """The points of a batch: steps go back now and then, some values are NaN or equal."""
        return [
            Point(
                self.key,
                math.nan if at % 23 == 0 else math.sin(at // 3),
                at // 2 - 40 * (at % 7 == 0),
                T0_MS + at // 4,
            )
            for at in range(batch * BATCH, (batch + 1) * BATCH)
        ]

    def send(self, batch: int, points: list[Point]) -> None:
        """Send a batch until it is accepted."""
        raise NotImplementedError

    def step(self) -> None:
        """Log one batch."""
        self.send(self.acknowledged, self.points(self.acknowledged))
        self.acknowledged += 1

    def check(self, fresh: Servers) -> None:
        """All of each acknowledged batch is there once, of one more all or nothing, and no more."""
        found = _series(fresh, self.run_id, self.key)
        expected = [self._shown(batches) for batches in (self.acknowledged, self.acknowledged + 1)]
        assert sorted(found, key=repr) in expected, (self.name, self.acknowledged, len(found))
        summary = fresh.json("GET", f"/api/v1/runs/{self.run_id}/metrics")["items"][self.key]
        scanned = _scanned(found)
        assert {name: summary[name] for name in scanned} == scanned

    def _shown(self, batches: int) -> list[Shown]:
        distinct = {
            (point.step, point.time_ms, number_out(point.value))
            for batch in range(batches)
            for point in self.points(batch)
        }
        return sorted(([*point] for point in distinct), key=repr)


class NativeWriter(PointWriter):
    """Sends columns, with its name and a number."""

    def send(self, batch: int, points: list[Point]) -> None:
        body = encode_batch(points, BatchId(self.key, batch + 1))
        self.servers.json("POST", f"/api/v1/runs/{self.run_id}/metrics/batches", body)


class MlflowWriter(PointWriter):
    """Sends what MLflow's client sends."""

    def send(self, batch: int, points: list[Point]) -> None:
        metrics = [
            {
                "key": point.key,
                "value": number_out(point.value),
                "timestamp": point.time_ms,
                "step": point.step,
            }
            for point in points
        ]
        body = {"run_id": self.run_id, "metrics": metrics}
        self.servers.json("POST", "/api/2.0/mlflow/runs/log-batch", body)


def _series(servers: Servers, run_id: str, key: str) -> list[Shown]:
    found: list[Shown] = []
    cursor = ""
    while True:
        path = f"/api/v1/runs/{run_id}/metrics/series?key={key}&limit=10000{cursor}"
        page = servers.json("GET", path)
        found += page["points"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def _scanned(series: list[Shown]) -> dict[str, object]:
    """What a summary says, computed from all points."""
    numbers = [(number_in(value), step) for step, _, value in series if value != "NaN"]
    least, greatest = min(numbers)[0], max(numbers)[0]
    last = max(series, key=lambda shown: (*shown[:2], shown[2] == "NaN", number_in(shown[2])))
    return {
        "points": len(series),
        "nans": len(series) - len(numbers),
        "last": last[2],
        "last_step": last[0],
        "last_time_ms": last[1],
        "min": least,
        "max": greatest,
        "min_step": min(step for value, step in numbers if value == least),
        "max_step": min(step for value, step in numbers if value == greatest),
    }


@pytest.mark.slow
@pytest.mark.timeout(600 + 30 * KILLS)
@pytest.mark.parametrize("kind", KINDS)
def test_server_is_killed_again_and_again__each_acknowledged_point_is_there_once(
    kind: str, tmp_path: Path, service: Callable[[str], Service]
) -> None:
    seed = int(os.environ.get("SEAFLOOR_SEED", time.time_ns() % 1_000_000))
    print(f"SEAFLOOR_SEED={seed}")
    dice = random.Random(seed)
    stop = threading.Event()
    with ExitStack() as stack:
        env: dict[str, str] = {}
        if kind != "sqlite":
            env["SEAFLOOR_STORES__METADATA"] = stack.enter_context(fresh_database(service(kind)))
        server = LiveServer(tmp_path / "data", env=env)
        stack.callback(server.stop)
        server.start()

        def way(number: int) -> Servers:
            return Servers([server], seed=seed + number, cured_within_s=CURED_WITHIN_S)

        runs = [server.post("/api/v1/runs", {"experiment": "load"})["id"] for _ in range(4)]
        kinds = itertools.cycle((NativeWriter, MlflowWriter))
        writers = [
            make(way(n), stop, run_id=runs[n // 2], key=f"w{n}")
            for n, make in zip(range(WRITERS), kinds, strict=False)
        ]
        with ThreadPoolExecutor(WRITERS) as pool:
            running = [pool.submit(each.run) for each in writers]
            try:
                for _ in range(KILLS):
                    if stop.wait(dice.uniform(0.0, 0.5)):
                        break  # a writer failed
                    server.kill()
                    server.start()
                wait_for_steps(writers, stop)
            finally:
                stop.set()
            for each in running:
                each.result()
        for each in writers:
            each.check(way(0))
    for each in writers:
        print(f"{each.name}: {each.done} batches, {each.servers.repeated} repeated")
    assert sum(each.servers.repeated for each in writers) >= KILLS
