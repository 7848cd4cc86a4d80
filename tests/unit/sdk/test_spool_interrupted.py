"""The spool's writer when a signal comes between any two steps of a call.

Python runs the handler of a signal between two of its instructions. These tests have one run, or
raise, at every instruction of a call in turn.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from interruptions import every_instruction, signal_at
from seafloor.domain.errors import Closed
from seafloor.sdk import spool
from seafloor.sdk.spool import SpoolWriter, list_segments, lock_segment
from seafloor.sdk.wal import Begin, End, FoundRecord, Record, Tags, WalReader
from seafloor.wire.runs import RunCreate

BEGIN = Begin(RunCreate(id="0" * 32), True, False, False, os.getpid(), "host")
BEFORE, DURING, HANDLER, AFTER = (Tags({"n": name}) for name in ("before", "during", "h", "after"))

# What an exception stopped holds files that nobody closes but Python.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is synced: that is slow, and thousands of files are closed here."""
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


def found(folder: Path) -> list[list[FoundRecord]]:
    segments = list[list[FoundRecord]]()
    for segment in list_segments(folder):
        with segment.path.open("rb") as file:
            reader = WalReader(file)
            segments.append(list(reader.records()))
            assert (reader.torn_bytes, reader.skipped_bytes) == (0, 0)
    return segments


def check(writer: SpoolWriter) -> list[Record]:
    """Check what is in the files and give it: numbers rise by one, and every byte is known."""
    assert writer.retry()
    assert writer.size_bytes == writer.segment.path.stat().st_size
    assert lock_segment(list_segments(writer.segment.folder)[-1]) is None
    writer.close()
    segments = found(writer.segment.folder)
    for records in segments:
        assert [one.number for one in records] == list(range(1, len(records) + 1))
        assert records[0].record == BEGIN
    assert lock_segment(writer.segment) is not None or not segments
    return [one.record for records in segments for one in records[1:]]


def stop() -> None:
    raise KeyboardInterrupt


@pytest.fixture(params=["in a file", "of a first record", "at a segment's end", "half written"])
def moment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "at a segment's end":
        monkeypatch.setattr(spool, "SEGMENT_BYTES_MAX", 1)
    return request.param


def begun(folder: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> SpoolWriter:
    writer = SpoolWriter(folder, BEGIN)
    if moment != "of a first record":
        writer.append(BEFORE)
    if moment == "half written":
        halves = iter([True])
        monkeypatch.setattr(FileWithoutRoom, "halves", halves)
        monkeypatch.setattr(spool, "FileIO", FileWithoutRoom)
        with monkeypatch.context() as patched:
            patched.setattr(FileWithoutRoom, "halves", iter(()))
            opened = writer._opened
            assert opened is not None
            writer._follow(opened.followers, opened.with_own_handle())
            opened.file.close()
    return writer


class FileWithoutRoom(FileIO):
    """A file of which the disk has room for half of what is written once."""

    halves: Iterator[bool] = iter(())

    def write(self, content: Any, /) -> int:
        return super().write(content[:9] if next(self.halves, False) else content)


def test_append__an_exception_at_any_instruction__the_record_is_there_or_not_and_others_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    kept = set[int]()
    for instruction, folder in every_instruction(tmp_path):
        writer = begun(folder, moment, monkeypatch)
        try:
            with signal_at(instruction, stop, spool) as ran:
                writer.append(DURING)
        except KeyboardInterrupt:
            pass
        writer.append(AFTER)
        logged = check(writer)
        rest = [record for record in logged if record != DURING]
        assert rest == ([AFTER] if moment == "of a first record" else [BEFORE, AFTER]), ran
        kept.add(logged.count(DURING))
        if not ran:
            break
    assert kept == {0, 1}


def test_append__a_handler_logs_at_any_instruction__both_records_are_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    for instruction, folder in every_instruction(tmp_path):
        writer = begun(folder, moment, monkeypatch)
        with signal_at(instruction, lambda: writer.append(HANDLER), spool) as ran:  # noqa: B023
            writer.append(DURING)
        writer.append(AFTER)
        logged = check(writer)
        assert logged.count(DURING) == 1, (ran, logged)
        assert logged.count(HANDLER) == (1 if ran else 0), (ran, logged)
        assert logged.count(AFTER) == 1, (ran, logged)
        if not ran:
            break


def test_append__a_handler_ends_the_run_at_any_instruction__nothing_stands_behind_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    end = End("stopped", "", 1)
    for instruction, folder in every_instruction(tmp_path):
        writer = begun(folder, moment, monkeypatch)
        refused = False
        try:
            with signal_at(instruction, lambda: writer.append(end), spool) as ran:  # noqa: B023
                writer.append(DURING)
        except Closed:
            refused = True
        if not ran:
            writer.append(end)
        logged = check(writer)
        assert logged[-1] == end, ran
        assert logged.count(DURING) == (0 if refused else 1), ran
        if not ran:
            break


def test_append__a_handler_closes_the_writer_at_any_instruction__writes_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for instruction, folder in every_instruction(tmp_path):
        writer = begun(folder, "in a file", monkeypatch)
        with signal_at(instruction, writer.close, spool) as ran:
            writer.append(DURING)
        (records,) = found(folder)
        assert len(records) + len(writer.pending) == 3, ran
        if not ran:
            break
        lock = lock_segment(writer.segment)
        assert lock is not None
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)
    writer.close()
