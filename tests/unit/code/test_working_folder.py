"""Which files of a working folder are its code."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from git_world import Repository, git
from seafloor.code.removal import remove_tree
from seafloor.code.snapshot import take_snapshot
from seafloor.code.working_folder import WorkingFolder, read_working_folder
from seafloor.domain.errors import InvalidValue, SourceError

IGNORE = ".seafloorignore"


def files(folder: Path) -> set[str]:
    return {os.fsdecode(path) for path in _read(folder).files}


def _read(folder: Path) -> WorkingFolder:
    return read_working_folder(folder, warn=lambda _message: None)


@pytest.fixture
def library(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "origin" / "library")
    made.commit({"lib.py": "1", "data/raw.csv": "tracked", "docs/a.md": "1", "model.bin": "1"})
    return made


def test_read_working_folder__ignore_file_at_the_top__reaches_into_submodules_and_nested(
    repository: Repository, library: Repository
) -> None:
    outer = Repository.create(repository.path.parent / "outer")
    git(outer.path, "submodule", "--quiet", "add", str(library.path), "deep")
    outer.commit({"outer.py": "1", "data/x.csv": "1"})
    git(repository.path, "submodule", "--quiet", "add", str(outer.path), "libs/outer")
    git(repository.path, "submodule", "--quiet", "update", "--init", "--recursive")
    nested = Repository.create(repository.path / "vendor/nested")
    nested.commit({"nested.py": "1", "data/n.csv": "1", "new.bin": "1"})
    repository.commit(
        {IGNORE: "*.bin\n!/vendor/nested/new.bin\n/data\n/libs/outer/data/\nlibs/**/docs/\n"}
    )
    (repository.path / "libs/outer/deep/untracked.bin").touch()
    (repository.path / "libs/outer/deep/new.py").touch()

    assert files(repository.path) == {
        *("train.py", ".gitmodules", IGNORE, "vendor/nested/nested.py", "vendor/nested/data/n.csv"),
        *("vendor/nested/new.bin", "libs/outer/outer.py", "libs/outer/.gitmodules"),
        *("libs/outer/deep/lib.py", "libs/outer/deep/data/raw.csv", "libs/outer/deep/new.py"),
    }


def test_read_working_folder__ignore_file_of_a_submodule__is_for_what_is_below_it(
    repository: Repository, library: Repository
) -> None:
    library.commit({IGNORE: "/data/\n!model.bin\n"})
    git(repository.path, "submodule", "--quiet", "add", str(library.path), "lib")
    repository.commit({IGNORE: "*.bin\n", "data/kept.csv": "1"})

    assert files(repository.path) == {
        *("train.py", ".gitmodules", IGNORE, "data/kept.csv"),
        *("lib/lib.py", "lib/docs/a.md", f"lib/{IGNORE}"),
    }


def test_read_working_folder__outside_git__rules_reach_into_repositories_in_it(
    tmp_path: Path,
) -> None:
    folder = Repository(tmp_path / "folder")
    folder.write({IGNORE: "*.bin\n/one/data/\n", "a.bin": "", "a.py": ""})
    one = Repository.create(folder.path / "one")
    one.commit({"one.py": "", "one.bin": "", "data/x": "", "sub/data/x": ""})

    assert files(folder.path) == {IGNORE, "a.py", "one/one.py", "one/sub/data/x"}


def test_read_working_folder__what_gitignore_takes_back__is_left_out_all_the_same(
    repository: Repository,
) -> None:
    repository.commit({".gitignore": "*.bin\n!keep.bin\n!/kept/\n", IGNORE: "keep.bin\n/kept/\n"})
    repository.write({"keep.bin": "", "kept/a.py": "", "other.py": ""})

    assert files(repository.path) == {"train.py", ".gitignore", IGNORE, "other.py"}


def test_read_working_folder__ignore_file_takes_back__brings_nothing_back(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit({IGNORE: "!secret.env\n!*.log\n", ".gitignore": "*.log\n"})
    (repository.path / ".git/info/exclude").write_text("secret.env\n")
    repository.write({"secret.env": "", "a.log": ""})
    folder = Repository(tmp_path / "folder")
    folder.write({IGNORE: "!venv/\n", "venv/x.py": "", "a.py": ""})

    assert files(repository.path) == {"train.py", IGNORE, ".gitignore"}
    assert files(folder.path) == {IGNORE, "a.py"}


def test_read_working_folder__odd_names__are_named_by_rules_as_any(repository: Repository) -> None:
    odd = ["git~1", "a\nb.bin", "größe.bin", "back\\slash.bin", " spaces .bin", "a:b"]
    nested = Repository.create(repository.path / "nested")
    nested.write(dict.fromkeys(odd, ""))
    (nested.path / os.fsdecode(b"\xff.bin")).touch()
    repository.write({IGNORE: "*.bin\n"})

    assert files(repository.path) == {"train.py", IGNORE, "nested/git~1", "nested/a:b"}


def test_read_working_folder__too_deep_in_a_nested_repository__may_be_left_out_at_the_top(
    repository: Repository,
) -> None:
    nested = Repository.create(repository.path / "nested")
    nested.write({"/".join(["d"] * 300) + "/file": ""})
    with pytest.raises(InvalidValue, match="more than 256 folders deep"):
        files(repository.path)
    repository.write({IGNORE: "/nested/d/\n"})

    assert files(repository.path) == {"train.py", IGNORE}


@pytest.mark.parametrize("in_git", [True, False])
def test_read_working_folder__a_pipe_that_an_ignore_file_names__is_left_out_in_silence(
    repository: Repository, tmp_path: Path, *, in_git: bool
) -> None:
    folder = repository.path if in_git else tmp_path / "plain"
    said: list[str] = []
    for name in ("src/a.py", "pkg/link/x", ".venv/b", "src/.gitignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("run/\n*.sock\n")
    (folder / ".gitignore").write_text(".venv/\n")
    (folder / IGNORE).write_text("meant\n")
    (folder / "src/run").mkdir()
    for name in ("meant", "src/c.sock", "src/run/pipe", ".venv/pipe", "src/:(glob)"):
        os.mkfifo(folder / name)
    (folder / "pkg/away").symlink_to(folder / ".venv")
    if in_git:
        repository.commit({})

    found = read_working_folder(folder, warn=said.append)

    assert b"src/a.py" in found.files
    assert not any(name.endswith(b"pipe") for name in found.files)
    assert [message for message in said if "left out" in message] == [
        "left out, since only files and symlinks can be kept, and no pipes, sockets and devices: "
        '"src/:(glob)". Name them in .seafloorignore if that is meant'
    ]


def test_read_working_folder__more_pipes_than_are_read__are_counted(
    repository: Repository,
) -> None:
    inner = Repository.create(repository.path / "vendor/inner")
    inner.commit({"x.py": "1"})
    for number in range(12):
        os.mkfifo(inner.path / f"{number:02}")
    said: list[str] = []

    read_working_folder(repository.path, warn=said.append)

    assert '"vendor/inner/09" and 2 more.' in said[-1]
    assert "vendor/inner/10" not in said[-1]


@pytest.mark.parametrize("in_git", [True, False])
def test_read_working_folder__folder_that_git_cannot_open__is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_git: bool
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    if in_git:
        git(folder, "init", "--quiet")
    (folder / "train.py").touch()
    with monkeypatch.context() as moved:
        moved.chdir(folder)
        for _ in range(50):  # no path of the system is so long
            Path("x" * 100).mkdir()
            moved.chdir("x" * 100)
        Path("unseen.py").touch()
    said: list[str] = []

    found = read_working_folder(folder, warn=said.append)

    assert list(found.files) == [b"train.py"]
    assert len(said) == 1
    assert "cannot be looked into" in said[0]
    remove_tree(folder)  # pytest's own removal ends at such a path


@pytest.mark.parametrize("unread", ["sec/a.py", "sec"])
def test_read_working_folder__tracked_file_that_may_not_be_looked_at__is_said(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, unread: str
) -> None:
    repository.commit({"sec/a.py": "1", "sec/b.py": "2", "other.py": "3"})
    real, said = os.lstat, list[str]()

    def lstat(path: bytes | str | Path) -> os.stat_result:
        if os.fsdecode(path).startswith(str(repository.path / unread)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", lstat)
        found = read_working_folder(repository.path, warn=said.append)

    left = {b"sec/b.py"} if unread == "sec/a.py" else set[bytes]()
    assert set(found.files) == {b"train.py", b"other.py", *left}
    assert len(said) == 1
    assert f'"{unread}" cannot be looked at (Permission denied)' in said[0]


def test_take_snapshot__submodule_that_may_not_be_looked_into__says_which(
    repository: Repository, library: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    git(repository.path, "submodule", "--quiet", "add", str(library.path), "lib")
    real = Path.exists

    def exists(path: Path) -> bool:
        if path == repository.path / "lib/.git":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(Path, "exists", exists)
    with pytest.raises(
        SourceError, match=r"Looking at .* failed at .*lib/\.git.*Permission denied"
    ):
        take_snapshot(repository.path, tmp_path / "archive")
