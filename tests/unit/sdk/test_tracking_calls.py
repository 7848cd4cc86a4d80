"""What the calls of a script write, without any server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seafloor
from interruptions import every_instruction, signal_at
from seafloor.domain.errors import Closed, Conflict, InvalidValue
from seafloor.domain.metrics import Point
from seafloor.sdk import spool, tracked_run, tracking
from seafloor.sdk.logged_files import LoggedFiles
from seafloor.sdk.settings import read_settings
from seafloor.sdk.spool import list_segments
from seafloor.sdk.wal import (
    Begin,
    End,
    FoundRecord,
    LoggedFile,
    Params,
    Points,
    Record,
    Tags,
    WalReader,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SEAFLOOR_HOME", str(tmp_path))
    monkeypatch.setenv("SEAFLOOR_EXIT_WAIT_S", "0")
    for name in ("SEAFLOOR_URL", "SEAFLOOR_RUN_ID", "SEAFLOOR_DATA"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    seafloor.end_run()


def records(home: Path, run: seafloor.Run) -> list[Record]:
    (segment,) = list_segments(home / "spool" / run.id)
    with segment.path.open("rb") as file:
        return [found.record for found in WalReader(file).records()]


def logged_points(home: Path, run: seafloor.Run) -> list[Point]:
    return [
        point
        for record in records(home, run)
        if isinstance(record, Points)
        for point in record.points
    ]


def test_start_run__names_params_tags__are_in_the_file_at_once(home: Path) -> None:
    run = seafloor.start_run("first", experiment="digits", params={"lr": 0.1}, tags={"a": 1})
    begin, params, tags = records(home, run)
    assert isinstance(begin, Begin)
    assert (begin.run.id, begin.run.name, begin.run.experiment) == (run.id, "first", "digits")
    assert (begin.owner, begin.launched, begin.resumed) == (True, False, False)
    assert params == Params({"lr": "0.1"})
    assert tags == Tags({"a": "1"})
    assert seafloor.active_run() is run


def test_log_metric__without_steps__counts_each_key_by_itself(home: Path) -> None:
    run = seafloor.start_run()
    seafloor.log_metric("loss", 1)
    seafloor.log_metrics({"loss": 2, "acc": 3})
    seafloor.log_metric("loss", 4, step=10)
    seafloor.log_metric("loss", 5)
    logged = [(point.key, point.step, point.value) for point in logged_points(home, run)]
    assert logged == [
        ("loss", 0, 1.0),
        ("loss", 1, 2.0),
        ("acc", 0, 3.0),
        ("loss", 10, 4.0),
        ("loss", 11, 5.0),
    ]


def test_log_metrics__one_value_is_none__logs_nothing_of_the_call(home: Path) -> None:
    run = seafloor.start_run()
    with pytest.raises(InvalidValue):
        seafloor.log_metrics({"loss": 1, "acc": None})  # type: ignore[dict-item]
    seafloor.log_metric("loss", 1)
    (points,) = (record for record in records(home, run) if isinstance(record, Points))
    assert [point.step for point in points.points] == [0]


def test_log_metrics__behind_the_last_step__is_refused_and_logs_nothing_of_the_call(
    home: Path,
) -> None:
    run = seafloor.start_run()
    seafloor.log_metric("loss", 1, step=2**63 - 1)
    seafloor.log_text("notes", "a", step=2**63 - 1)
    logged = records(home, run)
    with pytest.raises(InvalidValue, match="loss") as caught:
        seafloor.log_metrics({"acc": 1, "loss": 2})
    assert caught.value.field == "step"
    with pytest.raises(InvalidValue, match="notes"):
        seafloor.log_text("notes", "b")
    assert records(home, run) == logged
    seafloor.log_metric("acc", 1)
    (point,) = logged_points(home, run)[1:]
    assert (point.key, point.step) == ("acc", 0)


def test_log_metrics__more_than_fit_a_record__are_all_there(home: Path) -> None:
    run = seafloor.start_run()
    seafloor.log_metrics({f"k{number}": number for number in range(2500)})
    sizes = [len(record.points) for record in records(home, run) if isinstance(record, Points)]
    assert sizes == [1000, 1000, 500]


def test_log_param__another_value__is_a_conflict_that_names_the_fix(home: Path) -> None:
    seafloor.start_run(params={"lr": 0.1})
    seafloor.log_param("lr", 0.1)
    with pytest.raises(Conflict, match="tag") as caught:
        seafloor.log_params({"other": 1, "lr": 0.2})
    assert caught.value.field == "lr"
    seafloor.log_param("other", 2)  # the call before logged nothing


def test_log_params__more_than_fit_a_record__are_all_there(home: Path) -> None:
    run = seafloor.start_run()
    params = {f"p{number}": "✓" * 6000 for number in range(300)}
    tags = {f"t{number}": "✓" * 8000 for number in range(250)}
    seafloor.log_params(params)
    seafloor.set_tags(tags)
    logged = records(home, run)
    kept = [record.params for record in logged if isinstance(record, Params)]
    assert {key: text for part in kept for key, text in part.items()} == params
    assert sum(len(part) for part in kept) == len(params)
    kept = [record.tags for record in logged if isinstance(record, Tags)]
    assert {key: text for part in kept for key, text in part.items()} == tags


def test_start_run__another_is_active__says_what_to_do() -> None:
    seafloor.start_run("first")
    with pytest.raises(Conflict, match="end_run"):
        seafloor.start_run("second")
    seafloor.end_run()
    seafloor.start_run("second")


def test_log__after_the_end__is_refused(home: Path) -> None:
    run = seafloor.start_run()
    run.end("failed", reason="no data")
    assert isinstance(records(home, run)[-1], End)
    assert seafloor.active_run() is None
    with pytest.raises(Closed):
        run.log_metric("loss", 1)
    run.end()
    assert sum(isinstance(record, End) for record in records(home, run)) == 1


def ending(home: Path, run: seafloor.Run) -> tuple[str, str]:
    end = records(home, run)[-1]
    assert isinstance(end, End)
    return end.state, end.reason


def test_end__a_state_that_is_none__is_refused_and_the_run_goes_on(home: Path) -> None:
    run = seafloor.start_run()
    with pytest.raises(InvalidValue, match="succeeded, failed or stopped") as caught:
        run.end("FINISHED")  # type: ignore[arg-type]
    assert caught.value.field == "state"
    seafloor.log_metric("loss", 1)
    run.end("stopped")
    assert ending(home, run) == ("stopped", "")


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("a\0b", "ab"),
        ("\x1b[31mred\x1b[0m\x85", "[31mred[0m"),
        ("two\nlines,\tone tab", "two\nlines,\tone tab"),
        ("b\udcff.txt", "b?.txt"),
        ("✓" * 2001, "✓" * 1999 + "…"),
    ],
)
def test_end__a_reason_that_a_server_refuses__is_mended(home: Path, reason: str, kept: str) -> None:
    run = seafloor.start_run()
    run.end("failed", reason=reason)
    assert ending(home, run) == ("failed", kept)


def test_with__left_by_an_exception_with_a_lone_surrogate__raises_it_and_has_failed(
    home: Path,
) -> None:
    run = seafloor.start_run()
    with pytest.raises(ValueError, match="cannot open"), run:
        raise ValueError("cannot open b\udcff.txt")
    assert ending(home, run) == ("failed", "ValueError: cannot open b?.txt")


class Untellable(Exception):
    """What has no words for itself."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_with__left_by_an_exception_that_has_no_text__raises_it_and_has_failed(home: Path) -> None:
    run = seafloor.start_run()
    with pytest.raises(Untellable), run:
        raise Untellable
    state, reason = ending(home, run)
    assert state == "failed"
    assert reason.startswith("Untellable: <exception str() failed>")


