"""What the doctor says of what runs left that nobody could deliver."""

from __future__ import annotations

from pathlib import Path

from seafloor.boot.kept_checks import check_kept
from seafloor.boot.settings import Settings
from seafloor.domain.ids import WorkloadId
from seafloor.launch.local.folders import attempt_folders, keep_task
from seafloor.launch.protocol import TaskKey

RUN = "0190b5c2a0e57e0a8c8d2f3b4a5c6d7e"


def keep(work_dir: Path, key: TaskKey, size_bytes: int = 0) -> Path:
    folders = attempt_folders(work_dir, key)
    folders.make()
    (folders.output / "model.pt").write_bytes(b"x" * size_bytes)
    keep_task(work_dir, key)
    return folders.root


def test_check_kept__one_of_two_attempts__named_with_its_size_and_how_to_remove_it(
    tmp_path: Path,
) -> None:
    settings = Settings(data_dir=tmp_path / "da ta")
    work_dir = settings.data_dir / "work"
    assert check_kept(settings) == []
    attempt_folders(work_dir, TaskKey(WorkloadId(RUN), 1)).make()
    root = keep(work_dir, TaskKey(WorkloadId(RUN), 2, "worker-0"), 3_000_000)
    keep(work_dir, TaskKey(WorkloadId(RUN), 2, "worker-1"))
    (found,) = check_kept(settings)
    assert found.state == "warn"
    assert found.said == f"3.0 MB of the run {RUN} could not be delivered: {root}"
    assert f"`seafloor runs rm --purge {RUN}`" in found.fix
    assert f"`rm -r '{root}'`" in found.fix


def test_check_kept__very_many__the_rest_is_counted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    for attempt in range(1, 24):
        keep(tmp_path / "work", TaskKey(WorkloadId(RUN), attempt))
    found = check_kept(settings)
    assert len(found) == 21
    assert found[-1].said == f"3 more below {tmp_path / 'work'}"
