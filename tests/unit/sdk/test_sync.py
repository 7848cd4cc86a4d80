"""Sync: what a process left is brought, counted, and cleared away; one trouble stops no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from live_server import wait_for
from scripted_server import Answer, Asked, ScriptedServer, run_view
from seafloor.cli.checks import check_spool
from seafloor.domain.errors import StoreError
from seafloor.domain.metrics import Point
from seafloor.mlflow_plugin.takeover import Takeover
from seafloor.sdk.client import Client
from seafloor.sdk.courier import Account, Courier, SegmentDelivery
from seafloor.sdk.settings import Settings, read_settings
from seafloor.sdk.spool import Segment, Sent, SpoolWriter, write_sent
from seafloor.sdk.sync import RunReport, Waiting, count_waiting, sync_all, sync_run, waiting_runs
from seafloor.sdk.transport import TransportOptions
from seafloor.sdk.wal import MAGIC, Begin, End, LoggedFile, Points, Record, WalReader
from seafloor.wire.runs import RunCreate

RUN_ID = "0" * 31 + "1"
END = End("succeeded", "", 5)
IMPATIENT = TransportOptions(connect_s=60.0, read_s=60.0, repeat_s=0.0)


class RunServer:
    """A server that has one run and takes all; ``artifacts`` are answered as the test says."""

    def __init__(self, scripted: ScriptedServer) -> None:
        self.tags: dict[str, str] = {}
        self.points = 0
        self.ended: str | None = None
        self.artifact: Callable[[Asked], Answer] = lambda _asked: Answer(404)
        self.client = Client(scripted.url, "", options=IMPATIENT)
        scripted.answer = self._answer

    def _answer(self, asked: Asked) -> Answer:
        if "/artifacts/" in asked.path:
            return self.artifact(asked)
        if asked.path.endswith("/batches"):
            self.points += 1
            return Answer(200, {"points_written": 1, "points_repeated": 0})
        if asked.method == "PATCH":
            self.tags |= asked.json.get("tags", {})
            self.ended = asked.json.get("state") or self.ended
        return Answer(200, run_view(RUN_ID))


@pytest.fixture
def server(scripted: ScriptedServer) -> RunServer:
    return RunServer(scripted)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"SEAFLOOR_HOME": str(tmp_path / "home")})


def leave(
    settings: Settings, *records: Record, run_id: str = RUN_ID, adopted: str | None = None
) -> Segment:
    """Leave records in the spool, as a process that is gone."""
    begin = Begin(RunCreate(id=run_id), True, False, False, os.getpid(), "host", adopted)
    writer = SpoolWriter(settings.spool / run_id, begin)
    for record in records:
        writer.append(record)
    writer.close()
    return writer.segment


def point(key: str) -> Points:
    return Points([Point(key, 1.0, 0, 1)])


def copy_of(settings: Settings, path: str, content: bytes) -> LoggedFile:
    """The record of a file that was logged, and its copy."""
    copy = settings.spool / RUN_ID / "files" / f"copy-of-{path}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)
    return LoggedFile(path, copy.name, True, len(content), 1)


def kept(asked: Asked) -> Answer:
    sha256 = asked.headers["x-content-sha256"]
    path = asked.path.rpartition("/")[2]
    return Answer(
        200, {"path": path, "size_bytes": len(asked.body), "sha256": sha256, "created_ns": 1}
    )


def test_sync__a_proxy_takes_no_large_files__what_is_behind_goes_and_the_file_is_refused(
    server: RunServer, settings: Settings
) -> None:
    nginx = Answer(413, b"<html>413 Request Entity Too Large</html>")
    server.artifact = lambda asked: nginx if len(asked.body) > 100 else kept(asked)
    leave(
        settings,
        copy_of(settings, "large", b"x" * 101),
        copy_of(settings, "small", b"x"),
        point("later"),
        END,
    )
    report = sync_run(server.client, settings, RUN_ID)
    assert (report.state, report.points, report.files) == ("sent", 1, 1)
    assert [(refusal.kind, refusal.what) for refusal in report.refused] == [("file", "large")]
    assert "Raise the limit" in report.refused[0].reason
    assert list(server.tags.values()) == ["1"]
    assert server.ended == "succeeded"


def damage(segment: Segment, text: bytes) -> None:
    content = bytearray(segment.path.read_bytes())
    content[content.index(text)] ^= 1
    segment.path.write_bytes(content)


def test_sync__the_last_record_before_the_end_is_damaged__is_counted_once(
    server: RunServer, settings: Settings
) -> None:
    damage(leave(settings, point("first"), point("last"), END), b"last")
    report = sync_run(server.client, settings, RUN_ID)
    assert (report.state, report.points, report.records_lost) == ("sent", 1, 1)
    assert list(server.tags.values()) == ["1"]
    assert server.ended == "succeeded"


def test_sync__all_but_the_end_was_sent_before_and_the_last_is_damaged__is_counted(
    server: RunServer, settings: Settings
) -> None:
    segment = leave(settings, point("first"), point("last"), END)
    with segment.path.open("rb") as file:
        first = list(WalReader(file).records())[1]
    write_sent(segment, Sent(first.end, first.number))
    damage(segment, b"last")
    report = sync_run(server.client, settings, RUN_ID)
    assert (report.state, report.points, report.records_lost) == ("sent", 0, 1)
    assert list(server.tags.values()) == ["1"]


def test_step__the_end_is_read_again_and_again__what_was_lost_before_it_is_counted_once(
    server: RunServer, settings: Settings
) -> None:
    segment = leave(settings, point("first"), point("last"), END)
    damage(segment, b"last")
    account = Account()
    courier = Courier(server.client, RUN_ID, segment.folder / "files", account)
    delivery = SegmentDelivery(segment)
    assert [delivery.step(courier) for _ in range(3)] == [2, 0, 0]
    assert account.records_lost == 1


def loop(path: Path) -> None:
    """Make what nobody can read, not even the machine's administrator."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.name)


