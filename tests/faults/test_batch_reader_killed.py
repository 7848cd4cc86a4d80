"""A server whose process that reads batches is killed, and one that is killed itself."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3

from live_server import LiveServer, wait_for

CLIENTS = 4
POINTS = 500


def readers_of(server: LiveServer) -> list[int]:
    """The processes that have read batches for it so far, by their order."""
    log = (server.data / "server.log").read_text()
    whole, _, _ = log.rpartition("\n")  # the last line may be on its way
    said = [json.loads(line) for line in whole.splitlines() if "read by another process" in line]
    return [one["pid"] for one in said]


def reader_of(server: LiveServer, number: int = 0) -> int | None:
    found = readers_of(server)
    return found[number] if len(found) > number else None


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


class Logging:
    """Clients that log batches to a run each until they are told to end."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self.runs = [
            server.post("/api/2.0/mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
            for _ in range(CLIENTS)
        ]
        self._sent = [self._pool.submit(self._log, run["run_id"]) for run in self.runs]

    def _log(self, run_id: str) -> int:
        sent = 0
        pool = urllib3.PoolManager(retries=False, timeout=120)
        while not self._stop.is_set():
            metrics: list[dict[str, Any]] = [
                {"key": f"m{at % 5}", "value": at / 7, "timestamp": 1_790_000_000_000, "step": at}
                for at in range(sent, sent + POINTS)
            ]
            body = {"run_id": run_id, "metrics": metrics}
            address = f"{self._server.url}/api/2.0/mlflow/runs/log-batch"
            answer = pool.request("POST", address, json=body)
            assert (answer.status, answer.data) == (200, b"{}")
            sent += POINTS
        return sent

    def end(self) -> dict[str, int]:
        """How many points of each run were acknowledged; raises what a client met."""
        self._stop.set()
        self._pool.shutdown()
        return {
            run["run_id"]: sent.result() for run, sent in zip(self.runs, self._sent, strict=True)
        }


def test_reader__is_killed_and_stopped_under_load__clients_do_not_notice(
    server: LiveServer,
) -> None:
    logging = Logging(server)
    try:
        first = wait_for(lambda: reader_of(server), what="the process")
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: is_gone(first), what="its end")
        second = wait_for(lambda: reader_of(server, 1), timeout_s=120, what="another")
        os.kill(second, signal.SIGSTOP)
        wait_for(lambda: is_gone(second), what="the end of the one that hangs")
    finally:
        sent = logging.end()
    for run_id, count in sent.items():
        found = server.get(f"/api/v1/runs/{run_id}/metrics")["items"]
        assert sum(one["points"] for one in found.values()) == count


def test_server__is_killed_or_stopped__its_reader_ends_too(server: LiveServer) -> None:
    for number, end in enumerate((server.kill, server.stop)):
        logging = Logging(server)
        reader = wait_for(lambda at=number: reader_of(server, at), what="the process")
        logging.end()
        end()
        wait_for(lambda reader=reader: is_gone(reader), what="its end")
        server.start()
