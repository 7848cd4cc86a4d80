"""The disk is full: the command goes on, what is lost is counted and told, the ending is known."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_world import AgentTask, wait_until
from seafloor.testing.small_disk import SmallDisk, small_disk

# Prints until it is told to go on; then prints again what must be kept. It writes nothing to the
# full disk itself; elsewhere it keeps a byte for each piece that a pipe has taken.
PRINTER = """
import os, sys, time
number = 0
def lines(count):
    global number
    for _ in range(count):
        number += 1
        print("line", number)
lines(1000)
while not os.path.exists(sys.argv[1] + "/full"):
    time.sleep(0.01)
while not os.path.exists(sys.argv[1] + "/free"):
    lines(500)
    with open(sys.argv[1] + "/pieces", "a") as pieces:
        pieces.write("x")
    time.sleep(0.02)
lines(1000)
print("last")
"""

PIECES = 40
"""As many are three times what a pipe holds: the agent has taken some of them."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size_bytes=4 << 20) as made:
        yield made


def test_spool__disk_full_for_a_while__command_goes_on_and_losses_are_counted(
    make_task: Callable[..., AgentTask], disk: SmallDisk, tmp_path: Path
) -> None:
    task = make_task(folder=disk.path / "task")
    process = task.start([sys.executable, "-c", PRINTER, str(tmp_path)])
    wait_until(lambda: b"line 1000\n" in task.printed_on_disk(), what="the first lines")
    disk.fill()
    (tmp_path / "full").touch()
    kept = (task.task_dir / "log.spool").stat().st_size
    _wait_for_more(tmp_path)
    disk.free()
    (tmp_path / "free").touch()
    assert process.wait(60) == 0, task.errors
    assert task.end["ending"]["exit_code"] == 0
    records = task.received.records()
    losses = [record for record in records if record.is_loss]
    assert losses
    lost = sum(int(record.payload) for record in losses)
    assert task.end["lines_lost"] == lost > 0
    assert len(task.received.logs["main"]) > kept
    _check_numbers(task)
    lines = [r.payload.decode() for r in records if r.stream == 0 and not r.is_loss]
    assert lines[:1000] == [f"line {number}" for number in range(1, 1001)]
    assert lines[-1] == "last"
    # Every line that was printed is there or counted.
    last_number = int(lines[-2].split()[1])
    assert len(lines) - 1 + lost == last_number


def _check_numbers(task: AgentTask) -> None:
    expected = 1
    for record in task.received.records():
        assert record.number == expected
        expected += int(record.payload) if record.is_loss else 1


def _wait_for_more(folder: Path) -> None:
    pieces = folder / "pieces"
    wait_until(
        lambda: pieces.exists() and pieces.stat().st_size >= PIECES, what="more being printed"
    )


def test_spool__disk_full_to_the_end__ending_is_written_and_reported(
    make_task: Callable[..., AgentTask], disk: SmallDisk, tmp_path: Path
) -> None:
    task = make_task(folder=disk.path / "task")
    process = task.start([sys.executable, "-c", PRINTER, str(tmp_path)])
    wait_until(lambda: b"line 1000\n" in task.printed_on_disk(), what="the first lines")
    disk.fill()
    (tmp_path / "full").touch()
    _wait_for_more(tmp_path)
    (tmp_path / "free").touch()
    wait_until(lambda: task.received.ends, what="the report")
    ended = task.document("exit.json")
    assert ended is not None
    assert ended["ending"]["exit_code"] == 0
    assert task.end["lines_lost"] > 0
    # Without space done.json cannot be written: the rest is for a later `ship`, which has nothing
    # left to send and says that all is done. What exit.json left of its reserve may be just enough.
    assert process.wait(60) in (0, 5)
    disk.free()
    assert task.spawn("ship").wait(60) == 0
    assert task.document("done.json") is not None


def test_exec__no_space_to_begin_with__refused_before_the_command_starts(
    make_task: Callable[..., AgentTask], disk: SmallDisk, tmp_path: Path
) -> None:
    task = make_task(folder=disk.path / "task")
    task.write(["/bin/touch", str(tmp_path / "started")])
    disk.fill()
    process = task.spawn("exec")
    assert process.wait(60) == 1
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("pages", range(1, 12))
def test_exec__space_ends_as_it_begins__refused_before_the_command_or_run_to_its_end(
    make_task: Callable[..., AgentTask], disk: SmallDisk, tmp_path: Path, pages: int
) -> None:
    task = make_task(folder=disk.path / "task")
    task.write(["/bin/touch", str(tmp_path / "started")])
    (task.task_dir / "agent.err").touch()
    disk.fill(leave_bytes=pages * 4096)
    process = task.spawn("exec")
    if process.wait(60) == 1:
        assert not (tmp_path / "started").exists()
    else:
        assert (tmp_path / "started").exists()
        assert task.end["ending"]["exit_code"] == 0
