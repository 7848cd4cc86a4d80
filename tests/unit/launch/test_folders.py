"""What stays of an attempt whose tasks left something, and how long its code is in use."""

from __future__ import annotations

import shutil
from pathlib import Path

from seafloor.domain.ids import WorkloadId
from seafloor.launch.local.folders import (
    AttemptFolders,
    attempt_folders,
    bare_attempts,
    keep_task,
    remove_task,
    task_keys,
)
from seafloor.launch.protocol import TaskKey

RUN = WorkloadId("0190b5c2a0e57e0a8c8d2f3b4a5c6d7e")
FIRST, SECOND = TaskKey(RUN, 1, "worker-0"), TaskKey(RUN, 1, "worker-1")


def made(work_dir: Path, key: TaskKey) -> AttemptFolders:
    folders = attempt_folders(work_dir, key)
    folders.make()
    (folders.code / "train.py").write_text("print()")
    (folders.written_to(folders.output) / "model.pt").write_text("x")
    return folders


def test_keep__another_task_of_the_attempt_may_run__code_stays_in_use_until_it_is_over(
    tmp_path: Path,
) -> None:
    first, second = made(tmp_path, FIRST), made(tmp_path, SECOND)
    keep_task(tmp_path, FIRST)
    assert first.uses.is_dir()
    assert (second.code / "train.py").is_file()
    remove_task(tmp_path, SECOND)
    assert not first.uses.exists()
    assert (first.written_to(first.output) / "model.pt").is_file()
    remove_task(tmp_path, FIRST)
    assert list(tmp_path.iterdir()) == []


def test_keep__both_tasks__the_second_ends_the_use(tmp_path: Path) -> None:
    first, second = made(tmp_path, FIRST), made(tmp_path, SECOND)
    keep_task(tmp_path, FIRST)
    keep_task(tmp_path, SECOND)
    assert not first.uses.exists()
    assert (first.is_kept, second.is_kept) == (True, True)
    assert not first.code.exists()
    assert not second.code.exists()


def test_keep__link_in_place_of_a_folder__nothing_behind_it_is_touched(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "worker-0" / "code").mkdir(parents=True)
    folders = made(tmp_path / "work", FIRST)
    (folders.root / "apart").rename(folders.root / "moved")
    (folders.root / "apart").symlink_to(outside)
    keep_task(tmp_path / "work", FIRST)
    assert (outside / "worker-0" / "code").is_dir()


def test_bare_attempts__tasks_are_gone__the_attempt_is_named_and_can_be_removed(
    tmp_path: Path,
) -> None:
    bare, whole = TaskKey(RUN, 1, "main"), TaskKey(RUN, 2, "main")
    made(tmp_path, bare)
    made(tmp_path, whole)
    (tmp_path / "notes" / "1").mkdir(parents=True)  # nobody's: it is left alone
    assert list(bare_attempts(tmp_path)) == []
    shutil.rmtree(tmp_path / RUN / "1" / "tasks")
    assert list(task_keys(tmp_path)) == [whole]
    assert list(bare_attempts(tmp_path)) == [bare]
    remove_task(tmp_path, bare)
    assert list(bare_attempts(tmp_path)) == []
    assert sorted(path.name for path in (tmp_path / RUN).iterdir()) == ["2"]
