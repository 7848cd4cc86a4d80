"""What a working folder holds: git's own answer, asked in a way that changes nothing."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Generator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seafloor.code.git_command import GitOptions, GitResult, run_git
from seafloor.code.git_url import url_for_people
from seafloor.code.ignore_file import IGNORE_FILE, RulesUnread, named_by
from seafloor.code.tree_writer import DEPTH_MAX
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.domain.ids import GitCommit, parse_git_commit

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
_LIST: Final = ("ls-files", "-z", "--cached", "--others")
_STANDARD: Final = "--exclude-standard"
_UNREAD: Final = "warning: could not open directory '"
_PATH_SHOWN_CHARS: Final = 100
_ODD_SHOWN_MAX: Final = 10


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
    """The files of a working folder, as the system describes them, not yet read.

    Args:
        root: The top of the repository; outside git the folder itself.
        subfolder: Of ``root``, where the command was given; ``""`` for the root itself.
        files: Files and symlinks that exist, by path relative to ``root``, sorted by its bytes.
        repositories: Where a nested repository or submodule begins, relative to ``root``.
        git: What git says of it; None outside git.
    """

    root: Path
    subfolder: str
    files: dict[bytes, os.stat_result]
    repositories: tuple[bytes, ...]
    git: GitState | None


def read_working_folder(folder: Path, *, warn: Callable[[str], None]) -> WorkingFolder:
    """List the tracked files and the untracked ones that are not ignored.

    Inside a repository: of the whole repository, whatever subfolder is given, and by the same rule
    of every submodule and nested repository that is checked out. What the ``.seafloorignore`` at
    its top names is left out, tracked or not, in those too; they may have one of their own. A
    folder that its repository ignores counts as one outside git. Outside git: every file that no
    ``.gitignore`` and no ``.seafloorignore`` excludes, less what is never code (virtual
    environments, caches).

    Args:
        folder: An existing folder.
        warn: Told what is left out though git lists it, and of commits that no remote has.

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
        listing = _Listing(start, warn)
        listing.add(b"", _list_outside_git(start, warn))
        return WorkingFolder(start, "", listing.sorted(), tuple(listing.repositories), git=None)
    subfolder = "" if root == start else start.relative_to(root).as_posix()
    listing = _Listing(root, warn)
    listing.add(b"", _list_git(root, warn))
    state = _state_of(root, warn)
    return WorkingFolder(root, subfolder, listing.sorted(), tuple(listing.repositories), state)


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


def _list_git(root: Path, warn: Callable[[str], None]) -> list[bytes]:
    said = run_git((*_LIST, *_rules_of(root), _STANDARD), cwd=root)
    names = _names(root, said, warn)
    return [*names, *_unlisted(root, names, places=())]


def _names(folder: Path, said: GitResult, warn: Callable[[str], None]) -> list[bytes]:
    """What git listed; it passes folders by that it cannot read, with a word on the side."""
    if not said.ok:
        raise _refused(folder, said)
    for line in said.stderr.splitlines():
        if line.startswith(_UNREAD):
            # Of a path that is too long git's own line has not the end.
            path, _, reason = line.removeprefix(_UNREAD).partition("': ")
            warn(
                f'"{_brief(path)}" in "{folder}" cannot be looked into '
                f"({reason or 'its path is too long'}): what is in it is left out"
            )
    return said.stdout.split(b"\0")


def _brief(path: str) -> str:
    return path if len(path) <= _PATH_SHOWN_CHARS else f"{path[:_PATH_SHOWN_CHARS]}…"


def _rules_of(folder: Path) -> list[str]:
    """Keep git from going through untracked folders that are left out: ``_Listing`` leaves them
    out, but would have to be told all that is in them. The rules of git itself come after these, so
    that nothing is brought back.
    """
    rules = folder / IGNORE_FILE
    return [f"--exclude-from={rules}"] if rules.is_file() else []