OTHERS = tuple(f"{number:032x}" for number in (2, 3, 4))
SEGMENT = f"{1:013d}-1-abcdef.0001.wal"


def test_sync_all__runs_that_cannot_be_read__are_left_and_the_others_go(
    server: RunServer, settings: Settings
) -> None:
    folder, file, later = OTHERS
    loop(settings.spool / folder)
    loop(settings.spool / file / SEGMENT)
    leave(settings, point("loss"), run_id=later).path.write_bytes(MAGIC[:7] + b"\x02")
    leave(settings, point("loss"), END)
    told: list[RunReport] = []
    reports = {
        report.run_id: report for report in sync_all(server.client, settings, told=told.append)
    }
    assert [report.run_id for report in told] == [RUN_ID, *OTHERS]
    assert reports[RUN_ID].state == "sent"
    assert [reports[run_id].state for run_id in OTHERS] == ["left"] * 3
    assert str(settings.spool / folder) in str(reports[folder].problem)
    assert SEGMENT in str(reports[file].problem)
    assert "Upgrade seafloor" in str(reports[later].problem)
    assert not (settings.spool / RUN_ID).exists()


def test_count_waiting__a_run_that_cannot_be_read__is_counted(settings: Settings) -> None:
    loop(settings.spool / OTHERS[0])
    segment = leave(settings, point("loss"))
    assert count_waiting(settings) == Waiting(2, segment.path.stat().st_size)
    check = check_spool(settings)
    assert (check.state, check.fix) == ("warn", "seafloor sync")


def test_waiting_runs__the_spool_cannot_be_read__says_so(settings: Settings) -> None:
    loop(settings.spool)
    with pytest.raises(StoreError, match="SEAFLOOR_HOME"):
        waiting_runs(settings)
    assert check_spool(settings).state == "fail"


def test_takeover__runs_that_cannot_be_read__stop_no_other(
    server: RunServer, settings: Settings
) -> None:
    url = server.client.url
    folder, file, later = OTHERS
    loop(settings.spool / folder)
    loop(settings.spool / file / SEGMENT)
    leave(settings, point("loss"), run_id=later).path.write_bytes(MAGIC[:7] + b"\x02")
    leave(settings, point("loss"), adopted=url)
    Takeover(replace(settings, url=url)).look()
    wait_for(lambda: not (settings.spool / RUN_ID).exists(), what="the run to be brought")
    assert server.points == 1


