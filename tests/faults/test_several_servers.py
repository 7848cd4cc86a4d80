"""Several servers on one database: no run is started twice, and none waits for a dead server."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.databases import fresh_database_of
from tests.services._service import Service

from agent_world import pids_below
from git_world import Repository
from live_server import LiveServer, wait_for
from seafloor.app.leases import LeaseHolder, LeaseTerms
from seafloor.domain.errors import StaleLease
from seafloor.domain.leases import Claim, lease_of_place
from seafloor.domain.workloads import WorkloadState
from seafloor.testing.databases import use_database
from seafloor.testing.metadata_records import create, entering, launched, note, run_id
from seafloor.testing.metadata_worlds import open_sql_store

TAKEN_OVER_WITHIN_S = 15.0
TAKING_OVER_WRITES = 10
"""About so many times a server writes, or asks the database, to take a run over."""
HOUR_NS = 3_600_000_000_000
FINAL = ("succeeded", "failed", "stopped", "lost")

# A git that waits where a test wants a preparation to stand still.
_GIT = """#!/bin/sh
while [ -e "{gate}" ]; do touch "{waiting}"; sleep 0.05; done
exec /usr/bin/git "$@"
"""


@dataclass
class Installation:
    """Servers with folders of their own on one database and one object store."""

    folder: Path
    url: str
    variables: dict[str, str] = field(default_factory=dict[str, str])
    servers: list[LiveServer] = field(default_factory=list[LiveServer])

    def make(self, name: str, **more: str) -> LiveServer:
        """A server that is not started yet; its git waits while ``gate-<name>`` is there."""
        bin_dir = self.folder / f"bin-{name}"
        bin_dir.mkdir()
        git = bin_dir / "git"
        git.write_text(_GIT.format(gate=self.gate(name), waiting=self.waiting(name)))
        git.chmod(0o755)
        env = {
            "SEAFLOOR_STORES__METADATA": self.url,
            "SEAFLOOR_STORES__OBJECTS": (self.folder / "objects").as_uri(),
            "PATH": f"{bin_dir}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            **self.variables,
            **more,
        }
        self.servers.append(LiveServer(self.folder / name, env=env))
        return self.servers[-1]

    def gate(self, name: str) -> Path:
        return self.folder / f"gate-{name}"

    def waiting(self, name: str) -> Path:
        """Is there once a preparation stands still."""
        return self.folder / f"waiting-{name}"

    def start(self, name: str, **more: str) -> LiveServer:
        return self.make(name, **more).start()

    def pause(self, server: LiveServer) -> None:
        """Pause one, at a moment at which it does not hold what SQLite gives to one alone."""
        assert server.process is not None
        threads = Path(f"/proc/{server.process.pid}/task")

        def stands_still() -> bool:
            try:
                stats = [(thread / "stat").read_text() for thread in threads.iterdir()]
            except (FileNotFoundError, ProcessLookupError):
                return False  # one ended before it was told to stand still
            return {stat.rpartition(") ")[2][0] for stat in stats} == {"T"}

        while True:
            server.process.send_signal(signal.SIGSTOP)
            wait_for(stands_still, what="all threads to stand still")
            if self._is_writable():
                return
            server.process.send_signal(signal.SIGCONT)
            wait_for(self._is_writable, what="what it had begun to be over")

    def _is_writable(self) -> bool:
        kind, _, path = self.url.partition(":///")
        if kind != "sqlite":
            return True  # a database server ends the transaction of who is silent in it
        with closing(sqlite3.connect(path, timeout=2.0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True

    def close(self) -> None:
        for gate in self.folder.glob("gate-*"):
            gate.unlink()
        # Those of killed servers wait on without them.
        wait_for(lambda: not pids_below(f"{self.folder}/bin-"), what="all gits to go on")
        for server in self.servers:
            if server.process is not None:
                server.process.send_signal(signal.SIGCONT)
                for run in server.get("/api/v1/runs?limit=1000")["items"]:
                    if run["state"] not in FINAL:
                        server.request("POST", f"/api/v1/runs/{run['id']}/stop")
        for server in self.servers:
            if server.process is not None:
                server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def installation(
    request: pytest.FixtureRequest, service: Callable[[str], Service], tmp_path: Path
) -> Iterator[Installation]:
    with fresh_database_of(request.param, service, migrated=False) as url:
        made = Installation(tmp_path, url)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "training")
    made.commit({"train.sh": "echo trained\n"})
    return made


def submit(server: LiveServer, repository: Repository, ledger: Path, **spec: Any) -> str:
    """Submit a run with code whose command writes one line into a ledger."""
    body = {
        "name": "tests",
        "command": ["sh", "-c", f"echo ran >> {ledger}"],
        "code": {"sync_mode": "git", "url": repository.url},
        **spec,
    }
    code = {
        "kind": "git",
        "url": repository.url,
        "commit": repository.head,
        "folder": "training",
    }
    return server.post("/api/v1/runs", {"spec": body, "code": code})["id"]


def attempts_of(server: LiveServer, run: str) -> list[dict[str, Any]]:
    return server.get(f"/api/v1/runs/{run}/attempts")["items"]


def place_of(server: LiveServer) -> str:
    return (server.data / "place.id").read_text()


def wait_taken_over(server: LiveServer, run: str) -> float:
    """Wait for a further attempt; return the longest that one write took the server meanwhile."""
    slowest_s, due_s = 0.0, 0.0

    def look() -> bool:
        nonlocal slowest_s, due_s
        begun_s = time.monotonic()
        if begun_s >= due_s:
            server.post("/api/v1/runs", {"experiment": "beside"})
            slowest_s = max(slowest_s, time.monotonic() - begun_s)
            due_s = begun_s + 0.5
        return len(attempts_of(server, run)) == 2

    wait_for(look, what="a further attempt")
    return slowest_s


@pytest.mark.slow
def test_server__killed_while_it_prepares__another_runs_it_once_in_time(
    installation: Installation, repository: Repository, tmp_path: Path
) -> None:
    installation.gate("a").touch()
    a = installation.start("a")
    run = submit(a, repository, tmp_path / "ledger")
    wait_for(installation.waiting("a").exists, what="a to prepare")
    b = installation.start("b")
    killed_s = time.monotonic()
    a.kill()
    slowest_s = wait_taken_over(b, run)
    busy_s = TAKING_OVER_WRITES * slowest_s
    assert time.monotonic() - killed_s < TAKEN_OVER_WITHIN_S + busy_s
    assert b.wait_state(run, *FINAL)["state"] == "succeeded"
    first, second = attempts_of(b, run)
    assert (first["state"], first["place"], first["launching_ns"]) == ("lost", place_of(a), None)
    assert "stopped answering while it prepared" in first["ending"]["reason"]
    assert (second["state"], second["place"]) == ("succeeded", place_of(b))
    installation.gate("a").unlink()
    a.start()
    wait_for(lambda: not any((a.data / "work").iterdir()), what="a to clear what it prepared")
    assert (tmp_path / "ledger").read_text() == "ran\n"


@pytest.mark.slow
def test_server__paused_while_it_prepares__goes_on_and_starts_nothing(
    installation: Installation, repository: Repository, tmp_path: Path
) -> None:
    installation.gate("a").touch()
    a = installation.start("a")
    run = submit(a, repository, tmp_path / "ledger")
    wait_for(installation.waiting("a").exists, what="a to prepare")
    b = installation.start("b")
    installation.pause(a)
    assert a.process is not None
    wait_for(lambda: len(attempts_of(b, run)) == 2, what="a further attempt")
    installation.gate("a").unlink()  # its git goes on, so all is prepared when it wakes up
    a.process.send_signal(signal.SIGCONT)
    assert b.wait_state(run, *FINAL)["state"] == "succeeded"
    wait_for(lambda: not any((a.data / "work").iterdir()), what="a to clear what it prepared")
    assert [one["state"] for one in attempts_of(a, run)] == ["lost", "succeeded"]
    assert (tmp_path / "ledger").read_text() == "ran\n"
    # It has its place again, and drives runs.
    b.stop()
    again = submit(a, repository, tmp_path / "again")
    assert a.wait_state(again, *FINAL)["state"] == "succeeded"
    assert attempts_of(a, again)[0]["place"] == place_of(a)


@pytest.mark.slow
def test_run__stopped_at_a_dead_server_that_prepared_it__is_stopped(
    installation: Installation, repository: Repository, tmp_path: Path
) -> None:
    installation.gate("a").touch()
    a, b = installation.start("a"), installation.make("b")
    run = submit(a, repository, tmp_path / "ledger")
    wait_for(installation.waiting("a").exists, what="a to prepare")
    a.kill()
    b.start()
    b.post(f"/api/v1/runs/{run}/stop")
    assert b.wait_state(run, *FINAL)["state"] == "stopped"
    assert len(attempts_of(b, run)) == 1
    assert not (tmp_path / "ledger").exists()


@pytest.mark.slow
def test_running__its_server_is_killed__goes_on_and_is_found_again(
    installation: Installation, repository: Repository, tmp_path: Path
) -> None:
    a, b = installation.start("a"), installation.start("b")
    b.stop()  # so that a has it
    installation.gate("a").touch()
    prepared = submit(a, repository, tmp_path / "prepared")
    wait_for(installation.waiting("a").exists, what="a to prepare another")
    go_on = tmp_path / "go-on"
    script = f"echo ran >> {tmp_path}/ledger; while ! test -e {go_on}; do sleep 0.05; done"
    run = a.launch(["sh", "-c", script])["id"]
    wait_for((tmp_path / "ledger").exists, what="the command to run")
    b.start()
    a.kill()
    # What was only prepared is taken over: by then b knows that a is away.
    assert b.wait_state(prepared, *FINAL)["state"] == "succeeded"
    assert len(attempts_of(b, prepared)) == 2
    assert b.get(f"/api/v1/runs/{run}")["state"] == "running"
    installation.gate("a").unlink()
    use_database(tmp_path, installation.url)
    asyncio.run(_take_for_an_hour(tmp_path, place_of(a)))
    a.start()
    go_on.touch()
    assert b.wait_state(run, *FINAL)["state"] == "succeeded"
    assert len(attempts_of(b, run)) == 1
    assert (tmp_path / "ledger").read_text() == "ran\n"
    # It drives runs: it does not wait for the end of a lease that is an earlier life's of its own.
    b.stop()
    again = a.launch("true")["id"]
    assert a.wait_state(again, *FINAL)["state"] == "succeeded"


async def _take_for_an_hour(folder: Path, place: str) -> None:
    store = await open_sql_store(folder)
    name = lease_of_place(place)
    await store.lease_take(name, holder="a life before", ttl_ns=HOUR_NS, supersede=True)
    await store.close()


@pytest.mark.slow
def test_running__its_server_stays_away__is_lost_and_retried_elsewhere(
    installation: Installation, tmp_path: Path
) -> None:
    installation.variables["SEAFLOOR_LAUNCH__PLACE_LOST_AFTER_S"] = "3"
    a, b = installation.start("a"), installation.make("b")
    script = f"echo $$ >> {tmp_path}/ledger; sleep 600"
    run = a.launch(["sh", "-c", script], retries=1)["id"]
    wait_for((tmp_path / "ledger").exists, what="the command to run")
    a.wait_state(run, "running")
    a.kill()
    b.start()
    wait_for(lambda: len(attempts_of(b, run)) == 2, what="the retry")
    first = attempts_of(b, run)[0]
    assert first["state"] == "lost"
    assert place_of(a) in first["ending"]["reason"]
    b.wait_state(run, "running")
    ledger = tmp_path / "ledger"
    wait_for(lambda: len(ledger.read_text().split()) == 2, what="the retry's command")
    old = int(ledger.read_text().split()[0])
    assert Path(f"/proc/{old}").exists()
    a.start()  # and ends what its run goes on without
    wait_for(lambda: not Path(f"/proc/{old}").exists(), what="the old command to be ended")
    assert b.get(f"/api/v1/runs/{run}")["state"] == "running"
    assert len(attempts_of(b, run)) == 2
    b.post(f"/api/v1/runs/{run}/stop")  # its agent would wait for a server long after the test
    b.wait_state(run, "stopped")


@pytest.mark.slow
def test_copy__of_a_data_folder_whose_server_runs__is_refused_and_the_runs_live(
    installation: Installation, tmp_path: Path
) -> None:
    """It took them for lost, and their commands were ended."""
    a, b = installation.start("a"), installation.make("b")
    go_on = tmp_path / "go-on"
    run = a.launch(["sh", "-c", f"while ! test -e {go_on}; do sleep 0.05; done"])["id"]
    a.wait_state(run, "running")
    beside = ("work", "cache", "server.json", "server.log")
    shutil.copytree(a.data, b.data, ignore=shutil.ignore_patterns(*beside))
    with pytest.raises(AssertionError, match=r"is a copy of the data folder.*/place\.id"):
        b.start()
    b.process = None
    assert a.get(f"/api/v1/runs/{run}")["state"] == "running"
    (b.data / "place.id").unlink()
    b.start()
    assert place_of(a) != place_of(b)
    go_on.touch()
    assert b.wait_state(run, *FINAL)["state"] == "succeeded"
    assert len(attempts_of(b, run)) == 1
    # A folder that was moved is no copy: nobody renews its lease.
    a.kill()
    moved = LiveServer(a.data.rename(tmp_path / "moved"), env=a.environment)
    installation.servers[0] = moved.start()
    b.stop()
    again = moved.launch("true")["id"]
    assert moved.wait_state(again, *FINAL)["state"] == "succeeded"


def test_servers__started_at_once_on_nothing__both_are_well_and_share_tokens(
    installation: Installation, tmp_path: Path
) -> None:
    installation.variables["SEAFLOOR_SERVER__TOKEN"] = "the-token-of-the-tests"
    servers = [installation.make(name) for name in ("a", "b", "c")]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda server: server.start(), servers))
    admin = {"Authorization": "Bearer the-token-of-the-tests"}
    out = tmp_path / "token"
    spec = {"name": "tests", "command": ["sh", "-c", f"echo $SEAFLOOR_TOKEN > {out}; sleep 600"]}
    status, run = servers[0].request("POST", "/api/v1/runs", {"spec": spec}, headers=admin)
    assert status == 201, run
    wait_for(lambda: out.exists() and out.read_text().strip(), what="the run's token")
    token = {"Authorization": f"Bearer {out.read_text().strip()}"}
    path = f"/api/v1/runs/{run['id']}"
    for server in servers:
        assert server.request("PATCH", path, {"tags": {"a": "b"}}, headers=token)[0] == 200
    servers[1].request("POST", f"{path}/stop", headers=admin)
    wait_for(
        lambda: servers[2].request("GET", path, headers=admin)[1]["state"] == "stopped",
        what="the run to be stopped by whoever has it",
    )
    for server in servers:
        server.stop()


def test_queued__many_and_three_servers__each_runs_once(
    installation: Installation, tmp_path: Path
) -> None:
    servers = [installation.start(name) for name in ("a", "b", "c")]
    ledger = tmp_path / "ledger"
    runs = [
        servers[n % 3].launch(["sh", "-c", f"echo $SEAFLOOR_RUN_ID >> {ledger}"])["id"]
        for n in range(12)
    ]
    for run in runs:
        assert servers[0].wait_state(run, *FINAL)["state"] == "succeeded"
        assert len(attempts_of(servers[1], run)) == 1
    assert sorted(ledger.read_text().split()) == sorted(runs)


_HOLD = """
import asyncio, sys
from pathlib import Path
import structlog
from seafloor.app.leases import LeaseHolder, LeaseTerms
from seafloor.domain.errors import StaleLease
from seafloor.domain.leases import Claim, lease_of_place
from seafloor.domain.workloads import WorkloadState
from seafloor.testing.metadata_records import entering, run_id
from seafloor.testing.metadata_worlds import open_sql_store

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    store = await open_sql_store(Path(sys.argv[1]))
    terms = LeaseTerms(ttl_s=1.0, renew_s=0.3, margin_s=0.2)
    holder = LeaseHolder(store, lease_of_place("p"), terms)
    async with holder.holding():
        while holder.held is None:
            await asyncio.sleep(0.01)
        fence = holder.held.fence
        print("held", fence, flush=True)
        sys.stdin.readline()  # the loop stands still here, as in a process that is paused
        try:
            holder.check(fence)
            print("checked", flush=True)
        except StaleLease:
            print("stale by the clock", flush=True)
        try:
            move = entering(
                WorkloadState.RUNNING, WorkloadState.PREPARING, claim=Claim("p", fence)
            )
            await store.workload_transition(run_id(1), move)
            print("written", flush=True)
        except StaleLease:
            print("refused", flush=True)
        while holder.newest is not None:
            await asyncio.sleep(0.01)
        print("lost", flush=True)
    await store.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
