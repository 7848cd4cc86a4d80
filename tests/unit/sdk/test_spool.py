"""The spool's writer: nothing the disk does can hurt who logs, and what is lost is counted."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seafloor.domain.errors import LimitExceeded
from seafloor.domain.metrics import Point
from seafloor.sdk import spool
from seafloor.sdk.leftovers import remove_folder_if_empty
from seafloor.sdk.spool import (
    Segment,
    Sent,
    SpoolWriter,
    list_segments,
    lock_segment,
    read_sent,
    sync_copy,
    write_sent,
)
from seafloor.sdk.spool_room import NoRoom, SpoolRoom
from seafloor.sdk.wal import (
    RECORD_BYTES_MAX,
    Begin,
    Dropped,
    End,
    Points,
    Record,
    Tags,
    WalReader,
)
from seafloor.wire.runs import RunCreate

BEGIN = Begin(RunCreate(id="0" * 32), True, False, False, os.getpid(), "host")
END = End("succeeded", "", 1)


def read(segment: Segment) -> list[Record]:
    with segment.path.open("rb") as file:
        return [found.record for found in WalReader(file).records()]


def test_append__an_ordinary_disk__is_there_at_once(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "run", BEGIN)
    writer.append(Tags({"a": "b"}))
    assert read(writer.segment) == [BEGIN, Tags({"a": "b"})]
    assert writer.size_bytes == writer.segment.path.stat().st_size
    writer.close()


def test_append__a_segment_is_full__goes_on_in_the_next_that_begins_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES_MAX", 400)
    writer = SpoolWriter(tmp_path, BEGIN)
    for number in range(40):
        writer.append(Tags({"n": str(number)}))
    writer.close()
    segments = list_segments(tmp_path)
    assert len(segments) > 2
    assert [segment.number for segment in segments] == list(range(1, len(segments) + 1))
    found = [read(segment) for segment in segments]
    assert all(records[0] == BEGIN for records in found)
    kept = [record for records in found for record in records[1:]]
    assert kept == [Tags({"n": str(number)}) for number in range(40)]


def test_append__the_folder_cannot_be_made__keeps_and_then_counts(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    writer = SpoolWriter(blocked / "run", BEGIN, pending_bytes_max=200)
    for number in range(100):
        writer.append(Points([Point("loss", 1.0, number, 0), Point("acc", 1.0, number, 0)]))
    kept = len(writer.pending)
    assert 0 < kept < 100
    assert writer.dropped == Dropped(100 - kept, 2 * (100 - kept))
    assert writer.problem is not None
    blocked.unlink()
    assert writer.retry()
    records = read(writer.segment)
    assert len(records) == 1 + kept + 1
    assert records[-1] == Dropped(100 - kept, 2 * (100 - kept))
    writer.close()


@pytest.mark.parametrize(
    "limits",
    [{"size_bytes_max": 2000}, {"free_bytes_min": 2**60}],
    ids=["of the spool", "of the disk"],
)
def test_append__the_spool_has_no_room__keeps_and_counts_and_says_how_it_ended(
    tmp_path: Path, limits: dict[str, int]
) -> None:
    room = SpoolRoom(tmp_path, **limits)
    room.measure()
    writer = SpoolWriter(tmp_path / "run", BEGIN, room=room, pending_bytes_max=400)
    for number in range(200):
        writer.append(Points([Point("loss", 1.0, number, 0)]))
    kept, dropped = len(writer.pending), writer.dropped
    assert kept > 0
    assert dropped.records > 0
    assert isinstance(writer.problem, NoRoom)
    assert not writer.retry()
    writer.append(END)
    lost = writer.finish()
    begin, *points, said, end = read(writer.segment)
    assert (begin, end) == (BEGIN, END)
    assert said == Dropped(200 - len(points), 200 - len(points))
    assert lost == 200 - len(points) == kept + dropped.records
    assert writer.size_bytes < 2600


def test_append__room_comes_back__what_was_kept_is_written_and_the_loss_before_the_end(
    tmp_path: Path,
) -> None:
    room = SpoolRoom(tmp_path, size_bytes_max=1)
    room.measure()
    writer = SpoolWriter(tmp_path / "run", BEGIN, room=room, pending_bytes_max=100)
    for number in range(20):
        writer.append(Tags({"n": str(number)}))
    writer.append(END)
    kept = len(writer.pending) - 2
    writer.room = SpoolRoom(tmp_path)
    assert writer.retry()
    expected = [Tags({"n": str(number)}) for number in range(kept)]
    lost = 20 - kept
    assert read(writer.segment) == [BEGIN, *expected, Dropped(lost, 0), END]
    writer.close()


def test_append__something_was_dropped_and_the_run_ends__the_end_comes_last(
    tmp_path: Path,
) -> None:
    writer = SpoolWriter(tmp_path, BEGIN)
    writer.drop()
    writer.append(END)
    writer.retry()
    assert read(writer.segment) == [BEGIN, Dropped(1, 0), END]
    writer.close()


def test_measure__the_spool_cannot_be_looked_at__there_is_room(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    room = SpoolRoom(tmp_path / "file" / "spool", size_bytes_max=10)
    room.measure()
    assert room.take(10)
    assert not room.take(1)
    assert room.problem is not None
    assert "SEAFLOOR_SPOOL_MAX" in room.problem.advice


def test_measure__not_yet_time__looks_no_more(tmp_path: Path) -> None:
    room = SpoolRoom(tmp_path, size_bytes_max=10)
    room.measure()
    (tmp_path / "large").write_bytes(bytes(10))
    room.measure()
    assert room.take(5)
    room.measure(now=True)
    assert not room.take(1)


def test_lock_segment__its_writer_lives__is_not_given(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, BEGIN)
    writer.open()
    assert lock_segment(writer.segment) is None
    writer.close()
    lock = lock_segment(writer.segment)
    assert lock is not None
    assert lock_segment(writer.segment) is None
    os.close(lock)


def test_lock_segment__it_is_gone__is_not_given(tmp_path: Path) -> None:
    assert lock_segment(Segment(tmp_path, "0000000000000-1-abcdef", 1)) is None


def test_read_sent__none_or_torn__means_from_the_beginning(tmp_path: Path) -> None:
    segment = Segment(tmp_path, "0000000000000-1-abcdef", 1)
    assert read_sent(segment) == Sent()
    write_sent(segment, Sent(10, 2))
    assert read_sent(segment) == Sent(10, 2)
    segment.sent_path.write_bytes(b'{"offset": 1')
    assert read_sent(segment) == Sent()


def test_list_segments__folder_is_removed_meanwhile__are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    assert list_segments(tmp_path / "removed") == []


def test_remove_folder__another_process_does_or_begins__is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(()))  # as it was when it was looked at
    remove_folder_if_empty(tmp_path / "removed")
    begun = tmp_path / "begun"
    begun.mkdir()
    file = begun / "0000000000000-1-abcdef.0001.wal"
    file.touch()
    remove_folder_if_empty(begun)
    assert file.exists()


def test_lock_segment__who_had_it_removes_it__is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = Segment(tmp_path, "0000000000000-1-abcdef", 1)
    segment.path.touch()
    flock = fcntl.flock

    def removed_before(descriptor: int, how: int) -> None:
        segment.path.unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    assert lock_segment(segment) is None


def test_open__another_process_removes_what_nobody_has_locked__is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path / "run", BEGIN)
    flock, opened = fcntl.flock, os.open
    left = ["file", "folder"]

    def without_the_file(descriptor: int, how: int) -> None:
        if "file" in left:
            left.remove("file")
            writer.segment.path.unlink()
        flock(descriptor, how)

    def without_the_folder(path: Path, flags: int, mode: int = 0o777) -> int:
        if "folder" in left:
            left.remove("folder")
            writer.segment.folder.rmdir()
        return opened(path, flags, mode)

    monkeypatch.setattr(fcntl, "flock", without_the_file)
    monkeypatch.setattr(os, "open", without_the_folder)
    writer.append(Tags({"a": "b"}))
    assert left == []
    assert writer.problem is None
    assert read(writer.segment) == [BEGIN, Tags({"a": "b"})]
    assert lock_segment(writer.segment) is None
    writer.close()


def test_append__a_segment_is_full__its_writer_is_never_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES_MAX", 400)
    writer = SpoolWriter(tmp_path, BEGIN)
    while writer.segment.number == 1:
        writer.append(Tags({"n": "1"}))
        assert lock_segment(list_segments(tmp_path)[-1]) is None
    writer.append(Tags({"n": "2"}))
    assert read(writer.segment) == [BEGIN, Tags({"n": "2"})]
    writer.close()
    for segment in list_segments(tmp_path):
        lock = lock_segment(segment)
        assert lock is not None
        os.close(lock)


def test_list_segments__other_files__are_left_alone(tmp_path: Path) -> None:
    for name in ("x.wal", "0000000000000-1-abcdef.0001.sent", "0000000000000-1-abcdef.0001.wal"):
        (tmp_path / name).touch()
    assert [segment.number for segment in list_segments(tmp_path)] == [1]
    assert list_segments(tmp_path / "nothing") == []


_LIMITED = """
import os, resource, sys
from pathlib import Path
from seafloor.sdk.spool import SpoolWriter
from seafloor.sdk.wal import Begin, Tags
from seafloor.wire.runs import RunCreate

