"""A branch, tag or commit that a user names becomes a commit, before anything else exists."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from seafloor.code.free_space import Growth
from seafloor.code.git_access import GitReach, git_access
from seafloor.code.git_command import OWN_BARE, GitOptions, GitResult, run_git
from seafloor.code.git_errors import error_of, is_not_served, no_commit
from seafloor.code.git_url import GitUrl, check_ref, parse_git_url
from seafloor.domain.code import GitCode
from seafloor.domain.errors import LimitExceeded, SourceError, StoreFull, nearest
from seafloor.domain.ids import GitCommit, parse_git_commit
from seafloor.domain.secrets import Secret

_FULL_COMMIT: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_ABBREVIATED: Final = re.compile(r"[0-9a-f]{4,63}\Z")
_BRANCHES: Final = "refs/heads/"
_TAGS: Final = "refs/tags/"
_CANDIDATES_SHOWN: Final = 5
_NAMES_MAX: Final = 10_000
_SHA1_CHARS: Final = 40
_PLAIN: Final = GitOptions()

_EMPTY: Final = "is empty: it has no commit yet. Push one and try again."
_EMPTY_WEB: Final = (
    "names no commit: it is empty, or its address is that of a page, as one to log in at, rather "
    "than of a repository. Check the address, or push a commit and try again."
)
"""To git a page is a list of refs that has none, where the web server has no git of its own."""

REFS_BYTES_MAX: Final = 256 << 20
"""Of the list of a repository's refs: some three million."""

REFS_MEMORY_BYTES_MAX: Final = 2 << 30
"""Git itself holds such a list in memory, also one that never ends."""


def resolve_git(
    url: str,
    ref: str | None,
    *,
    timeout_s: float = 60,
    secret: Secret | None = None,
    secrets: Mapping[str, Secret] | None = None,
    sparse: Sequence[str] = (),
) -> GitCode:
    """Find the commit that a ref of a repository is now.

    Nothing is kept on disk. Nothing is ever asked of a user: a repository that wants a password
    which neither the secret nor git's credential helpers know is an error.

    Args:
        url: ``https://``, ``ssh://``, ``git@host:path``, ``file://`` or a local path; a relative
            path becomes absolute.
        ref: Branch, tag, full name (``refs/heads/x``), commit or abbreviated commit; None for the
            default branch. A branch or tag goes before an abbreviated commit of the same letters.
        timeout_s: For all of it.
        secret: What reaches the repository; None: as this machine is set up.
        secrets: By the beginning of the addresses that they are for.
        sparse: What of it will be checked out; only written down.

    Returns:
        The source with its full commit; annotated tags are peeled.

    Raises:
        InvalidValue: ``url`` or ``ref`` could never be one, ``url`` holds a password, or the
            a secret is not for its host.
        SourceError: the repository cannot be reached, asks for a password, is missing or empty,
            is not a repository, has no such ref, or has a branch and a tag of that name.
        LimitExceeded: it has more refs than are looked through.
        StoreFull: the disk cannot hold what has to be looked through.

    Cost: one ``git ls-remote``, which asks for the named refs only. An abbreviated commit, and a
    full one that is no tip, need a fetch of commits (without files, where the server can do that)
    into a temporary folder as well.
    """
    address = parse_git_url(url)
    if ref is not None:
        check_ref(ref)
    deadline_s = time.monotonic() + timeout_s
    with git_access(address.text, secret, secrets) as access:
        remote = _Remote(address, access.to(address.text), deadline_s)
        if ref is None or ref == "HEAD":
            commit = remote.default_commit()
        elif _FULL_COMMIT.match(ref.lower()):
            commit = remote.full_commit(ref.lower())
        else:
            commit = remote.commit_of(ref)
    name = None if secret is None else secret.name
    names = {prefix: each.name for prefix, each in (secrets or {}).items()}
    return GitCode(
        address.text,
        commit,
        address.folder,
        ref=ref,
        secret=name,
        sparse=tuple(sparse),
        secrets=names,
    )


@contextmanager
def _nameless_file() -> Generator[tuple[BinaryIO, Path | None]]:
    """A file, and the folder whose disk it takes; None: it is held in memory.

    A pod that may write nowhere but into its volume has no folder for it.
    """
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError:
        with os.fdopen(os.memfd_create("seafloor-git"), "w+b") as file:
            yield file, None
        return
    with tempfile.TemporaryFile(prefix="seafloor-git-", dir=folder) as file:
        yield file, folder