def there_with(*, size_bytes: int) -> Callable[[Asked], Answer]:
    """Answer as a server that has every artifact, of so many bytes."""

    def answer(asked: Asked) -> Answer:
        return Answer(200, b"x" * size_bytes) if asked.method == "HEAD" else kept(asked)

    return answer


def gone(settings: Settings, path: str, content: bytes) -> LoggedFile:
    """The record of a file whose copy was brought and removed, though the disk took no note."""
    record = copy_of(settings, path, content)
    (settings.spool / RUN_ID / "files" / record.source).unlink()
    return record


def test_sync__a_copy_is_gone_and_the_artifact_is_there__was_brought_before(
    server: RunServer, settings: Settings
) -> None:
    server.artifact = there_with(size_bytes=5)
    leave(settings, gone(settings, "f.txt", b"hello"), END)
    report = sync_run(server.client, settings, RUN_ID)
    assert (report.state, report.files, report.refused) == ("sent", 1, ())
    assert not server.tags


def test_sync__a_copy_is_gone_and_its_path_was_logged_again__the_last_one_counts(
    server: RunServer, settings: Settings
) -> None:
    server.artifact = there_with(size_bytes=5)
    leave(settings, gone(settings, "f.txt", b"hi"), gone(settings, "f.txt", b"hello"), END)
    report = sync_run(server.client, settings, RUN_ID)
    assert (report.state, report.files, report.refused) == ("sent", 2, ())


@pytest.mark.parametrize(
    "artifact", [there_with(size_bytes=4), lambda _asked: Answer(404)], ids=["other", "none"]
)
def test_sync__a_copy_is_gone_and_so_is_the_artifact__is_lost(
    server: RunServer, settings: Settings, artifact: Callable[[Asked], Answer]
) -> None:
    server.artifact = artifact
    leave(settings, gone(settings, "f.txt", b"hello"), point("later"), END)
    report = sync_run(server.client, settings, RUN_ID)
    assert (report.state, report.points, report.files) == ("sent", 1, 0)
    assert [refusal.what for refusal in report.refused] == ["f.txt"]
    assert list(server.tags.values()) == ["1"]


def test_sync__a_copy_is_gone_and_the_server_goes_away__waits(
    server: RunServer, settings: Settings
) -> None:
    server.artifact = lambda _asked: Answer(503)
    leave(settings, gone(settings, "f.txt", b"hello"), END)
    report = sync_run(server.client, settings, RUN_ID)
    assert (report.state, report.retryable, report.refused) == ("left", True, ())


def test_sync_all__a_copy_that_no_record_names__goes_unless_somebody_may_still_write_it(
    server: RunServer, settings: Settings
) -> None:
    files = settings.spool / RUN_ID / "files"
    copy_of(settings, "abandoned", b"x")
    os.utime(files / "copy-of-abandoned", (0, 0))
    copy_of(settings, "being-written", b"x")
    leave(settings, point("loss"), END)
    (report,) = sync_all(server.client, settings, told=lambda _report: None)
    assert report.state == "sent"
    assert [copy.name for copy in files.iterdir()] == ["copy-of-being-written"]
    os.utime(files / "copy-of-being-written", (0, 0))
    assert sync_all(server.client, settings, told=lambda _report: None) == []
    assert list(settings.spool.iterdir()) == []


def test_sync_all__copies_of_a_run_that_waits__stay(server: RunServer, settings: Settings) -> None:
    record = copy_of(settings, "f.txt", b"x")
    copy = settings.spool / RUN_ID / "files" / record.source
    os.utime(copy, (0, 0))
    leave(settings, record, END)
    server.artifact = lambda _asked: Answer(503)
    (report,) = sync_all(server.client, settings, told=lambda _report: None)
    assert report.state == "left"
    assert copy.exists()
