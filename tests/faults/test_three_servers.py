"""Three servers on one database and one bucket, under load, while they are killed and paused."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.databases import fresh_database
from tests.services._service import Service

from live_server import LiveServer
from several_servers import (
    FileWriter,
    LogWriter,
    PointWriter,
    Reader,
    Servers,
    Submitter,
    Work,
    wait_for_steps,
)

SECONDS = float(os.environ.get("SEAFLOOR_LOAD_SECONDS", "30"))
KILL_EVERY_S = 10.0
PAUSE_S = 15.0
"""Longer than a lease."""


@pytest.fixture
def shared_place(service: Callable[[str], Service]) -> Iterator[dict[str, str]]:
    """Variables that name a fresh database on PostgreSQL and a fresh folder of a bucket."""
    bucket = service("s3")
    with fresh_database(service("postgresql")) as url:
        yield {
            **bucket.env,
            "SEAFLOOR_STORES__METADATA": url,
            "SEAFLOOR_STORES__OBJECTS": f"{bucket.url}/{uuid.uuid4().hex}",
        }


@pytest.fixture
def servers(tmp_path: Path, shared_place: dict[str, str]) -> Iterator[list[LiveServer]]:
    """Three servers that keep everything at one place, each with a data folder of its own."""
    made = [LiveServer(tmp_path / f"server-{number}", env=shared_place) for number in range(3)]
    with ExitStack() as stack:
        for server in made:
            stack.callback(server.stop)
            server.start()
        yield made


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_servers_are_killed_and_paused_under_load__nothing_is_lost_or_done_twice(
    servers: list[LiveServer], tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEAFLOOR_SEED", time.time_ns() % 1_000_000))
    print(f"SEAFLOOR_SEED={seed}")
    stop = threading.Event()

    def way(number: int) -> Servers:
        return Servers(servers, seed=seed * 100 + number)

    command = ["sh", "-c", f"while ! test -e {tmp_path}/stop; do sleep 0.1; done"]
    carrier = servers[0].launch(command)["id"]
    servers[0].wait_state(carrier, "running")
    writers: list[Work] = [
        *(PointWriter(way(n), stop, name=f"points {n}") for n in range(3)),
        *(LogWriter(way(10 + n), stop, run_id=carrier, task=f"load-{n}") for n in range(3)),
        *(FileWriter(way(20 + n), stop, seed=seed + n) for n in range(2)),
        Submitter(way(30), stop, ledger=tmp_path / "ledger"),
    ]
    work = [*writers, *(Reader(way(40 + n), stop, writers) for n in range(3))]
    with ThreadPoolExecutor(len(work)) as pool:
        running = [pool.submit(each.run) for each in work]
        try:
            _trouble(servers, stop, random.Random(seed))
            wait_for_steps(work, stop)
        finally:
            stop.set()
        (tmp_path / "stop").touch()
        for each in running:
            each.result()
    for number, server in enumerate(servers):
        for each in writers:
            each.check(Servers([server], seed=number))
    for each in work:
        print(f"{each.name}: {each.done} steps, {each.servers.repeated} repeated")


def _trouble(servers: list[LiveServer], stop: threading.Event, dice: random.Random) -> None:
    """Kill one after the other with -9 and start it again; pause one past its lease once."""
    ends = time.monotonic() + SECONDS
    paused: LiveServer | None = None
    pause_ends = 0.0
    next_kill = time.monotonic() + KILL_EVERY_S / 2
    to_pause = dice.choice(servers)
    was_paused = False
    while time.monotonic() < ends and not stop.wait(0.2):
        now = time.monotonic()
        if not was_paused and now > ends - SECONDS * 0.75:
            paused, pause_ends, was_paused = to_pause, now + PAUSE_S, True
            _signal(paused, signal.SIGSTOP)
        if paused is not None and now > pause_ends:
            _signal(paused, signal.SIGCONT)
            paused = None
        if now > next_kill:
            victim = dice.choice([each for each in servers if each is not paused])
            victim.kill()
            victim.start()
            next_kill = now + KILL_EVERY_S
    if paused is not None:
        _signal(paused, signal.SIGCONT)


def _signal(server: LiveServer, number: int) -> None:
    assert server.process is not None
    server.process.send_signal(number)
