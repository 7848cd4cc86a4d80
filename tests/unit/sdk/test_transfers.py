"""Several files at once: all that can come does, and what fails is told by name."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from live_server import wait_for
from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import (
    InvalidValue,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
    Unauthenticated,
)
from seafloor.sdk.downloads import Progress
from seafloor.sdk.transfers import FAILED_MAX, SILENT_MAX, transfer


def nothing(_size_bytes: int) -> None:
    pass


def test_transfer__many_files__a_few_are_on_their_way_at_once() -> None:
    together = threading.Barrier(3)
    running: list[int] = []
    seen: list[int] = []
    moved: list[int] = []

    def move(item: int, progress: Progress) -> int:
        running.append(item)
        together.wait(timeout=30)  # nobody comes through alone
        seen.append(len(running))
        together.wait(timeout=30)
        running.remove(item)
        progress(item)
        together.wait(timeout=30)
        return -item

    done = transfer(range(12), move, progress=moved.append, at_once=3)
    assert done.done == tuple(-item for item in range(12))
    assert (done.failed, done.left) == ((), 0)
    assert set(seen) == {3}
    assert sum(moved) == sum(range(12))


def test_transfer__of_nothing__is_nothing() -> None:
    def move(item: int, _progress: Progress) -> int:
        raise AssertionError(item)

    assert transfer([], move, progress=nothing).done == ()


def test_transfer__some_fail__the_others_come() -> None:
    def move(item: int, _progress: Progress) -> int:
        if item % 10 == 3:
            raise StoreCorrupt(f"{item} is damaged.")
        return item

    moved = transfer(range(50), move, progress=nothing, at_once=3)
    assert moved.done == tuple(item for item in range(50) if item % 10 != 3)
    assert [item for item, _ in moved.failed] == [3, 13, 23, 33, 43]
    assert str(moved.failed[0][1]) == "3 is damaged."
    assert moved.left == 0


@pytest.mark.parametrize(
    ("error", "failed"),
    [(StoreUnavailable("Away."), SILENT_MAX), (InvalidValue("Bad."), FAILED_MAX)],
)
def test_transfer__all_fail__it_ends_after_some(error: Exception, failed: int) -> None:
    def move(_item: int, _progress: Progress) -> int:
        raise error

    moved = transfer(range(10_000), move, progress=nothing, at_once=1)
    assert [item for item, _ in moved.failed] == list(range(failed))
    assert moved.left == 10_000 - failed


def test_transfer__the_server_is_silent_now_and_then__all_others_come() -> None:
    def move(item: int, _progress: Progress) -> int:
        if item % 2:
            raise StoreUnavailable("Busy.")
        return item

    moved = transfer(range(4 * SILENT_MAX), move, progress=nothing, at_once=1)
    assert len(moved.done) == len(moved.failed) == 2 * SILENT_MAX


@pytest.mark.parametrize(
    "error", [StoreFull("No room."), Unauthenticated("Who?"), RuntimeError("a bug")]
)
def test_transfer__one_fails_as_all_would__no_other_is_begun_and_those_on_their_way_end(
    error: Exception,
) -> None:
    begun: list[int] = []
    failed, others = threading.Event(), threading.Barrier(3)

    def move(item: int, progress: Progress) -> int:
        begun.append(item)
        if item == 0:
            return item
        others.wait(timeout=30)
        if item == 2:
            failed.set()
            raise error
        assert failed.wait(timeout=30)
        while True:  # until it is told that it need not go on
            progress(1)

    moved = transfer(range(100), move, progress=nothing, at_once=3)
    assert moved.done == (0,)
    assert moved.failed == ((2, error),)
    assert moved.left == 98
    assert sorted(begun) == [0, 1, 2, 3]


_PROGRAM = """
import sys
from pathlib import Path
from seafloor.sdk import transfers
from seafloor.sdk.client import Client
from seafloor.sdk.transfers import transfer

if sys.argv[2] == "get":
    transfers._LET_GO_S = 60.0  # each ends at its next piece, which takes a busy machine a while
files = Client(sys.argv[1], "").artifacts
move = getattr(files, sys.argv[2])
try:
    transfer(
        [f"f{number}" for number in range(20)],
        lambda name, progress: move("0" * 32, name, Path(name), progress=progress),
        progress=lambda size_bytes: None,
    )
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("how", ["put", "get"])
def test_transfer__interrupted_in_the_middle__ends_at_once_and_leaves_nothing_half(
    scripted: ScriptedServer, tmp_path: Path, how: str
) -> None:
    """Bytes come as long as somebody takes them; whoever sent all waits for an answer in vain."""
    ended, asked_of = threading.Event(), set[str]()

    def answer(asked: Asked) -> Answer:
        asked_of.add(asked.path.partition("?")[0])
        if how == "get":
            return Answer(200, b"x" * (1 << 24), cut_after=(1 << 24) - 1)
        assert ended.wait(60)
        return Answer(503)

    scripted.answer = answer
    if how == "put":
        for number in range(20):
            (tmp_path / f"f{number}").write_bytes(b"content")
    client = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, scripted.url, how], cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: len(asked_of) > 1, what="several at once")
        client.send_signal(signal.SIGINT)
        assert client.communicate(timeout=90)[1] == b""
        assert client.returncode == 130
        if how == "get":
            assert list(tmp_path.iterdir()) == []
    finally:
        ended.set()
        client.kill()
        client.communicate()
