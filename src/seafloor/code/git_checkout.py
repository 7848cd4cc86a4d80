"""A commit becomes a folder, and what stands in the folder is compared with the commit."""

from __future__ import annotations

import itertools
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from seafloor.code.archive_entry import shown
from seafloor.code.cache_bounds import DEFAULT, CacheBounds
from seafloor.code.free_space import Growth, check_space
from seafloor.code.git_access import AS_SET_UP, GitAccess
from seafloor.code.git_cache import GitCache, Unread
from seafloor.code.git_command import GitOptions, GitResult, run_git
from seafloor.code.git_errors import error_of, is_short
from seafloor.code.git_lfs import LFS_OFF, LargeFiles, fetch_large_files
from seafloor.code.git_stall import Stall, both
from seafloor.code.git_submodules import Submodule, submodules_of
from seafloor.code.git_tree import TreeCheck, TreeEntry, check_tree, parse_tree
from seafloor.code.removal import remove_tree
from seafloor.code.snapshot_format import FILES_MAX
from seafloor.code.tree_writer import DEPTH_MAX, PATH_BYTES_MAX
from seafloor.domain.code import GitCode
from seafloor.domain.errors import LimitExceeded, SourceError, StoreFull
from seafloor.domain.names import PATH_PART_BYTES_MAX

SUBMODULE_DEPTH_MAX: Final = 8
SUBMODULES_MAX: Final = 1000
"""In all: some that hold one another several times over are without end, too."""

LISTING_BYTES_MAX: Final = 256 << 20
"""Of the names of so many files and what is said of each."""

_PLAIN: Final = GitOptions()
_IN_PARALLEL: Final = ("-c", f"checkout.workers={min(4 * (os.cpu_count() or 1), 16)}")
"""Making files is most of a checkout; git does it by one process unless told."""

_GLOB: Final = re.compile(r"[\\*?\[\]!# ]")


@dataclass(frozen=True)
class Checkout:
    """What was put into a folder.

    Args:
        tree: Git tree id of the commit.
        files: Count of regular files and symlinks, those of submodules included.
        size_bytes: Sum of their sizes.
        fetched: Whether anything had to be fetched.
        submodules: Path to commit, those of submodules included.
        lfs: Path of each large file to the sha256 of its content, likewise.
    """

    tree: str
    files: int
    size_bytes: int
    fetched: bool = False
    submodules: dict[str, str] = field(default_factory=dict[str, str])
    lfs: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class _Nesting:
    """Where a checkout stands among those of one source.

    Args:
        depth: How many it lies in.
        count: Of submodules so far, those of submodules included.
    """

    depth: int
    count: Iterator[int]


