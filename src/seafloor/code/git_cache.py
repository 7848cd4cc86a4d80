"""One bare repository per address and machine, so that no commit is fetched twice.

Commits are fetched one by one (depth 1 where the server allows it) and kept as packs; a localised
folder gets hard links to the packs, which git never changes once they are written. Any number of
processes may use one cache: fetches take turns, and packs are removed only while nobody links. How
much is kept, and how long, is in ``git_room``.

A commit is there when ``refs/seafloor/<commit>`` is: git writes a ref after its objects.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from seafloor.code.cache_bounds import DEFAULT
from seafloor.code.files import remove_leftover
from seafloor.code.free_space import Growth, has_room
from seafloor.code.git_access import AS_SET_UP, GitAccess
from seafloor.code.git_command import OWN_BARE, GitOptions, GitResult, run_git
from seafloor.code.git_damage import PACK_SUFFIXES, damage_of
from seafloor.code.git_errors import blames_remote, error_of, is_not_served, is_short, no_commit
from seafloor.code.git_room import repository_in_use, trim_repositories
from seafloor.code.git_stall import Stall, both
from seafloor.code.live_lock import Wait, locked_alive, locked_alive_if_free
from seafloor.domain.errors import SourceError, StoreFull
from seafloor.domain.ids import GitCommit

PACKS_MAX: Final = 24
"""More packs than this are put together after a fetch."""

_PLAIN: Final = GitOptions()
_REPACK_TIMEOUT_S: Final = 1800.0

# Not quiet: then it would not say how far it is with what it does by itself.
_FETCH: Final = (
    "fetch",
    "--progress",
    "--no-tags",
    "--no-auto-maintenance",
    "--no-write-fetch-head",
)


class Unread(Exception):
    """A folder did not become what the cache was asked for; why is not known yet.

    Args:
        said: What git said, if it was git that failed.
        path: The first file that is missing or wrong, if it was we who noticed.
    """

    def __init__(self, *, said: GitResult | None = None, path: str = "") -> None:
        super().__init__(path)
        self.said = said
        self.path = path


class _LocalFailure(Exception):
    """A fetch failed, and not for what the other side said: the cache may be damaged.

    Args:
        error: For the user, if it is not.
    """

    def __init__(self, error: SourceError | StoreFull) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True)
class GitCache:
    """The cached repository of one address.

    Args:
        cache_dir: Where every cache of this machine is.
        url: The address, without secrets.
        progress: Told what takes time.
        access: How the address is reached.
        bytes_max: What the repositories of all addresses may take.
    """

    cache_dir: Path
    url: str
    progress: Callable[[str], None]
    access: GitAccess = AS_SET_UP
    bytes_max: int = DEFAULT.git_bytes

    @property
    def folder(self) -> Path:
        """The bare repository."""
        return self.cache_dir / "git" / f"{self._key}.git"

    @property
    def generation(self) -> int:
        """A number that changes when the cache is built anew; 0 when there is none."""
        try:
            return self.folder.stat().st_ino
        except FileNotFoundError:
            return 0

    @contextmanager
    def in_use(self, commit: GitCommit) -> Generator[None]:
        """Keep the repository for as long as the context lasts: all below is called in one.

        Where the commit had to be fetched, room is made afterwards: see ``trim_repositories``.
        """
        was_there = self.has(commit)
        try:
            with repository_in_use(self.folder, self._wait("trimming of the cache")):
                yield
        finally:
            if not was_there:
                trim_repositories(self.folder.parent, self.bytes_max)

    def has(self, commit: GitCommit) -> bool:
        """Whether a commit was fetched whole."""
        return (self.folder / "refs" / "seafloor" / commit).is_file()

    def ensure(self, commit: GitCommit, ref: str | None) -> bool:
        """Have a commit, fetching it if need be.

        Args:
            commit: Which.
            ref: What the user named, for servers that give refs only.

        Returns:
            Whether anything was fetched.

        Raises:
            SourceError: the repository cannot be had, or no longer has the commit; or somebody else
                who fetches of it was stopped.
            StoreFull: the disk cannot hold it. Nothing is left of what came.
        """
        if self.has(commit):
            return False
        with locked_alive(self._lock("fetch"), self._wait("fetch")):
            if self.has(commit):
                return False
            try:
                self._fetch(commit, ref)
            except _LocalFailure as failure:
                damage = self.damage()
                if damage is None:
                    raise failure.error from failure
                self._throw_away(damage)
                self._fetch_or_fail(commit, ref)
            self._put_packs_together()
        return True

    def damage(self, commit: GitCommit | None = None) -> str | None:
        """Look for proof that the cache is damaged; see ``damage_of``.

        Args:
            commit: One that was fetched; None: only files are looked at.
        """
        with locked_alive(self._lock("packs"), self._wait("rebuilding"), shared=True):
            return damage_of(self.folder, commit)

    def check_is_commit(self, commit: GitCommit) -> None:
        """Refuse what is there and is no commit: an id names a tag, a tree or a file as well.

        Raises:
            SourceError: it is one of these. It counts as not fetched.
        """
        said = self._git(["cat-file", "-t", commit])
        if said.ok and said.text != "commit":
            self._git(["update-ref", "-d", f"refs/seafloor/{commit}"])
            raise no_commit(commit, self.url, said.text)

    def rebuild(self, commit: GitCommit, ref: str | None, *, generation: int, damage: str) -> None:
        """Throw a damaged cache away and fetch the commit anew.

        Args:
            commit: Which.
            ref: What the user named.
            generation: Of the cache that was found damaged; a newer one is kept.
            damage: What was found.

        Raises:
            SourceError: as ``ensure``. The damaged cache is gone.
        """
        with locked_alive(self._lock("fetch"), self._wait("fetch")):
            if self.generation == generation:
                self._throw_away(damage)
            if not self.has(commit):
                self._fetch_or_fail(commit, ref)

    def _throw_away(self, damage: str) -> None:
        self.progress(f"the cache of {self.url} is damaged ({damage}): building it anew")
        damaged = self.folder.with_name(f"{self._key}.damaged-{os.getpid()}")
        with locked_alive(self._lock("packs"), self._wait("start")):
            self.folder.rename(damaged)
        remove_leftover(damaged)

    def give_objects(self, git_dir: Path, commit: GitCommit) -> None:
        """Put the objects of a commit into a new repository.

        Args:
            git_dir: Its ``.git``, on any file system.
            commit: One that the cache has.

        Raises:
            Unread: the cache lost files, or git could not read it.
            OSError: the file system refused something else.
        """
        with locked_alive(self._lock("packs"), self._wait("rebuilding"), shared=True):
            try:
                self._link_packs(git_dir)
            except FileNotFoundError as error:
                raise Unread(path=str(error.filename)) from error
            except OSError as error:
                # Another file system, a file system without links, or a cache of another user.
                if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
                    raise
                self._copy_commit(git_dir, commit)

    def _link_packs(self, git_dir: Path) -> None:
        shallow = self.folder / "shallow"
        if shallow.exists():
            shutil.copyfile(shallow, git_dir / "shallow")
        source = self.folder / "objects" / "pack"
        target = git_dir / "objects" / "pack"
        target.mkdir(parents=True, exist_ok=True)
        # A pack counts once its .idx is there; what has none is still being fetched.
        for index in sorted(source.glob("pack-*.idx")):
            for suffix in PACK_SUFFIXES:
                name = index.with_suffix(suffix).name
                if suffix != ".rev" or (source / name).exists():
                    os.link(source / name, target / name)

    def _copy_commit(self, git_dir: Path, commit: GitCommit) -> None:
        stall = Stall(
            f'what was fetched of {self.url} could not be copied to "{git_dir.parent}". Check '
            "that its disk is well, then try again.",
            packs=git_dir / "objects" / "pack",
        )
        result = run_git(
            [*_FETCH, "--depth=1", str(self.folder), f"refs/seafloor/{commit}"],
            cwd=git_dir,
            options=GitOptions(
                config=_trusting(self.folder, git_dir),
                timeout_s=None,
                watch=stall.look,
                hear=stall.hear,
            ),
        )
        if not result.ok:
            raise Unread(said=result)

    def _fetch_or_fail(self, commit: GitCommit, ref: str | None) -> None:
        try:
            self._fetch(commit, ref)
        except _LocalFailure as failure:
            raise failure.error from failure

    def _fetch(self, commit: GitCommit, ref: str | None) -> None:
        self._make(commit)
        self._clear_leftovers()
        with ExitStack() as undo:
            # At once: what was too large for the disk would go on filling it.
            undo.callback(self._clear_leftovers)
            self._fetch_commit(commit, ref)
            undo.pop_all()

    def _fetch_commit(self, commit: GitCommit, ref: str | None) -> None:
        self.progress(f"fetching {commit[:12]} of {self.url}")
        mark = f"refs/seafloor/{commit}"
        said = self._git_fetch(["--depth=1", "--force", self.url, f"{commit}:{mark}"])
        if said.ok:
            self.check_is_commit(commit)
            return
        self._check_reached(said)
        # The server gives tips only: take the ref, then everything, and look for the commit in it.
        attempts = (
            [ref or "HEAD"],
            ["+refs/heads/*:refs/remotes/all/*", "+refs/tags/*:refs/tags/*"],
        )
        for refspecs in attempts:
            said = self._git_fetch(["--force", self.url, *refspecs])
            if not said.ok:
                self._check_reached(said)
            self.check_is_commit(commit)
            if self._git(["update-ref", mark, f"{commit}^{{commit}}"]).ok:
                return
        named = f' ("{ref}" when this was submitted)' if ref else ""
        raise SourceError(
            f"{self.url} no longer has the commit {commit}{named}: its branch was probably "
            "force-pushed or deleted. Push the commit again, or submit anew.",
            field="code.ref",
            detail=said.stderr,
        )

    def _check_reached(self, said: GitResult) -> None:
        if is_not_served(said):
            return
        error = error_of(said, self.url, secret=self.access.to(self.url).secret)
        if blames_remote(said) or is_short(said):
            raise error
        raise _LocalFailure(error)

    def _make(self, commit: GitCommit) -> None:
        if self.folder.is_dir():
            return
        made = self.folder.with_suffix(".new")
        remove_leftover(made)
        made.mkdir(parents=True)
        kind = "sha256" if len(commit) == 64 else "sha1"
        said = run_git(
            ["init", "--quiet", "--bare", "--template=", f"--object-format={kind}", "."], cwd=made
        )
        if not said.ok:
            raise error_of(said, self.url)
        made.rename(self.folder)

    def _clear_leftovers(self) -> None:
        """Remove what an ended fetch left; only the holder of the fetch lock may."""
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*"):
            for leftover in self.folder.glob(pattern):
                leftover.unlink(missing_ok=True)

    def _put_packs_together(self) -> None:
        packs = self.folder / "objects" / "pack"
        if len(list(packs.glob("pack-*.idx"))) <= PACKS_MAX:
            return
        # For a while there are both, those that are put together and what they become.
        if not has_room(self.folder, sum(pack.stat().st_size for pack in packs.iterdir())):
            return
        with locked_alive_if_free(self._lock("packs")) as is_free:
            # A failure costs only speed: the packs stay as they are, until the next fetch.
            if is_free:
                options = GitOptions(timeout_s=_REPACK_TIMEOUT_S)
                self._git(["repack", "--quiet", "-d", "--geometric=2"], options)

    def _git_fetch(self, arguments: list[str]) -> GitResult:
        # No server says how much it will send.
        growth = Growth(self.folder, f"The repository {self.url}")
        stall = Stall(
            f"{self.url} stopped sending, and was given up. Check that it is well and can be "
            "reached from here, then try again.",
            packs=self.folder / "objects" / "pack",
        )
        options = GitOptions(timeout_s=None, watch=both(growth.look, stall.look), hear=stall.hear)
        return self._git([*_FETCH, *arguments], options)

    def _git(self, arguments: list[str], options: GitOptions = _PLAIN) -> GitResult:
        reach = self.access.to(self.url)
        options = replace(
            options,
            # Everything is kept as packs: loose objects would have to be linked one by one.
            config=(*_trusting(self.folder), "fetch.unpackLimit=1", "gc.auto=0", *reach.config),
            ssh_command=reach.ssh_command,
            env=reach.env,
            hidden=reach.hidden,
        )
        return run_git(arguments, cwd=self.folder, options=options)

    @property
    def _key(self) -> str:
        # What was fetched with a secret is given to those who use it too.
        secret = self.access.to(self.url).secret
        text = self.url if secret is None else f"{self.url}\n{secret}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _lock(self, name: str) -> Path:
        return self.cache_dir / "git" / f"{self._key}.{name}.lock"

    def _wait(self, what: str) -> Wait:
        return Wait(f"another {what} of {self.url}", self.progress)


def _trusting(*folders: Path) -> tuple[str, ...]:
    """Settings that let git read folders of ours, bare ones too, under whatever user id we run."""
    return (OWN_BARE, *(f"safe.directory={folder}" for folder in folders))
