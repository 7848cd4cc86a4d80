"""Removing folders that were made to be hard to remove."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seafloor.code import removal
from seafloor.code.files import remove_leftover
from seafloor.code.removal import remove_tree


def deepen(folder: Path, levels: int, name: str = "d") -> None:
    """Make folders in folders, further down than a path may name."""
    folder.mkdir()
    at = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


@pytest.mark.parametrize(("levels", "name"), [(1100, "d"), (5000, "a-longer-name")])
def test_remove__deeper_than_calls_may_nest__is_gone(
    tmp_path: Path, levels: int, name: str
) -> None:
    folder = tmp_path / "deep"
    deepen(folder, levels, name)
    (folder / "beside").mkdir()
    (folder / "beside/file").write_text("x")
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_remove__links__removed_and_never_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/link").symlink_to(outside)
    (folder / "link").symlink_to("inner")
    remove_tree(folder)
    folder.symlink_to(outside)
    remove_tree(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["outside", "precious"]


def test_remove__nothing_there__is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")


def test_remove__rights_taken_away__is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "closed/deep").mkdir(parents=True)
    (folder / "closed/deep/file").write_text("x")
    (folder / "closed/deep").chmod(0)
    (folder / "closed").chmod(0o500)
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_remove__one_file_that_cannot_be__the_rest_is_gone_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text("x")
        (folder / name / "other").write_text("x")
    kept = (folder / "b").stat().st_ino
    unlink = os.unlink

    def refusing(name: bytes, *, dir_fd: int) -> None:
        if name == b"file" and os.fstat(dir_fd).st_ino == kept:
            raise PermissionError(1, "Operation not permitted", "file")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(removal.os, "unlink", refusing)
    remove_leftover(folder)
    with pytest.raises(PermissionError, match="not permitted"):
        remove_tree(folder)
    monkeypatch.undo()
    assert [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))] == ["b", "b/file"]