@dataclass(frozen=True)
class GitCheckouts:
    """Makes folders of commits.

    Args:
        cache_dir: Where fetched repositories are kept.
        progress: Told what takes time, and what the user should know.
        access: How repositories are reached.
        bounds: How much is kept.
    """

    cache_dir: Path
    progress: Callable[[str], None]
    access: GitAccess = AS_SET_UP
    bounds: CacheBounds = DEFAULT

    def check_out(self, source: GitCode, folder: Path) -> Checkout:
        """Make a folder of a commit, its submodules and its large files.

        The folder is a repository of its own, on a detached HEAD, with ``origin`` set; nothing of
        it refers to the cache. Every file was read back and compared with the commit.

        Args:
            source: The commit.
            folder: Does not exist yet.

        Raises:
            SourceError: the commit cannot be had. The folder is not whole.
            StoreFull: no space is left. The folder is not whole.
            LimitExceeded: it has too many files or submodules.
        """
        return self._check_out(source, folder, _Nesting(0, itertools.count(1)))

    def _check_out(self, source: GitCode, folder: Path, nesting: _Nesting) -> Checkout:
        cache = GitCache(
            self.cache_dir, source.url, self.progress, self.access, self.bounds.git_bytes
        )
        with cache.in_use(source.commit):
            built, entries = self._build_from(cache, source, folder)
        for module in submodules_of(folder, source.url, source.commit, entries):
            built = self._add_submodule(module, folder, built, nesting)
        return built

    def _build_from(
        self, cache: GitCache, source: GitCode, folder: Path
    ) -> tuple[Checkout, list[TreeEntry]]:
        """Build of what the cache has, or fetches; where it is damaged, it is fetched anew."""
        fetched = cache.ensure(source.commit, source.ref)
        generation = cache.generation
        try:
            built, entries = self._build(cache, source, folder)
        except Unread as unread:
            if unread.said is not None and is_short(unread.said):
                raise _failure(unread, source) from unread
            cache.check_is_commit(source.commit)  # nothing is damaged if it is none
            damage = cache.damage(source.commit)
            if damage is None:
                raise _failure(unread, source) from unread
            remove_tree(folder)
            cache.rebuild(source.commit, source.ref, generation=generation, damage=damage)
            fetched = True
            built, entries = self._build_or_fail(cache, source, folder)
        return replace(built, fetched=fetched), entries

    def _build_or_fail(
        self, cache: GitCache, source: GitCode, folder: Path
    ) -> tuple[Checkout, list[TreeEntry]]:
        try:
            return self._build(cache, source, folder)
        except Unread as unread:
            raise _failure(unread, source) from unread

    def _build(
        self, cache: GitCache, source: GitCode, folder: Path
    ) -> tuple[Checkout, list[TreeEntry]]:
        kind = "sha256" if len(source.commit) == 64 else "sha1"
        folder.mkdir()
        self._git(["init", "--quiet", "--template=", f"--object-format={kind}", "."], folder)
        with (folder / ".git" / "config").open("a") as config:
            config.write(_config_of(source.url))
        cache.give_objects(folder / ".git", source.commit)
        commit = source.commit
        tree = self._git(["rev-parse", "--verify", f"{commit}^{{tree}}"], folder).text
        entries = self._list(source, tree, folder)
        if source.sparse:
            entries = _chosen(source, entries)
            patterns = ["/" + _GLOB.sub(r"\\\g<0>", path) for path in source.sparse]
            self._git(["sparse-checkout", "set", "--no-cone", *patterns], folder)
        _check_paths(source, entries)
        size_bytes = sum(entry.size_bytes for entry in entries)
        check_space(folder.parent, size_bytes, f"The files of {source.url} need")
        # Many small files take more of a disk than they have bytes.
        growth = Growth(folder, f"What is checked out of {source.url}")
        stall = Stall(
            f'the files of {source.url} could not be written to "{folder.parent}". Check that its '
            "disk is well, then try again."
        )
        arguments = [*_IN_PARALLEL, "checkout", "--progress", "--detach", "--force", commit]
        watch = both(growth.look, stall.look)
        self._git(arguments, folder, GitOptions(timeout_s=None, watch=watch, hear=stall.hear))
        if (folder / ".git" / "HEAD").read_text().strip() != commit:
            raise Unread(path=".git/HEAD")
        check = check_tree(folder, commit, entries)
        if check.wrong:
            raise Unread(path=os.fsdecode(check.wrong[0].path))
        large = self._large_files(source, folder, check)
        size_bytes = check.size_bytes + large.grown_bytes
        return Checkout(tree, check.files, size_bytes, lfs=large.oids), entries

    def _list(self, source: GitCode, tree: str, folder: Path) -> list[TreeEntry]:
        """What a commit has; trees that hold one another many times over may list without end."""
        with tempfile.TemporaryFile(dir=folder / ".git") as listing:

            def check(files: int = 0) -> None:
                if files > FILES_MAX or os.fstat(listing.fileno()).st_size > LISTING_BYTES_MAX:
                    raise LimitExceeded(
                        f"{source.url} has more than {FILES_MAX:,} files at {source.commit[:12]}, "
                        "of which no folder is made.",
                        field="code.url",
                    )

            self._git(
                ["ls-tree", "-r", "-l", "-z", "--full-tree", tree],
                folder,
                GitOptions(stdout=listing, watch=check),
            )
            check()
            listing.seek(0)
            content = listing.read()
            check(content.count(b"\0"))
        return parse_tree(content)

    def _large_files(self, source: GitCode, folder: Path, check: TreeCheck) -> LargeFiles:
        if not check.pointers:
            return LargeFiles()
        # As with commits: what secrets opened is not there for those who do not name them.
        reach = self.access.to_large_files(source.url)
        opened_by = f"-{'+'.join(reach.opened_by)}" if reach.opened_by else ""
        storage = self.cache_dir / f"git-lfs{opened_by}"
        return fetch_large_files(
            folder,
            check.pointers,
            url=source.url,
            storage=storage,
            bytes_max=self.bounds.large_files_bytes,
            progress=self.progress,
            reach=reach,
            sparse=source.sparse,
        )

    def _add_submodule(
        self, module: Submodule, folder: Path, built: Checkout, nesting: _Nesting
    ) -> Checkout:
        if module.url is None:
            self.progress(
                f'the submodule "{module.shown}" has no address in .gitmodules: left empty, as git '
                "leaves it"
            )
            return built
        if next(nesting.count) > SUBMODULES_MAX:
            raise LimitExceeded(
                f"There are more than {SUBMODULES_MAX:,} submodules, those of submodules "
                f'included: "{module.shown}" is one too many.',
                field="code.url",
            )
        if nesting.depth >= SUBMODULE_DEPTH_MAX:
            raise SourceError(
                f"Submodules are followed {SUBMODULE_DEPTH_MAX} deep, and "
                f'"{module.shown}" is deeper.',
                field="code.url",
            )
        place = folder / module.path
        _check_real_folders(folder, place)
        if place.exists():
            place.rmdir()  # the checkout made it, empty
        source = GitCode(url=module.url, commit=module.commit, folder=place.name)
        try:
            inner = self._check_out(source, place, replace(nesting, depth=nesting.depth + 1))
        except SourceError as error:
            raise SourceError(
                f'The submodule "{module.shown}": {error.message}',
                field=error.field,
                detail=error.detail,
                retry_after_s=error.retry_after_s,
            ) from error
        below = {f"{module.shown}/{path}": commit for path, commit in inner.submodules.items()}
        return replace(
            built,
            files=built.files + inner.files,
            size_bytes=built.size_bytes + inner.size_bytes,
            fetched=built.fetched or inner.fetched,
            submodules={**built.submodules, module.shown: module.commit, **below},
            lfs=built.lfs | {f"{module.shown}/{path}": oid for path, oid in inner.lfs.items()},
        )

    def _git(self, arguments: list[str], folder: Path, options: GitOptions = _PLAIN) -> GitResult:
        options = replace(options, config=(*LFS_OFF, f"safe.directory={folder}"))
        said = run_git(arguments, cwd=folder, options=options)
        if not said.ok:
            raise Unread(said=said)
        return said