def test_with__left_by_an_exit_with_an_object_that_has_no_text__has_failed(home: Path) -> None:
    run = seafloor.start_run()
    with pytest.raises(SystemExit), run:
        raise SystemExit(Untellable())
    assert ending(home, run)[0] == "failed"


def test_log__without_a_run__starts_one() -> None:
    seafloor.log_metric("loss", 1)
    assert seafloor.active_run() is not None


@pytest.mark.parametrize(
    "how",
    [
        {"name": " x"},
        {"experiment": "a\nb"},
        {"run_id": "abc"},
        {"params": {"": 1}},
        {"project": "Not A Slug"},
    ],
)
def test_start_run__a_value_that_cannot_be__starts_nothing(
    home: Path, how: dict[str, object]
) -> None:
    with pytest.raises(InvalidValue):
        seafloor.start_run(**how)  # type: ignore[arg-type]
    assert seafloor.active_run() is None
    assert not list(home.glob("spool/*"))


def test_start_run__in_a_launched_task__is_that_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAFLOOR_RUN_ID", "a" * 32)
    run = seafloor.start_run("a name of its own")
    assert run.id == "a" * 32
    begin = records(home, run)[0]
    assert isinstance(begin, Begin)
    assert begin.launched


def test_log_artifact__a_file__is_copied_as_it_is(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"now")
    run = seafloor.start_run()
    seafloor.log_artifact(file, "models/best/")
    file.write_bytes(b"later")
    (logged,) = (record for record in records(home, run) if isinstance(record, LoggedFile))
    assert (logged.path, logged.copied) == ("models/best/weights.bin", True)
    copy = home / "spool" / run.id / "files" / logged.source
    assert copy.read_bytes() == b"now"


