"""Writers and readers that use several servers at once, as clients behind a load balancer do.

A writer repeats what was not acknowledged at another server, and notes what was. At the end what
it was told is compared with what a fresh reader sees.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import urllib3

from live_server import LiveServer, wait_for
from seafloor.testing.log_spools import line, spool

CURED_WITHIN_S = 60.0
"""An error that repeating at any server does not cure within this is one too many."""

STEPS_MIN = 4
"""Of each work: fewer say nothing of what was done to the servers meanwhile."""


class Servers:
    """Several servers of one installation, any of which may be away.

    Args:
        servers: Them.
        seed: Of the choices.
        cured_within_s: How long a request is repeated.
    """

    def __init__(
        self, servers: list[LiveServer], *, seed: int, cured_within_s: float = CURED_WITHIN_S
    ) -> None:
        self.servers = servers
        self._cured_within_s = cured_within_s
        self._random = random.Random(seed)
        self._pool = urllib3.PoolManager(
            retries=False, timeout=urllib3.Timeout(connect=2.0, read=6.0), maxsize=16
        )
        self.repeated = 0

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Ask any server until one gives a final answer (no 502, 503, 504, no broken connection).

        Raises:
            AssertionError: none did in time, or one answered 500.
        """
        sent = dict(headers or {})
        if isinstance(body, dict | list):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        deadline = time.monotonic() + self._cured_within_s
        while True:
            server = self._random.choice(self.servers)
            try:
                answer = self._pool.request(method, server.url + path, body=body, headers=sent)
                if answer.status not in (502, 503, 504):
                    assert answer.status != 500, (method, path, answer.data[:500])
                    return answer
                problem: object = (answer.status, answer.data[:300])
                assert "retry-after" in answer.headers, (method, path, answer.status, answer.data)
            except urllib3.exceptions.HTTPError as error:
                problem = error
            assert time.monotonic() < deadline, (method, path, problem)
            self.repeated += 1
            time.sleep(0.05)  # not to wait for anything: a client that is turned away is polite

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """Ask until it is accepted; the answer decoded."""
        answer = self.request(method, path, body)
        assert answer.status in (200, 201), (method, path, answer.status, answer.data[:500])
        return answer.json()


class Work:
    """One thing done again and again, in a thread, until it is told to stop.

    Args:
        servers: Its own way to the servers.
        stop: Set when all should end.
    """

    def __init__(self, servers: Servers, stop: threading.Event) -> None:
        self.name = type(self).__name__
        self.servers = servers
        self.stop = stop
        self.done = 0

    def run(self) -> None:
        """Step until it is told to stop; when it fails, all stop."""
        try:
            while not self.stop.is_set():
                self.step()
                self.done += 1
        finally:
            self.stop.set()

    def step(self) -> None:
        """Do it once."""
        raise NotImplementedError

    def check(self, fresh: Servers) -> None:
        """Compare what was acknowledged with what a reader sees."""


def wait_for_steps(works: Sequence[Work], stop: threading.Event) -> None:
    """Let all get through some steps, however busy the machine is; unless one failed."""
    wait_for(
        lambda: stop.is_set() or all(each.done >= STEPS_MIN for each in works),
        what=f"{[(each.name, each.done) for each in works]} to get through",
    )