def _list_outside_git(folder: Path, warn: Callable[[str], None]) -> list[bytes]:
    """Let git list a folder as if it were a new repository, kept elsewhere for the moment."""
    with tempfile.TemporaryDirectory(prefix="seafloor-git-") as scratch:
        git_dir = Path(scratch)
        made = run_git(["init", "--quiet", "--bare", "--template=", "."], cwd=git_dir)
        if not made.ok:
            raise _refused(folder, made)
        # The weakest of all rules, so that the folder's own files can take them back.
        (git_dir / "info").mkdir()
        (git_dir / "info" / "exclude").write_text("\n".join(_IGNORED_OUTSIDE_GIT) + "\n")
        places = f"--git-dir={git_dir}", f"--work-tree={folder}"
        said = run_git([*places, *_LIST, *_rules_of(folder), _STANDARD], cwd=folder)
        names = _names(folder, said, warn)
        return [*names, *_unlisted(folder, names, places=places)]


def _unlisted(root: Path, names: Sequence[bytes], *, places: Sequence[str]) -> list[bytes]:
    """Find what is neither file, folder nor symlink beside what git lists: git passes it by in
    silence. What git would ignore were it a file is not meant.
    """
    folders = {b""}
    for name in names:
        folder = name.rstrip(b"/").rpartition(b"/")[0]
        while folder not in folders:
            folders.add(folder)
            folder = folder.rpartition(b"/")[0]
    found = list(_odd_entries(os.fsencode(root), folders))
    if not found:
        return []
    # A name that begins with a colon would be a rule of git's.
    options = GitOptions(stdin=b"\0".join(b"./" + path for path in found))
    said = run_git([*places, "check-ignore", "-z", "--stdin"], cwd=root, options=options)
    if said.code not in {0, 1}:  # 1: none of them is ignored
        raise _refused(root, said)
    ignored = set(said.stdout.split(b"\0"))
    return [path for path in found if b"./" + path not in ignored]


def _odd_entries(root: bytes, folders: Set[bytes]) -> Generator[bytes]:
    """Pipes, sockets and devices right in one of some folders; links are not gone through."""
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = os.scandir(os.path.join(root, folder))  # noqa: PTH118 - of bytes
        except OSError:
            continue  # git has said that it cannot be looked into
        with entries:
            for entry in entries:
                path = os.path.join(folder, entry.name)  # noqa: PTH118
                if entry.is_dir(follow_symlinks=False):
                    if path in folders:
                        waiting.append(path)
                elif not entry.is_symlink() and not entry.is_file(follow_symlinks=False):
                    yield path


