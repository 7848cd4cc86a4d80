"""A process that is ended by a signal while a run is open, and who hears of it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import seafloor
from seafloor.sdk import abandoned
from seafloor.sdk.abandoned import count_abandoned, tell_abandoned
from seafloor.sdk.settings import read_settings
from seafloor.sdk.spool import list_segments
from seafloor.sdk.wal import Begin, End, Points, WalReader

ENDED_BY_SIGTERM = """
import os, signal, sys, seafloor
{handler}
with seafloor.start_run() as run:
    seafloor.log_metric("loss", 1)
    print(run.id, flush=True)
    sys.stdin.read(1)  # until the signal
"""
AS_THE_PAGE_SAYS = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEAFLOOR_HOME", str(tmp_path))
    monkeypatch.setenv("SEAFLOOR_EXIT_WAIT_S", "0")
    monkeypatch.setattr(abandoned, "_told_of", set())
    for name in ("SEAFLOOR_URL", "SEAFLOOR_RUN_ID", "SEAFLOOR_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def ended_by_sigterm(home: Path, handler: str = "") -> tuple[int, str]:
    with subprocess.Popen(
        [sys.executable, "-c", ENDED_BY_SIGTERM.format(handler=handler)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SEAFLOOR_HOME": str(home)},
    ) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        return process.wait(), run_id


def logged(home: Path, run_id: str) -> list[object]:
    (segment,) = list_segments(home / "spool" / run_id)
    with segment.path.open("rb") as file:
        return [found.record for found in WalReader(file).records()]


def test_sigterm__no_handler__all_is_in_the_spool_and_the_next_process_is_told(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code, run_id = ended_by_sigterm(home)
    assert code == -signal.SIGTERM
    assert [type(record) for record in logged(home, run_id)] == [Begin, Points]

    with caplog.at_level(logging.WARNING, "seafloor"):
        tell_abandoned(read_settings(), but="")
        tell_abandoned(read_settings(), but="")

    (message,) = caplog.messages
    assert "1 run waits" in message
    assert "seafloor sync" in message


def test_sigterm__the_handler_of_the_page__ends_the_run(home: Path) -> None:
    code, run_id = ended_by_sigterm(home, AS_THE_PAGE_SAYS)
    assert code == 143
    (end,) = [record for record in logged(home, run_id) if isinstance(record, End)]
    assert (end.state, end.reason) == ("failed", "exited with 143")
    page = Path(__file__).parents[3] / "docs/how-to/track-from-a-script.md"
    assert AS_THE_PAGE_SAYS in page.read_text()


def test_start_run__in_a_process_after_it__says_so(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended_by_sigterm(home)
    with caplog.at_level(logging.WARNING, "seafloor"), seafloor.start_run() as run:
        run.flush(wait_s=0.0)
        sender = run._sender  # pyright: ignore[reportPrivateUsage]
        assert sender is not None
    sender._thread.join()  # pyright: ignore[reportPrivateUsage]
    assert any("1 run waits" in message for message in caplog.messages)


def test_count_abandoned__who_lives_or_was_elsewhere__does_not_count(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run_id = ended_by_sigterm(home)
    spool = home / "spool"
    with seafloor.start_run() as run:
        assert run.id in {path.name for path in spool.iterdir()}
        assert count_abandoned(spool, but="") == 1
        assert count_abandoned(spool, but=run_id) == 0
        monkeypatch.setattr(socket, "gethostname", lambda: "another machine")
        assert count_abandoned(spool, but="") == 0


def test_count_abandoned__no_spool__is_none(home: Path) -> None:
    assert count_abandoned(home / "spool", but="") == 0