class PointWriter(Work):
    """Logs points of one tracked run, batch by batch."""

    BATCH = 20

    def __init__(self, servers: Servers, stop: threading.Event, *, name: str) -> None:
        super().__init__(servers, stop)
        body = {"experiment": "load", "name": name}
        self.run_id: str = servers.json("POST", "/api/v1/runs", body)["id"]
        self.acknowledged = 0

    def step(self) -> None:
        """Log one batch."""
        steps = range(self.acknowledged, self.acknowledged + self.BATCH)
        points = [["loss", step / 7, step, 1_700_000_000_000 + step] for step in steps]
        self.servers.json("POST", f"/api/v1/runs/{self.run_id}/metrics", {"points": points})
        self.acknowledged += self.BATCH

    def check(self, fresh: Servers) -> None:
        """Every acknowledged point is there once; an unacknowledged batch whole or not at all."""
        found: list[list[Any]] = []
        cursor = ""
        while True:
            path = f"/api/v1/runs/{self.run_id}/metrics/series?key=loss&limit=10000{cursor}"
            page = fresh.json("GET", path)
            found += page["points"]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert len(found) in (self.acknowledged, self.acknowledged + self.BATCH)
        assert found == [[step, 1_700_000_000_000 + step, step / 7] for step in range(len(found))]
        summary = fresh.json("GET", f"/api/v1/runs/{self.run_id}/metrics")["items"]["loss"]
        assert summary["points"] == len(found)


class LogWriter(Work):
    """Delivers a log as an agent does: by offset, going on where the server says."""

    def __init__(self, servers: Servers, stop: threading.Event, *, run_id: str, task: str) -> None:
        super().__init__(servers, stop)
        self.path = f"/api/v1/runs/{run_id}/attempts/1/tasks/{task}/logs"
        self.read = f"/api/v1/runs/{run_id}/logs?attempt=1&task={task}"
        self.spooled = spool([])
        self.offset = 0
        self.lines = 0

    def step(self) -> None:
        """Print some lines, and deliver what is not acknowledged."""
        for _ in range(10):
            self.lines += 1
            self.spooled += spool([line(self.lines, f"line {self.lines}")])[len(spool([])) :]
        self._deliver()

    def _deliver(self) -> None:
        while self.offset < len(self.spooled):
            # From a little before: a repeat is harmless.
            offset = max(0, self.offset - 7)
            answer = self.servers.request(
                "POST", f"{self.path}?offset={offset}", self.spooled[offset:]
            )
            assert answer.status == 200, (answer.status, answer.data)
            self.offset = next(iter(answer.json().values()))

    def check(self, fresh: Servers) -> None:
        """Every acknowledged line is there once, in order."""
        self.servers = fresh
        self._deliver()
        found: list[str] = []
        at = 1
        while True:
            page = fresh.json("GET", f"{self.read}&from_line={at}&limit=10000")
            found += [each["text"] for each in page["lines"]]
            if not page["lines"]:
                break
            at = page["next_line"]
        assert found == [f"line {number}" for number in range(1, self.lines + 1)]


class FileWriter(Work):
    """Keeps files of one run, some new, some replaced."""

    def __init__(self, servers: Servers, stop: threading.Event, *, seed: int) -> None:
        super().__init__(servers, stop)
        body = {"experiment": "load", "name": "files"}
        self.run_id: str = servers.json("POST", "/api/v1/runs", body)["id"]
        self.random = random.Random(seed)
        self.acknowledged: dict[str, bytes] = {}
        self.unanswered: dict[str, list[bytes]] = {}

    def step(self) -> None:
        """Keep one file."""
        repeated = self.servers.repeated
        path = f"files/{self.random.randrange(40)} ö.bin"
        content = self.random.randbytes(self.random.choice([0, 100, 4_000, 300_000]))
        quoted = urllib3.util.parse_url(f"http://x/{path}").path
        answer = self.servers.request(
            "PUT",
            f"/api/v1/runs/{self.run_id}/artifacts{quoted}",
            content,
            {"X-Content-SHA256": hashlib.sha256(content).hexdigest()},
        )
        assert answer.status in (200, 201), (answer.status, answer.data)
        self.acknowledged[path] = content
        if self.servers.repeated > repeated:
            self.unanswered.setdefault(path, []).append(content)

    def check(self, fresh: Servers) -> None:
        """Every file is the one that was acknowledged last.

        Or one of a request that had no answer: a server that is paused has it, and may do it when
        it goes on, whatever another has acknowledged meanwhile.
        """
        for path, content in self.acknowledged.items():
            quoted = urllib3.util.parse_url(f"http://x/{path}").path
            answer = fresh.request("GET", f"/api/v1/runs/{self.run_id}/artifacts{quoted}")
            assert answer.status == 200, (path, answer.status, answer.data[:300])
            assert answer.data in (content, *self.unanswered.get(path, ())), path
        page = fresh.json("GET", f"/api/v1/runs/{self.run_id}/artifacts?recursive=true&limit=1000")
        assert {file["path"] for file in page["items"]} == set(self.acknowledged)