writer = SpoolWriter(Path(sys.argv[1]), Begin(RunCreate(id="0" * 32), True, False, False, 1, "h"))
writer.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(100):
    writer.append(Tags({"n": str(number)}))
size = writer.segment.path.stat().st_size
assert size == writer.size_bytes <= 1000, (size, writer.size_bytes)
assert writer.pending and writer.problem is not None
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert writer.retry()
writer.close()
"""


def test_append__the_disk_takes_half_a_record__takes_it_back_and_goes_on_later(
    tmp_path: Path,
) -> None:
    # A limit on file sizes makes real writes come back short, as a full disk does.
    subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path)], check=True, timeout=60)
    (segment,) = list_segments(tmp_path)
    assert read(segment)[1:] == [Tags({"n": str(number)}) for number in range(100)]


def test_append__larger_than_a_reader_takes__is_refused_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    writer = SpoolWriter(tmp_path, BEGIN)
    writer.append(Tags({"a": "b"}))
    with pytest.raises(LimitExceeded, match="in parts"):
        writer.append(Tags({"a": "b" * RECORD_BYTES_MAX}))
    writer.append(Tags({"c": "d"}))
    writer.close()
    assert read(writer.segment) == [BEGIN, Tags({"a": "b"}), Tags({"c": "d"})]


def test_append__a_segment_is_full__leaves_its_sync_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES_MAX", 400)
    synced = list[int]()
    monkeypatch.setattr(os, "fdatasync", synced.append)
    writer = SpoolWriter(tmp_path, BEGIN)
    while writer.segment.number < 4:
        writer.append(Tags({"n": "1"}))
    assert synced == []
    copies = writer.unsynced_copies()
    assert {copy.segment for copy in copies} == set(list_segments(tmp_path))
    for copy in copies:
        assert copy.size_bytes == copy.segment.path.stat().st_size
        writer.synced(sync_copy(copy))
    assert len(synced) == 4
    assert writer.unsynced_copies() == []
    writer.append(Tags({"n": "2"}))
    writer.close()
    assert len(synced) == 5


def test_append__no_room_for_another_segment__goes_on_in_the_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES_MAX", 1)
    writer = SpoolWriter(tmp_path, BEGIN)
    writer.open()
    blocked = writer.segment.next.path
    blocked.mkdir()
    for number in range(3):
        writer.append(Tags({"n": str(number)}))
    assert writer.problem is not None
    assert lock_segment(writer.segment) is None
    blocked.rmdir()
    writer.append(Tags({"n": "3"}))
    assert writer.segment.number == 2
    writer.close()
    first, _ = list_segments(tmp_path)
    assert read(first) == [BEGIN, *(Tags({"n": str(number)}) for number in range(4))]
