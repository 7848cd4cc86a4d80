"""A page of a thousand runs by metric and param, ordered by a metric, beside ``mlflow server``.

Runs with ten params, ten tags and ten metrics each are written straight into the tables, of both
sides; then the same request is made over HTTP. Ours has 10,000, 100,000 and, with
``SEAFLOOR_BENCH_RUNS=1000000``, as many as that says; the peer 10,000. The filled SQLite databases
of ours stay in the cache of the benchmarks. With ``SEAFLOOR_BENCH_DATABASES=postgresql,mariadb``
100,000 on these, which takes minutes to fill.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from tests.bench.bench_start import CACHE, peer_best, running, seafloor
from tests.databases import fresh_database
from tests.searchable_runs import analyze, fill, metrics_of, params_of, tags_of
from tests.services import mariadb, postgresql

from seafloor.stores.metadata.sql.database import Database
from seafloor.testing.metadata_records import T0_NS, run_id

REQUESTS = 40
PAGE = 1_000
PEER_RUNS = 10_000
SERVER_RUNS = 100_000
AT_ONCE = 20_000
BUFFERS_MIB = int(os.environ.get("SEAFLOOR_BENCH_BUFFERS_MIB", "1024"))
FILTER = "metrics.m0 < 0.5 AND params.p0 = 'adam'"
ORDER = "metrics.m1"

Ask = Callable[[], urllib3.BaseHTTPResponse]


def counts() -> list[int]:
    """How many runs ours has, in turn."""
    more = int(os.environ.get("SEAFLOOR_BENCH_RUNS", "0"))
    return [PEER_RUNS, 100_000, *([more] if more else [])]


def filled(runs: int) -> Path:
    """A data folder with so many runs, made once."""
    folder = CACHE / f"search-{runs}"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        asyncio.run(_fill(f"sqlite:///{folder}/seafloor.db", runs))
        (folder / "ready").touch()
    return folder


async def _fill(url: str, runs: int) -> None:
    database = Database(url)
    await database.migrate()
    for begin in range(1, runs + 1, AT_ONCE):
        some = range(begin, min(begin + AT_ONCE, runs + 1))
        await database.write(lambda connection, some=some: fill(connection, some))
    with database.engine.connect() as connection:
        analyze(connection)
    await database.close()


@contextmanager
def filled_elsewhere(kind: str) -> Iterator[str]:
    """The URL of a database with so many runs, on a server of its kind.

    It has the memory for its tables that ``docs/how-to/databases.md`` asks for.
    """
    service = {"postgresql": postgresql, "mariadb": mariadb}[kind].service
    with service(buffers_mib=BUFFERS_MIB) as server, fresh_database(server) as url:
        asyncio.run(_fill(url, SERVER_RUNS))
        yield url


def _fill_peer(path: Path) -> None:
    """The same runs in the peer's tables."""
    connection = sqlite3.connect(path, timeout=30)

    def add(table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(columns.split(",")))
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608  # ours

    for number in range(1, PEER_RUNS + 1):
        run, at_ms = run_id(number), T0_NS // 1_000_000 + number * 1_000
        add(
            "runs",
            "run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, "
            "artifact_uri, experiment_id",
            [(run, f"run-{number}", "LOCAL", "ada", "FINISHED", at_ms, at_ms + 60_000, "active",
              f"mlflow-artifacts:/0/{run}/artifacts", 0)],
        )  # fmt: skip
        add("params", "run_uuid, key, value", [(run, *pair) for pair in params_of(number).items()])
        add("tags", "run_uuid, key, value", [(run, *pair) for pair in tags_of(number).items()])
        values = [(run, key, value, at_ms, 0, 0) for key, value in metrics_of(number).items()]
        for table in ("metrics", "latest_metrics"):
            add(table, "run_uuid, key, value, timestamp, step, is_nan", values)
    connection.commit()
    connection.close()


def _mlflow_page(url: str) -> Ask:
    pool = urllib3.PoolManager(retries=False, timeout=120.0)
    body = json.dumps(
        {"experiment_ids": ["0"], "filter": FILTER, "order_by": [ORDER], "max_results": PAGE}
    )
    headers = {"Content-Type": "application/json"}
    path = f"{url}/api/2.0/mlflow/runs/search"
    return lambda: pool.request("POST", path, body=body, headers=headers)


def _native_page(url: str, token: str | None, fields: str) -> Ask:
    pool = urllib3.PoolManager(retries=False, timeout=120.0)
    query = urlencode(
        {"filter": FILTER, "order": ORDER, "fields": fields, "limit": PAGE, "experiment": 0}
    )
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return lambda: pool.request("GET", f"{url}/api/v1/runs?{query}", headers=headers)


def _milliseconds(ask: Ask) -> list[float]:
    found: list[float] = []
    for _ in range(REQUESTS + 3):
        begun = time.perf_counter()
        answer = ask()
        found.append((time.perf_counter() - begun) * 1_000)
        assert answer.status == 200, answer.data[:500]
        page = answer.json()
        assert len(page.get("runs") or page["items"]) == PAGE
    return sorted(found[3:])


def _say(title: str, found: list[float], base: list[float] | None = None) -> None:
    p50, p95 = statistics.median(found), found[int(len(found) * 0.95)]
    ratio = "" if base is None else f"   x {statistics.median(base) / p50:.1f}"
    print(f"  {title:52s} p50 {p50:8.1f}  p95 {p95:8.1f}{ratio}")


def run() -> None:
    """Print the table."""
    print(f"a page of {PAGE}: {FILTER} ordered by {ORDER} [ms]")
    with running(peer_best) as (url, process, _):
        _fill_peer(Path(process.cwd()) / "mlflow.db")
        peer = _milliseconds(_mlflow_page(url))
    _say(f"mlflow, one worker, {PEER_RUNS:,} runs", peer)
    for runs in counts():
        folder = filled(runs)
        with running(lambda port, _, folder=folder: seafloor(port, folder)) as (url, _, _):
            _say_ours(url, f"{runs:,} runs", peer)
    for kind in filter(None, os.environ.get("SEAFLOOR_BENCH_DATABASES", "").split(",")):
        with filled_elsewhere(kind) as metadata:
            command = partial(_seafloor_on, metadata)
            with running(command) as (url, _, _):
                _say_ours(url, f"{SERVER_RUNS:,} runs, {kind}", peer)


def _seafloor_on(metadata: str, port: int, folder: Path) -> list[str]:
    return [*seafloor(port, folder), "--metadata", metadata]


def _say_ours(url: str, where: str, peer: list[float]) -> None:
    _say(f"the same route, {where}", _milliseconds(_mlflow_page(url)), peer)
    for fields in ("", "metrics.m1", "metrics,params"):
        title = f"native, fields={fields or 'none'}, {where}"
        _say(title, _milliseconds(_native_page(url, None, fields)), peer)