class Submitter(Work):
    """Launches runs that each write their id into a file, and waits for none of them.

    Args:
        ledger: The file; who ran is read from it.
    """

    EVERY_S = 2.0

    def __init__(self, servers: Servers, stop: threading.Event, *, ledger: Path) -> None:
        super().__init__(servers, stop)
        self.ledger = ledger
        self.launched: list[str] = []

    def step(self) -> None:
        """Launch one run."""
        command = ["sh", "-c", f'echo "$SEAFLOOR_RUN_ID" >> {self.ledger}; echo done']
        body = {
            "spec": {"name": "once", "command": command},
            "idempotency_key": f"{self.ledger.name}-{self.done}",
        }
        self.launched.append(self.servers.json("POST", "/api/v1/runs", body)["id"])
        self.stop.wait(self.EVERY_S)  # the pace of who submits

    def check(self, fresh: Servers) -> None:
        """Every run came to its end, and its command was run once."""
        for run_id in self.launched:
            wait_for(lambda run_id=run_id: self._is_over(fresh, run_id), what=run_id)
        assert sorted(self.ledger.read_text().split()) == sorted(self.launched)

    @staticmethod
    def _is_over(fresh: Servers, run_id: str) -> bool:
        run = fresh.json("GET", f"/api/v1/runs/{run_id}")
        assert run["state"] not in ("failed", "lost", "stopped"), run
        return run["state"] == "succeeded"


class Reader(Work):
    """Reads what the writers wrote, at any server; every look must make sense."""

    def __init__(self, servers: Servers, stop: threading.Event, writers: list[Work]) -> None:
        super().__init__(servers, stop)
        self.points = [each for each in writers if isinstance(each, PointWriter)]
        self.logs = [each for each in writers if isinstance(each, LogWriter)]
        self.files = [each for each in writers if isinstance(each, FileWriter)]
        self._looks: list[Callable[[], None]] = [self._series, self._lines, self._file, self._runs]

    def step(self) -> None:
        """Look at one thing."""
        self._looks[self.done % len(self._looks)]()

    def _series(self) -> None:
        writer = random.choice(self.points)
        known = writer.acknowledged
        page = self.servers.json("GET", f"/api/v1/runs/{writer.run_id}/metrics")
        found = page["items"].get("loss", {"points": 0})["points"]
        assert found >= known, "an acknowledged point is not seen"
        assert found % writer.BATCH == 0, "a batch is seen in part"

    def _lines(self) -> None:
        writer = random.choice(self.logs)
        page = self.servers.json("GET", f"{writer.read}&from_line=-50&limit=50")
        numbers = [each["number"] for each in page["lines"]]
        first = page["total_lines"] - len(numbers) + 1
        assert numbers == list(range(first, page["total_lines"] + 1)), "lines are not in order"

    def _file(self) -> None:
        writer = random.choice(self.files)
        if not writer.acknowledged:
            return
        path = random.choice(list(writer.acknowledged))
        quoted = urllib3.util.parse_url(f"http://x/{path}").path
        answer = self.servers.request("GET", f"/api/v1/runs/{writer.run_id}/artifacts{quoted}")
        assert answer.status == 200, (answer.status, answer.data[:300])
        told = answer.headers.get("X-Content-SHA256")
        assert told == hashlib.sha256(answer.data).hexdigest(), "not the bytes of its digest"

    def _runs(self) -> None:
        page = self.servers.json("GET", "/api/v1/runs?limit=50")
        assert page["items"]