class _Listing:
    """What of the names that git lists is a file or symlink on disk, nested repositories too."""

    def __init__(self, root: Path, warn: Callable[[str], None]) -> None:
        self._root = os.fsencode(root) + b"/"
        self._warn = warn
        self._real_folders: dict[bytes, bool] = {b"": True}
        self._files: dict[bytes, os.stat_result] = {}
        self._unread: set[bytes] = set()
        self.repositories: list[bytes] = []

    def sorted(self) -> dict[bytes, os.stat_result]:
        """All files, less those that an ignore file above them names."""
        for repository in (b"", *self.repositories):
            self._leave_out(repository + b"/" if repository else b"")
        self._leave_out_odd()
        for path in self._files:
            if path.count(b"/") >= DEPTH_MAX:
                raise InvalidValue(
                    f'"{_shown(path[:80])}…" is more than {DEPTH_MAX} folders deep: leave it out '
                    f"in {IGNORE_FILE}.",
                    field="code.path",
                )
        return dict(sorted(self._files.items()))

    def _leave_out_odd(self) -> None:
        """Say what cannot be kept at all, less what the user has named in an ignore file."""
        odd = sorted(path for path, status in self._files.items() if not _is_kept(status))
        for path in odd:
            del self._files[path]
        if odd:
            names = ", ".join(f'"{_brief(_shown(path))}"' for path in odd[:_ODD_SHOWN_MAX])
            more = len(odd) - _ODD_SHOWN_MAX
            also = f" and {more:,} more" if more > 0 else ""
            self._warn(
                "left out, since only files and symlinks can be kept, and no pipes, sockets and "
                f"devices: {names}{also}. Name them in {IGNORE_FILE} if that is meant"
            )

    def _leave_out(self, prefix: bytes) -> None:
        folder = Path(os.fsdecode(self._root + prefix))
        rules = folder / IGNORE_FILE
        if not rules.is_file():
            return
        below = [path.removeprefix(prefix) for path in self._files if path.startswith(prefix)]
        try:
            named = named_by(rules, below)
        except RulesUnread as error:
            raise _refused(folder, error.said) from error
        self._files = {
            path: status
            for path, status in self._files.items()
            if not path.startswith(prefix) or path.removeprefix(prefix) not in named
        }

    def add(self, prefix: bytes, names: Sequence[bytes]) -> None:
        """Take what a repository lists; ``prefix`` is its place, ending with a slash."""
        for name in names:
            path = prefix + name.rstrip(b"/")
            if path == prefix or not self._is_in_real_folder(path):
                continue
            status = self._status(path)
            if status is None:
                continue  # tracked, and deleted in the working folder
            if stat.S_ISDIR(status.st_mode):
                self._add_nested(path)
            else:
                self._files[path] = status

    def _status(self, path: bytes) -> os.stat_result | None:
        """What the system says of a path; None of what is not there, or not told."""
        try:
            return os.lstat(self._root + path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            parent = path.rpartition(b"/")[0]
            if parent not in self._unread:
                self._unread.add(parent)
                reason = error.strerror or type(error).__name__
                self._warn(
                    f'"{_brief(_shown(path))}" cannot be looked at ({reason}): it is left out, as '
                    "is what is beside it"
                )
            return None

    def _is_in_real_folder(self, path: bytes) -> bool:
        """Whether no part of the way to a file is a symlink; git counts such a file as deleted."""
        parent = path.rpartition(b"/")[0]
        above: list[bytes] = []
        while (real := self._real_folders.get(parent)) is None:
            above.append(parent)
            parent = parent.rpartition(b"/")[0]
        for folder in reversed(above):
            found = self._status(folder) if real else None
            real = found is not None and stat.S_ISDIR(found.st_mode)
            self._real_folders[folder] = real
        return real

    def _add_nested(self, path: bytes) -> None:
        """Take the files of a submodule or of a repository inside the repository."""
        inner = Path(os.fsdecode(self._root + path))
        if (inner / ".git").exists():
            self.repositories.append(path)
            self.add(path + b"/", _list_git(inner, self._warn))
        elif not any(inner.iterdir()):
            self._warn(
                f'the submodule "{_shown(path)}" is not checked out: it is left out. Check it out '
                "with git submodule update --init --recursive"
            )


def _is_kept(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)


def _state_of(root: Path, warn: Callable[[str], None]) -> GitState:
    said = run_git(
        ["status", "--porcelain=v2", "--branch", "--untracked-files=normal", "-z"], cwd=root
    )
    if not said.ok:
        raise _refused(root, said)
    lines = [line for line in _shown(said.stdout).split("\0") if line]
    headers = dict(
        line.removeprefix("# ").split(" ", 1) for line in lines if line.startswith("# branch.")
    )
    commit, branch = headers["branch.oid"], headers["branch.head"]
    url = _url_of(root)
    if url is not None and commit != "(initial)":
        _tell_unpushed(root, url, warn)
    return GitState(
        url=url,
        commit=None if commit == "(initial)" else parse_git_commit(commit),
        branch=None if branch == "(detached)" else branch,
        dirty=any(not line.startswith("# ") for line in lines),
    )


def _tell_unpushed(root: Path, url: str, warn: Callable[[str], None]) -> None:
    said = run_git(["rev-list", "--count", "HEAD", "--not", "--remotes"], cwd=root)
    count = int(said.text) if said.ok else 0
    if count:
        commits = "1 commit" if count == 1 else f"{count:,} commits"
        warn(
            f"{commits} of this folder were not pushed to {url}: the snapshot has the files as "
            "they are, but others find the commit that it names only after git push"
        )


def _url_of(root: Path) -> str | None:
    said = run_git(["config", "-z", "--get-regexp", r"^remote\..*\.url$"], cwd=root)
    pairs = (line.partition("\n")[::2] for line in _shown(said.stdout).split("\0") if line)
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