def test_holder__paused_past_its_lease__neither_acts_nor_writes(
    kind: str, service: Callable[[str], Service], tmp_path: Path
) -> None:
    with fresh_database_of(kind, service) as url:
        use_database(tmp_path, url)
        asyncio.run(_create_a_run(tmp_path))
        with subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            held, fence = child.stdout.readline().split()
            assert held == "held"
            child.send_signal(signal.SIGSTOP)
            assert asyncio.run(_take_it(tmp_path)) == int(fence) + 1
            child.stdin.write("go on\n")
            child.stdin.flush()
            child.send_signal(signal.SIGCONT)
            said, _ = child.communicate(timeout=60)
        assert said.split("\n") == ["stale by the clock", "refused", "lost", ""]
        assert child.returncode == 0


async def _create_a_run(folder: Path) -> None:
    store = await open_sql_store(folder)
    await create(store, launched(1))
    lease = await store.lease_take(lease_of_place("p"), holder="first", ttl_ns=1)
    move = entering(WorkloadState.PREPARING, WorkloadState.QUEUED, claim=Claim("p", lease.fence))
    await store.workload_transition(run_id(1), move)
    await store.close()


async def _take_it(folder: Path) -> int:
    """Wait for the lease to end and take it, as another server does."""
    store = await open_sql_store(folder)
    holder = LeaseHolder(store, lease_of_place("p"), LeaseTerms(ttl_s=30.0))
    while holder.newest is None:
        await asyncio.sleep(min(await holder.turn(), 0.1))
    fence = holder.newest.fence
    await store.event_append(run_id(1), note(), claim=Claim("p", fence))
    with pytest.raises(StaleLease):
        holder.check(fence - 1)
    await store.close()
    return fence


def test_lease__of_a_server_that_is_stopped__is_free_at_once(
    installation: Installation, tmp_path: Path
) -> None:
    a = installation.start("a")
    a.wait_state(a.launch("true")["id"], *FINAL)  # for which it has the lease
    a.stop()
    use_database(tmp_path, installation.url)

    async def left_ns() -> list[int]:
        store = await open_sql_store(tmp_path)
        found = [lease.left_ns for lease in await store.lease_list("reconciler")]
        await store.close()
        return found

    (left,) = asyncio.run(left_ns())
    assert left <= 0
    assert json.loads((a.data / "server.json").read_text())["url"]
