"""Files that several processes change at once: one order, every reader sees one content whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select

from live_server import wait_for
from seafloor.stores.metadata.sql.tables import artifact_intent
from seafloor.testing.artifact_crash_cases import artifacts_in
from seafloor.testing.artifact_hammer import FILES, check_whole
from seafloor.testing.artifact_store_suite import assert_true_to_its_digest, put_bytes
from seafloor.testing.manifest_store_suite import OWNER
from seafloor.testing.metadata_worlds import open_sql_store

SECONDS = float(os.environ.get("SEAFLOOR_HAMMER_SECONDS", "4"))

pytestmark = pytest.mark.usefixtures("database_kind")


def start(folder: Path, name: str, seconds: float = SECONDS) -> subprocess.Popen[str]:
    """Start a process that hammers."""
    return subprocess.Popen(
        [sys.executable, "-m", "seafloor.testing.artifact_hammer", folder, name, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def ended_well(children: list[subprocess.Popen[str]]) -> Counter[str]:
    """Wait for them all; give the sum of what they did."""
    done: Counter[str] = Counter()
    told = [child.communicate(timeout=120) for child in children]
    for child, (out, err) in zip(children, told, strict=True):
        assert child.returncode == 0, err[-3000:]
        done.update(json.loads(out))
    return done


async def look(folder: Path) -> None:
    """Every row is that of its bytes, and new files can be put."""
    async with artifacts_in(folder) as store:
        for path in FILES:
            content = await assert_true_to_its_digest(store, path)
            if content is not None:
                check_whole(path, content)
        await store.seal(OWNER)
        for path in FILES:
            await put_bytes(store, path, b"last")
            assert await assert_true_to_its_digest(store, path) == b"last"


async def intents_left(folder: Path) -> int:
    """How many intents nobody ended."""
    store = await open_sql_store(folder)
    counted = select(func.count()).select_from(artifact_intent)
    left = await store.database.read(lambda connection: connection.execute(counted).scalar_one())
    await store.close()
    return left


def test_files__changed_by_three_processes__are_whole_and_true_to_their_rows(
    tmp_path: Path,
) -> None:
    children = [start(tmp_path, name) for name in ("a", "b", "c")]
    done = ended_well(children)
    assert min(done["put"], done["read"], done["delete"]) > 3, done
    assert done["repeat"] < done["read"], done
    assert asyncio.run(intents_left(tmp_path)) == 0
    asyncio.run(look(tmp_path))


@pytest.mark.slow
def test_files__one_process_paused_and_others_killed__are_whole_and_true_to_their_rows(
    tmp_path: Path,
) -> None:
    steady, paused = start(tmp_path, "s", 2 * SECONDS), start(tmp_path, "p", 2 * SECONDS)
    wait_for((tmp_path / "objects").exists, what="the first file")
    ends_s = time.monotonic() + 2 * SECONDS
    number = 0
    while time.monotonic() < ends_s - 1:
        number += 1
        with start(tmp_path, f"k{number}", 60) as victim:
            paused.send_signal(signal.SIGSTOP)
            due_s = time.monotonic() + 1 + number % 3 / 10
            wait_for(lambda due_s=due_s: time.monotonic() > due_s, what="some work")
            paused.send_signal(signal.SIGCONT)
            victim.kill()
            victim.communicate()
    done = ended_well([steady, paused])
    assert min(done["put"], done["read"]) > 3, done
    asyncio.run(look(tmp_path))