def _failure(unread: Unread, source: GitCode) -> SourceError | StoreFull:
    """Say why there is no folder, when the cache is not to blame."""
    if unread.said is not None:
        return error_of(unread.said, source.url)
    return SourceError(
        f'"{unread.path}" of {source.url} cannot be checked out as {source.commit[:12]} has '
        "it: the file system here may not be able to hold it.",
        field="code.url",
    )


def _chosen(source: GitCode, entries: Sequence[TreeEntry]) -> list[TreeEntry]:
    """What of a commit is checked out."""
    chosen: dict[bytes, TreeEntry] = {}
    for path in source.sparse:
        name = os.fsencode(path)
        found = {
            entry.path: entry
            for entry in entries
            if entry.path == name or entry.path.startswith(name + b"/")
        }
        if not found:
            raise SourceError(
                f'There is no "{path}" in {source.url} at {source.commit[:12]}: correct '
                "code.sparse.",
                field="code.sparse",
            )
        chosen |= found
    return [chosen[path] for path in sorted(chosen)]


def _config_of(url: str) -> str:
    """What every localised repository has set, whatever the machine's own settings are."""
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f'[remote "origin"]\n\turl = "{quoted}"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'
        "[core]\n\tautocrlf = false\n\teol = lf\n\tsymlinks = true\n"
    )


def _check_real_folders(folder: Path, place: Path) -> None:
    """Refuse a submodule that would be written through a symlink."""
    for parent in place.relative_to(folder).parents:
        path = folder / parent
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise SourceError(
                f'The submodule "{shown(os.fsencode(place.relative_to(folder)))}" lies behind a '
                "symlink.",
                field="code.url",
            )


def _check_paths(source: GitCode, entries: Sequence[TreeEntry]) -> None:
    """Refuse what is nested too deep or named too long, as ``parts_of`` does of an archive."""
    for entry in entries:
        wrong = _wrong_with(entry.path)
        if wrong:
            raise SourceError(
                f"{source.url} has a file {wrong} at {source.commit[:12]}: "
                f'"{shown(entry.path[:80])}…". Name what the run needs in code.sparse.',
                field="code.url",
            )


def _wrong_with(path: bytes) -> str:
    """What keeps a path from being made; git itself shows the path and leaves out the reason."""
    if path.count(b"/") >= DEPTH_MAX:
        return f"more than {DEPTH_MAX} folders deep"
    if len(path) >= PATH_BYTES_MAX:
        return f"whose path has {len(path):,} bytes, of {PATH_BYTES_MAX - 1:,} at most,"
    if len(path) > PATH_PART_BYTES_MAX:
        longest = max(len(part) for part in path.split(b"/"))
        if longest > PATH_PART_BYTES_MAX:
            return f"or folder whose name has {longest} bytes, of {PATH_PART_BYTES_MAX} at most,"
    return ""
