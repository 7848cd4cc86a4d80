"""The folder of an export: who may write to it, and a disk that is full."""

from __future__ import annotations

import fcntl
from contextlib import ExitStack
from pathlib import Path

import pytest

from seafloor.domain.errors import InvalidValue, StoreFull
from seafloor.sdk.exports.folder import ExportFolder, opened
from seafloor.sdk.exports.manifest import Manifest, TableFile


def finish(folder: ExportFolder) -> None:
    def made(files: dict[str, TableFile]) -> Manifest:
        return Manifest(created_ns=0, server={}, only={}, counts={}, files=files)

    folder.finish(made)


def files_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ends", ["before the mark is opened", "before it is locked"])
def test_opened__of_a_folder_whose_export_becomes_whole_meanwhile__leaves_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """It had looked for a manifest before it had the lock, and then removed every table."""
    root = tmp_path / "made"
    first = ExitStack()
    folder = first.enter_context(opened(root, {}))
    folder["projects"].add("p", 1)
    folder.put_blob(b"bytes")

    def end() -> None:
        finish(folder)
        first.close()

    lock, exists = fcntl.flock, Path.exists

    def lock_late(file: int, how: int) -> None:
        monkeypatch.undo()
        end()
        lock(file, how)

    def look_early(path: Path) -> bool:
        found = exists(path)
        if path.name == "export.unfinished":
            monkeypatch.undo()
            end()
        return found

    if ends == "before it is locked":
        monkeypatch.setattr(fcntl, "flock", lock_late)
    else:
        monkeypatch.setattr(Path, "exists", look_early)
    with pytest.raises(InvalidValue, match="whole export already"), opened(root, {}):
        pass
    found = files_in(root)
    assert {"manifest.json", "projects.parquet", "metrics/00000.parquet"} <= found
    assert len([name for name in found if name.startswith("blobs/")]) == 1
    assert "export.unfinished" not in found


def test_opened__when_no_space_is_left_for_a_file__says_what_to_do(tmp_path: Path) -> None:
    """It named a file of the folder's own, and not that a repeat goes on."""

    def fetch(target: Path) -> None:
        raise StoreFull(f'"{target}" cannot be written: No space left on device.')

    def export() -> None:
        with opened(tmp_path / "made", {}) as folder:
            folder.fetch_blob(fetch)

    with pytest.raises(StoreFull, match="make room and repeat") as caught:
        export()
    assert ".part" not in caught.value.message
