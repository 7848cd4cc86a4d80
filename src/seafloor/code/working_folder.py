"""What a working folder holds: git's own answer, asked in a way that changes nothing."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.code.git_command import GitResult, run_git
from seafloor.code.git_url import url_for_people
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.domain.ids import GitCommit, parse_git_commit

IGNORE_FILE: Final = ".seafloorignore"
"""Read at the top of a folder outside git, next to every ``.gitignore``."""

# Outside git nothing says what is code; these never are. A .gitignore can take them back ("!venv").
_IGNORED_OUTSIDE_GIT: Final = (
    ".git",
    ".hg",
    ".svn",
    ".venv/",
    "venv/",
    "node_modules/",
    "__pycache__/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".ipynb_checkpoints/",
    ".tox/",
    ".nox/",
    ".DS_Store",
)
_LIST: Final = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")


@dataclass(frozen=True)
class GitState:
    """What git says of a working folder.

    Args:
        url: Of ``origin``, or of the only remote, without user information; None without one.
        commit: HEAD; None before the first commit.
        branch: None on a detached HEAD.
        dirty: Whether anything, untracked files included, differs from HEAD.
    """

    url: str | None
    commit: GitCommit | None
    branch: str | None
    dirty: bool


@dataclass(frozen=True)
class WorkingFolder:
    """The files of a working folder, as they are named, not yet read.

    Args:
        root: The top of the repository; outside git the folder itself.
        subfolder: Of ``root``, where the command was given; ``""`` for the root itself.
        paths: Relative to ``root``, sorted by bytes: files and symlinks that exist.
        git: What git says of it; None outside git.
    """

    root: Path
    subfolder: str
    paths: tuple[bytes, ...]
    git: GitState | None


def read_working_folder(folder: Path, *, warn: Callable[[str], None]) -> WorkingFolder:
    """List the tracked files and the untracked ones that are not ignored.

    Inside a repository: of the whole repository, whatever subfolder is given, and by the same rule
    of every submodule and nested repository that is checked out. A folder that its repository
    ignores counts as one outside git. Outside git: every file that no ``.gitignore`` and no
    ``.seafloorignore`` excludes, less what is never code (virtual environments, caches).

    Args:
        folder: An existing folder.
        warn: Told what is left out though git lists it.

    Raises:
        InvalidValue: it is no folder, or not one of a working tree; or, outside git, it is the
            user's home or above it.
        SourceError: git is not installed, or refuses to read the folder.
    """
    if not folder.is_dir():
        raise InvalidValue(f'There is no folder "{folder}".', field="code.path")
    start = folder.resolve()
    root = _repository_of(start)
    if root is None:
        _check_not_whole_machine(start)
        found = _list_outside_git(start)
        return WorkingFolder(start, "", _existing(start, found, warn), git=None)
    subfolder = "" if root == start else start.relative_to(root).as_posix()
    found = _list_git(root)
    return WorkingFolder(root, subfolder, _existing(root, found, warn), git=_state_of(root))


def _check_not_whole_machine(folder: Path) -> None:
    """Refuse the home folder and what is above it: that is never a project, and takes minutes to
    list.

    Raises:
        InvalidValue: it is one of these.
    """
    try:
        home = Path.home().resolve()
    except RuntimeError:  # this user has none
        home = Path("/")
    if home.is_relative_to(folder):
        own = folder == home != Path("/")
        what = "your home folder" if own else "a folder of the whole machine"
        raise InvalidValue(
            f'"{folder}" is {what}, not that of a project: change into the folder with the code '
            "(cd), or name a repository with --git.",
            field="code.path",
        )


def _repository_of(folder: Path) -> Path | None:
    """The top of the repository that a folder is part of, if any."""
    said = run_git(["rev-parse", "--show-toplevel"], cwd=folder)
    if not said.ok:
        words = said.stderr.lower()
        if "not a git repository" in words:
            return None
        if "must be run in a work tree" in words:
            raise InvalidValue(
                f'"{folder}" is inside the .git folder of a repository, or a bare repository: give '
                "a folder with files in it.",
                field="code.path",
            )
        raise _refused(folder, said)
    root = Path(said.text)
    ignored = root != folder and run_git(["check-ignore", "--quiet", "."], cwd=folder).ok
    return None if ignored else root


def _list_git(root: Path) -> list[bytes]:
    said = run_git(_LIST, cwd=root)
    if not said.ok:
        raise _refused(root, said)
    return said.stdout.split(b"\0")


def _list_outside_git(folder: Path) -> list[bytes]:
    """Let git list a folder as if it were a new repository, kept elsewhere for the moment."""
    with tempfile.TemporaryDirectory(prefix="seafloor-git-") as scratch:
        git_dir = Path(scratch)
        made = run_git(["init", "--quiet", "--bare", "--template=", "."], cwd=git_dir)
        if not made.ok:
            raise _refused(folder, made)
        # The weakest of all rules, so that the folder's own files can take them back.
        (git_dir / "info").mkdir()
        (git_dir / "info" / "exclude").write_text("\n".join(_IGNORED_OUTSIDE_GIT) + "\n")
        arguments: list[str | Path] = [f"--git-dir={git_dir}", f"--work-tree={folder}", *_LIST]
        if (folder / IGNORE_FILE).is_file():
            arguments.append(f"--exclude-from={folder / IGNORE_FILE}")
        said = run_git(arguments, cwd=folder)
    if not said.ok:
        raise _refused(folder, said)
    return said.stdout.split(b"\0")


def _existing(root: Path, names: Sequence[bytes], warn: Callable[[str], None]) -> tuple[bytes, ...]:
    """Keep what is a file or symlink on disk, and go into nested repositories."""
    real_folders: dict[bytes, bool] = {b"": True}
    kept: set[bytes] = set()
    for name in names:
        path = name.rstrip(b"/")
        if not path or not _is_in_real_folder(root, path, real_folders):
            continue
        try:
            mode = (root / os.fsdecode(path)).lstat().st_mode
        except FileNotFoundError:
            continue  # tracked, and deleted in the working folder
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            kept.add(path)
        elif stat.S_ISDIR(mode):
            kept.update(path + b"/" + inner for inner in _nested(root, path, warn))
        else:
            warn(f'"{_shown(path)}" is neither a file nor a symlink: it is left out')
    return tuple(sorted(kept))


def _is_in_real_folder(root: Path, path: bytes, known: dict[bytes, bool]) -> bool:
    """Whether no part of the way to a file is a symlink; git counts such a file as deleted."""
    parent = path.rpartition(b"/")[0]
    if parent not in known:
        above = _is_in_real_folder(root, parent, known)
        on_disk = root / os.fsdecode(parent)
        known[parent] = above and on_disk.is_dir() and not on_disk.is_symlink()
    return known[parent]


def _nested(root: Path, path: bytes, warn: Callable[[str], None]) -> tuple[bytes, ...]:
    """The files of a submodule or of a repository inside the repository."""
    inner = root / os.fsdecode(path)
    if (inner / ".git").exists():
        return _existing(inner, _list_git(inner), warn)
    if not any(inner.iterdir()):
        warn(
            f'the submodule "{_shown(path)}" is not checked out: it is left out. Check it out with '
            "git submodule update --init --recursive"
        )
    return ()


def _state_of(root: Path) -> GitState:
    said = run_git(["status", "--porcelain=v2", "--branch", "-z"], cwd=root)
    if not said.ok:
        raise _refused(root, said)
    lines = [line for line in said.text.split("\0") if line]
    headers = dict(
        line.removeprefix("# ").split(" ", 1) for line in lines if line.startswith("# branch.")
    )
    commit, branch = headers["branch.oid"], headers["branch.head"]
    return GitState(
        url=_url_of(root),
        commit=None if commit == "(initial)" else parse_git_commit(commit),
        branch=None if branch == "(detached)" else branch,
        dirty=any(not line.startswith("# ") for line in lines),
    )


def _url_of(root: Path) -> str | None:
    said = run_git(["config", "-z", "--get-regexp", r"^remote\..*\.url$"], cwd=root)
    pairs = (line.partition("\n")[::2] for line in said.text.split("\0") if line)
    urls = {name.removeprefix("remote.").removesuffix(".url"): url for name, url in pairs}
    url = urls.get("origin") or (next(iter(urls.values())) if len(urls) == 1 else "")
    return url_for_people(url) or None


def _refused(folder: Path, said: GitResult) -> SourceError:
    if "dubious ownership" in said.stderr:
        return SourceError(
            f'"{folder}" belongs to another user, and git refuses to read it. Allow it with: '
            f"git config --global --add safe.directory '{folder}'",
            field="code.path",
            detail=said.stderr,
        )
    reason = said.stderr.strip().partition("\n")[0].removeprefix("fatal: ")
    return SourceError(
        f'git cannot read the folder "{folder}": {reason}', field="code.path", detail=said.stderr
    )


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
