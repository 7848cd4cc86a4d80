from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from git_world import Repository, git
from seafloor.code.git_tree import check_tree, parse_tree


def _wrong(folder: Path) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-l", "-z", "HEAD"], cwd=folder, capture_output=True, check=True
    )
    check = check_tree(folder, "HEAD", parse_tree(listed.stdout))
    return [os.fsdecode(entry.path) for entry in check.wrong]


def _same_size_and_time(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _another_link(path: Path) -> None:
    target = path.parent / "link"
    target.unlink()
    target.symlink_to("elsewhere")


def _file_for_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_to_the_same_bytes(path: Path) -> None:
    copy = path.with_name("copy")
    path.rename(copy)
    path.symlink_to("copy")


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (Path.exists, []),
        (lambda path: path.write_bytes(b""), ["a.bin"]),
        (lambda path: path.unlink(), ["a.bin"]),
        (lambda path: path.chmod(0o755), ["a.bin"]),
        (_same_size_and_time, ["a.bin"]),
        (_file_for_folder, ["a.bin"]),
        (_link_to_the_same_bytes, ["a.bin"]),
        (_another_link, ["link"]),
    ],
    ids=["none", "emptied", "missing", "exec bit", "same size", "folder", "link", "other target"],
)
def test_check_tree__damage_after_checkout__is_found_without_trusting_times(
    repository: Repository, damage: Callable[[Path], object], wrong: list[str]
) -> None:
    (repository.path / "link").symlink_to("a.bin")
    repository.commit({"a.bin": os.urandom(3000)})
    assert git(repository.path, "status", "--porcelain") == ""

    damage(repository.path / "a.bin")

    assert _wrong(repository.path) == wrong
