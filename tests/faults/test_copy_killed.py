"""``seafloor copy`` killed at random points: the same command ends it, and nothing differs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.databases import fresh_database
from tests.services._service import Service

from client_process import Client
from installation_world import differences, seen, seen_run
from live_server import LiveServer, wait_for
from many_runs import fill

MakeServer = Callable[..., LiveServer]


@pytest.fixture
def seed() -> int:
    """Of everything that a test draws; give it back in COPY_SEED to repeat one."""
    found = int(os.environ.get("COPY_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"COPY_SEED={found}")
    return found


def begin(user: Client, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start a copy."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "seafloor.cli", "copy", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**user.environment, **env},
    )


def size_of(folder: Path) -> int:
    """Bytes below a folder that changes while it is looked at."""
    found = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            try:
                found += os.stat(os.path.join(inner, name)).st_size  # noqa: PTH116, PTH118
            except FileNotFoundError:
                continue
    return found


def killed_when(process: subprocess.Popen[str], is_time: Callable[[], bool]) -> None:
    """Kill a copy at a moment, in whose middle it must still be."""
    wait_for(lambda: process.poll() is not None or is_time(), what="the moment", timeout_s=300)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_copy__killed_again_and_again__is_ended_by_the_same_command(
    make_server: MakeServer, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    source = make_server("source")
    source.stop()
    fill(source.data, runs=150, seed=seed)
    before = seen(source.start(), snapshots=False)
    source.stop()
    user = Client(tmp_path / "home")
    target = tmp_path / "target"
    command = ("--from", str(source.data), "--to", str(target))
    whole = size_of(source.data)
    for share in sorted(chance.uniform(0.02, 0.8) for _ in range(4)):
        killed_when(begin(user, *command), lambda share=share: size_of(target) > share * whole)
    done = begin(user, *command)
    said, errors = done.communicate()
    assert done.returncode == 0, errors
    assert "digests agree" in said
    assert not (target / "copy.journal").exists()
    assert not (target / "objects" / "seafloor-copy.json").exists()
    found = seen(make_server("target"), snapshots=False)
    assert differences(found, before) == []


def test_copy__interrupted_by_ctrl_c__goes_on_after(
    make_server: MakeServer, tmp_path: Path, seed: int
) -> None:
    source = make_server("source")
    source.stop()
    fill(source.data, runs=60, seed=seed)
    user = Client(tmp_path / "home")
    target = tmp_path / "target"
    command = ("--from", str(source.data), "--to", str(target))
    process = begin(user, *command)
    wait_for(lambda: (target / "copy.journal").exists(), what="the copy to begin")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "same command goes on" in errors
    assert "Traceback" not in errors
    again = begin(user, *command)
    said, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    assert "digests agree" in said


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_copy__of_2000_runs_to_postgresql_and_s3__killed_twice__is_the_same(
    make_server: MakeServer,
    service: Callable[[str], Service],
    tmp_path: Path,
    seed: int,
) -> None:
    chance = random.Random(seed)
    source = make_server("source")
    source.stop()
    fill(source.data, runs=2000, seed=seed)
    user = Client(tmp_path / "home")
    store = service("s3")
    with fresh_database(service("postgresql"), migrated=False) as url:
        command = (
            *("--from", str(source.data), "--to", str(tmp_path / "target")),
            *("--metadata", url, "--objects", f"{store.url}/{uuid.uuid4().hex}"),
        )
        journal = tmp_path / "target" / "copy.journal"
        for size_bytes in sorted(chance.sample(range(100, 2500), 2)):
            # It grows by a line a second or so.
            killed_when(
                begin(user, *command, **store.env),
                lambda wanted=size_bytes: journal.exists() and journal.stat().st_size > wanted,
            )
        began_s = time.monotonic()
        done = begin(user, *command, **store.env)
        said, errors = done.communicate()
        assert done.returncode == 0, errors
        print(f"{said}the third go took {time.monotonic() - began_s:.1f} s")

        target = make_server("target", **store.env)
        source.start()
        runs = source.get("/api/v1/runs?limit=1000&deleted=all")["items"]
        assert len(runs) == 1000
        for run in chance.sample(runs, 100):
            assert differences(seen_run(target, run), seen_run(source, run)) == []
        target.stop()