@pytest.mark.parametrize(
    ("file", "folder", "said"),
    [("nothing.bin", "", "nothing.bin"), ("", "", "log_artifacts"), ("w", "../up", "part")],
)
def test_log_artifact__what_cannot_be_kept__is_refused(
    tmp_path: Path, file: str, folder: str, said: str
) -> None:
    (tmp_path / "w").touch()
    seafloor.start_run()
    with pytest.raises(InvalidValue, match=said):
        seafloor.log_artifact(tmp_path / file, folder)


def test_log_artifact__a_pipe_or_a_device__is_refused_and_nobody_waits_for_it(
    home: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    run = seafloor.start_run()
    for file in (pipe, Path("/dev/zero")):
        with pytest.raises(InvalidValue, match="no file but a pipe"):
            seafloor.log_artifact(file)
    assert not [one for one in records(home, run) if isinstance(one, LoggedFile)]


def test_log_artifacts__a_tree__keeps_its_shape_and_skips_what_is_no_file(
    home: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "a.txt").touch()
    (tree / "deep" / "ü b.txt").touch()
    (tree / "nowhere").symlink_to("missing")
    run = seafloor.start_run()
    seafloor.log_artifacts(tree, "top")
    paths = [record.path for record in records(home, run) if isinstance(record, LoggedFile)]
    assert paths == ["top/a.txt", "top/deep/ü b.txt"]
    with pytest.raises(InvalidValue, match="is not a folder"):
        seafloor.log_artifacts(tree / "a.txt")


@pytest.mark.parametrize("name", [b"z\xff", b"z\nz", b"z\\z"])
def test_log_artifacts__a_name_that_cannot_be_kept__names_the_file_and_takes_none(
    home: Path, tmp_path: Path, name: bytes
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").touch()
    (tree / os.fsdecode(name)).touch()
    run = seafloor.start_run()
    with pytest.raises(InvalidValue) as caught:
        seafloor.log_artifacts(tree, "top")
    assert repr(os.fsdecode(name))[1:-1] in caught.value.message
    assert not [one for one in records(home, run) if isinstance(one, LoggedFile)]


def test_log_artifact__the_home_cannot_be_one__is_sent_from_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a-file"
    blocked.touch()
    monkeypatch.setenv("SEAFLOOR_HOME", str(blocked / "home"))
    file = tmp_path / "f.txt"
    file.write_text("hello")
    settings = read_settings()
    files = LoggedFiles(settings.spool / "run" / "files", settings.spool_room())
    (taken,) = files.take(file, "")
    assert (taken.copied, taken.source) == (False, str(file))
    run = seafloor.start_run()
    run.log_artifact(file)  # does not raise


def test_log_artifact__the_spool_is_as_large_as_it_may_be__is_sent_from_where_it_is(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAFLOOR_SPOOL_MAX", "1Mi")
    settings = read_settings()
    room = settings.spool_room()
    files = LoggedFiles(settings.spool / "run" / "files", room)
    file = tmp_path / "f.bin"
    file.write_bytes(bytes(700 << 10))
    room.measure(now=True)
    copied = [taken.copied for _ in range(2) for taken in files.take(file, "")]
    assert copied == [True, False]
    assert files.keep(bytes(700 << 10)) is None
    room.measure(now=True)  # what was copied counts, whoever did it
    assert [taken.copied for taken in files.take(file, "")] == [False]
    for copy in (home / "spool" / "run" / "files").iterdir():
        copy.unlink()  # it was sent
    room.measure(now=True)
    assert [taken.copied for taken in files.take(file, "")] == [True]


@pytest.mark.parametrize("call", ["log_metric", "log_params", "set_tag"])
def test_end_run__by_a_handler_at_any_instruction_of_a_call__is_in_the_file(
    home: Path, call: str
) -> None:
    for instruction, _ in every_instruction(home):
        run = seafloor.start_run()
        seafloor.log_metric("loss", 0)
        calls: dict[str, Callable[[], None]] = {
            "log_metric": lambda: run.log_metric("loss", 1),  # noqa: B023
            "log_params": lambda: run.log_params({"lr": 1}),  # noqa: B023
            "set_tag": lambda: run.set_tag("a", 1),  # noqa: B023
        }
        refused = False
        try:
            with signal_at(instruction, stop_run, spool, tracked_run) as ran:
                calls[call]()
        except Closed:
            refused = True
        run.end()
        logged = records(home, run)
        assert len(logged) == (3 if refused else 4), ran
        assert isinstance(logged[-1], End)
        if not ran:
            break
        assert logged[-1].state == "stopped", ran


def interrupt() -> None:
    raise KeyboardInterrupt


def test_start_run__interrupted_at_any_instruction__nobody_waits_for_the_end_of_a_run(
    home: Path,
) -> None:
    for instruction, _ in every_instruction(home):
        try:
            with signal_at(instruction, interrupt, tracking, tracked_run) as ran:
                seafloor.start_run(params={"lr": 1})
        except KeyboardInterrupt:
            pass
        tracking._end_at_exit()
        assert seafloor.active_run() is None
        for folder in (home / "spool").glob("*"):
            begun = [found.record for path in folder.glob("*.wal") for found in found_in(path)]
            assert isinstance(begun[-1], End), ran
            shutil.rmtree(folder)
        if not ran:
            break


def found_in(path: Path) -> list[FoundRecord]:
    with path.open("rb") as file:
        return list(WalReader(file).records())


def stop_run() -> None:
    seafloor.end_run("stopped")


def test_log__a_handler_logs_at_any_instruction_of_a_call__all_is_in_the_file(home: Path) -> None:
    run = seafloor.start_run()
    logged = 0
    for instruction, _ in every_instruction(home):
        with signal_at(instruction, lambda: run.log_metric("h", 1), spool, tracked_run) as ran:
            run.log_metrics({"loss": 1, "acc": 2})
        logged += 3 if ran else 2
        if not ran:
            break
    points = logged_points(home, run)
    assert len(points) == logged
    for key in ("loss", "acc", "h"):
        steps = [point.step for point in points if point.key == key]
        assert steps == list(range(len(steps)))