@dataclass(frozen=True)
class _Remote:
    """A repository somewhere, how it is reached, and until when it may answer."""

    address: GitUrl
    reach: GitReach
    deadline_s: float

    @property
    def _url(self) -> str:
        return self.address.text

    @property
    def _is_web(self) -> bool:
        return self._url.startswith(("http://", "https://"))

    def default_commit(self) -> GitCommit:
        for name, commit in self._refs(["HEAD"]):
            if name == "HEAD":
                return commit
        raise SourceError(
            f"{self._url} has no default branch: name one in ref.{nearest('main', self._names())}",
            field="code.ref",
        )

    def commit_of(self, ref: str) -> GitCommit:
        wanted = [ref] if ref.startswith("refs/") else [_BRANCHES + ref, _TAGS + ref]
        if ref.startswith(("heads/", "tags/")):
            wanted.append(f"refs/{ref}")
        asked = [*wanted, *(f"{name}^{{}}" for name in wanted)]
        # Asked for a name, git gives those that end with it as well.
        refs = {name: commit for name, commit in self._refs(asked) if name in asked}
        found = {name: refs.get(f"{name}^{{}}", refs[name]) for name in wanted if name in refs}
        if len(set(found.values())) > 1:
            raise SourceError(
                f'"{ref}" is both a branch and a tag of {self._url}, and they differ. '
                f"Write {' or '.join(sorted(found))}.",
                field="code.ref",
            )
        if found:
            return next(iter(found.values()))
        if _ABBREVIATED.match(ref):
            return self._abbreviated_commit(ref)
        raise self._missing(ref)

    def full_commit(self, commit: str) -> GitCommit:
        id_chars, found_as = 0, ""
        for name, tip in self._refs():
            id_chars = id_chars or len(tip)
            if found_as and name == f"{found_as}^{{}}":
                return tip  # it was the id of an annotated tag, which its commit follows
            if tip == commit:
                found_as = name
        if found_as:
            return parse_git_commit(commit)
        if len(commit) != (id_chars or _SHA1_CHARS):
            raise self._missing(commit)
        with tempfile.TemporaryDirectory(prefix="seafloor-git-") as folder:
            bare = self._bare(Path(folder), len(commit))
            if not self._fetch(bare, ["--depth=1"], [commit]):
                self._fetch_all(bare)
            found = self._peeled(bare, commit)
            kind = self._git(["cat-file", "-t", commit], bare)
        if found is None and kind.ok:
            raise no_commit(commit, self._url, kind.text)
        if found is None:
            raise self._missing(commit)
        return found

    def _abbreviated_commit(self, start: str) -> GitCommit:
        with tempfile.TemporaryDirectory(prefix="seafloor-git-") as folder:
            id_chars = next((len(tip) for _, tip in self._refs()), _SHA1_CHARS)
            bare = self._bare(Path(folder), id_chars)
            self._fetch_all(bare)
            objects = self._git(["rev-parse", f"--disambiguate={start}"], bare).text.split()
            peeled = {self._peeled(bare, name) for name in objects}
        commits = sorted(commit for commit in peeled if commit is not None)
        if not commits:
            raise self._missing(start)
        if len(commits) > 1:
            shown = ", ".join(commits[:_CANDIDATES_SHOWN])
            raise SourceError(
                f'"{start}" could be any of {len(commits)} commits of {self._url}: '
                f"{shown}. Write more of it.",
                field="code.ref",
            )
        return commits[0]

    def _refs(self, patterns: Iterable[str] = ()) -> Generator[tuple[str, GitCommit]]:
        """Every ref that matches, by its full name; all of them without a pattern.

        They are not held in memory: a server has, or says that it has, as many as it likes.

        Raises:
            SourceError: they cannot be had.
            LimitExceeded: they are too many.
        """
        with _nameless_file() as (listing, folder):
            what = f"The list of the refs of {self._url}"
            growth = None if folder is None else Growth(folder, what)

            def check() -> None:
                if growth is not None:
                    growth.look()
                if os.fstat(listing.fileno()).st_size > REFS_BYTES_MAX:
                    raise self._too_many_refs()

            arguments = ["ls-remote", "--quiet", "--", self._url, *patterns]
            options = GitOptions(
                watch=check, stdout=listing, memory_bytes_max=REFS_MEMORY_BYTES_MAX
            )
            result = self._git(arguments, options=options)
            if not result.ok:
                if "out of memory" in result.stderr.lower():
                    raise self._too_many_refs()
                raise self._error(result)
            check()
            listing.seek(0)
            for line in listing:
                commit, _, name = line.decode("utf-8", "surrogateescape").partition("\t")
                yield name.removesuffix("\n"), GitCommit(commit)

    def _too_many_refs(self) -> LimitExceeded:
        return LimitExceeded(
            f"{self._url} has more branches and tags than are looked through: the list of them "
            f"takes more than {REFS_BYTES_MAX / 1e6:,.0f} MB, or more memory than git may have.",
            field="code.url",
        )

    def _names(self) -> list[str]:
        """Branches and tags as users write them; of very many the first.

        Raises:
            SourceError: there is none at all.
        """
        refs = [name for name, _ in islice(self._refs(), _NAMES_MAX)]
        if not refs:
            raise SourceError(
                f"{self._url} {_EMPTY_WEB if self._is_web else _EMPTY}", field="code.url"
            )
        short = (name.removeprefix(_BRANCHES).removeprefix(_TAGS) for name in refs)
        return sorted({name for name in short if not name.endswith("^{}")} - {"HEAD"})

    def _missing(self, ref: str) -> SourceError:
        names = self._names()
        if ref in names:
            return SourceError(
                f'{self._url} has no commit "{ref}", but a branch or a tag of that name: write '
                f"{_BRANCHES}{ref} or {_TAGS}{ref}.",
                field="code.ref",
            )
        return SourceError(
            f'{self._url} has no branch, tag or commit "{ref}".{nearest(ref, names)}',
            field="code.ref",
        )

    def _bare(self, folder: Path, id_chars: int) -> Path:
        kind = "sha256" if id_chars == 64 else "sha1"
        arguments = ["init", "--quiet", "--bare", "--template=", f"--object-format={kind}"]
        made = self._git([*arguments, "."], folder)
        if not made.ok:
            raise self._error(made)
        return folder

    def _fetch_all(self, bare: Path) -> None:
        self._fetch(bare, [], [f"+{_BRANCHES}*:{_BRANCHES}*", f"+{_TAGS}*:{_TAGS}*"])

    def _fetch(self, bare: Path, flags: Sequence[str], refspecs: Sequence[str]) -> bool:
        """Fetch commits; False when the server does not give what was asked in this way."""
        arguments = ["fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--update-shallow"]
        if not self.address.is_local:
            # A repository of this machine filters nothing as a rule. Where it is shallow, too, git
            # would fetch what is beyond by a git that does the same, and so on without end.
            arguments.append("--filter=tree:0")
        growth = Growth(bare, f"What is to be looked through of {self._url}")
        options = GitOptions(watch=growth.look)
        result = self._git([*arguments, *flags, "origin", *refspecs], bare, options)
        if not result.ok and not is_not_served(result):
            raise self._error(result)
        return result.ok

    def _peeled(self, bare: Path, name: str) -> GitCommit | None:
        said = self._git(["rev-parse", "--quiet", "--verify", f"{name}^{{commit}}"], bare)
        return parse_git_commit(said.text) if said.ok else None

    def _git(
        self, arguments: Sequence[str], cwd: Path | None = None, options: GitOptions = _PLAIN
    ) -> GitResult:
        own_bare = () if cwd is None else (OWN_BARE,)
        options = replace(
            options,
            # The remote is a setting of the command, so that the address stands in no file.
            config=(f"remote.origin.url={self._url}", *own_bare, *self.reach.config),
            timeout_s=max(0.1, self.deadline_s - time.monotonic()),
            ssh_command=self.reach.ssh_command,
            # What was left out by the filter is not fetched one by one afterwards.
            env=(*self.reach.env, ("GIT_NO_LAZY_FETCH", "1")),
            hidden=self.reach.hidden,
        )
        return run_git(arguments, cwd=cwd, options=options)

    def _error(self, result: GitResult) -> SourceError | StoreFull:
        return error_of(result, self._url, secret=self.reach.secret)
