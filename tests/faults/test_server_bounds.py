"""A server that has served many runs holds no more files and memory than one that served few.

What hurts users of others: https://github.com/aimhubio/aim/issues/3389 (too many open files as runs
grow), https://github.com/mlflow/mlflow/issues/8963 (a worker out of memory).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3

from live_server import LiveServer, wait_for

AT_ONCE = 8
RUNS_FEW, RUNS_MANY = 50, 5_000
ROUNDS = 200
"""Of ten requests each."""
GROWTH_MAX_MIB = 24


class Asker:
    """Makes requests to a server, several at a time."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self._pool = urllib3.PoolManager(maxsize=AT_ONCE, retries=False, timeout=120)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Make one request."""
        url = self.server.url + path
        if isinstance(body, dict):
            answer = self._pool.request(method, url, json=body)
        else:
            answer = self._pool.request(method, url, body=body)
        return answer.status, answer.data

    def all(self, work: Callable[[int], None], numbers: range) -> None:
        """Do a piece of work for each number, and raise what one of them raised."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(work, numbers):
                pass

    def close(self) -> None:
        """Close the connections: they are files of the server's too."""
        self._pool.clear()


@pytest.fixture
def asker(make_server: Callable[..., LiveServer]) -> Iterator[Asker]:
    asker = Asker(make_server())
    yield asker
    asker.close()


def open_files(server: LiveServer) -> int:
    assert server.process is not None
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def memory_mib(server: LiveServer) -> float:
    assert server.process is not None
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the process has no memory")


@pytest.mark.slow
def test_open_files__after_5000_runs__are_no_more_than_after_a_few(asker: Asker) -> None:
    server = asker.server

    def run(number: int) -> None:
        wanted = uuid.UUID(int=number + 1).hex
        status, said = asker.ask("POST", "/api/v1/runs", {"experiment": "many", "id": wanted})
        assert status == 201, said
        events = f"/api/v1/runs/{wanted}/attempts/0/event-files?path=events.out&offset=0"
        assert asker.ask("POST", events, b"event" * 10)[0] == 200

    asker.all(run, range(RUNS_FEW))
    few = open_files(server)
    asker.all(run, range(RUNS_FEW, RUNS_MANY))
    # A few that are open for a moment, as a listing or a segment on its way, are not held.
    wait_for(lambda: open_files(server) <= few + 8, what=f"at most {few} + 8 open files")


@pytest.mark.slow
def test_memory__after_as_many_requests_again__has_not_grown(asker: Asker) -> None:
    server = asker.server

    def one_round(number: int) -> None:
        """Ten requests of all kinds, refused ones too, none of which was made before."""
        status, said = asker.ask("POST", "/api/v1/runs", {"experiment": f"e{number % 50}"})
        assert status == 201, said
        run = f"/api/v1/runs/{server_id(said)}"
        points = [[f"k{number}/{key}", 0.5, 1, 1_700_000_000_000] for key in range(20)]
        name = f"{run}/artifacts/folder {number}/file.bin"
        filters = f"params.p{number} = 'x' and metrics.`k{number}/1` > {number}"
        search = {"experiment_ids": ["0", "1", "2"], "filter": filters}
        expected = [
            (asker.ask("POST", f"{run}/metrics", {"points": points}), 200),
            (asker.ask("PATCH", run, {"tags": {f"tag{number}": "x" * 1000}}), 200),
            (asker.ask("PUT", name.replace(" ", "%20"), b"x" * 100_000), 200),
            (asker.ask("GET", name.replace(" ", "%20")), 200),
            (asker.ask("GET", f"{run}/metrics/series?key=k{number}/1"), 200),
            (asker.ask("POST", "/api/2.0/mlflow/runs/search", search), 200),
            (asker.ask("GET", f"/nothing/here/{number}"), None),
            (asker.ask("GET", f"/api/v1/runs/{uuid.UUID(int=number).hex}"), 404),
            (asker.ask("POST", f"{run}/metrics", b"{" + b"a" * number), 400),
        ]
        for (status, said), wanted in expected:
            assert wanted in (status, None), (status, said)

    asker.all(one_round, range(ROUNDS))
    before = memory_mib(server)
    asker.all(one_round, range(ROUNDS, 2 * ROUNDS))
    grown_mib = memory_mib(server) - before
    print(f"{before:.0f} MiB, and {grown_mib:+.1f} MiB after as many requests again")
    assert grown_mib < GROWTH_MAX_MIB


def server_id(said: bytes) -> str:
    """The id of the run that an answer tells of."""
    return said.split(b'"id":"')[1][:32].decode()
